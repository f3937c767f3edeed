"""GRPO on one page, for reading, for teaching and for a notebook.

    python -m groupwise.framework.minimal_grpo MODEL math_tasks.jsonl --steps 200

One question a step: sample a group of answers, score them, compare each with its group, and move
the log-probabilities of its tokens up or down. No reference model, no value model; only LoRA is
trained. Left out, and in `framework.grpo_trainer`: batches of questions, 4-bit weights, the KL
term, fast sampling, schedules, logs, checkpoints, evaluation.
"""

from __future__ import annotations

import argparse
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groupwise.framework.config import DataConfig
from groupwise.framework.data.rows import read_examples
from groupwise.framework.objective import token_logps
from groupwise.framework.sampling.stopping import end_of_text_ids
from groupwise.rewards import Completion, Example, Rubric, build_rubric

REWARDS = {"correctness": 1.0, "format": 0.25, "language": 0.10}


class MathDataset(list[tuple[str, str]]):
    """(question, answer) of each row of a data file: `{"question": "2+2=?", "answer": "4"}`.

    Raises:
        UserError: rows have no such fields; the message names those that they have.
    """

    def __init__(
        self, path: str | Path, question_field: str = "question", answer_field: str = "answer"
    ) -> None:
        data = DataConfig(train=str(path), question_field=question_field, answer_field=answer_field)
        found = read_examples(data, str(path), "train")
        super().__init__((item.example.question, item.example.answer) for item in found)


@dataclass(eq=False)
class MinimalGRPOTrainer:
    """One question a step. A model without an adapter gets one: LoRA on all linear layers.

    `updates` > 1 uses each group for several updates; only then the ratio leaves 1 and is clipped.
    """

    model: Any  # a causal language model of transformers
    tokenizer: Any
    _: KW_ONLY
    rubric: Rubric = field(default_factory=lambda: build_rubric(REWARDS))
    num_generations: int = 8
    max_completion_length: int = 512
    learning_rate: float = 5e-6
    temperature: float = 1.0
    epsilon: float = 0.2
    updates: int = 1
    lora_r: int = 16
    step_count: int = field(default=0, init=False)
    mean_reward: float = field(default=float("nan"), init=False)  # of the latest group

    def __post_init__(self) -> None:
        if not hasattr(self.model, "peft_config"):
            from peft import LoraConfig, get_peft_model  # slow: not at start-up

            r = self.lora_r
            lora = LoraConfig(r=r, lora_alpha=2 * r, target_modules="all-linear")
            self.model = get_peft_model(self.model, lora)
        self.drawn = {
            "do_sample": True,
            "temperature": self.temperature,
            "top_k": 0,  # off, as is top-p: the loss is about the whole distribution
            "top_p": 1.0,
            "num_return_sequences": self.num_generations,
            "max_new_tokens": self.max_completion_length,
            "pad_token_id": self.tokenizer.pad_token_id,
            # All of them: the model's, the tokenizer's, and that of the chat template.
            "eos_token_id": sorted(end_of_text_ids(self.model, self.tokenizer)),
        }
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=self.learning_rate, weight_decay=0.0)

    def train_step(self, question: str, answer: str) -> Tensor:
        """Samples a group, learns from it, and returns the loss (a scalar) of the last update."""
        tokens, mask = self.sample(question)  # (G, P + T), (G, T)
        rewards = self.score(question, answer, tokens, mask)  # (G,)
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-6)  # (G,)
        old_logps = self.logps(tokens, mask).detach()  # (G, T), under the policy that sampled
        for _ in range(self.updates):
            loss = self.loss(self.logps(tokens, mask), old_logps, advantages, mask)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
        self.step_count, self.mean_reward = self.step_count + 1, rewards.mean().item()
        return loss.detach()

    def loss(self, logps: Tensor, old_logps: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        """PPO's clipped surrogate (arXiv 1707.06347), averaged over the tokens of the group."""
        ratio = (logps - old_logps).exp()  # (G, T)
        clipped = ratio.clamp(1 - self.epsilon, 1 + self.epsilon)
        gain = torch.minimum(ratio * advantages[:, None], clipped * advantages[:, None])
        return -(gain * mask).sum() / mask.sum()

    @torch.no_grad()
    def sample(self, question: str) -> tuple[Tensor, Tensor]:
        """A group of answers: tokens (G, P + T) of prompt and completion; mask (G, T).

        The mask is 1 up to the first end-of-text token, that token included: to end is learned too.
        There may be several such tokens.
        """
        prompt = self.tokenizer.apply_chat_template(
            chat(question), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self.model.device)
        self.model.eval()
        # A copy: on a GPU, Unsloth samples in inference mode, whose tensors no gradient passes.
        tokens = self.model.generate(**prompt, **self.drawn).clone()
        self.model.train()
        completions = tokens[:, prompt["input_ids"].shape[1] :]
        ends = torch.tensor(self.drawn["eos_token_id"], device=completions.device)
        ended = torch.isin(completions, ends).long()
        return tokens, (ended.cumsum(1) - ended == 0).long()

    def score(self, question: str, answer: str, tokens: Tensor, mask: Tensor) -> Tensor:
        """The rubric's total for each completion, (G,)."""
        rows = zip(tokens[:, -mask.shape[1] :], mask.bool(), strict=True)
        texts = [self.tokenizer.decode(row[kept], skip_special_tokens=True) for row, kept in rows]
        example = Example(question, question, answer, chat(question))
        scores = self.rubric.score_batch([example] * len(texts), [Completion(t) for t in texts])
        return torch.tensor([score.total for score in scores], device=tokens.device)

    def logps(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Log-probabilities (G, T) of the completion's tokens, at the sampling temperature."""
        length = mask.shape[1]
        prompt_mask = torch.ones_like(tokens[:, :-length])  # one prompt: nothing is padded
        logits = self.model(tokens, attention_mask=torch.cat([prompt_mask, mask], 1)).logits
        # The logits at position t predict token t + 1.
        return token_logps(logits[:, -length - 1 : -1], tokens[:, -length:], self.temperature)


def chat(question: str) -> tuple[dict[str, str]]:
    return ({"role": "user", "content": question},)


def main() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer  # slow: not at start-up

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="folder or hub name")
    parser.add_argument("data", help="JSON Lines with question and answer")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=5e-6)
    parser.add_argument("--max-completion-length", type=int, default=512)
    parser.add_argument("--output", default="minimal_grpo", help="folder for the adapter")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = MinimalGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(given.model).to(device),
        AutoTokenizer.from_pretrained(given.model),
        learning_rate=given.learning_rate,
        max_completion_length=given.max_completion_length,
    )
    data = MathDataset(given.data)
    while trainer.step_count < given.steps:
        loss = trainer.train_step(*data[trainer.step_count % len(data)])
        print(f"{trainer.step_count} loss {loss:.3f} reward {trainer.mean_reward:.2f}", flush=True)
    trainer.model.save_pretrained(given.output)
    trainer.tokenizer.save_pretrained(given.output)


if __name__ == "__main__":
    main()
