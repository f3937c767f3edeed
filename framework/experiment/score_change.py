"""How other rewards change the scores of a log: counted sample by sample, and as a table.

    tally = ScoreTally()
    tally.add(record, rescored)                        # for each sample, in the order of the log
    print(change_table(tally.change(path, 0)))

Scoring is left to `rescore.py`.
"""

from __future__ import annotations

import math
import statistics
from array import array
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.records import RolloutRecord, SampleRecord
from groupwise.evaluation.text import percent, printable, rounded
from groupwise.rewards.text import excerpt

_SHOWN = 3  # changed answers of each kind
_MOST_OF_GROUP = 64  # samples of a problem that enter the agreement of order


@dataclass(frozen=True, slots=True)
class Changed:
    """A sample whose verdict changed, to right or from right; the texts are safe to print."""

    example_id: str
    sample_index: int
    before: str | None
    after: str | None
    reference: str
    extracted: str
    completion: str


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """How the scores of a log changed.

    `means`: by part, (before, after), None if a side has no such part. `statuses`: how many
    samples by (before, after). `same_order`: of all pairs of answers to one problem whose scores
    differ on both sides, the share that both sides rank alike (GRPO compares answers within a
    group); NaN without such a pair.
    """

    path: Path
    num_samples: int
    unknown_questions: int
    means: dict[str, tuple[float | None, float | None]]
    total: tuple[float | None, float | None]
    statuses: Counter[tuple[str | None, str | None]]
    changed: list[Changed]
    correlation: float
    same_order: float

    @property
    def newly_correct(self) -> int:
        return sum(n for (a, b), n in self.statuses.items() if a != "correct" and b == "correct")

    @property
    def no_longer_correct(self) -> int:
        return sum(n for (a, b), n in self.statuses.items() if a == "correct" and b != "correct")

    def to_json(self) -> dict[str, Any]:
        return {
            "log": str(self.path),
            "samples": self.num_samples,
            "unknown_questions": self.unknown_questions,
            "total": {"before": self.total[0], "after": self.total[1]},
            "parts": {name: {"before": a, "after": b} for name, (a, b) in self.means.items()},
            "newly_correct": self.newly_correct,
            "no_longer_correct": self.no_longer_correct,
            "statuses": [
                {"before": a, "after": b, "samples": n} for (a, b), n in self.statuses.most_common()
            ],
            "changed": [
                {
                    "example_id": c.example_id,
                    "sample_index": c.sample_index,
                    "before": c.before,
                    "after": c.after,
                }
                for c in self.changed
            ],
            "correlation": None if math.isnan(self.correlation) else self.correlation,
            "same_order": None if math.isnan(self.same_order) else self.same_order,
        }


class ScoreTally:
    """Counts as it goes: `add` each sample with its old and new scores, in the order of the log."""

    def __init__(self) -> None:
        self._num_samples = 0
        self._statuses: Counter[tuple[str | None, str | None]] = Counter()
        # By part: the sum of its values, and their number.
        self._before: dict[str, list[float]] = {}
        self._after: dict[str, list[float]] = {}
        # By problem (and step): the totals, as before, after, before, …
        self._totals: dict[object, array[float]] = {}
        self._changed: list[Changed] = []
        self._shown: Counter[bool] = Counter()

    def add(self, before: SampleRecord, after: SampleRecord) -> None:
        self._num_samples += 1
        self._statuses[before.status, after.status] += 1
        for sums, record in ((self._before, before), (self._after, after)):
            for name, value in record.parts.items():
                if value is not None:
                    entry = sums.setdefault(name, [0.0, 0.0])
                    entry[0] += value
                    entry[1] += 1
        if before.score is not None and after.score is not None:
            step = before.step if isinstance(before, RolloutRecord) else None
            totals = self._totals.setdefault((step, before.example_id), array("d"))
            totals.extend((before.score, after.score))
        was, is_now = before.status == "correct", after.status == "correct"
        if was != is_now and self._shown[is_now] < _SHOWN:
            self._shown[is_now] += 1
            self._changed.append(
                Changed(
                    before.example_id,
                    before.sample_index,
                    before.status,
                    after.status,
                    excerpt(before.answer, 60),
                    excerpt(after.extracted or "", 60),
                    excerpt(before.completion[-300:], 160),
                )
            )

    def change(self, path: Path, unknown_questions: int) -> ScoreChange:
        """The result of all samples added so far, for the log at `path`."""
        old = [x for totals in self._totals.values() for x in totals[0::2]]
        new = [x for totals in self._totals.values() for x in totals[1::2]]
        return ScoreChange(
            path=path,
            num_samples=self._num_samples,
            unknown_questions=unknown_questions,
            means={
                name: (_mean(self._before.get(name)), _mean(self._after.get(name)))
                for name in dict.fromkeys([*self._before, *self._after])
            },
            total=(statistics.fmean(old), statistics.fmean(new)) if old else (None, None),
            statuses=self._statuses,
            changed=self._changed,
            correlation=_correlation(old, new),
            same_order=self._same_order(),
        )

    def _same_order(self) -> float:
        same = different = 0
        for totals in self._totals.values():
            pairs = list(zip(totals[0::2], totals[1::2], strict=True))[:_MOST_OF_GROUP]
            for (a0, b0), (a1, b1) in combinations(pairs, 2):
                product = (a0 - a1) * (b0 - b1)
                same += product > 0
                different += product < 0
        return same / (same + different) if same + different else math.nan


def _mean(entry: list[float] | None) -> float | None:
    return None if not entry else entry[0] / entry[1]


def _correlation(before: list[float], after: list[float]) -> float:
    """Pearson's; NaN if a side is constant, or there are fewer than two."""
    if len(set(before)) < 2 or len(set(after)) < 2:
        return math.nan
    return statistics.correlation(before, after)


def change_table(change: ScoreChange) -> str:
    """What changed, several lines, ending in a newline."""
    rows = [["", "before", "after"]]
    rows += [[printable(n, limit=30), *map(_number, pair)] for n, pair in change.means.items()]
    rows.append(["total", *map(_number, change.total)])
    width = max(len(row[0]) for row in rows)
    lines = [f"{printable(str(change.path), limit=200)}: {change.num_samples} samples", ""]
    lines += [f"{name:<{width}}   {a:>8}   {b:>8}" for name, a, b in rows]
    lines += [
        "",
        f"newly correct {change.newly_correct}, no longer correct {change.no_longer_correct}",
    ]
    lines += [
        f"    {count} {_status(a)} -> {_status(b)}"
        for (a, b), count in change.statuses.most_common()
        if a != b
    ]
    for item in change.changed:
        lines += [
            f"    {printable(item.example_id, limit=40)} sample {item.sample_index}: "
            f"{_status(item.before)} -> {_status(item.after)}, reference {item.reference}, "
            f"found {item.extracted}",
            f"        {item.completion}",
        ]
    lines.append(
        f"totals: correlation {_number(change.correlation)}; two answers to one problem are in "
        f"the same order in {_share(change.same_order)} of the pairs that both tell apart"
    )
    if change.unknown_questions:
        lines.append(
            f"note: {change.unknown_questions} samples belong to no problem of this config; "
            "rewards see their rendered prompt in place of the question"
        )
    return "\n".join(lines) + "\n"


def _status(status: str | None) -> str:
    return printable(status.replace("_", " "), limit=20) if status else "not graded"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else rounded(value, 3)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else percent(value, 1)
