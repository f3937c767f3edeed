"""`metrics.jsonl`: a line of numbers for each training step, null where one is not known.

    for row in read_metrics(path): row["step"], row.get("reward/mean")

What it leaves out: which numbers there are (`framework/run/metrics.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.jsonl import clean, dumps_line, loads, number_or_null, read_lines
from groupwise.evaluation.log.writer import step_of_line

Numbers = dict[str, float | None]


def numbers_of(values: Mapping[str, Any]) -> Numbers:
    """The values as a log holds them: those that are not finite, or no number at all, are null."""
    numbers: Numbers = {}
    for name, value in values.items():
        number = clean(value)
        is_number = isinstance(number, int | float)
        numbers[str(clean(name))] = float(number) if is_number else None
    return numbers


def to_metrics_line(step: int, numbers: Numbers) -> str:
    """The line of a step."""
    return dumps_line({"step": step, **numbers})


def from_metrics_line(line: str | bytes) -> Numbers:
    """The numbers of a line, `step` among them. ValueError says what is wrong with it."""
    step_of_line(line)
    return {name: number_or_null(name, value) for name, value in loads(line).items()}


def read_metrics(path: Path) -> Iterator[Numbers]:
    """The lines of a log; a torn last one is ignored.

    Raises:
        UserError: a line cannot be read; the message names it.
        FileNotFoundError: there is no such log.
    """
    return read_lines(path, from_metrics_line, "a line of metrics")
