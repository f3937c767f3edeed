"""SampleRecord and RolloutRecord: a sampled answer with everything known about it, one line each.

    for record in read_samples("runs/x/evaluations/tuned"): ...

The log is the artefact: every summary, comparison and page is derived from it. What it leaves out:
writing a log (record_log.py) and counting it (problems.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from groupwise.evaluation.log.jsonl import dumps_line
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
    """The record of a line; unknown fields are ignored. ValueError says what is wrong."""
    data = json.loads(line)
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    if data.get("schema", SCHEMA) > SCHEMA:
        raise ValueError(
            f"schema {data['schema']} is newer than this program, which reads {SCHEMA}"
        )
    names, needed = _fields(kind)
    if missing := needed - data.keys():
        raise ValueError(f"fields are missing: {', '.join(sorted(missing))}")
    for name, types in _TYPES.items():
        if not isinstance(data.get(name), types):
            raise ValueError(f"{name} is {data.get(name)!r:.50}")
    if not 0 <= data["sample_index"] < MOST_SAMPLES:
        raise ValueError(f"sample_index is {data['sample_index']}")
    return kind(**{name: value for name, value in data.items() if name in names})


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
        log = path.open("rb")
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such log; name a samples.jsonl or rollouts.jsonl, or its folder"
        ) from None
    with log:
        for number, line in enumerate(log, start=1):
            try:
                yield from_line(line, kind)
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    return
                raise UserError(f"{path}, line {number}: not a record of a log ({error})") from None


def _fields(kind: type[SampleRecord]) -> tuple[tuple[str, ...], frozenset[str]]:
    """All field names in their order, and those without a default."""
    if kind not in _FIELDS:
        every = fields(kind)
        needed = (f for f in every if f.default is MISSING and f.default_factory is MISSING)
        _FIELDS[kind] = tuple(f.name for f in every), frozenset(f.name for f in needed)
    return _FIELDS[kind]


# The types that reading relies on: a log may come from anywhere.
_TYPES: dict[str, type | tuple[type, ...]] = {
    "example_id": str,
    "sample_index": int,
    "prompt": str,
    "completion": str,
    "num_tokens": int,
    "extracted": (str, type(None)),
    "status": (str, type(None)),
    "correct": (bool, type(None)),
    "score": (float, int, type(None)),
}
_FIELDS: dict[type[SampleRecord], tuple[tuple[str, ...], frozenset[str]]] = {}
