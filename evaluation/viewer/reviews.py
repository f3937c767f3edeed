"""A reviewer's marks and notes: `reviews.jsonl` beside the log, never in it.

Append-only, one JSON object per line; of several lines for one sample the last one counts, and a
mark of null takes it back. Each line carries a digest of the answer that it is about, so that a
mark does not pass to another answer when a log is made again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.jsonl import dumps_line
from groupwise.evaluation.log.writer import JsonlWriter
from groupwise.rewards.errors import as_user_error

REVIEWS = "reviews.jsonl"
SCHEMA = 1
MARKS = ("right", "wrong", "unsure")
LONGEST_NOTE = 4_000
_MOST_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Review:
    """A reviewer's mark and note on one sample; `step` is None outside training."""

    example_id: str
    sample_index: int
    step: int | None
    mark: str | None
    note: str
    digest: str

    @property
    def sample(self) -> tuple[str, int, int | None]:
        return self.example_id, self.sample_index, self.step


def digest(completion: str) -> str:
    return hashlib.sha256(completion.encode("utf-8", "replace")).hexdigest()[:16]


def reviews_path(log: Path) -> Path:
    return log.parent / REVIEWS


def read_reviews(log: Path) -> dict[tuple[str, int, int | None], Review]:
    """The reviews that count, by sample; broken lines and those of other logs are ignored."""
    path = reviews_path(log)
    found: dict[tuple[str, int, int | None], Review] = {}
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_BYTES:
            return found
        lines = path.read_bytes().splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            review = _from_json(json.loads(line), log.name)
        except (ValueError, RecursionError):
            continue
        if review is None:
            continue
        if review.mark is None and not review.note:
            found.pop(review.sample, None)
        else:
            found[review.sample] = review
    return found


def append_review(log: Path, review: Review) -> None:
    """Adds one line. Raises UserError if the file cannot be written, or is a link."""
    line = dumps_line(
        {
            "schema": SCHEMA,
            "log": log.name,
            "example_id": review.example_id,
            "sample_index": review.sample_index,
            "step": review.step,
            "mark": review.mark,
            "note": review.note,
            "completion_digest": review.digest,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    path = reviews_path(log)
    with (
        as_user_error(lambda error: f"{path}: cannot be written: {error.strerror}", OSError),
        JsonlWriter(path, lock="wait", follow_links=False) as reviews,  # several pages may write
    ):
        reviews.append([line])


def checked(data: Any) -> Review:
    """A review as a page sends it. ValueError says what is wrong."""
    if not isinstance(data, dict):
        raise ValueError("a review is an object")
    review = _from_json(data, None)
    if review is None:
        raise ValueError("a review needs example_id, sample_index, mark and note")
    if len(review.note) > LONGEST_NOTE:
        raise ValueError(f"a note has at most {LONGEST_NOTE} characters")
    return review


def _from_json(data: Any, log: str | None) -> Review | None:
    if not isinstance(data, dict) or (log is not None and data.get("log", log) != log):
        return None
    example_id, index, step = data.get("example_id"), data.get("sample_index"), data.get("step")
    mark, note = data.get("mark"), data.get("note") or ""
    if (
        not isinstance(example_id, str)
        or type(index) is not int
        or type(step) not in (int, type(None))
        or not isinstance(note, str)
        or mark not in (*MARKS, None)
    ):
        return None
    return Review(example_id, index, step, mark, note, str(data.get("completion_digest", "")))
