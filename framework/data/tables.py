"""Tables as spreadsheets write them: CSV and TSV in any dialect; the header and rows of any sheet.

    table = read_csv(Path("exam.csv"))
    table.rows[0]       # Row("row 2", {…}): numbered as in the sheet, whose row 1 is the header
    table.notes         # what was decided on the way: the encoding, blank rows

What it leaves out: Excel's own format (`workbook.py`), and what a cell means: in CSV it is text.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from groupwise.rewards.errors import UserError

_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_MAX_FIELD_CHARS = 2**31 - 1  # csv's own limit of 131,072 is less than some long solutions
_COMPARED = 1_000  # records by which delimiters are compared
_SEP_LINE = re.compile(r'"?sep=(.)"?[ \t]*(?:\r\n|\r|\n)', re.IGNORECASE)
_UTF8_LETTER = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One row and its place: "line 7" of a JSONL file, "row 7" elsewhere."""

    where: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table, and what was decided in reading it, for the user."""

    rows: list[Row]
    notes: tuple[str, ...] = ()


def read_csv(path: Path) -> Table:
    """The rows of a .csv or .tsv file. Its header says what separates cells, or Excel's `sep=`.

    Raises:
        UserError: it is no such table, or a row of it is broken.
        OSError: the file cannot be read.
    """
    csv.field_size_limit(_MAX_FIELD_CHARS)
    text, notes = _decoded(path)
    if named := _SEP_LINE.match(text):  # Excel does not show this line, and does not count it
        delimiter, text = named[1], text[named.end() :]
    else:
        delimiter = _delimiter(text, first="\t" if path.suffix.lower() == ".tsv" else ",")
    table = as_table(path, _records(path, text, delimiter), _DELIMITERS.get(delimiter, delimiter))
    return Table(table.rows, (*notes, *table.notes))


def as_table(path: Path, records: Iterable[Sequence[Any]], delimiter: str = "") -> Table:
    """The rows under the header, which is the first record that is not blank.

    Blank rows are left out and counted; a row that ends early has blank cells at its end, as
    spreadsheets leave these out. A column without a name is called by its number.
    """
    numbered = enumerate(records, start=1)
    header = next((record for _, record in numbered if not _is_blank(record)), ())
    body = list(numbered)
    blank = [number for number, record in body if _is_blank(record)]
    filled = [(number, record) for number, record in body if not _is_blank(record)]
    width = max((_used(record) for _, record in filled), default=0)
    names = _names(path, header, width)
    for number, record in filled:
        if _used(record) > len(names):
            hint = f"; quote values that hold {delimiter}" if delimiter else ""
            raise UserError(
                f"{path}: row {number} has {_used(record)} values, the header {len(names)}{hint}"
            )
    rows = [
        Row(f"row {number}", dict(zip(names, [*record, *[""] * len(names)], strict=False)))
        for number, record in filled
    ]
    return Table(rows, (_said_of_blank(path, blank),) if blank else ())


def _names(path: Path, header: Sequence[Any], width: int) -> list[str]:
    """The columns' names. Those without one count only where a cell stands under them."""
    used = _used(header)
    names = [str(name).strip() for name in header[: max(used, min(width, len(header)))]]
    names = [name or f"column {i}" for i, name in enumerate(names, start=1)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: the column {twice[0]!r} appears twice in the header")
    return names


def _said_of_blank(path: Path, blank: Sequence[int]) -> str:
    count, more = len(blank), len(blank) - _SHOWN
    shown = ", ".join(map(str, blank[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
    rows = f"1 blank row (row {shown}) is" if count == 1 else f"{count} blank rows ({shown}) are"
    return f"{path}: {rows} left out"


def _is_blank(record: Sequence[Any]) -> bool:
    return not _used(record)


def _used(record: Sequence[Any]) -> int:
    """How many cells a record has up to its last one that is not blank."""
    filled = [i for i, cell in enumerate(record, start=1) if cell is not None and str(cell).strip()]
    return filled[-1] if filled else 0


# --- text: encodings, delimiters -------------------------------------------------------------


def _decoded(path: Path) -> tuple[str, tuple[str, ...]]:
    """The text of a file, and a note where its encoding had to be guessed."""
    data = path.read_bytes()
    if data[:4] == b"PK\x03\x04":
        raise UserError(f"{path}: is an Excel workbook, not text; name it .xlsx")
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # Excel's "Unicode text"
        return _utf16(path, data, "utf-16"), ()
    if b"\0" in data[:100]:  # the same, without a mark
        return _utf16(path, data, "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"), ()
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError as error:
        at = error.start
    foreign = len(data.translate(None, bytes(range(128))))
    if len(b"".join(_UTF8_LETTER.findall(data))) * 2 > foreign:
        line = data.count(b"\n", 0, at) + 1
        raise UserError(f"{path}: is not UTF-8 text in line {line} alone; mend that line")
    text = data.decode("cp1252", "replace")
    if "\ufffd" in text or foreign > sum(map(str.isalpha, text)) / 3:  # most letters: Cyrillic, …
        raise UserError(
            f"{path}: is neither UTF-8 nor Windows-1252 text; save it again as UTF-8 (in Excel: "
            '"CSV UTF-8")'
        )
    word = re.search(r"\w*[^\x00-\x7f]\w*", text)
    return text, (
        f"{path}: is not UTF-8 text and was read as Windows-1252; if {(word or text)[0][:40]!r} is "
        "not what it says, save it again as UTF-8",
    )


def _utf16(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise UserError(
            f"{path}: begins as UTF-16 text does, and is broken; save it anew"
        ) from None


def _delimiter(text: str, first: str) -> str:
    """What separates the cells: of what divides the header, the one that suits the rows best.

    A comma in the cells of a table with semicolons is no reason: `2,50` is a decimal. `first` is
    taken where nothing divides the header: there is one column.
    """
    tried = {
        mark: list(islice(_parsed(text, mark), _COMPARED))
        for mark in (first, *(mark for mark in _DELIMITERS if mark != first))
    }
    fits = {mark: fit for mark, records in tried.items() if (fit := _fit(records))}
    return max(fits, key=lambda mark: fits[mark]) if fits else first


def _fit(records: Sequence[Sequence[str]]) -> tuple[int, int] | None:
    """How well a delimiter suits: the number of rows as long as the header, and its length."""
    filled = [record for record in records if not _is_blank(record)]
    if not filled or (columns := len(filled[0])) < 2:
        return None
    return sum(len(record) == columns for record in filled), columns


def _parsed(text: str, delimiter: str) -> Iterator[list[str]]:
    """Records up to the first broken one."""
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    except csv.Error:
        return


def _records(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    """Every record: a row of the sheet, whatever lines it takes."""
    records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 0
    try:
        for number, record in enumerate(records, start=1):  # noqa: B007
            yield record
    except csv.Error as error:
        raise UserError(
            f"{path}: row {number + 1} (line {records.line_num}) is not CSV: {error}; a quote mark "
            "that begins a cell has to be closed at its end, and doubled inside"
        ) from None
