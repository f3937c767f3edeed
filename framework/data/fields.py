"""Fields of a row by name, nested ones by dots, and their values as text.

    field_of({"reward_model": {"ground_truth": "4"}}, "reward_model.ground_truth")   # "4"
    text_of(Decimal("2.50"))                                                          # "2.50"

What it leaves out: what a field means (`rows.py`), and chat messages (`conversations.py`).
"""

from __future__ import annotations

import ast
import datetime as dt
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from itertools import islice
from typing import Any

_MOST_CHARS = 1_000_000  # of a cell that is opened
_SEARCHED_ROWS = 100  # for the names of nested fields
_DEEPEST = 3
_SHOWN = 30  # names in a message
_ALSO_CALLED = {
    "question": ("prompt", "problem", "messages", "conversations", "instruction", "query", "input"),
    "answer": (
        *("reward_model.ground_truth", "ground_truth", "final_answer", "expected_answer"),
        *("solution", "output", "response", "target", "label", "completion", "messages"),
    ),
}


class Missing:
    """The type of MISSING."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()
"""What `field_of` gives where a row has no such field; a field may well be None."""


def field_of(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a field; MISSING if there is none.

    A field of that very name goes before a path into nested ones: `extra_info.index`, `choices.0`.
    On the way a text is opened if it is the JSON of an object or a list, as a CSV has it.
    """
    return fields[name] if name in fields else _within(fields, name.split("."))


def _within(value: Any, path: Sequence[str]) -> Any:
    if not path:
        return value
    value = opened(value)
    if isinstance(value, Mapping):
        for end in range(len(path), 0, -1):
            if (key := ".".join(path[:end])) in value:
                return _within(value[key], path[end:])
    if isinstance(value, list | tuple) and path[0].lstrip("-").isdecimal():
        at = int(path[0])
        return _within(value[at], path[1:]) if -len(value) <= at < len(value) else MISSING
    return MISSING


def opened(value: Any) -> Any:
    """An array as a list, and the JSON (or Python's spelling) of an object or list as that."""
    if isinstance(value, str):
        text = value.strip()
        if text[:1] + text[-1:] not in ("[]", "{}") or len(text) > _MOST_CHARS:
            return value
        for read in (json.loads, ast.literal_eval):
            try:
                with warnings.catch_warnings(
                    action="ignore"
                ):  # of Python's compiler, about "[\\d]"
                    return read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
        return value
    return value.tolist() if hasattr(value, "tolist") else value  # NumPy's arrays and numbers


def field_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of all fields, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def nested_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """`field_names`, and with dots those of the fields in them."""
    names = dict.fromkeys(field_names(rows := list(rows)))
    for row in islice(rows, _SEARCHED_ROWS):
        names |= dict.fromkeys(_paths(row, "", _DEEPEST))
    return list(names)


def _paths(value: Any, before: str, depth: int) -> Iterable[str]:
    if isinstance(value, Mapping) and depth:
        for name, inner in value.items():
            yield f"{before}{name}"
            yield from _paths(inner, f"{before}{name}.", depth - 1)


def listed(names: Sequence[str]) -> str:
    """The names for a message: the first ones, if they are many."""
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def nearest(name: str, rows: Iterable[Mapping[str, Any]]) -> str | None:
    """The field that was probably meant: one that is spelled like it, or has its usual name."""
    known = nested_names(rows)
    if close := get_close_matches(name, known, 1):
        return close[0]
    if inner := [other for other in known if other.rpartition(".")[2] == name]:
        return inner[0]
    return next((other for other in _ALSO_CALLED.get(name, ()) if other in known), None)


def text_of(value: Any) -> str | None:
    """A value as text; None for one that is missing (null, NaN, blank) and for lists and objects.

    Numbers, also exact ones and NumPy's, dates and times are written out; a day has no time.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return None  # how pandas writes a missing value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dt.datetime):
        if value != value:  # NaT of pandas
            return None
        is_day = value.time() == dt.time() and value.tzinfo is None
        return str(value.date()) if is_day else value.isoformat(" ")
    if isinstance(value, bool | int | float | Fraction | dt.date | dt.time | dt.timedelta):
        return str(value)
    if not isinstance(value, str):
        return None
    return plain_text(value).strip() or None


def plain_text(text: str) -> str:
    """A text that every tokenizer takes.

    JSON can hold half a surrogate pair ("\\ud800"), which none takes: U+FFFD replaces it.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def only_one(value: Any) -> Any:
    """The element of a list that has one, as data sets hold a single answer; else the value."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return only_one(value[0]) if isinstance(value, list | tuple) and len(value) == 1 else value


def plain(value: Any) -> Any:
    """The value as JSON can hold it: dates and the like, from Parquet, become text."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value)
