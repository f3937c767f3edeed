"""`settings.json` beside a log: how its samples were made, and how two logs' settings differ.

Where a file lies changes nothing: `/a/rewards.py:f` and `/b/rewards.py:f` do not differ here. (A
resumed run compares what is in its files, `framework/run/inputs.py`.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from groupwise.evaluation.log.files import read_json

SETTINGS = "settings.json"


def load_settings(folder: Path, name: str = SETTINGS) -> dict[str, Any] | None:
    """The content of `settings.json` (or `name`) in this folder, None if there is no such file.

    Raises:
        UserError: the file is not a JSON object.
    """
    path = folder / name
    return read_json(path) if path.is_file() else None


def setting_differences(
    first: Mapping[str, Any], second: Mapping[str, Any], in_first: str, in_second: str
) -> list[str]:
    """One line for each setting that differs: its dotted path, and both values.

    >>> setting_differences({"a": {"b": 1}}, {"a": {"b": 2}}, "in the log", "now")
    ['a.b: 1 in the log, 2 now']
    """
    a, b = dict(_leaves("", first)), dict(_leaves("", second))
    return [
        f"{path}: {_shown(a, path)} {in_first}, {_shown(b, path)} {in_second}"
        for path in sorted(a.keys() | b.keys())
        if _shown(a, path) != _shown(b, path) and not _is_moved(a.get(path), b.get(path))
    ]


def _is_moved(first: Any, second: Any) -> bool:
    """Whether both are paths, one of them absolute, of files of one name."""
    if not (isinstance(first, str) and isinstance(second, str)):
        return False
    return "/" in (first[:1], second[:1]) and PurePath(first).name == PurePath(second).name


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), item)
    else:
        yield prefix, value


def _shown(leaves: Mapping[str, Any], path: str) -> str:
    return json.dumps(leaves[path], ensure_ascii=False) if path in leaves else "nothing"
