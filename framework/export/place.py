"""Where an export goes: a folder that is not there yet, on a disk that has room for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from groupwise.rewards.errors import UserError

_SPARE = 1.05  # of what is needed: tokenizer, card, blocks of the file system


def check_place(to: Path, bytes_needed: int) -> None:
    """Raises UserError if `to` is there already, or there is too little space for it."""
    if to.exists():
        raise UserError(f"{to}: is there already; name another folder with --to, or remove it")
    there = next(folder for folder in to.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(there).free
    needed = int(bytes_needed * _SPARE)
    if needed > free:
        raise UserError(
            f"{to}: the export needs {gigabytes(needed)} of disk space, and {there} has "
            f"{gigabytes(free)}; free some, or name a folder elsewhere with --to"
        )


def gigabytes(size: float) -> str:
    """
    >>> gigabytes(926_760), gigabytes(8_044_982_272)
    ('0.9 MB', '8.0 GB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
