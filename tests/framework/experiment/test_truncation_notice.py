"""What is said after an evaluation whose answers were cut off."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from evaluation_toy import SETTINGS, ToySampler, ToyScorer, toy_examples

from groupwise.evaluation.runner import evaluate
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.experiment.evaluate import truncation_notice

# settings of the config, answers cut off of 1000, what is said
CASES: list[tuple[dict[str, Any], int, str]] = [
    ({}, 960, "96 % of the answers were cut off at training.max_completion_length 512: they have "
     "no end to be graded by; raise it to 1024,"),
    ({"evaluation.max_completion_length": 24}, 960,
     "96 % of the answers were cut off at evaluation.max_completion_length 24: they have no end to "
     "be graded by; raise it to 48,"),
    ({}, 301, "30 % of the answers were cut off"),
    ({}, 300, ""),
    ({}, 0, ""),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "truncated", "said"), CASES)
def test_many_answers_that_were_cut_off_are_told(
    tmp_path: Path, changes: dict[str, Any], truncated: int, said: str
) -> None:
    config = ExperimentConfig.from_dict({"model": {"name": "m"}, "data": {"train": "d.jsonl"}})
    config = config.with_values(changes)
    summary = evaluate(toy_examples(), ToySampler(), ToyScorer(), SETTINGS, tmp_path)
    summary = dataclasses.replace(summary, truncated=truncated, num_samples=1000)
    notice = truncation_notice(config, summary)
    assert notice.startswith(said)
    assert bool(notice) == bool(said)
