"""What is advised after memory ran out: the smallest change that spares enough, by the plan."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import Architecture, read_architecture
from groupwise.framework.memory.nearest import Use, nearest_fit

GB = 1_000_000_000
SETTINGS: dict[str, Any] = {
    "model": {"name": "Qwen/Qwen3-4B", "use_gradient_checkpointing": False},
    "data": {"train": "train.jsonl", "max_eval_examples": 32},
    "training": {"prompts_per_step": 4, "num_generations": 8, "completions_per_forward": 8},
    "evaluation": {"num_samples": 8, "k": [1]},
}


@cache
def config() -> ExperimentConfig:
    return ExperimentConfig.from_dict(SETTINGS)


@cache
def architecture() -> Architecture:
    return read_architecture(config().model)


# what was running, bytes that were missing -> what is set
CASES: dict[tuple[Use, int], dict[str, Any] | None] = {
    ("training", 0): {"training.completions_per_forward": 4},
    ("training", 12 * GB): {"training.completions_per_forward": 2},
    ("training", 22 * GB): {"model.use_gradient_checkpointing": "unsloth"},
    ("training", 1000 * GB): None,
    ("rollouts", 0): {"training.max_rows": 24},
    ("rollouts", 2 * GB): {"training.max_rows": 12},
    ("evaluation", 0): {"evaluation.max_rows": 192},
}


@pytest.mark.parametrize("case", CASES)
def test_the_smallest_change_comes_first(case: tuple[Use, int]) -> None:
    found = nearest_fit(config(), architecture(), *case)
    assert (found and found.values) == CASES[case]


@given(st.sampled_from(["training", "rollouts", "evaluation"]), st.integers(0, 50 * GB))
def test_it_spares_what_was_missing(use: Use, less: int) -> None:
    found = nearest_fit(config(), architecture(), use, less)
    if found is not None:
        assert found.spared >= less
        smaller = nearest_fit(config(), architecture(), use, less // 2)
        assert smaller is not None
        assert smaller.spared <= found.spared
