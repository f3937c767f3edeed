"""Messages on wrong keys and values of a config, with what was probably meant."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from groupwise.framework.config.descriptions import description
from groupwise.framework.config.errors import Problem
from groupwise.framework.config.other_names import OTHER_NAMES, meant, snake
from groupwise.framework.config.schema import Experiment
from groupwise.rewards import RewardSpec
from groupwise.rewards.validation import explain


def describe(
    error: ValidationError, data: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> list[Problem]:
    """One problem for each key at fault. `data` is what was validated; its path is `prefix`."""
    found = explain(error, data, prefix, hint=_hint, about=_about)
    problems = [Problem(path, message) for path, message in found.items()]
    unknown = [p.path.split(".") for p in problems if p.message.startswith(_NO_SUCH_KEY)]
    for keys in unknown:
        value: Any = data
        for key in keys[len(prefix) :]:
            value = value[key]
        if isinstance(value, Mapping) and "did you mean" not in found[".".join(keys)]:
            problems += _inside(value, tuple(keys))
    return problems


_NO_SUCH_KEY = "there is no such key"


def _inside(section: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[Problem]:
    """The keys of a section of another tool, where it is known what they are here."""
    for key, value in section.items():
        inner = (*keys, str(key))
        other = meant(inner[-1], keys)
        if isinstance(value, Mapping) and not (other and other.key):
            yield from _inside(value, inner)
        elif text := _by_name(inner):
            yield Problem(".".join(inner), f"{_NO_SUCH_KEY}; {text}")


def _about(keys: tuple[str, ...]) -> str:
    description = known_paths().get(".".join(keys), "")
    return f": {description[0].lower()}{description[1:].rstrip('.')}" if description else ""


def _hint(keys: tuple[str, ...]) -> str:
    if meaning := probably(keys):
        return f"; {meaning}"
    neighbours = _neighbours(keys)
    return f"; the keys here are {', '.join(neighbours)}" if neighbours else ""


def _neighbours(keys: tuple[str, ...]) -> list[str]:
    """The keys that exist beside this one."""
    prefix = ".".join((*keys[:-1], ""))
    inside = [path[len(prefix) :] for path in known_paths() if path.startswith(prefix)]
    return [key for key in inside if "." not in key]


_FUNCTION = ("function", "func", "fn", "callable", "path", "file", "module", "import", "target")
"""How others call the key `use` of a reward."""


def probably(keys: tuple[str, ...]) -> str:
    """What was meant by a key that does not exist: `did you mean …?`, or why there is none.

    "" if nothing is like it.
    """
    *parents, key = keys
    prefix = ".".join((*parents, ""))
    if parents[:2] == ["rewards", "parts"] and len(parents) == 3:
        names = [f.name for f in fields(RewardSpec)]
        close = get_close_matches(snake(key), names, 1, 0.6)
        inside = f"params.{key} (parameters of a reward go there)"
        own = "use" if snake(key) in _FUNCTION else close[0] if close else inside
        return f"did you mean {prefix}{own}?"
    neighbours = _neighbours(keys)
    if snake(key) in neighbours:
        return f"did you mean {prefix}{snake(key)}?"
    if parents and (other := meant(key, parents)):
        own = other.key.rpartition(".")[2]
        if own in neighbours and prefix + own != other.key:  # `lr` of the warm start
            return f"did you mean {prefix}{own}?"
    if by_name := _by_name(keys):
        return by_name
    if close := get_close_matches(snake(key), neighbours, 1, 0.55):
        return f"did you mean {prefix}{close[0]}?"
    if parents == ["rewards"]:
        return f"did you mean rewards.parts.{key}?"
    by_last = {path.rpartition(".")[2]: path for path in reversed(_plain_first())}
    if close := get_close_matches(snake(key), by_last, 1, 0.75):
        return f"did you mean {by_last[close[0]]}?"
    close = get_close_matches(snake(key), OTHER_NAMES, 1, 0.85)
    return str(OTHER_NAMES[close[0]]) if close else ""


def _by_name(keys: tuple[str, ...]) -> str:
    """What a key is by its own name: one of other tools, or one that is in another section."""
    *parents, key = keys
    if other := meant(key, parents):
        return str(other)
    elsewhere = [p for p in _plain_first() if p.rpartition(".")[2] == snake(key)]
    return f"did you mean {' or '.join(elsewhere)}?" if elsewhere else ""


def _plain_first() -> list[str]:
    """All paths, those of the plain sections before those of a section inside one."""
    return sorted(known_paths(), key=lambda path: path.count("."))  # stable


@cache
def known_paths() -> dict[str, str]:
    """Every dotted path of the schema, in order, with its description."""
    return dict(_paths(Experiment, ""))


def _paths(owner: Any, prefix: str) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(owner)
    for f in fields(owner):
        path = f"{prefix}{f.name}"
        yield path, description(owner, f.name)
        for inner in _members(hints[f.name]):
            if is_dataclass(inner):
                yield from _paths(inner, f"{path}.")


def _members(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        yield from get_args(hint)
    elif get_origin(hint) is None:
        yield hint
