"""Where the files of a config are: the keys that hold paths, found, and made absolute.

A path in a YAML file is looked for from the current directory, then from the file's folder. What a
run keeps has absolute paths, so that the run can be used from any folder. A value that names no
file (a hub name) stays as it is. What it leaves out: what is in the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from groupwise.framework.config.schema import TOY
from groupwise.framework.config.yaml import KeyPath

PATH_KEYS: tuple[KeyPath, ...] = (
    ("model", "name"),
    ("model", "adapter"),
    ("model", "chat_template"),
    ("data", "train"),
    ("data", "eval"),
    ("training", "warm_start", "data"),
    ("rewards", "import_from"),
)
"""Keys that may hold a path, beside `use` and the parameters of rewards."""

_USE = re.compile(r"(?P<file>.+\.py)(?P<function>:[^:/]+)")
_MODULE = re.compile(r"(?P<module>[\w.]+)(?P<function>:\w+)")


class _Place(NamedTuple):
    """A value that may be a path, and what follows it (`:function`)."""

    key: str
    section: dict[str, Any]
    name: str
    path: str
    rest: str = ""


def resolve_paths(data: dict[str, Any], folder: Path) -> None:
    """Replaces paths by what they name: from the current directory, else from `folder`.

    Rewards of the user's own may import from `folder`, unless the config names another.
    """
    _replace(data, lambda path: resolve_path(path, folder))
    rewards = data.get("rewards")
    if isinstance(rewards, dict) and any(":" in str(part.get("use")) for _, part in _parts(data)):
        rewards["import_from"] = rewards.get("import_from") or str(folder)


def make_absolute(data: dict[str, Any]) -> None:
    """Makes the paths of files and folders that exist absolute.

    A reward of a module in the current directory, or in the folder that rewards import from,
    becomes one of that module's file.
    """
    for _, part in _parts(data):
        if found := _MODULE.fullmatch(str(part.get("use"))):
            file = Path(*found["module"].split(".")).with_suffix(".py")
            folders = (Path(), Path(data["rewards"].get("import_from") or ""))
            there = next((path for path in folders if (path / file).is_file()), None)
            if there is not None:
                part["use"] = f"{there / file}{found['function']}"
    _replace(data, absolute)


def paths_in(data: dict[str, Any]) -> dict[str, str]:
    """Each value that may be a path, by dotted key: a folder that is not there may be a hub name.

    Of parameters of rewards, those that name something that exists.
    """
    return {
        place.key: place.path
        for place in _places(data)
        if ".params." not in place.key or exists(place.path)
    }


def resolve_path(value: str, folder: Path) -> str:
    """The path as found: from the current directory first, then from the config's folder.

    A value found in neither is returned unchanged: it may be a name on the hub.
    """
    if value.startswith("~"):
        try:
            return str(Path(value).expanduser())
        except RuntimeError:  # no home: whoever opens it says so
            return value
    beside = folder / value
    return str(beside) if not exists(value) and exists(str(beside)) else value


def absolute(value: str) -> str:
    """The absolute path of a file or folder that exists; any other value unchanged.

    The last part is kept where it is a link, so that the path goes on following it.
    """
    path = Path(value)
    if not exists(value):
        return value
    if path.name in ("", ".."):
        return str(path.resolve())
    return str(path.parent.resolve() / path.name)


def where_now(key: str, path: str) -> str:
    """The remedy for a file that a run's config names, and that is there no more."""
    if not Path(path).is_absolute():
        return ""
    return f"; if it has moved, say where it is: --set {key}=PATH"


def exists(path: str) -> bool:
    """Whether a value names a file or folder; never an error, whatever the value."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, or with a NUL: whoever opens it says so
        return False


def _replace(data: dict[str, Any], change: Callable[[str], str]) -> None:
    for place in list(_places(data)):
        place.section[place.name] = change(place.path) + place.rest


def _places(data: dict[str, Any]) -> Iterator[_Place]:
    for *parents, name in PATH_KEYS:
        section: Any = data
        for key in parents:
            section = section.get(key) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            continue
        value = section.get(name)
        if isinstance(value, str) and value not in ("", TOY):
            yield _Place(".".join((*parents, name)), section, name, value)
    for key, part in _parts(data):
        if found := _USE.fullmatch(str(part.get("use"))):
            yield _Place(f"{key}.use", part, "use", found["file"], found["function"])
        params = part.get("params")
        if not isinstance(params, dict):
            continue
        for name, value in params.items():
            # A bare word is one, even where a folder happens to have that name.
            if isinstance(value, str) and ("/" in value or Path(value).suffix):
                yield _Place(f"{key}.params.{name}", params, name, value)


def _parts(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    rewards = data.get("rewards")
    parts = rewards.get("parts") if isinstance(rewards, dict) else None
    for name, part in parts.items() if isinstance(parts, dict) else ():
        if isinstance(part, dict):
            yield f"rewards.parts.{name}", part
