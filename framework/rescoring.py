"""Other rewards on answers that exist: `groupwise rewards --log LOG --config CONFIG`.

    for path in find_logs(Path("runs/first")):
        change = rescore(path, config, questions)

A log is read once, a few hundred lines at a time, and is never changed; the re-scored one goes to a
file that the user names. What it leaves out: token ids, which a log does not hold.
"""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import combinations, groupby
from pathlib import Path
from typing import IO, Any

from evaluation.escape import printable
from evaluation.files import replacing
from evaluation.records import (
    ROLLOUTS,
    SAMPLES,
    RolloutRecord,
    SampleRecord,
    read_rollouts,
    read_samples,
    to_line,
)
from framework.config import ExperimentConfig
from framework.data import Split, load_examples
from rewards import Rubric, UserError
from rewards.text import excerpt
from rewards.types import Completion, Example, Score

_SPLITS: tuple[Split, ...] = ("train", "eval")
_CHUNK = 256
_SHOWN = 3  # changed answers of each kind
_MOST_OF_GROUP = 64  # samples of a problem that enter the agreement of order


@dataclass(frozen=True, slots=True)
class Changed:
    """A sample that was right and is not, or the other way round; the texts are safe to print."""

    example_id: str
    sample_index: int
    before: str | None
    after: str | None
    reference: str
    extracted: str
    completion: str


@dataclass(slots=True)
class Change:
    """What other rewards make of a log.

    `means`: by part, (before, after), None where a side has no such part. `statuses`: how many
    samples by (before, after). `same_order`: of all pairs of answers to one problem that both sides
    tell apart, the share that both put in the same order: what GRPO learns from. NaN: no such pair.
    """

    path: Path
    num_samples: int = 0
    unknown_questions: int = 0
    means: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    total: tuple[float | None, float | None] = (None, None)
    statuses: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    changed: list[Changed] = field(default_factory=list)
    correlation: float = math.nan
    same_order: float = math.nan

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


def find_logs(target: Path) -> list[Path]:
    """The log itself, that of an evaluation's folder, or every log of a run.

    Raises:
        UserError: there is none.
    """
    if target.is_file():
        return [target]
    found = [target / SAMPLES, target / ROLLOUTS, *sorted(target.glob(f"evaluations/*/{SAMPLES}"))]
    logs = [path for path in found if path.is_file()]
    if not logs:
        raise UserError(
            f"--log {target}: no log; name a {SAMPLES} or {ROLLOUTS}, the folder of an evaluation, "
            "or a run directory"
        )
    return logs


def load_questions(config: ExperimentConfig) -> dict[str, Example]:
    """The examples of a config by id: a log holds the rendered prompt, rewards ask for more."""
    import tempfile

    from framework.rehearsal import with_toy_problems

    with tempfile.TemporaryDirectory() as scratch:
        config = with_toy_problems(config, Path(scratch))
        return {
            example.id: example
            for split in _SPLITS
            for example in load_examples(config.data, split).examples
        }


def rescore(
    path: Path,
    rubric: Rubric,
    questions: Mapping[str, Example],
    *,
    output: Path | None = None,
    max_steps: int | None = None,
) -> Change:
    """Scores every answer of a log; `output` gets the log with the new scores.

    `max_steps` places rollouts on the schedule of the weights; without it the last step counts as
    the end of the training. Advantages are null in the output: they belong to the old rewards.

    Raises:
        UserError: the log cannot be read, or `output` is the log itself.
        RewardError: a reward failed, and the rubric's `on_error` is `stop`.
    """
    if output is not None and output.exists() and output.samefile(path):
        raise UserError(f"--output {output}: is the log itself; name another file")
    is_rollouts = _has_steps(path)
    if is_rollouts and max_steps is None and any(s.schedule for s in rubric.specs.values()):
        max_steps = max((record.step for record in read_rollouts(path)), default=1)
    sums = _Sums()
    change = Change(path)
    destination: AbstractContextManager[Path | None] = (
        replacing(output) if output is not None else nullcontext()
    )
    with destination as beside, _writing(beside) as file:
        for records in _batches(path, is_rollouts):
            examples = [_example(record, questions) for record in records]
            change.unknown_questions += sum(r.example_id not in questions for r in records)
            scores = rubric.score_batch(
                examples,
                [Completion(r.completion, r.num_tokens, r.finish_reason) for r in records],
                progress=_progress(records[0], max_steps),
            )
            for record, score in zip(records, scores, strict=True):
                after = _rescored(record, score)
                _note(change, sums, record, after)
                if file is not None:
                    file.write(to_line(after))
    _sum_up(change, sums)
    return change


def _writing(path: Path | None) -> AbstractContextManager[IO[str] | None]:
    return nullcontext() if path is None else path.open("w", encoding="utf-8", newline="\n")


def _has_steps(path: Path) -> bool:
    """Whether a log holds rollouts: by its first line, whatever its name."""
    try:
        with path.open("rb") as log:
            first = json.loads(log.readline() or b"{}")
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and "step" in first and "advantage" in first


def _batches(path: Path, is_rollouts: bool) -> Iterator[list[SampleRecord]]:
    """Rollouts by step, so that rewards can be normalised in their groups; samples by hundreds."""
    if is_rollouts:
        for _, step in groupby(read_rollouts(path), key=lambda record: record.step):
            yield list(step)
        return
    batch: list[SampleRecord] = []
    for record in read_samples(path):
        batch.append(record)
        if len(batch) == _CHUNK:
            yield batch
            batch = []
    if batch:
        yield batch


def _example(record: SampleRecord, questions: Mapping[str, Example]) -> Example:
    known = questions.get(record.example_id)
    if known is None:
        known = Example(record.example_id, question=record.prompt, answer=record.answer)
    return replace(known, answer=record.answer, prompt=record.prompt, metadata=record.metadata)


def _progress(record: SampleRecord, max_steps: int | None) -> float:
    if not isinstance(record, RolloutRecord) or not max_steps:
        return 0.0
    return min(1.0, (record.step - 1) / max_steps)


def _rescored(record: SampleRecord, score: Score) -> SampleRecord:
    grade = score.grade
    changes: dict[str, Any] = {
        "score": None if math.isnan(score.total) else score.total,
        "parts": score.parts,
        "status": grade.status if grade else None,
        "correct": grade.correct if grade else None,
        "extracted": grade.extracted if grade else None,
    }
    if isinstance(record, RolloutRecord):
        changes["advantage"] = None
    return replace(record, **changes)


# --- what changed ----------------------------------------------------------------------------


@dataclass(slots=True)
class _Sums:
    """What has to be kept of every sample: sums by part, and two totals by problem."""

    parts: tuple[dict[str, list[float]], dict[str, list[float]]] = field(
        default_factory=lambda: ({}, {})
    )
    groups: dict[object, array[float]] = field(default_factory=dict)  # before, after, before, …
    shown: Counter[bool] = field(default_factory=Counter)


def _note(change: Change, sums: _Sums, before: SampleRecord, after: SampleRecord) -> None:
    change.num_samples += 1
    change.statuses[before.status, after.status] += 1
    for side, record in zip(sums.parts, (before, after), strict=True):
        for name, value in record.parts.items():
            if value is not None:
                entry = side.setdefault(name, [0.0, 0.0])
                entry[0] += value
                entry[1] += 1
    if before.score is not None and after.score is not None:
        step = before.step if isinstance(before, RolloutRecord) else None
        pair = sums.groups.setdefault((step, before.example_id), array("d"))
        pair.extend((before.score, after.score))
    was, is_now = before.status == "correct", after.status == "correct"
    if was != is_now and sums.shown[is_now] < _SHOWN:
        sums.shown[is_now] += 1
        change.changed.append(
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


def _sum_up(change: Change, sums: _Sums) -> None:
    before, after = sums.parts
    for name in dict.fromkeys([*before, *after]):
        change.means[name] = (_mean(before.get(name)), _mean(after.get(name)))
    old = [x for group in sums.groups.values() for x in group[0::2]]
    new = [x for group in sums.groups.values() for x in group[1::2]]
    if old:
        change.total = (math.fsum(old) / len(old), math.fsum(new) / len(new))
        change.correlation = _correlation(old, new)
    same = different = 0
    for group in sums.groups.values():
        pairs = list(zip(group[0::2], group[1::2], strict=True))[:_MOST_OF_GROUP]
        for (a0, b0), (a1, b1) in combinations(pairs, 2):
            product = (a0 - a1) * (b0 - b1)
            same += product > 0
            different += product < 0
    if same + different:
        change.same_order = same / (same + different)


def _mean(entry: list[float] | None) -> float | None:
    return None if not entry else entry[0] / entry[1]


def _correlation(x: list[float], y: list[float]) -> float:
    """Pearson's; NaN where a side is constant."""
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    covariance = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    size = math.fsum((a - mean_x) ** 2 for a in x) * math.fsum((b - mean_y) ** 2 for b in y)
    return covariance / math.sqrt(size) if size > 0 else math.nan


def change_table(change: Change) -> str:
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
        f"totals: correlation {_number(change.correlation)}; two answers to one problem stand in "
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
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1%}"


def rescore_all(
    paths: Iterable[Path], config: ExperimentConfig, output: Path | None = None
) -> list[Change]:
    """Every log under a config's rewards.

    Raises:
        UserError: `output` for more than one log, or one of them cannot be read.
    """
    from framework.measuring import evaluation_rubric, rubric_of

    logs = list(paths)
    if output is not None and len(logs) > 1:
        raise UserError(
            f"--output {output}: takes one log, and there are {len(logs)}; name one with --log: "
            + ", ".join(str(path) for path in logs)
        )
    questions = load_questions(config)
    changes = []
    for path in logs:
        make = rubric_of if _has_steps(path) else evaluation_rubric
        with make(config) as rubric:
            steps = config.training.max_steps
            changes.append(rescore(path, rubric, questions, output=output, max_steps=steps))
    return changes
