"""Two or more evaluations of the same problems, compared problem by problem.

    compare({"base": "runs/x/evaluations/base", "tuned": "runs/x/evaluations/tuned"})

The first is the baseline; each of the others is compared with it, on the problems that these two
have in common. Other problems, prompts or sampling settings are refused with a list of what
differs, unless `allow_differences` is set; another seed is a notice.

What it leaves out: what may differ (differences.py), the statistics (metrics/intervals.py,
metrics/paired.py), and the table (tables.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean  # exact sums: independent of the order
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groupwise.evaluation.differences import what_differs
from groupwise.evaluation.log.files import write_json
from groupwise.evaluation.log.problems import Problems, collect, mean_score, status_counts
from groupwise.evaluation.log.records import has_steps, log_of, read_samples
from groupwise.evaluation.metrics.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    bootstrap_estimates,
    number,
)
from groupwise.evaluation.metrics.paired import (
    fewest_that_differ,
    paired_test,
    problems_needed,
    smallest_detectable,
)
from groupwise.evaluation.metrics.pass_at_k import crossing_k
from groupwise.evaluation.summary import KS
from groupwise.evaluation.text import rounded
from groupwise.rewards.errors import UserError

Floats = NDArray[np.float64]

COMPARISON = "comparison.json"
COMPARISON_SCHEMA = 1
ALPHA = 0.05

_LONGEST_GRID = 5_000


@dataclass(frozen=True, slots=True)
class Side:
    """Counts and means of one evaluation. `curve[i]` is pass@(i+1)."""

    label: str
    num_samples: int
    curve: tuple[float, ...]
    status_counts: dict[str, int]
    truncated: int
    mean_num_tokens: float
    mean_score: float

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "num_samples": self.num_samples,
            "curve": [number(x) for x in self.curve],
            "status_counts": self.status_counts,
            "truncated": self.truncated,
            "mean_num_tokens": number(self.mean_num_tokens),
            "mean_score": number(self.mean_score),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric on both sides, other - base with its interval, and the paired p-value."""

    base: Estimate
    other: Estimate
    difference: Estimate
    p_value: float
    method: str

    def to_json(self) -> dict[str, Any]:
        return {
            "base": self.base.to_json(),
            "other": self.other.to_json(),
            "difference": self.difference.to_json(),
            "p_value": None if math.isnan(self.p_value) else float(f"{self.p_value:.6g}"),
            "method": self.method,
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """The baseline against one other evaluation, on the `num_examples` problems of both.

    `sides` are the counts of the two on these problems.
    `won`, `lost`: ids of the problems whose share of right samples rose or fell, the largest change
    first. `newly_solved`, `no_longer_solved`: those solved at least once on one side only.
    `crossing_k`: the smallest k at which the side that is behind at k = 1 leads. `problems_needed`:
    how many problems it would take to show a pass@1 difference of this size, `smallest_detectable`:
    the difference that this many problems show in four of five attempts. `verdict` is a sentence.
    """

    base: str
    other: str
    num_examples: int
    sides: tuple[Side, Side]
    pass_at_k: dict[int, Difference]
    maj_at_k: dict[int, Difference]
    score: Difference
    won: tuple[str, ...]
    lost: tuple[str, ...]
    unchanged: int
    newly_solved: tuple[str, ...]
    no_longer_solved: tuple[str, ...]
    crossing_k: int | None
    problems_needed: int | None
    smallest_detectable: float
    verdict: str

    def to_json(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "other": self.other,
            "num_examples": self.num_examples,
            "verdict": self.verdict,
            "pass_at_k": {str(k): row.to_json() for k, row in self.pass_at_k.items()},
            "maj_at_k": {str(k): row.to_json() for k, row in self.maj_at_k.items()},
            "score": self.score.to_json(),
            "num_won": len(self.won),
            "num_lost": len(self.lost),
            "num_unchanged": self.unchanged,
            "won": list(self.won),
            "lost": list(self.lost),
            "newly_solved": list(self.newly_solved),
            "no_longer_solved": list(self.no_longer_solved),
            "crossing_k": self.crossing_k,
            "problems_needed": self.problems_needed,
            "smallest_detectable": number(self.smallest_detectable),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All sides, the baseline first, and one pair for each other side.

    `num_examples` and the numbers of the sides are of the problems that are in a pair.
    """

    num_examples: int
    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]
    notices: tuple[str, ...]
    confidence: float

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": COMPARISON_SCHEMA,
            "num_examples": self.num_examples,
            "confidence": self.confidence,
            "notices": list(self.notices),
            "sides": [side.to_json() for side in self.sides],
            "pairs": [pair.to_json() for pair in self.pairs],
        }


def compare(
    runs: Mapping[str, str | Path],
    *,
    ks: Sequence[int] | None = None,
    solved_at: float | None = None,
    allow_differences: bool = False,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compares evaluations, {label: folder or log}, each with the first.

    `ks`: by default 1, 2, 4, 8 as far as there are samples. `allow_differences` compares the
    problems that each has in common with the first, and lists what differs in `notices`.

    Raises:
        UserError: fewer than two runs; logs that differ in what was asked; ungraded samples
            without `solved_at`.
    """
    if len(runs) < 2:
        raise UserError("comparing takes at least two evaluations")
    logs = {label: log_of(run) for label, run in runs.items()}
    for log in logs.values():
        if log.is_file() and has_steps(log):
            raise UserError(
                f"{log}: holds rollouts of training, where each step has other weights; name an "
                "evaluation"
            )
    sides = {label: collect(read_samples(log), solved_at=solved_at) for label, log in logs.items()}
    differences, notices = what_differs(logs, sides)
    if differences and not allow_differences:
        raise UserError(
            "these evaluations were not made alike:\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nTo compare them anyway, allow differences (--allow-differences)."
        )
    options: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    base, *others = sides
    pairs = tuple(
        _pair((base, sides[base]), (other, sides[other]), ks, options) for other in others
    )
    shared = _only(sides[base], set.union(*(_ids(sides[other]) for other in others)))
    most = max(len(pair.sides[0].curve) for pair in pairs)
    return Comparison(
        num_examples=len(shared.problems),
        sides=(
            _side(base, shared, min(most, shared.fewest_samples)),
            *(pair.sides[1] for pair in pairs),
        ),
        pairs=pairs,
        notices=(*differences, *notices),
        confidence=confidence,
    )


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Writes `comparison.json` into the folder, all or nothing."""
    write_json(folder / COMPARISON, comparison.to_json())


def _side(label: str, side: Problems, most: int) -> Side:
    samples = sum(problem.n for problem in side.problems)
    return Side(
        label=label,
        num_samples=samples,
        curve=tuple(fmean(side.pass_at_k(k)) for k in range(1, most + 1)),
        status_counts=status_counts(side.problems),
        truncated=sum(problem.truncated for problem in side.problems),
        mean_num_tokens=sum(problem.num_tokens for problem in side.problems) / samples,
        mean_score=mean_score(side.problems),
    )


def _pair(
    base: tuple[str, Problems],
    other: tuple[str, Problems],
    ks: Sequence[int] | None,
    options: dict[str, Any],
) -> Pair:
    """Two evaluations with their labels, on the problems that both have."""
    both = _ids(base[1]) & _ids(other[1])
    first, second = _only(base[1], both), _only(other[1], both)
    most = min(first.fewest_samples, second.fewest_samples)
    wanted = [k for k in KS if k <= most] if ks is None else sorted(set(ks))
    if bad := [k for k in wanted if not 1 <= k <= most]:
        raise UserError(f"pass@k needs k between 1 and {most}, the samples a problem; not {bad}")
    before, after = _side(base[0], first, most), _side(other[0], second, most)
    a, b = first.pass_at_k(1), second.pass_at_k(1)
    change = b - a
    ids = [problem.example_id for problem in first.problems]
    moved = sorted(
        (i for i in range(len(ids)) if abs(change[i]) > 1e-12),
        key=lambda i: (-abs(change[i]), ids[i]),
    )
    grid = _grid(first, second)
    passes = {
        k: _difference(first.pass_at_k(k), second.pass_at_k(k), grid if k == 1 else None, options)
        for k in wanted
    }
    headline = passes[1] if 1 in passes else _difference(a, b, grid, options)
    needed, least = problems_needed(change), smallest_detectable(change, grid=grid)
    return Pair(
        base=before.label,
        other=after.label,
        num_examples=len(ids),
        sides=(before, after),
        pass_at_k=passes,
        maj_at_k={
            k: _difference(first.maj_at_k(k), second.maj_at_k(k), None, options)
            for k in wanted
            if k > 2  # a vote among one or two is a random pick: maj@1 = maj@2 = pass@1
        },
        score=_difference(first.mean_score(), second.mean_score(), None, options, bounds=None),
        won=tuple(ids[i] for i in moved if change[i] > 0),
        lost=tuple(ids[i] for i in moved if change[i] < 0),
        unchanged=len(ids) - len(moved),
        newly_solved=tuple(ids[i] for i in range(len(ids)) if a[i] == 0 < b[i]),
        no_longer_solved=tuple(ids[i] for i in range(len(ids)) if b[i] == 0 < a[i]),
        crossing_k=crossing_k(before.curve, after.curve),
        problems_needed=needed,
        smallest_detectable=least,
        verdict=verdict(headline, len(ids), needed, least),
    )


def verdict(pass_at_1: Difference, problems: int, needed: int | None, least: float) -> str:
    """A sentence: what the difference in pass@1 shows, or how many problems it would take."""
    points = pass_at_1.difference.value * 100
    shown = rounded(abs(points))
    size = "less than 0.1 points" if points and shown == "0.0" else f"{shown} points"
    if pass_at_1.p_value < ALPHA:
        return f"pass@1 {'rose' if points > 0 else 'fell'} by {size}: more than luck explains."
    text = "No difference in pass@1" if needed is None else f"A difference of {size} in pass@1"
    text += f" on {problems} problems: too little to tell it from luck."
    if needed is not None and needed > problems:
        text += f" If it is real, showing it would take about {needed:,} problems."
    fewest = fewest_that_differ(ALPHA)
    if problems < fewest:
        text += f" Fewer than {fewest} problems can show no difference, whatever its size."
    elif not math.isnan(least):
        text += f" {problems} problems show differences from about {rounded(least * 100)} points."
    return text


def _difference(
    a: Floats,
    b: Floats,
    grid: int | None,
    options: dict[str, Any],
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Difference:
    if np.isnan(a).any() or np.isnan(b).any():
        nothing = Estimate(math.nan)
        return Difference(nothing, nothing, nothing, math.nan, "undefined")
    base, other = bootstrap_estimates(np.stack([a, b], axis=1), bounds=bounds, **options)
    (difference,) = bootstrap_estimates((b - a)[:, None], **options)
    test = paired_test(b - a, grid=grid, seed=options["seed"])
    return Difference(base, other, difference, test.p_value, test.method)


def _grid(first: Problems, second: Problems) -> int | None:
    """A whole number g such that all shares c/n are multiples of 1/g; None without a small one."""
    sizes = {problem.n for side in (first, second) for problem in side.problems}
    grid = math.lcm(*sizes) if len(sizes) < 50 else _LONGEST_GRID + 1
    return grid if grid <= _LONGEST_GRID else None


def _ids(side: Problems) -> set[str]:
    return {problem.example_id for problem in side.problems}


def _only(side: Problems, ids: set[str]) -> Problems:
    """Only these problems. They are sorted by id, so the rows of two sides match."""
    return replace(side, problems=[p for p in side.problems if p.example_id in ids])
