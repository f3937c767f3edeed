"""Metrics of a step's completions, under the names of `metrics.jsonl`. Plain Python.

    numbers = rollout_metrics(batch, group_size=8, reward_names=["correctness"])

Left out: metrics of the training itself (loss, KL), which `run/metrics.py` takes from TRL.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from groupwise.evaluation.text import percent, rounded
from groupwise.framework.grpo_trainer.rollout_batch import RolloutBatch
from groupwise.rewards import Score

MIN_STD = 1e-6
"""Below this standard deviation of its rewards, a group counts as a zero-variance group."""

Numbers = dict[str, float | None]


def rollout_metrics(batch: RolloutBatch, group_size: int, reward_names: Sequence[str]) -> Numbers:
    """The numbers of B completions, whose groups are `group_size` rows in sequence."""
    return {
        **_reward_numbers(batch.first_scores, group_size, reward_names),
        **_grade_numbers(batch.first_scores),
        **_completion_numbers(batch, group_size),
        **_cost_numbers(batch),
    }


def zero_variance_groups(scores: Sequence[Score], size: int) -> list[int]:
    """The first row of each group whose rewards are all the same."""
    starts = range(0, len(scores), size)
    return [i for i, std in zip(starts, _group_stds(scores, size), strict=True) if std < MIN_STD]


def _reward_numbers(scores: Sequence[Score], size: int, names: Sequence[str]) -> Numbers:
    totals = _known(scores)
    stds = _group_stds(scores, size)
    numbers: Numbers = {
        "reward/mean": _mean(totals) if totals else None,
        "reward/std": _std(totals) if totals else None,
        "reward/group_std": _mean(stds) if stds else None,
    }
    for name in names:
        values = [v for score in scores if (v := score.parts.get(name)) is not None]
        numbers[f"reward/{name}/mean"] = _mean(values) if values else None
        numbers[f"reward/{name}/std"] = _std(values) if values else None
    return numbers


def _grade_numbers(scores: Sequence[Score]) -> Numbers:
    graded = [score.grade for score in scores if score.grade is not None]
    if not graded:
        return {}
    numbers: Numbers = {"correct": _mean([float(grade.correct) for grade in graded])}
    for status in ("unparseable", "timeout", "bad_reference"):
        numbers[f"status/{status}"] = _mean([float(g.status == status) for g in graded])
    return numbers


def _completion_numbers(batch: RolloutBatch, size: int) -> Numbers:
    samples = batch.first_samples
    lengths = [len(sample.token_ids) for sample in samples]
    texts = [sample.text for sample in samples]
    starts = range(0, len(texts), size)
    return {
        "completion_length/mean": _mean(lengths),
        "completion_length/max": float(max(lengths)),
        "truncated": _mean([float(s.finish_reason == "length") for s in samples]),
        "zero_variance_groups": len(zero_variance_groups(batch.first_scores, size)) / len(starts),
        "distinct_completions": _mean([len(set(texts[i : i + size])) / size for i in starts]),
        "most_common_completion": Counter(texts).most_common(1)[0][1] / len(texts),
    }


def _cost_numbers(batch: RolloutBatch) -> Numbers:
    tokens = sum(len(sample.token_ids) for sample in batch.samples)
    tokens += sum(record.num_tokens for record in batch.untrained)
    return {
        "completion_tokens": float(tokens),
        "rollout_seconds": batch.seconds,
        "rollout_tokens_per_second": tokens / batch.seconds if batch.seconds else None,
        "reward_seconds": batch.reward_seconds,
        "skipped_forwards": batch.skipped_forwards / batch.forwards if batch.forwards else 0.0,
    }


def _known(scores: Sequence[Score]) -> list[float]:
    """The totals without NaN, which is the total if no reward gave a value."""
    return [score.total for score in scores if not math.isnan(score.total)]


def _group_stds(scores: Sequence[Score], size: int) -> list[float]:
    return [_std(_known(scores[i : i + size])) for i in range(0, len(scores), size)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _std(values: Sequence[float]) -> float:
    """Sample standard deviation (n - 1), as in TRL; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    mean = _mean(values)
    return float((sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5)


def training_numbers(metrics: Mapping[str, float | None]) -> str:
    """The numbers beside the training bar."""
    shown: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("reward", "reward/mean", lambda x: rounded(x, 2)),
        ("right", "correct", percent),
        ("KL", "kl_divergence", lambda x: rounded(x, 3)),
    )
    parts = [
        f"{name} {text(value)}"
        for name, key, text in shown
        if (value := metrics.get(key)) is not None
    ]
    if (length := metrics.get("completion_length/mean")) is not None:
        parts.append(f"length {rounded(length, 0)}")
    return "  ".join(parts)
