"""The algorithm on one page: it learns, and its gradient is that of the full trainer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Toy, lines

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
from groupwise.framework.minimal_grpo import MathDataset, MinimalGRPOTrainer, main
from groupwise.framework.policy import load
from groupwise.rewards import Completion, Example, UserError, build_rubric

pytestmark = pytest.mark.stack

QUESTION, ANSWER = "12+7=?", "19"
G = 8


def spread_reward(completions: list[Any], **_: Any) -> list[float]:
    """Something that differs within nearly every group, right answer or not."""
    return [float(len(completion[0]["content"]) % 5) for completion in completions]


class Replay:
    """A sampler that says again what was sampled before."""

    name = "replay"

    def __init__(self, rows: Sequence[tuple[int, ...]], tokenizer: Any) -> None:
        self.rows, self.tokenizer = rows, tokenizer

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        assert len(prompts) == 1
        assert (num_samples, params.temperature) == (G, 1.0)
        for i, row in enumerate(self.rows):
            ended = row[-1] == self.tokenizer.eos_token_id
            text = self.tokenizer.decode(row, skip_special_tokens=True)
            yield SampledCompletion(0, i, text, row, "stop" if ended else "length")


def test_the_gradient_is_that_of_the_full_trainer(toy: Toy, tmp_path: Path) -> None:
    """The same group through both, from rewards to the gradient of the adapter."""
    policy = load(toy.model_config(), seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():  # LoRA starts with B = 0, where A has no gradient
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    rubric = build_rubric({"spread": {"use": f"{__file__}:spread_reward"}})
    torch.manual_seed(5)
    ours = MinimalGRPOTrainer(
        policy.model,
        policy.tokenizer,
        rubric=rubric,
        num_generations=G,
        max_completion_length=16,
        learning_rate=0.0,
    )
    sampled: list[Any] = []
    sample = ours.sample

    def keep(question: str) -> Any:
        sampled.append(sample(question))
        return sampled[-1]

    ours.sample = keep
    loss = ours.train_step(QUESTION, ANSWER)
    tokens, mask = sampled[0]
    expected = {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.requires_grad}
    assert ours.step_count == 1
    assert loss.item() == pytest.approx(-_weighted_mean_advantage(ours, tokens, mask), abs=1e-6)

    from transformers import TrainerCallback

    found: dict[str, torch.Tensor] = {}

    class KeepGradient(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            for n, p in policy.model.named_parameters():
                if p.requires_grad:
                    found[n] = p.grad.clone()

    completions = tokens[:, -mask.shape[1] :]
    rows = [tuple(row[kept.bool()].tolist()) for row, kept in zip(completions, mask, strict=True)]
    args = GRPOArguments(
        lr=1e-9,
        max_steps=1,
        prompts_per_step=1,
        num_generations=G,
        completions_per_forward=G,
        max_completion_length=16,
        max_grad_norm=0.0,
        beta=0.0,
        loss_type="dapo",
        output_dir=str(tmp_path),
        use_gradient_checkpointing=False,
    )
    full = GRPOTrainer(
        policy,
        rubric,
        args,
        [{"question": QUESTION, "answer": ANSWER}],
        sampler=Replay(rows, policy.tokenizer),
    )
    full.trl_trainer.add_callback(KeepGradient())
    full.train()
    assert found.keys() == expected.keys()
    theirs = torch.cat([found[name].flatten() for name in sorted(found)])
    mine = torch.cat([expected[name].flatten() for name in sorted(found)])
    assert mine.norm() > 1e-3
    # TRL adds 1e-4 to the deviation, where the minimal trainer adds 1e-6.
    assert ((mine - theirs).norm() / theirs.norm()).item() < 1e-3


def _weighted_mean_advantage(ours: Any, tokens: torch.Tensor, mask: torch.Tensor) -> float:
    """What the loss comes to where the ratio is 1: advantages averaged over the tokens."""
    rewards = ours.score(QUESTION, ANSWER, tokens, mask)
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
    return float((advantages[:, None] * mask).sum() / mask.sum())


def test_the_mask_ends_with_the_first_end_of_text(toy: Toy) -> None:
    trainer = plain_trainer(toy.model)
    torch.manual_seed(0)
    tokens, mask = trainer.sample(QUESTION)
    completions = tokens[:, -mask.shape[1] :]
    eos = trainer.tokenizer.eos_token_id
    for row, kept in zip(completions.tolist(), mask.tolist(), strict=True):
        length = row.index(eos) + 1 if eos in row else len(row)
        assert kept == [1] * length + [0] * (len(row) - length)


def test_the_clip_stops_a_ratio_that_has_left_it(toy: Toy) -> None:
    trainer = plain_trainer(toy.model)
    logps = torch.log(torch.tensor([[1.5], [1.1], [0.5], [0.9]])).requires_grad_()
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    loss = trainer.loss(logps, torch.zeros(4, 1), advantages, torch.ones(4, 1))
    loss.backward()
    assert logps.grad is not None
    assert (logps.grad[:, 0] != 0).tolist() == [False, True, False, True]
    assert loss.item() == pytest.approx(-(1.2 + 1.1 - 0.8 - 0.9) / 4)


def test_rewards_are_those_of_the_rubric(toy: Toy) -> None:
    trainer = plain_trainer(toy.model)
    texts = {  # completion: correctness 1.0, format 0.25, language 0.10
        "<think>2+7=9</think><answer>19</answer>": 1.35,
        "<think>2+7=9</think><answer>18</answer>": 0.35,
        "19": 1.10,
    }
    scores = trainer.rubric.score_batch(
        [Example("q", QUESTION, ANSWER)] * len(texts), [Completion(text) for text in texts]
    )
    assert [score.total for score in scores] == pytest.approx(list(texts.values()))


def test_only_the_adapter_is_trained(toy: Toy) -> None:
    trainer = plain_trainer(toy.model, learning_rate=1e-2)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    torch.manual_seed(1)
    trainer.rubric = build_rubric({"spread": {"use": f"{__file__}:spread_reward"}})
    for _ in range(2):
        trainer.train_step(QUESTION, ANSWER)
    changed = {n for n, p in trainer.model.named_parameters() if not p.equal(before[n])}
    assert changed
    assert all("lora_" in name for name in changed)


def test_math_dataset(tmp_path: Path) -> None:
    path = tmp_path / "math_tasks.jsonl"
    path.write_text('{"question": "2+2=?", "answer": 4}\n{"question": "é?", "answer": "x"}\n')
    data = MathDataset(path)
    assert list(data) == [("2+2=?", "4"), ("é?", "x")]
    assert (len(data), data[1]) == (2, ("é?", "x"))


def test_math_dataset_names_the_fields_that_it_wants(tmp_path: Path) -> None:
    path = tmp_path / "math_tasks.jsonl"
    path.write_text('{"problem": "2+2=?", "answer": 4}\n')
    with pytest.raises(UserError, match="no row has a field 'question'; did you mean 'problem'"):
        MathDataset(path)
    assert list(MathDataset(path, question_field="problem")) == [("2+2=?", "4")]


def test_the_command(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"minimal_grpo {toy.model} {toy.train} --steps 2 --max-completion-length 8"
    monkeypatch.setattr(sys, "argv", [*command.split(), "--output", str(tmp_path / "tuned")])
    main()
    shown = [line for line in capsys.readouterr().out.splitlines() if " loss " in line]
    assert [line.split()[0] for line in shown] == ["1", "2"]
    assert (tmp_path / "tuned" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "tuned" / "tokenizer.json").is_file()


@pytest.mark.long
def test_it_learns_to_add(tmp_path: Path) -> None:
    """Held-out answers before and after; the toy model is the quickstart's."""
    from groupwise.framework.data import toy as module

    paths = module.make_toy(tmp_path, 0)
    trainer = plain_trainer(paths.model, learning_rate=1e-3)
    torch.manual_seed(0)
    held_out = lines(paths.eval)[:60]
    before = accuracy(trainer, held_out)
    for question, answer in list(MathDataset(paths.train))[:400]:
        trainer.train_step(question, answer)
    after = accuracy(trainer, held_out)
    assert after > before + 0.25, (before, after)


def plain_trainer(model: Path, **options: Any) -> MinimalGRPOTrainer:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return MinimalGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(model),
        AutoTokenizer.from_pretrained(model),
        max_completion_length=24,
        **options,
    )


def accuracy(trainer: MinimalGRPOTrainer, rows: list[dict[str, Any]]) -> float:
    """Share of right answers among those sampled for `rows`."""
    trainer.rubric = build_rubric({"correctness": 1.0})
    totals = [
        trainer.score(row["question"], row["answer"], *trainer.sample(row["question"])).mean()
        for row in rows
    ]
    trainer.rubric = build_rubric({"correctness": 1.0, "format": 0.25, "language": 0.10})
    return float(torch.stack(totals).mean())
