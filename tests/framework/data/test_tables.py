"""Tables as spreadsheets write them: what separates cells, encodings, blank rows, row numbers."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from groupwise.framework.data.files import read_rows
from groupwise.rewards.errors import UserError

TWO = [("row 2", {"question": "a", "answer": "1"}), ("row 3", {"question": "b", "answer": "2,50"})]


def read(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    notes: list[str] = []
    rows = read_rows(str(path), notice=notes.append)
    return [(row.where, dict(row.fields)) for row in rows], notes


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


SAME = {
    "commas": 'question,answer\na,1\nb,"2,50"\n',
    "semicolons": "question;answer\na;1\nb;2,50\n",
    "tabs": "question\tanswer\na\t1\nb\t2,50\n",
    "bars": "question|answer\na|1\nb|2,50\n",
    "quoted, with semicolons": '"question";"answer"\n"a";"1"\n"b";"2,50"\n',
    "Windows lines, no last one": "question;answer\r\na;1\r\nb;2,50",
    "old Mac lines": "question;answer\ra;1\rb;2,50\r",
    "sep=": "sep=;\r\nquestion;answer\r\na;1\r\nb;2,50\r\n",
    "sep= of another sign": "sep=:\nquestion:answer\na:1\nb:2,50\n",
    "a mark": b"\xef\xbb\xbfquestion;answer\na;1\nb;2,50\n",
    "UTF-16 with a mark": "question\tanswer\r\na\t1\r\nb\t2,50\r\n".encode("utf-16"),
    "UTF-16 without": "question\tanswer\r\na\t1\r\nb\t2,50\r\n".encode("utf-16-le"),
    "UTF-16, big end first": b"\xfe\xff" + "question;answer\na;1\nb;2,50\n".encode("utf-16-be"),
    "blank columns at the end": "question;answer;;\na;1;;\nb;2,50;;\n",
    "a row without its blank end": "question;answer;\na;1\nb;2,50;\n",
    "spaces around names": " question ; answer\na;1\nb;2,50\n",
}


@pytest.mark.parametrize("case", SAME)
def test_tables_that_say_the_same(tmp_path: Path, case: str) -> None:
    assert read(written(tmp_path, SAME[case])) == (TWO, [])


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ("question, short;answer\nx, y;1\nz;2\n", {"question, short": "x, y", "answer": "1"}),
        ("question,answer; unit\n1;2,3\n", {"question": "1;2", "answer; unit": "3"}),
        ('"a;b",answer\n"1;2",3\n', {"a;b": "1;2", "answer": "3"}),
        ('question;answer\n"1\r\n2, 3";4\n', {"question": "1\r\n2, 3", "answer": "4"}),
        ('question,answer\n5" pipe,3\n', {"question": '5" pipe', "answer": "3"}),
        ("question\nWhy?\n", {"question": "Why?"}),
        (",question,answer\n0,a,1\n", {"column 1": "0", "question": "a", "answer": "1"}),
        ("question,answer,\na,1,x\n", {"question": "a", "answer": "1", "column 3": "x"}),
    ],
)  # fmt: skip
def test_what_separates_the_cells(tmp_path: Path, content: str, fields: dict[str, str]) -> None:
    assert read(written(tmp_path, content))[0][0] == ("row 2", fields)


def test_a_tsv_may_have_commas_and_a_csv_tabs(tmp_path: Path) -> None:
    assert read(written(tmp_path, "question\tanswer\na\t1\nb\t2,50\n", "t.tsv")) == (TWO, [])
    assert read(written(tmp_path, "question;answer\na;1\nb;2,50\n", "t.tsv")) == (TWO, [])


def test_rows_have_the_numbers_of_the_sheet(tmp_path: Path) -> None:
    content = '\nquestion;answer\n"two\nlines";1\n;\n\nb;2\n  ; \nc;3\n'
    rows, notes = read(written(tmp_path, content))
    assert [(where, fields["answer"]) for where, fields in rows] == [
        ("row 3", "1"),
        ("row 6", "2"),
        ("row 8", "3"),
    ]
    assert notes == [f"{tmp_path}/t.csv: 3 blank rows (4, 5, 7) are left out"]


def test_an_older_windows_file_is_read_and_said(tmp_path: Path) -> None:
    path = written(tmp_path, "question;answer\nWie groß? – 5 €;5\n".encode("cp1252"))
    rows, notes = read(path)
    assert rows == [("row 2", {"question": "Wie groß? – 5 €", "answer": "5"})]
    assert notes == [
        f"{path}: is not UTF-8 text and was read as Windows-1252; if 'groß' is not what it says, "
        "save it again as UTF-8"
    ]


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "Cyrillic of Windows": (
        "вопрос;ответ\nСколько будет два и два?;4\n".encode("cp1251"),
        "is neither UTF-8 nor Windows-1252 text; save it again as UTF-8 (in Excel: \"CSV UTF-8\")",
    ),
    "one broken character": (
        "question;answer\nWie groß? Müde;5\nGrö".encode() + b"\xff;5\n",
        "is not UTF-8 text in line 3 alone; mend that line",
    ),
    "a row that is too long": (
        "question,answer\n\na,1\nb,2,50\n",
        "row 4 has 3 values, the header 2; quote values that hold a comma",
    ),
    "a workbook by another name": (b"PK\x03\x04x", "is an Excel workbook, not text; name it .xlsx"),
    "an open quote": (
        'question;answer\na;1\n"b;2\n',
        "row 3 (line 3) is not CSV: unexpected end of data; a quote mark that begins a cell has to "
        "be closed at its end, and doubled inside",
    ),
    "a column twice": ("q;a;q\n1;2;3\n", "the column 'q' appears twice in the header"),
    "only a header": ("question;answer\n;\n", "has no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    content, message = REFUSED[case]
    path = written(tmp_path, content)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {message}"


def workbook(path: Path, rows: list[list[Any]], **sheets: list[list[Any]]) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for title, more in sheets.items():
        sheet = book.create_sheet(title)
        for row in more:
            sheet.append(row)
    book.save(path)
    return book


def test_a_workbook(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    workbook(
        path,
        [
            ["question", "answer", "when", None],
            ["a", 3.0, dt.datetime(2024, 3, 5), None],
            [None, None, None, None],
            ["b", 0.1 + 0.2, dt.datetime(2024, 3, 5, 12, 30)],
            ["c", "2,50", None],
            ["d", True, "#N/A"],
        ],
        other=[["x"]],
    )
    rows, notes = read(path)
    assert rows == [
        ("row 2", {"question": "a", "answer": 3, "when": dt.date(2024, 3, 5)}),
        ("row 4", {"question": "b", "answer": 0.3, "when": dt.datetime(2024, 3, 5, 12, 30)}),
        ("row 5", {"question": "c", "answer": "2,50", "when": ""}),
        ("row 6", {"question": "d", "answer": True, "when": "#N/A"}),
    ]
    assert notes == [
        f"{path}: the first sheet, 'Sheet', is read; the others are not: 'other'",
        f"{path}: 1 blank row (row 3) is left out",
    ]


def test_a_merged_cell_stands_in_each_of_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    rows = [["text", "question", "answer"], ["Ann", "a", 1], [None, "b", 2], ["Bob", "c", 3]]
    book = workbook(path, rows)
    book.active.merge_cells("A2:A3")
    book.save(path)
    assert [fields["text"] for _, fields in read(path)[0]] == ["Ann", "Ann", "Bob"]


def test_a_formula_without_a_result_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    workbook(path, [["question", "answer"], ["a", "=1+1"]])
    with pytest.raises(UserError, match="B2 has a formula whose result was never stored; open"):
        read(path)


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.xlsx"
    workbook(path, [["question", "answer"], ["a", 1]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)  # how Python marks what cannot be imported
    with pytest.raises(UserError, match=r"openpyxl is needed: pip install 'groupwise\[xlsx\]'"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"question,answer\n", "is no Excel workbook (.xlsx), or a broken one"),
        (
            b"\xd0\xcf\x11\xe0old",
            "is protected, or in Excel's older format; save it as plain .xlsx",
        ),
        (b"", "has no rows"),
    ],
)
def test_what_is_no_workbook(tmp_path: Path, content: bytes, message: str) -> None:
    path = written(tmp_path, content, "t.xlsx")
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("suffix", [".xls", ".ods", ".xlsm"])
def test_other_programs_files(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, b"x", f"t{suffix}")
    with pytest.raises(
        UserError, match=rf"save it as .xlsx, or as .csv in UTF-8; \{suffix} is not"
    ):
        read(path)
