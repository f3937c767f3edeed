"""Files that replace files: written beside the old one and renamed, so that none is half-written.

    with replacing(path) as new:
        new.write_bytes(data)

A reader sees the old file or the new one, whenever the writer is killed. A kill may leave a file
`.<name>.<pid>.tmp` beside it, which `remove_torn` removes.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.jsonl import whole
from groupwise.rewards.errors import UserError, as_user_error

_BESIDE = re.compile(r"^\..+\.(\d+)\.tmp$")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; on success it replaces `path`.

    The new content is on the disk (fsync) before the name points to it. On an error the old file
    stays as it was. A full disk raises UserError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        with full_disk_as_user_error(path):
            yield beside
            _fsync(beside)
            beside.replace(path)
            _fsync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yields a new folder beside `folder` to fill; on success it replaces `folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
    old = folder.parent / f".{folder.name}.{os.getpid()}.old"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with full_disk_as_user_error(folder):
            beside.mkdir()
            yield beside
            for file in beside.rglob("*"):
                if file.is_file():
                    _fsync(file)
            if folder.exists():
                folder.rename(old)
            beside.rename(folder)
            _fsync(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def remove_torn(folder: Path) -> None:
    """Removes what killed processes left half-written anywhere in `folder`."""
    for path in list(folder.rglob(".*.tmp")):
        found = _BESIDE.match(path.name)
        if found is None or Path(f"/proc/{found[1]}").exists():
            continue  # not ours, or another process is writing it
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replaces the file by `text` (UTF-8), all or nothing."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Replaces the file by strict JSON, indented, keys in the order given, all or nothing.

    NaN raises ValueError: it is not JSON. Callers write null where a number is undefined. Half a
    character (of a file's name that is not UTF-8) becomes U+FFFD.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, whole(text) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of strict JSON, as `write_json` writes it.

    Raises:
        UserError: the file holds something else; the message has the line.
    """

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON; where there is no number, null stands")

    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        found = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        bad = re.search(r"\b(NaN|-?Infinity)\b", text) if "is not JSON" in str(error) else None
        line = getattr(error, "lineno", text.count("\n", 0, bad.start()) + 1 if bad else 1)
        raise UserError(f"{path}, line {line}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object")
    return found


def full_disk_as_user_error(path: Path) -> AbstractContextManager[None]:
    """Turns "no space left" into a message that says where, and leaves other errors alone."""
    return as_user_error(
        f"{path}: the disk is full. Free some space and run the same command again: "
        "what is finished is kept.",
        OSError,
        when=lambda error: error.errno in _NO_SPACE,
    )


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def user_cache() -> Path | None:
    """The user's cache folder of this project, `$XDG_CACHE_HOME/groupwise`; it may not exist yet.

    None where there is no home directory.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (base if base.is_absolute() else Path.home() / ".cache") / "groupwise"
    except RuntimeError:
        return None
