"""Functions in TRL's form in a training: the run's own state, and what they log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Toy, lines
from grpo_toys import problems, trainer_for

from groupwise.framework.experiment.evaluate import _last_step, num_steps
from groupwise.framework.policy import load

pytestmark = pytest.mark.stack

STEPS = 3


def test_state_columns_and_logs(toy: Toy, tmp_path: Path) -> None:
    steps, seen = [], []

    async def curriculum(
        completions: Any, completion_ids: Any, answer: Any, trainer_state: Any, **given: Any
    ) -> Any:
        texts = [completion[0]["content"] for completion in completions]
        steps.append((trainer_state.global_step, trainer_state.max_steps))
        given["log_metric"]("my/step", trainer_state.global_step)
        given["log_metric"]("policy_loss", 7.0)  # the name is the run's own
        given["log_extra"]("tokens", [len(ids) for ids in completion_ids])
        seen.append(answer)
        return [len(text) + trainer_state.global_step / trainer_state.max_steps for text in texts]

    from transformers import TrainerCallback

    class Tracked(TrainerCallback):  # type: ignore[misc]
        numbers: list[dict[str, Any]] = []  # noqa: RUF012

        def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
            self.numbers.append(dict(logs))

    config = toy.config(training__max_steps=STEPS)
    policy = load(config.model, config.seed)
    examples = problems(config, policy)
    trainer = trainer_for(
        config, policy, tmp_path, reward_funcs=[curriculum], callbacks=[Tracked()],
        train_dataset=examples, eval_dataset=examples[:2],
    )  # fmt: skip
    trainer.train()
    assert steps == [(step, STEPS) for step in range(STEPS)]
    assert set(seen[0]) <= {example.columns["answer"] for example in examples}

    metrics = lines(tmp_path / "metrics.jsonl")
    assert [line["my/step"] for line in metrics] == [0.0, 1.0, 2.0]
    assert {line["logged/policy_loss"] for line in metrics} == {7.0}
    assert all(line["policy_loss"] != 7.0 for line in metrics)
    assert [logs["my/step"] for logs in Tracked.numbers if "my/step" in logs] == [0.0, 1.0, 2.0]
    for line in lines(tmp_path / "rollouts.jsonl"):
        assert line["extra"] == {"tokens": line["num_tokens"]}

    trainer.evaluate(num_samples=2, k=(1,))
    assert steps[-1] == (STEPS, STEPS)
    for line in lines(tmp_path / "evaluations" / f"step-{STEPS}" / "samples.jsonl"):
        assert line["extra"] == {"tokens": line["num_tokens"]}


@pytest.mark.parametrize(
    ("prompts_per_step", "epochs", "iterations"), [(4, 1.0, 1), (3, 2.5, 1), (5, 1.0, 2)]
)
def test_the_length_of_a_training_is_known_before_it(
    prompts_per_step: int, epochs: float, iterations: int, toy: Toy, tmp_path: Path
) -> None:
    """As evaluations before and after a training say it to rewards; transformers decides."""
    config = toy.config(
        training__max_steps=None,
        training__num_train_epochs=epochs,
        training__prompts_per_step=prompts_per_step,
        training__completions_per_forward=prompts_per_step,
        training__num_iterations=iterations,
    )
    policy = load(config.model, config.seed)
    examples = problems(config, policy)[:17]
    trainer = trainer_for(config, policy, tmp_path, train_dataset=examples)
    assert num_steps(config.training, len(examples)) == trainer._num_steps()


@pytest.mark.parametrize(
    ("text", "step"),
    [
        (None, None),
        ("", None),
        ('{"step": 1}\n{"step": 2, "policy_loss": null}\n', 2),
        ('{"step": 1}\n{"st', 1),
    ],
)
def test_the_length_of_a_training_is_known_after_it(
    text: str | None, step: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    if text is not None:
        path.write_text(text)
    assert _last_step(path) == step
