"""GRPO on one page, for reading, for teaching and for a notebook.

    python -m framework.minimal_grpo MODEL math_tasks.jsonl --steps 200

One question a step: sample a group of answers, score them, compare each with its group, and move
the log-probabilities of its tokens up or down. There is no reference model and no value model.
Only LoRA is trained.

Left out, and in `framework.grpo_trainer`: batches of questions, 4-bit weights, the KL term, fast
sampling, learning-rate schedules, logs, checkpoints, evaluation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.objective import compute_advantages, token_logps
from rewards import Completion, Example, Rubric, build_rubric

REWARDS = {"correctness": 1.0, "format": 0.25, "language": 0.10}


class MathDataset:
    """Yields (question, answer) from JSON Lines: `{"question": "2+2=?", "answer": "4"}`."""

    def __init__(self, path: str | Path) -> None:
        rows = map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())
        self.pairs = [(str(row["question"]), str(row["answer"])) for row in rows]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[str, str]:
        return self.pairs[index]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)


class MinimalGRPOTrainer:
    """Teaches `model` (any causal LM of transformers) with one optimiser step a question.

    A model without an adapter gets one: LoRA of rank `lora_r` on all linear layers. `updates` > 1
    uses each group for several optimiser steps; only then the ratio leaves 1 and the clip acts.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        rubric: Rubric | None = None,
        num_generations: int = 8,
        max_completion_length: int = 512,
        learning_rate: float = 5e-6,
        temperature: float = 1.0,
        epsilon: float = 0.2,
        updates: int = 1,
        lora_r: int = 16,
    ) -> None:
        if not hasattr(model, "peft_config"):
            from peft import LoraConfig, get_peft_model

            lora = LoraConfig(r=lora_r, lora_alpha=2 * lora_r, target_modules="all-linear")
            model = get_peft_model(model, lora)
        self.model, self.tokenizer = model, tokenizer
        self.rubric = rubric or build_rubric(REWARDS)
        self.num_generations, self.max_completion_length = num_generations, max_completion_length
        self.temperature, self.epsilon, self.updates = temperature, epsilon, updates
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)
        self.step_count = 0
        self.mean_reward = float("nan")  # of the latest group

    def train_step(self, question: str, answer: str) -> Tensor:
        """Samples a group, learns from it, and returns the loss (a scalar) of the last update."""
        tokens, mask = self.sample(question)  # (G, P + T), (G, T)
        rewards = self.score(question, answer, tokens, mask)  # (G,)
        self.mean_reward = rewards.mean().item()
        # The sample's deviation (n - 1), as TRL has it.
        advantages = compute_advantages(rewards[None], epsilon=1e-6, correction=1)[0]  # (G,)
        old_logps = self.logps(tokens, mask).detach()  # (G, T), under the policy that sampled
        for _ in range(self.updates):
            loss = self.loss(self.logps(tokens, mask), old_logps, advantages, mask)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.step_count += 1
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
        """
        prompt = self.tokenizer.apply_chat_template(
            _messages(question), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self.model.device)
        self.model.eval()
        tokens = self.model.generate(
            **prompt,
            do_sample=True,
            temperature=self.temperature,
            top_k=0,  # off: the loss is that of the whole distribution
            top_p=1.0,
            num_return_sequences=self.num_generations,
            max_new_tokens=self.max_completion_length,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        self.model.train()
        completions = tokens[:, prompt["input_ids"].shape[1] :]
        ended = (completions == self.tokenizer.eos_token_id).long()
        return tokens, (ended.cumsum(1) - ended == 0).long()

    def score(self, question: str, answer: str, tokens: Tensor, mask: Tensor) -> Tensor:
        """The rubric's total for each completion, (G,)."""
        example = Example(question, question, answer, tuple(_messages(question)))
        completions = [
            Completion(self.tokenizer.decode(row[kept.bool()], skip_special_tokens=True))
            for row, kept in zip(tokens[:, -mask.shape[1] :], mask, strict=True)
        ]
        scores = self.rubric.score_batch([example] * len(completions), completions)
        return torch.tensor([score.total for score in scores], device=tokens.device)

    def logps(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Log-probabilities (G, T) of the completion's tokens, at the sampling temperature."""
        length = mask.shape[1]
        prompt_mask = torch.ones_like(tokens[:, :-length])  # one prompt: nothing is padded
        logits = self.model(tokens, attention_mask=torch.cat([prompt_mask, mask], 1)).logits
        # What stands at position t predicts token t + 1.
        return token_logps(logits[:, -length - 1 : -1], tokens[:, -length:], self.temperature)


def _messages(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def main() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="folder or hub name")
    parser.add_argument("data", help="JSON Lines with question and answer")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=5e-6)
    parser.add_argument("--max-completion-length", type=int, default=512)
    parser.add_argument("--output", default="minimal_grpo", help="folder for the adapter")
    arguments = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(arguments.model)
    trainer = MinimalGRPOTrainer(
        model.to("cuda" if torch.cuda.is_available() else "cpu"),
        AutoTokenizer.from_pretrained(arguments.model),
        learning_rate=arguments.learning_rate,
        max_completion_length=arguments.max_completion_length,
    )
    data = MathDataset(arguments.data)
    while trainer.step_count < arguments.steps:
        loss = trainer.train_step(*data[trainer.step_count % len(data)])
        print(f"{trainer.step_count} loss {loss:.3f} reward {trainer.mean_reward:.2f}", flush=True)
    trainer.model.save_pretrained(arguments.output)
    trainer.tokenizer.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
