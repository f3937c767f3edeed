"""The time that a plan says: of what was measured here, in proportion to the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.experiment.timing import (
    ENOUGH_ROUNDS,
    keep_speed_of,
    planned_time,
    run_clock,
)
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.run.time_left import RunClock

SETTINGS: dict[str, Any] = {
    "model.name": "Qwen/Qwen3-4B",
    "data.train": "train.jsonl",
    "data.max_eval_examples": 100,
    "training.max_steps": 200,
    "training.prompts_per_step": 4,
    "training.num_generations": 8,
    "training.completions_per_forward": 4,
    "training.max_completion_length": 512,
    "evaluation.num_samples": 4,
    "evaluation.k": [1],
}


def config_of(**changes: Any) -> ExperimentConfig:
    asked = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    return ExperimentConfig.from_dict({}, list(asked.items()))


def measured_clock(config: ExperimentConfig, rounds: int = ENOUGH_ROUNDS) -> RunClock:
    """Of a run with steps of 10 s, and half a second for each rollout."""
    clock = run_clock(config, 100)
    clock.rounds = [10.0] * rounds
    clock.numbers = {
        "completion_length/mean": 200.0,
        "completion_tokens": 32 * 200.0,
        "rollout_seconds": 16.0,
        "reward_seconds": 0.0,
    }
    return clock


@pytest.fixture(autouse=True)
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = config_of()
    keep_speed_of(measured_clock(config), config, print)


def seconds(**changes: Any) -> tuple[float, float] | None:
    config = config_of(**changes)
    found = planned_time(config, read_architecture(config.model))
    return found and (found.seconds.low, found.seconds.high)


ROUND = 10 / (1 + 0.3 / ENOUGH_ROUNDS**0.5), 10 * (1 + 0.3 / ENOUGH_ROUNDS**0.5)
SAMPLE = 0.5 / 2, 0.5 * 2
# changes -> (rounds of 32, samples, how much longer answers may be); None: no time is said
PLANS: list[tuple[dict[str, Any], tuple[float, int, float] | None]] = [
    ({}, (200, 800, 1)),
    ({"training__max_steps": 50}, (50, 800, 1)),
    ({"training__prompts_per_step": 8}, (400, 800, 1)),
    ({"evaluation__before": False}, (200, 400, 1)),
    ({"evaluation__before": False, "evaluation__after": False}, (200, 0, 1)),
    ({"evaluation__every_steps": 50, "evaluation__every_examples": 10}, (200, 920, 1)),
    ({"training__max_completion_length": 1024, "model__max_seq_length": 2048}, (200, 800, 2)),
    ({"training__max_completion_length": 256}, (200, 800, 0.5)),
    ({"training__max_steps": None}, None),
    ({"data__max_eval_examples": None}, None),
    ({"model__name": "Qwen/Qwen3-0.6B"}, None),
    ({"model__load_in_4bit": False}, None),
    ({"training__sampler": "generate"}, None),
    ({"training__completions_per_forward": 8}, None),
]


@pytest.mark.parametrize("number", range(len(PLANS)))
def test_in_proportion_to_the_work(number: int) -> None:
    changes, expected = PLANS[number]
    found = seconds(**changes)
    if expected is None:
        assert found is None
        return
    rounds, samples, longer = expected
    low, high = (
        (rounds * ROUND[end] + samples * SAMPLE[end]) * bound(1, longer)
        for end, bound in ((0, min), (1, max))
    )
    assert found == pytest.approx((low, high))


def test_how_it_is_said() -> None:
    config = config_of(evaluation__every_steps=50, evaluation__patience=2)
    found = planned_time(config, read_architecture(config.model))
    assert found is not None
    said = str(found).replace(found.speed.day, "DAY")
    assert said == (
        "about 38-62 min at most on this machine, evaluations included, as measured on DAY with "
        "steps of 32 completions of 200 tokens"
    )


def test_a_short_run_says_too_little() -> None:
    config = config_of(model__dtype="bfloat16")
    keep_speed_of(measured_clock(config, ENOUGH_ROUNDS - 1), config, print)
    assert planned_time(config, read_architecture(config.model)) is None


def test_what_was_kept_is_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from groupwise.framework.run import machine

    monkeypatch.setattr(machine, "gpus", lambda: [{"name": "another card"}])
    assert seconds() is None
