"""Names of data files in a config: whether there is such a file, and which was probably meant."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

FORMATS = (".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".parquet")


def is_missing_file(source: str) -> bool:
    """Whether this names a data file, and there is none; a hub name names no file."""
    path = Path(source).expanduser()
    return path.suffix.lower() in FORMATS and not path.exists()


def nearby(path: Path) -> str:
    """The file that was probably meant, in brackets; or that it is one, where a folder was."""
    if path.is_file():
        return " (it is a file)"
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    close = get_close_matches(path.name, [p.name for p in path.parent.iterdir()], 1)
    return f" (did you mean {path.parent / close[0]}?)" if close else ""
