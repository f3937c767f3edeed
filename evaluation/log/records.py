"""SampleRecord and RolloutRecord: a sampled answer with everything known about it, one line each.

    for record in read_samples("runs/x/evaluations/tuned"): ...

The log is the artefact: every summary, comparison and page is derived from it. What it leaves out:
writing a log (record_log.py) and counting it (problems.py).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from groupwise.evaluation.log.jsonl import INT64, dumps_line, loads, number_or_null, read_lines
from groupwise.evaluation.sampler import SampledCompletion
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example, FinishReason, Score, Status

SCHEMA = 1
MOST_SAMPLES = 1_000_000  # of one problem
SAMPLES = "samples.jsonl"
ROLLOUTS = "rollouts.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRecord:
    """A line of `samples.jsonl`.

    `prompt` is the text as the model saw it, `answer` the reference. `status` and `correct` are
    None if nothing decides whether an answer is right. `parts` are raw rewards by name, None
    where a reward had no opinion. `seconds` is the time since the previous sample: sampling is
    batched, so the sum over samples is the time of sampling, but a single value means little.
    `extra` is what rewards gave to `log_extra`; a line without any leaves it out.
    """

    example_id: str
    sample_index: int
    prompt: str
    completion: str
    num_tokens: int
    finish_reason: FinishReason
    answer: str
    extracted: str | None
    status: Status | None
    correct: bool | None
    score: float | None
    parts: Mapping[str, float | None] = field(default_factory=dict)
    seed: int = 0
    seconds: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRecord(SampleRecord):
    """A line of `rollouts.jsonl`: a sample drawn in training, at `step`, with its advantage.

    `advantage` is None if the sample was not trained on: another group took its group's place.
    """

    step: int
    advantage: float | None


RecordT = TypeVar("RecordT", bound=SampleRecord)


def fields_of(example: Example, sample: SampledCompletion, score: Score) -> dict[str, Any]:
    """The fields that samples and rollouts share, from an answer and its score."""
    grade = score.grade
    return {
        "example_id": example.id,
        "sample_index": sample.sample_index,
        "prompt": example.prompt,
        "completion": sample.text,
        "num_tokens": len(sample.token_ids),
        "finish_reason": sample.finish_reason,
        "answer": example.answer,
        "extracted": grade.extracted if grade else None,
        "status": grade.status if grade else None,
        "correct": grade.correct if grade else None,
        "score": score.total,
        "parts": score.parts,
        "metadata": example.metadata,
        "extra": score.extra,
    }


def to_line(record: SampleRecord) -> str:
    """The record as one line of JSON with its newline; see jsonl.py for what is changed."""
    # Not asdict, which copies every prompt and piece of metadata.
    data = {name: getattr(record, name) for name in _fields(type(record))[0]}
    for name in ("score", "seconds", "advantage"):  # a whole-numbered float must stay a float
        if data.get(name) is not None:
            data[name] = float(data[name])
    data["parts"] = {k: None if v is None else float(v) for k, v in record.parts.items()}
    if not record.extra:
        del data["extra"]
    return dumps_line({"schema": data.pop("schema"), **data})


def from_line(line: str | bytes, kind: type[RecordT]) -> RecordT:
    """The record of a line; unknown fields are ignored. ValueError says what is wrong.

    Numbers are finite, and only `score`, `advantage` and the values of `parts` may be null: nothing
    is known then.
    """
    if kind not in _DECODERS:
        _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        record: RecordT = _DECODERS[kind].decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _checked(line, kind)
    if record.schema > SCHEMA or not 0 <= record.sample_index < MOST_SAMPLES:
        return _checked(line, kind)
    return record


def _checked(line: str | bytes, kind: type[RecordT]) -> RecordT:
    """As `from_line`, ten times slower: it knows why, and takes statuses that others may have."""
    data = loads(line)
    schema = data.get("schema", SCHEMA)
    if type(schema) is int and schema > SCHEMA:
        raise ValueError(f"schema {schema} is newer than this program, which reads {SCHEMA}")
    names, needed = _fields(kind)
    if missing := needed - data.keys():
        raise ValueError(f"fields are missing: {', '.join(sorted(missing))}")
    for name in names:
        if name in data:
            _check(name, data[name])
    if not 0 <= data["sample_index"] < MOST_SAMPLES:
        raise ValueError(f"sample_index is {data['sample_index']}")
    return kind(**{name: value for name, value in data.items() if name in names})


def _check(name: str, value: Any) -> None:
    """Raises ValueError for a value that a field cannot have: a log may come from anywhere."""
    if name in _NUMBERS:
        if value is None and name not in _MAY_BE_NULL:
            raise ValueError(f"{name} is null")
        number_or_null(name, value)
    elif name in _INTEGERS:
        if type(value) is not int or not -INT64 <= value < INT64:  # true and false are no numbers
            raise ValueError(f"{name} is {json.dumps(value)[:50]}")
    elif not isinstance(value, _TYPES[name]):
        raise ValueError(f"{name} is {json.dumps(value)[:50]}")
    if name == "parts":
        for part, score in value.items():
            number_or_null(f"parts.{part}", score)


def log_of(run: str | Path) -> Path:
    """The log that a path names: a log itself, or `samples.jsonl` in the folder."""
    path = Path(run)
    return path / SAMPLES if path.is_dir() else path


def has_steps(path: Path) -> bool:
    """Whether a log holds rollouts, by its first line: a user may have renamed the file."""
    try:
        with path.open("rb") as log:
            first = json.loads(log.readline() or b"{}")
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and "step" in first and "advantage" in first


def read_samples(path: str | Path) -> Iterator[SampleRecord]:
    """The records of a log, or of the folder that holds `samples.jsonl`, one at a time.

    A torn last line (the writer was killed, or is writing) is ignored.

    Raises:
        UserError: the file is missing, or a line is not a record.
    """
    return read_records(path, SampleRecord, SAMPLES)


def read_rollouts(path: str | Path) -> Iterator[RolloutRecord]:
    """As `read_samples`, of `rollouts.jsonl`."""
    return read_records(path, RolloutRecord, ROLLOUTS)


def read_records(path: str | Path, kind: type[RecordT], name: str) -> Iterator[RecordT]:
    path = Path(path)
    path = path / name if path.is_dir() else path
    try:
        yield from read_lines(path, partial(from_line, kind=kind), "a record of a log")
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such log; name a samples.jsonl or rollouts.jsonl, or its folder"
        ) from None


def without_repeats(records: Iterable[RecordT]) -> Iterator[RecordT]:
    """Each sample once (in training: once a step), by its first line.

    A log that was put together, or that two processes wrote, may hold a sample twice.
    """
    seen: dict[tuple[int | None, str], int] = defaultdict(int)  # bit i: sample i of the problem
    for record in records:
        step = record.step if isinstance(record, RolloutRecord) else None
        bit = 1 << record.sample_index
        if not seen[step, record.example_id] & bit:
            seen[step, record.example_id] |= bit
            yield record


def _fields(kind: type[SampleRecord]) -> tuple[tuple[str, ...], frozenset[str]]:
    """All field names in their order, and those without a default."""
    if kind not in _FIELDS:
        every = fields(kind)
        needed = (f for f in every if f.default is MISSING and f.default_factory is MISSING)
        _FIELDS[kind] = tuple(f.name for f in every), frozenset(f.name for f in needed)
    return _FIELDS[kind]


_NUMBERS = frozenset({"score", "seconds", "advantage"})
_MAY_BE_NULL = frozenset({"score", "advantage"})
_INTEGERS = frozenset({"schema", "sample_index", "num_tokens", "seed", "step"})
_TYPES: dict[str, type | tuple[type, ...]] = {
    "example_id": str,
    "prompt": str,
    "completion": str,
    "finish_reason": str,
    "answer": str,
    "extracted": (str, type(None)),
    "status": (str, type(None)),
    "correct": (bool, type(None)),
    "parts": dict,
    "metadata": dict,
    "extra": dict,
}
_FIELDS: dict[type[SampleRecord], tuple[tuple[str, ...], frozenset[str]]] = {}
_DECODERS: dict[type[SampleRecord], Any] = {}
