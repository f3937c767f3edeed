"""Values that replace those of a file: from `--set section.key=value`, options, or a script."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

from groupwise.framework.config.errors import Problem
from groupwise.framework.config.yaml import KeyPath, parse_yaml


class Override(NamedTuple):
    """A value for a dotted key. `origin` is what the user typed, for messages: "--lr 1e-5"."""

    key: str
    value: Any
    origin: str = ""


Overrides = Sequence[str | tuple[str, Any] | Override]
"""Each is "section.key=value", whose value is read as YAML, or a dotted key with its value."""


def apply_overrides(
    data: dict[str, Any], overrides: Overrides, where: dict[KeyPath, str]
) -> list[Problem]:
    """Put the overrides into the data, in order, and note in `where` what set each key."""
    problems = []
    for given in overrides:
        if isinstance(given, str):
            key, equals, text = given.partition("=")
            key, origin = key.strip(), f"--set {given}"
            value = _read(text.strip())
            if not equals or not all(key.split(".")):
                problems.append(Problem("", "an override is written section.key=value", (), origin))
                continue
        else:
            key, value, origin = Override(*given)
            value = copy.deepcopy(value)  # a later override may change what is in it
        keys = tuple(key.split("."))
        target, reached = _descend(data, keys[:-1])
        if reached < len(keys) - 1:
            parent = ".".join(keys[: reached + 1])
            problems.append(Problem(key, f"{parent} is a value, not a section", (), origin))
            continue
        target[keys[-1]] = value
        where[keys] = origin  # also where it is empty: the file's line is not at fault
    return problems


def _descend(data: dict[str, Any], keys: KeyPath) -> tuple[dict[str, Any], int]:
    """The section that these keys lead to, made where it is missing, and how many were followed."""
    for at, key in enumerate(keys):
        if data.get(key) is None:
            data[key] = {}
        elif keys[:at] == ("rewards", "parts") and _is_number(data[key]):
            data[key] = {"weight": data[key]}  # `correctness: 1.0` is short for this
        if not isinstance(data[key], dict):
            return data, at
        data = data[key]
    return data, len(keys)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(text: str) -> Any:
    """One value of a command line, read as YAML, but `: `, `- ` and `#` have no meaning in it."""
    parsed = parse_yaml(text)
    if parsed.problems or (parsed.data is None and text.startswith("#")):
        return text
    if isinstance(parsed.data, str | dict | list) and text[0] not in "\"'{[":
        return text
    return parsed.data
