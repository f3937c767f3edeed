"""The numbers of one evaluation, with intervals, overall and by category.

    summary = summarise("runs/x/evaluations/tuned", ks=(1, 8))

`summarise` reads the log and nothing else, so a summary can always be made again. `summary.json`
holds what follows from the samples; how fast they were made is in `timing.json`, because it differs
from run to run (docs/decisions/evaluation.md).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from groupwise.evaluation.log.files import write_json
from groupwise.evaluation.log.problems import Problem, Problems, collect, mean_score, status_counts
from groupwise.evaluation.log.records import read_samples
from groupwise.evaluation.metrics.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    bootstrap_estimates,
    number,
    posterior_mean,
)
from groupwise.rewards.errors import UserError

SUMMARY = "summary.json"
TIMING = "timing.json"
SUMMARY_SCHEMA = 1
KS = (1, 2, 4, 8)
MOST_CATEGORIES = 100
OTHER = "(other)"


@dataclass(frozen=True, slots=True)
class Group:
    """The numbers of one category."""

    num_examples: int
    num_samples: int
    pass_at_k: dict[int, Estimate]
    mean_score: float
    status_counts: dict[str, int]
    truncated: int

    def to_json(self) -> dict[str, Any]:
        return {
            "num_examples": self.num_examples,
            "num_samples": self.num_samples,
            "pass_at_k": _by_k(self.pass_at_k),
            "mean_score": number(self.mean_score),
            "status_counts": self.status_counts,
            "truncated": self.truncated,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """The fields of `summary.json`; docs/evaluation.md explains each. Undefined is NaN, null there.

    `samples_per_example` is (fewest, most). `mean_at_n` is over whatever samples a problem has.
    `posterior` is the mean success rate on exactly these problems. `by_category` is
    {metadata field: {its value: numbers}}. `tokens_per_second` is not written to `summary.json` but
    to `timing.json`.
    """

    num_examples: int
    num_samples: int
    samples_per_example: tuple[int, int]
    pass_at_k: dict[int, Estimate]
    pass_hat_k: dict[int, Estimate]
    maj_at_k: dict[int, Estimate]
    mean_at_n: Estimate
    posterior: Estimate
    mean_score: float
    score: Estimate
    parts: dict[str, dict[str, float | int | None]]
    status_counts: dict[str, int]
    truncated: int
    mean_num_tokens: float
    by_category: dict[str, dict[str, Group]] = field(default_factory=dict)
    solved_at: float | None = None
    confidence: float = CONFIDENCE
    tokens_per_second: float = math.nan
    seconds: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """The content of `summary.json`: follows from the samples alone."""
        return {
            "schema": SUMMARY_SCHEMA,
            "num_examples": self.num_examples,
            "num_samples": self.num_samples,
            "samples_per_example": list(self.samples_per_example),
            "pass_at_k": _by_k(self.pass_at_k),
            "pass_hat_k": _by_k(self.pass_hat_k),
            "maj_at_k": _by_k(self.maj_at_k),
            "mean_at_n": self.mean_at_n.to_json(),
            "posterior": self.posterior.to_json(),
            "mean_score": number(self.mean_score),
            "score": self.score.to_json(),
            "parts": self.parts,
            "status_counts": self.status_counts,
            "truncated": self.truncated,
            "mean_num_tokens": number(self.mean_num_tokens),
            "by_category": {
                name: {value: group.to_json() for value, group in groups.items()}
                for name, groups in self.by_category.items()
            },
            "solved_at": self.solved_at,
            "confidence": self.confidence,
        }

    def timing_to_json(self) -> dict[str, float | None]:
        """The content of `timing.json`."""
        return {
            "tokens_per_second": number(self.tokens_per_second),
            "seconds": number(self.seconds),
        }


def summarise(
    log: str | Path,
    *,
    ks: Sequence[int] = KS,
    category_fields: Sequence[str] = (),
    solved_at: float | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Summary:
    """Reads `samples.jsonl` (or the folder that holds it) and counts.

    With `solved_at`, a sample counts as right when its score reaches it, whatever its grade. `seed`
    is that of the bootstrap.

    Raises:
        UserError: the log is missing, empty or broken.
    """
    path = Path(log)
    problems = collect(
        read_samples(path), category_fields=tuple(category_fields), solved_at=solved_at
    )
    if not problems.problems:
        raise UserError(f"{path}: the log is empty")
    return summarise_problems(
        problems,
        ks=ks,
        category_fields=category_fields,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def summarise_problems(
    problems: Problems,
    *,
    ks: Sequence[int] = KS,
    category_fields: Sequence[str] = (),
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Summary:
    """As `summarise`, from problems that `log.problems.collect` has counted."""
    ks = sorted(set(ks))
    columns = [problems.pass_at_k(k) for k in ks]
    columns += [problems.pass_hat_k(k) for k in ks]
    columns += [problems.maj_at_k(k) for k in ks]
    options: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    # One after the other: pass@k of all ks, then pass^k, then maj@k.
    shares = bootstrap_estimates(np.stack(columns, axis=1), bounds=(0.0, 1.0), **options)
    score = bootstrap_estimates(problems.mean_score()[:, None], **options)[0]
    n, c = problems.counts()
    decided = problems.decided
    passes = dict(zip(ks, shares, strict=False))
    return Summary(
        num_examples=len(problems.problems),
        num_samples=problems.num_samples,
        samples_per_example=(int(n.min()), int(n.max())),
        pass_at_k=passes,
        pass_hat_k=dict(zip(ks, shares[len(ks) :], strict=False)),
        maj_at_k=dict(zip(ks, shares[2 * len(ks) :], strict=False)),
        mean_at_n=passes[1] if 1 in passes else _pass_at_1(problems, options),
        posterior=posterior_mean(n, c, confidence) if decided else Estimate(math.nan),
        mean_score=mean_score(problems.problems),
        score=score,
        parts={name: total.to_json() for name, total in problems.parts.items()},
        status_counts=status_counts(problems.problems),
        truncated=sum(problem.truncated for problem in problems.problems),
        mean_num_tokens=problems.num_tokens / problems.num_samples,
        by_category={
            name: _by_category(problems, which, ks, options)
            for which, name in enumerate(category_fields)
        },
        solved_at=problems.solved_at,
        confidence=confidence,
        tokens_per_second=problems.num_tokens / problems.seconds if problems.seconds else math.nan,
        seconds=problems.seconds,
    )


def write_summary(folder: Path, summary: Summary) -> None:
    """Writes `summary.json` and `timing.json` into the folder, each all or nothing."""
    write_json(folder / TIMING, summary.timing_to_json())
    write_json(folder / SUMMARY, summary.to_json())


def _pass_at_1(problems: Problems, options: dict[str, Any]) -> Estimate:
    return bootstrap_estimates(problems.pass_at_k(1)[:, None], bounds=(0.0, 1.0), **options)[0]


def _by_category(
    problems: Problems, which: int, ks: Sequence[int], options: dict[str, Any]
) -> dict[str, Group]:
    members: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems.problems:
        members[problem.groups[which]].append(problem)
    if len(members) > MOST_CATEGORIES:  # such a field identifies problems and does not group them
        by_size = sorted(members, key=lambda name: (-len(members[name]), name))
        rest = [p for name in by_size[MOST_CATEGORIES:] for p in members[name]]
        members = {name: members[name] for name in by_size[:MOST_CATEGORIES]} | {OTHER: rest}
    return {name: _group(problems, members[name], ks, options) for name in sorted(members)}


def _group(
    problems: Problems, members: list[Problem], ks: Sequence[int], options: dict[str, Any]
) -> Group:
    part = replace(problems, problems=members)
    columns = np.stack([part.pass_at_k(k) for k in ks], axis=1)
    return Group(
        num_examples=len(members),
        num_samples=sum(problem.n for problem in members),
        pass_at_k=dict(
            zip(ks, bootstrap_estimates(columns, bounds=(0.0, 1.0), **options), strict=True)
        ),
        mean_score=mean_score(members),
        status_counts=status_counts(members),
        truncated=sum(problem.truncated for problem in members),
    )


def _by_k(estimates: dict[int, Estimate]) -> dict[str, dict[str, float | None]]:
    return {str(k): estimate.to_json() for k, estimate in estimates.items()}
