"""Pydantic's errors as messages for someone who edits a YAML file.

Used for the parameters of rewards (`rubric`) and for the sections of a config (`framework.config`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Any

from pydantic import ValidationError

Keys = tuple[str, ...]

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a section of key: value lines",
    "mapping": "a section of key: value lines",
    "dataclass": "a section of key: value lines",
}


def explain(
    error: ValidationError,
    data: Any,
    prefix: Keys = (),
    *,
    hint: Callable[[Keys], str],
    about: Callable[[Keys], str] = lambda _: "",
) -> dict[str, str]:
    """A message for each key at fault, by dotted path, in pydantic's order.

    `data` is what was validated; its path in the config is `prefix`. `hint` ends the message on an
    unknown key ("; did you mean ...?"), `about` that on a missing one.
    """
    found: dict[Keys, list[Any]] = {}
    for item in error.errors(include_url=False):
        is_absent = item["type"] in ("missing", "unexpected_keyword_argument")
        keys = tuple(map(str, item["loc"])) if is_absent else _real_keys(item["loc"], data)
        found.setdefault((*prefix, *keys), []).append(item)
    messages = {}
    for keys, items in found.items():
        kind = items[0]["type"]
        if kind == "missing":
            message = f"is required, and missing{about(keys)}"
        elif kind == "unexpected_keyword_argument":
            message = f"there is no such key{hint(keys)}"
        else:
            message = _none_of(items) if len(items) > 1 else _message(items[0])
            message += _bare_function(keys, items[0]["input"])
        messages[".".join(keys)] = message
    return messages


def nearest(known: Sequence[str]) -> Callable[[Keys], str]:
    """A `hint` that suggests the closest of the known names."""

    def hint(keys: Keys) -> str:
        close = get_close_matches(keys[-1], known, 1, 0.5)
        return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known) or 'none'}"

    return hint


def _bare_function(keys: Keys, value: Any) -> str:
    """How to write a function that stands in place of a reward's settings: `mine: my.py:f`."""
    is_one = keys[:-1] == ("rewards", "parts") and isinstance(value, str) and ":" in value
    return f"; a function of yours is written {{use: {value}}}" if is_one else ""


def _real_keys(loc: tuple[int | str, ...], data: Any) -> Keys:
    """Pydantic's location without the names of types and union members that it adds."""
    keys: list[str] = []
    for part in loc:
        in_mapping = isinstance(data, Mapping) and part in data
        in_list = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        if in_mapping or in_list:
            data = data[part]
        else:
            break
        keys.append(str(part))
    return tuple(keys) or tuple(map(str, loc))


def _message(item: Any) -> str:
    kind, text = item["type"], item["msg"]
    shown = _shown(item["input"])
    if choices := _choices(item):
        close = get_close_matches(str(item["input"]), choices, 1)
        return f"{shown} is none of {', '.join(choices)}" + (
            f"; did you mean {close[0]}?" if close else ""
        )
    if kind == "too_short":
        return "is empty; name at least one, or leave the key out for its default"
    if kind == "string_too_short":
        return "is empty; name one"
    if kind == "string_pattern_mismatch":
        return f"{shown} must be letters, digits, '.', '-' and '_', and begin with one of the first"
    if kind == "value_error" and "not a number" in text:
        return f"{shown} is not a number"
    if kind == "value_error":
        return str(text).removeprefix("Value error, ")
    if expected := _expected(kind):
        return f"{shown} is not {expected}"
    message = text.replace("Input should be", "must be")
    return f"{shown} {message[0].lower()}{message[1:]}"


def _none_of(items: Sequence[Any]) -> str:
    """The message on a value that no member of a union accepted: everything that they accept."""
    accepted = [_choices(item) or [_expected(item["type"])] for item in items]
    if not all(map(all, accepted)):
        return _message(items[0])  # no union, but several faults of one value
    return f"{_shown(items[0]['input'])} is none of {', '.join(chain(*accepted))}"


def _expected(kind: str) -> str:
    """What a value of the wrong type should have been; empty if the type is not at fault."""
    is_type = kind.endswith(("_type", "_parsing", "_from_float", "finite_number"))
    return _EXPECTED.get(kind.partition("_")[0], "") if is_type else ""


def _choices(item: Any) -> list[str]:
    """The values of a Literal that was not met."""
    if item["type"] != "literal_error":
        return []
    words = {"True": "true", "False": "false"}  # as YAML has them
    found = item["ctx"]["expected"].replace(" or ", ", ").split(", ")
    return [words.get(choice, choice.strip("'")) for choice in found]


def _shown(value: Any) -> str:
    """The value as written in a file, cut to a readable length."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
