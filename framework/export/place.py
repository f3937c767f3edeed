"""Where an export goes: a folder that is not there yet, on a disk that has room for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from groupwise.framework.run.out_of_memory import amount
from groupwise.rewards.errors import UserError

EXPORT = "export.json"
"""In the folder of an export: what it is, and what its check has found."""
UNCHECKED, FAILED = "unchecked", "failed"
_SPARE = 1.05  # of what is needed: tokenizer, card, blocks of the file system


def beside(to: Path, state: str) -> Path:
    """The folder of an export that is not, or not yet, at its place."""
    return to.with_name(f"{to.name}-{state}")


def check_place(to: Path, bytes_needed: int) -> None:
    """Raises UserError if there is something at `to` already, or if it cannot be made there.

    Beside it, an export that was stopped or has failed may be there, and is replaced.
    """
    is_there = "is there already; name another folder with --to, or remove it"
    if os.path.lexists(to):  # a link to nothing is something, too
        raise UserError(f"{to}: {is_there}")
    for folder in (beside(to, UNCHECKED), beside(to, FAILED)):
        if os.path.lexists(folder) and not (folder / EXPORT).is_file():
            raise UserError(f"{folder}: {is_there}")
    there = next(folder for folder in to.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "cannot be written to" if there.is_dir() else "is a file"
        raise UserError(f"{to}: {there} {why}; name a folder elsewhere with --to")
    free = shutil.disk_usage(there).free
    needed = int(bytes_needed * _SPARE)
    if needed > free:
        raise UserError(
            f"{to}: the export needs {amount(needed)} of disk space, and {there} has "
            f"{amount(free)}; free some, or name a folder elsewhere with --to"
        )


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
