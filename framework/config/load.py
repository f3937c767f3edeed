"""From a file or a dictionary to an ExperimentConfig, with every problem reported at once."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from groupwise.framework.config.errors import ConfigError, Problem
from groupwise.framework.config.locations import resolve_paths
from groupwise.framework.config.messages import describe
from groupwise.framework.config.overrides import Overrides, apply_overrides
from groupwise.framework.config.paths import FORMATS
from groupwise.framework.config.schema import SECTIONS, Experiment
from groupwise.framework.config.yaml import KeyPath, parse_yaml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SectionT = TypeVar("SectionT", bound="DataclassInstance")

ConfigT = TypeVar("ConfigT", bound=Experiment)


def load_yaml(
    kind: type[ConfigT],
    path: Path,
    overrides: Overrides = (),
    others: Mapping[str, Any] | None = None,
) -> ConfigT:
    """Load a config file; the run is named after the file unless it says `name`.

    `others` has the sections that the file may leave out, as dictionaries.

    Raises:
        ConfigError: the file cannot be read or used; all its problems are in the message.
    """
    return load_text(kind, read_config_text(path), path, overrides, others)


def load_text(
    kind: type[ConfigT],
    text: str,
    path: Path,
    overrides: Overrides = (),
    others: Mapping[str, Any] | None = None,
) -> ConfigT:
    """The same for a text, as if it were in the file `path`."""
    source = str(path)
    parsed = parse_yaml(text)
    if path.suffix.lower() == ".json" and not _has_sections(parsed.data):
        raise _is_data(path)
    if parsed.problems:
        raise ConfigError(parsed.problems, source)
    if parsed.data is None:
        raise ConfigError([Problem("", "is empty; `groupwise configs` lists examples")], source)
    if not isinstance(parsed.data, dict):
        found = "a list" if isinstance(parsed.data, list) else "a single value"
        raise ConfigError(
            [Problem("", f"holds {found} where sections are expected: {', '.join(SECTIONS)}")],
            source,
        )
    data = copy.deepcopy(dict(others or {})) | parsed.data
    data.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "run")
    where = {key: f"line {line}" for key, line in parsed.lines.items()}
    return _load(kind, data, overrides, where, source, path.parent)


def load_dict(kind: type[ConfigT], data: Mapping[str, Any], overrides: Overrides = ()) -> ConfigT:
    """Build a config from nested dictionaries. Raises ConfigError."""
    if not isinstance(data, Mapping):
        raise ConfigError([Problem("", f"expected a dictionary, not {type(data).__name__}")])
    return _load(kind, copy.deepcopy(dict(data)), overrides, {}, "", None)


def raw_values(path: Path, overrides: Overrides = ()) -> dict[str, Any]:
    """What a file and the overrides say, unchecked; nothing if the file has no sections."""
    data = parse_yaml(read_config_text(path)).data
    if not isinstance(data, dict):
        return {}
    apply_overrides(data, overrides, {})
    return data


def with_values(section: SectionT, values: Mapping[str, Any]) -> SectionT:
    """A copy of one section with other values: `with_values(TrainingConfig(), {"beta": 0.04})`.

    Each value is checked by itself; rules over several keys are not (see `check_training`).

    Raises:
        ConfigError: a key does not exist, or its value is wrong.
    """
    try:
        return replace(section, **values)
    except ValidationError as error:
        name = next(name for name, kind in SECTIONS.items() if isinstance(section, kind))
        raise ConfigError(describe(error, values, (name,))) from None


def to_dict(config: Experiment) -> dict[str, Any]:
    """The whole config as plain lists, dictionaries and scalars, in the schema's order."""
    dumped: dict[str, Any] = _adapter(type(config)).dump_python(config, mode="json")
    return dumped


def read_config_text(path: Path) -> str:
    """The file's text. Raises ConfigError if it cannot be read, or is a data file."""
    source = str(path)
    if path.suffix.lower() in FORMATS and path.suffix.lower() != ".json":
        raise _is_data(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        message = "there is no such file; `groupwise configs` lists the presets"
    except IsADirectoryError:
        message = "is a folder; name the YAML file in it"
    except UnicodeDecodeError:
        message = "is not UTF-8 text"
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
    else:
        return text
    raise ConfigError([Problem("", message)], source)


def _has_sections(data: Any) -> bool:
    """Whether JSON is a config: data are a list, or one object a line."""
    return isinstance(data, dict) and not SECTIONS.keys().isdisjoint(data)


def _is_data(path: Path) -> ConfigError:
    return ConfigError(
        [
            Problem(
                "",
                "that is data, where a config is expected; put it under data.train in a YAML file:"
                f"\n    model: {{name: unsloth/Qwen3-0.6B}}\n    data: {{train: {path}}}\n"
                f"or take the other settings from a preset: default --set data.train={path}",
            )
        ],
        str(path),
    )


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _load(
    kind: type[ConfigT],
    data: dict[str, Any],
    overrides: Overrides,
    where: dict[KeyPath, str],
    source: str,
    folder: Path | None,
) -> ConfigT:
    data = {str(key): value for key, value in data.items()}
    for section in SECTIONS:
        if section in data and data[section] is None:
            data[section] = {}  # a section whose keys are all commented out
        if isinstance(data.get(section), dict):
            data[section] = {str(key): value for key, value in data[section].items()}
    problems = apply_overrides(data, overrides, where)
    if folder is not None:
        resolve_paths(data, folder)
    try:
        config: ConfigT = _adapter(kind).validate_python(data)
    except ValidationError as error:
        found = describe(error, data)
        problems += found
        problems += _contradictions_elsewhere(kind, data, found)
    except ConfigError as error:
        problems += error.problems
    if problems:
        placed = [_placed(problem, where) for problem in problems]
        raise ConfigError(sorted(placed, key=_line), source)
    return config


def _contradictions_elsewhere(
    kind: type[ConfigT], data: dict[str, Any], found: list[Problem]
) -> list[Problem]:
    """Rules that the valid keys break, to be reported together with the wrong values."""
    repaired = copy.deepcopy(data)
    bad = {problem.path for problem in found}
    for path in bad:
        *parents, last = path.split(".")
        target: Any = repaired
        for key in parents:
            target = target.setdefault(key, {}) if isinstance(target, dict) else None
        if isinstance(target, dict):
            target.pop(last, None)
    for section, key in (("model", "name"), ("data", "train")):  # required: or no rule would run
        part = repaired.setdefault(section, {})
        if isinstance(part, dict):
            part.setdefault(key, "anything")
    try:
        _adapter(kind).validate_python(repaired)
    except ConfigError as error:
        return [
            problem
            for problem in error.problems
            if not any(
                _touches(path, wrong) for path in (problem.path, *problem.others) for wrong in bad
            )
        ]
    except ValidationError:
        pass  # too broken to say more; what was found already is reported
    return []


def _touches(path: str, wrong: str) -> bool:
    return path == wrong or path.startswith(f"{wrong}.")


def _line(problem: Problem) -> int:
    """The sort key of a problem: its line; last, those without one (overrides, the whole file)."""
    kind, _, number = problem.where.partition(" ")
    return int(number) if kind == "line" else sys.maxsize


def _placed(problem: Problem, where: dict[KeyPath, str]) -> Problem:
    """The problem with the line (or override) of its key, or of the nearest key around it."""
    if problem.where:
        return problem
    keys = tuple(problem.path.split("."))
    others = [tuple(other.split(".")) for other in problem.others]
    candidates = [keys, *others, *(keys[:end] for end in range(len(keys) - 1, 0, -1))]
    # Last, the keys inside this one: `--set a.b.c=1` where there is no a.b
    candidates += [inner for inner in where if inner[: len(keys)] == keys]
    place = next((where[c] for c in candidates if c in where), "")
    return Problem(problem.path, problem.message, problem.others, place)
