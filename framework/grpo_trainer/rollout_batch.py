"""The completions of one training step on this process, and their lines in `rollouts.jsonl`.

Plain data: `rollouts.py` fills a batch, `rollout_metrics.py` turns it into numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from groupwise.evaluation.log.records import RolloutRecord, fields_of
from groupwise.evaluation.sampler import SampledCompletion
from groupwise.framework.run import processes
from groupwise.rewards import Example, Score


@dataclass(slots=True)
class RolloutBatch:
    """A generation batch on this process: parallel lists of B rows, and their timings.

    `samples` and `scores` are trained on. `first_samples` and `first_scores` belong to the problems
    that the data set gave for this step, and the metrics are computed from them; they differ if
    zero-variance groups were replaced by groups of other problems.
    """

    step: int
    examples: list[Example]
    sample_indices: list[int]
    seed: int
    samples: list[SampledCompletion] = field(default_factory=list)  # empty until drawn
    scores: list[Score] = field(default_factory=list)  # empty until computed
    progress: float = 0.0  # share of the training that is done
    with_log_probs: bool = False
    first_samples: list[SampledCompletion] = field(default_factory=list)
    first_scores: list[Score] = field(default_factory=list)
    resampled_groups: int = 0  # groups that replaced a zero-variance group
    untrained: list[RolloutRecord] = field(default_factory=list)  # drawn, and not trained on
    seconds: float = 0.0
    reward_seconds: float = 0.0
    logged: dict[str, list[float]] = field(default_factory=dict)  # of the first scores, by name
    forwards: int = 0
    skipped_forwards: int = 0


def joined(shares: Sequence[RolloutBatch]) -> RolloutBatch:
    """The whole step from each process's share. Seconds are the longest: they ran in parallel."""
    lists = ("examples", "sample_indices", "samples", "scores", "first_samples", "first_scores")
    whole: dict[str, Any] = {
        name: [row for share in shares for row in getattr(share, name)] for name in lists
    }
    names = dict.fromkeys(name for share in shares for name in share.logged)
    whole["logged"] = {n: [v for share in shares for v in share.logged.get(n, ())] for n in names}
    for name in ("seconds", "reward_seconds"):
        whole[name] = max(getattr(share, name) for share in shares)
    return replace(shares[processes.index()], **whole)


def swap_rows(a: RolloutBatch, i: int, b: RolloutBatch, j: int, count: int) -> None:
    """Swaps `count` rows of `a` from row `i` on with those of `b` from row `j` on."""
    for name in ("examples", "samples", "scores", "sample_indices"):
        x, y = getattr(a, name), getattr(b, name)
        x[i : i + count], y[j : j + count] = y[j : j + count], x[i : i + count]


def records_of(batch: RolloutBatch, advantages: Sequence[float | None]) -> list[RolloutRecord]:
    """A line of `rollouts.jsonl` for each row; advantages are None for what is not trained on."""
    rows = zip(batch.examples, batch.samples, batch.scores, advantages, strict=True)
    seconds = batch.seconds / len(batch.examples)
    return [
        RolloutRecord(
            **fields_of(example, sample, score),
            seed=batch.seed,
            seconds=seconds,
            step=batch.step + 1,
            advantage=advantage,
        )
        for example, sample, score, advantage in rows
    ]
