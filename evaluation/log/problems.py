"""A log read once, from front to back, into a few numbers for each problem.

    problems = collect(read_samples("runs/x/evaluations/tuned"))

Memory grows with the number of problems and not with the texts: a log of a million samples needs
little. Nothing depends on the order of the lines: a killed and resumed evaluation writes them in
another order and must give the same summary to the byte. So sums are integers (multiples of 2^-40),
whose addition is exact in any order.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groupwise.evaluation.log.records import SampleRecord, without_repeats
from groupwise.evaluation.metrics.intervals import number
from groupwise.evaluation.metrics.majority import answer_class, maj_at_k
from groupwise.evaluation.metrics.pass_at_k import pass_at_k, pass_hat_k
from groupwise.rewards.types import STATUSES

Floats = NDArray[np.float64]

UNGRADED = "ungraded"
_UNIT = 2**40
_FAR = 1e100  # values are clipped here, so that squares stay finite


_STATUS = {status: i for i, status in enumerate((*STATUSES, UNGRADED))}


def to_units(value: float) -> int:
    return round(min(max(value, -_FAR), _FAR) * _UNIT)


@dataclass(slots=True)
class Sum:
    """A mean and a deviation that do not depend on the order of the values."""

    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, value: float) -> None:
        units = to_units(value)
        self.count += 1
        self.total += units
        self.squares += units * units

    @property
    def mean(self) -> float:
        return self.total / (self.count * _UNIT) if self.count else math.nan

    @property
    def std(self) -> float:
        """The deviation of the values themselves (dividing by their number)."""
        if not self.count:
            return math.nan
        spread = self.count * self.squares - self.total * self.total
        return math.sqrt(spread / (self.count * self.count * _UNIT * _UNIT))

    def to_json(self) -> dict[str, float | int | None]:
        return {"mean": number(self.mean), "std": number(self.std), "count": self.count}


@dataclass(slots=True)
class Problem:
    """The counts of one problem's samples.

    `prompt` and `answer` are hashes, valid in this process, to see whether two logs asked the same.
    `wrong` has a hash of the answer class of each wrong answer. `statuses` counts in the order of
    STATUSES, ungraded last. Kept small: there may be 100,000 of these.
    """

    example_id: str
    prompt: int
    answer: int
    groups: tuple[str, ...] = ()
    n: int = 0
    c: int = 0
    truncated: int = 0
    num_tokens: int = 0
    scored: int = 0
    score_units: int = 0
    statuses: array[int] = field(default_factory=lambda: array("I", bytes(4 * len(_STATUS))))
    wrong: array[int] | None = None

    @property
    def mean_score(self) -> float:
        return self.score_units / (self.scored * _UNIT) if self.scored else math.nan

    def maj_at_k(self, k: int) -> float:
        votes = self.wrong or ()
        return maj_at_k(self.c, list(Counter(votes).values()), self.n - self.c - len(votes), k)


@dataclass(slots=True)
class Problems:
    """All problems of a log, by id, and the totals over its samples.

    `decided` is False if nothing says which samples are right (no grade, no `solved_at`), `votes`
    if there are no answers to vote with.
    """

    problems: list[Problem]
    num_samples: int
    parts: dict[str, Sum]
    decided: bool
    votes: bool
    num_tokens: int
    seconds: float
    solved_at: float | None = None

    @property
    def fewest_samples(self) -> int:
        return min((problem.n for problem in self.problems), default=0)

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n, c), each (problems,)."""
        n = np.array([problem.n for problem in self.problems], dtype=np.int64)
        return n, np.array([problem.c for problem in self.problems], dtype=np.int64)

    def pass_at_k(self, k: int) -> Floats:
        """(problems,), NaN if nothing decides or a problem has fewer than k samples."""
        n, c = self.counts()
        return np.asarray(pass_at_k(n, c, k)) if self.decided else np.full(len(n), np.nan)

    def pass_hat_k(self, k: int) -> Floats:
        n, c = self.counts()
        return np.asarray(pass_hat_k(n, c, k)) if self.decided else np.full(len(n), np.nan)

    def maj_at_k(self, k: int) -> Floats:
        if not (self.decided and self.votes):
            return np.full(len(self.problems), np.nan)
        return np.array([problem.maj_at_k(k) for problem in self.problems])

    def mean_score(self) -> Floats:
        return np.array([problem.mean_score for problem in self.problems])


def _category(metadata: Mapping[str, Any], name: str) -> str:
    """The value of a field, whose name may lead into nested ones with dots: `extra_info.split`."""
    if name in metadata:
        return str(metadata[name])
    value: Any = metadata
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return "(none)" if value is None else str(value)


def collect(
    records: Iterable[SampleRecord],
    *,
    category_fields: tuple[str, ...] = (),
    solved_at: float | None = None,
) -> Problems:
    """Counts the records. With `solved_at`, a sample is right if its score is at least that.

    A sample that is in the log twice counts once, by its first line.
    """
    problems: dict[str, Problem] = {}
    parts: dict[str, Sum] = {}
    names: dict[str, str] = {}  # one object for each category's name, not one for each problem
    num_tokens, seconds, decided, votes = 0, 0.0, True, solved_at is None
    for record in without_repeats(records):
        problem = problems.get(record.example_id)
        if problem is None:
            groups = (_category(record.metadata, name) for name in category_fields)
            problem = Problem(
                record.example_id,
                hash(record.prompt),
                hash(record.answer),
                tuple(names.setdefault(g, g) for g in groups),
            )
            problems[record.example_id] = problem
        correct = record.correct
        if solved_at is not None:
            correct = record.score is not None and record.score >= solved_at
        decided = decided and correct is not None
        _count(problem, record, bool(correct), votes)
        for name, value in record.parts.items():
            total = parts.setdefault(name, Sum())
            if value is not None:
                total.add(value)
        num_tokens += record.num_tokens
        seconds += record.seconds
    ordered = sorted(problems.values(), key=lambda problem: problem.example_id)
    return Problems(
        problems=ordered,
        num_samples=sum(problem.n for problem in ordered),
        parts=dict(sorted(parts.items())),
        decided=decided and bool(ordered),
        votes=votes and any(p.c or p.wrong for p in ordered),
        num_tokens=num_tokens,
        seconds=seconds,
        solved_at=solved_at,
    )


def status_counts(problems: Iterable[Problem]) -> dict[str, int]:
    """How many samples have each status: always all of them, in the same order."""
    totals = [0] * len(_STATUS)
    for problem in problems:
        totals = [total + count for total, count in zip(totals, problem.statuses, strict=True)]
    return dict(zip(_STATUS, totals, strict=True))


def mean_score(problems: Iterable[Problem]) -> float:
    """Over samples, each counting once; NaN if none has a score."""
    scored = units = 0
    for problem in problems:
        scored += problem.scored
        units += problem.score_units
    return units / (scored * _UNIT) if scored else math.nan


def _count(problem: Problem, record: SampleRecord, correct: bool, votes: bool) -> None:
    problem.n += 1
    problem.c += correct
    problem.truncated += record.finish_reason == "length"
    problem.num_tokens += record.num_tokens
    problem.statuses[_STATUS.get(record.status or UNGRADED, _STATUS[UNGRADED])] += 1
    if record.score is not None:
        problem.scored += 1
        problem.score_units += to_units(record.score)
    if votes and not correct and record.extracted is not None:
        if problem.wrong is None:
            problem.wrong = array("q")
        problem.wrong.append(hash(answer_class(record.extracted)))
