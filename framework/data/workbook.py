"""Excel's own format, .xlsx, by way of openpyxl (an extra: `pip install groupwise[xlsx]`).

    read_workbook(Path("exam.xlsx"))    # a Table, as `tables.py` makes it of a CSV

The first sheet is read. A cell has the value that Excel shows: a formula its last result, a merged
cell its value in each row that it covers. What it leaves out: how cells are formatted.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from datetime import datetime, time
from pathlib import Path
from typing import Any

from groupwise.framework.data.tables import Table, as_table
from groupwise.rewards.errors import UserError


def read_workbook(path: Path) -> Table:
    """The rows of the first sheet.

    Raises:
        UserError: openpyxl is not installed, it is no such workbook, or a row of it is broken.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    if not data:
        return Table([])
    if data[:4] == b"\xd0\xcf\x11\xe0":
        raise UserError(f"{path}: is protected, or in Excel's older format; save it as plain .xlsx")
    sheets = _opened(path).worksheets
    sheet, *others = [sheet for sheet in sheets if sheet.sheet_state == "visible"] or sheets
    table = as_table(path, _records(path, sheet))
    if not others:
        return table
    names = ", ".join(repr(other.title) for other in others)
    note = f"{path}: the first sheet, {sheet.title!r}, is read; the others are not: {names}"
    return Table(table.rows, (note, *table.notes))


def _opened(path: Path, *, formulas: bool = False) -> Any:
    try:
        import openpyxl  # optional, and slow: not at start-up
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: to read .xlsx, openpyxl is needed: pip install 'groupwise[xlsx]' (or pip "
            'install openpyxl); or save the sheet as "CSV UTF-8"'
        ) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # parts of a workbook that hold no cells
            return openpyxl.load_workbook(path, data_only=not formulas)
    except (zipfile.BadZipFile, KeyError, ValueError, SyntaxError):  # no ZIP, no parts, no XML
        raise UserError(f"{path}: is no Excel workbook (.xlsx), or a broken one") from None


def _records(path: Path, sheet: Any) -> Iterator[list[Any]]:
    covered = {
        (row, area.min_col): sheet.cell(area.min_row, area.min_col).value
        for area in sheet.merged_cells.ranges
        for row in range(area.min_row, area.max_row + 1)
    }
    unknown = _without_result(path, sheet)
    for cells in sheet.iter_rows():
        for cell in cells:
            if (cell.row, cell.column) in unknown:
                raise UserError(
                    f"{path}: {cell.coordinate} has a formula whose result was never stored; open "
                    "the file in Excel or LibreOffice and save it there"
                )
        yield [_shown(covered.get((cell.row, cell.column), cell.value)) for cell in cells]


def _without_result(path: Path, sheet: Any) -> set[tuple[int, int]]:
    """The places of formulas that no program has computed yet: as values they are blank."""
    blank = {(c.row, c.column) for cells in sheet.iter_rows() for c in cells if c.value is None}
    if not blank:
        return set()
    formulas = _opened(path, formulas=True)[sheet.title]
    return {(row, column) for row, column in blank if formulas.cell(row, column).data_type == "f"}


def _shown(value: Any) -> Any:
    """A cell's value as Excel shows it: 15 digits, no point in a whole number, a day as a day.

    A blank cell is blank text, as in a CSV.
    """
    if value is None:
        return ""
    if isinstance(value, float):
        value = float(f"{value:.15g}")
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    if isinstance(value, datetime) and value.time() == time():
        return value.date()
    return value
