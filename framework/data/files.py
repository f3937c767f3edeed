"""Rows of JSON, JSONL, CSV, Excel and Parquet files and of hub data sets; broken ones are errors.

Each reader yields plain dictionaries with the place they came from ("line 7", "row 7"), so that a
message can say where to look. What the rows mean is left to `rows.py` (problems),
`scored_groups.py` and `preferences.py`.

    read_rows("problems.csv"), read_rows("openai/gsm8k", split="test", config_name="main")
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from groupwise.framework.config.paths import FORMATS, nearby
from groupwise.framework.data.tables import Row, Table, read_csv
from groupwise.framework.data.workbook import read_workbook
from groupwise.rewards.errors import UserError

Notice = Callable[[str], None]
"""Takes what a user should know and is no error: an encoding that was guessed, rows left out."""

_OTHER_SHEETS = (".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz")
_IS_JSON = "; one list of all objects is JSON: name it .json"
_HUB_NAME = re.compile(r"^[\w.-]{1,96}(/[\w.-]{1,96})?$")


def ignored(_: str) -> None:
    """The notice that is said to nobody: where another reader of the same source says it."""


def read_rows(
    source: str,
    *,
    split: str = "train",
    config_name: str | None = None,
    notice: Notice = ignored,
) -> list[Row]:
    """Every row of a file, or of a split of a hub data set.

    The format follows from the suffix; a name without one of the suffixes in `FORMATS`, for which
    no file exists, is a hub name. `notice` gets what was decided in reading a table.

    Raises:
        UserError: there is no such source, it is empty, or a row of it is broken.
    """
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if suffix in FORMATS:
        table = _read_file(path, suffix)
        rows = table.rows
        for note in table.notes:
            notice(note)
    elif not _HUB_NAME.match(source) or path.exists():
        raise UserError(_not_data(source, path))
    else:
        rows = _read_hub(source, split, config_name)
    if not rows:
        raise UserError(f"{source}: has no rows")
    return rows


def _not_data(source: str, path: Path) -> str:
    kinds = ", ".join(FORMATS)
    if len(path.name) > 255:
        return f"{_cut(source)}: no file can have so long a name"
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in FORMATS)
        hint = f"; it holds {', '.join(inside[:5])}" if inside else ""
        return f"{source}: is a folder; name a file ({kinds}){hint}"
    if path.suffix.lower() in _OTHER_SHEETS:
        return f"{source}: save it as .xlsx, or as .csv in UTF-8; {path.suffix} is not read"
    if path.suffix.lower() in _PACKED:
        return f"{source}: unpack it first; {path.suffix} is not read"
    if path.exists():
        return f"{source}: unknown format {path.suffix!r}; name it {kinds}"
    return f"{source}: there is no such file{nearby(path)}, and it is not a hub name (owner/name)"


_TABLES = {".csv": read_csv, ".tsv": read_csv, ".xlsx": read_workbook}


def _read_file(path: Path, suffix: str) -> Table:
    readers = {".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}
    try:
        return _TABLES[suffix](path) if suffix in _TABLES else Table(list(readers[suffix](path)))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file{nearby(path)}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text{_encoding(path, error)}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _encoding(path: Path, error: UnicodeDecodeError) -> str:
    """What the file is probably written in, and how to convert it."""
    start = path.read_bytes()[:2]
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        name, what = "UTF-16", 'but UTF-16, as Excel\'s "Unicode text" is'
    else:
        name, what = "WINDOWS-1252", f"(byte {error.start}), but perhaps an older Windows file"
    return f" {what}; convert it: iconv -f {name} -t UTF-8 {path.name} > new{path.suffix}"


def _object(value: Any, path: Path, where: str, hint: str = "") -> Row:
    if not isinstance(value, dict):
        hint = hint if isinstance(value, list) else ""
        raise UserError(f"{path}: {where} holds {_kind(value)}, where an object is expected{hint}")
    return Row(where, value)


def _jsonl(path: Path) -> Iterator[Row]:
    # "utf-8-sig" drops a byte order mark; newline=None reads CRLF as LF, and nothing else (as
    # str.splitlines would) as the end of a line.
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                hint = _IS_JSON if line.lstrip()[0] == "[" else ""
                raise UserError(
                    f"{path}:{number}: is not JSON: {_reason(error)}: {_cut(line)}{hint}"
                ) from None
            yield _object(value, path, f"line {number}", _IS_JSON)


def _json(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8-sig")
    if not text.strip():
        return
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        hint = ""
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            hint = "; with one object a line it is JSONL: name it .jsonl"
        raise UserError(f"{path}:{error.lineno}: is not JSON: {error.msg}{hint}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON that can be read: {_reason(error)}") from None
    if not isinstance(values, list):
        raise UserError(
            f"{path}: holds {_kind(values)}, where a list of objects is expected"
            f"{_rows_inside(path, values)}"
        )
    for number, value in enumerate(values, start=1):
        yield _object(value, path, f"row {number}")


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return f"a number has more than {sys.get_int_max_str_digits()} digits; write it as text"


def _rows_inside(path: Path, values: Any) -> str:
    """How to get at the rows of `{"data": [{…}, …]}`; empty if there are none."""
    inside = values.items() if isinstance(values, dict) else ()
    for name, rows in inside:
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            command = f"jq '.[{json.dumps(name)}]' {path.name} > rows.json"
            return f"; the rows seem to be under {name!r}: take them out, as by {command}"
    return ""


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa  # slow: not at start-up
    import pyarrow.parquet as pq

    if path.is_file() and path.stat().st_size == 0:
        return
    try:
        values = pq.read_table(path).to_pylist()
    except pa.ArrowException as error:
        raise UserError(f"{path}: is not Parquet: {str(error).splitlines()[0]}") from None
    for number, value in enumerate(values, start=1):
        yield Row(f"row {number}", value)


def _read_hub(name: str, split: str, config_name: str | None) -> list[Row]:
    import datasets  # slow, and Unsloth has to come first: not at start-up

    try:
        values = datasets.load_dataset(name, config_name, split=split)
    # The library raises a dozen kinds of errors for a wrong name, a wrong split, a data set behind
    # a login, and no network. All of them are the user's to fix, and their texts say how.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name}: there is no such file, and it cannot be loaded as a hub data set "
            f"(data.config_name {config_name!r}, split {split!r}): {type(error).__name__}: "
            f"{_cut(reason, 300)}"
        ) from error
    return [Row(f"row {number}", dict(value)) for number, value in enumerate(values, start=1)]


def _kind(value: Any) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        type(None): "null",
    }
    return kinds.get(type(value), "a number")


def _cut(text: str, limit: int = 60) -> str:
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 3] + "..."
