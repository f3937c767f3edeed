"""Options of a multiple choice in the forms that data have, and references that name one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groupwise.rewards.options import (
    gold_letter,
    gold_letters,
    labels_of,
    may_count_from_one,
    option_fields,
    options_of,
)

CITIES = ("Oslo", "Lima", "Cairo", "Quito")
NUMBERED = ("1", "2", "3", "4")
AS_LIST = list(CITIES)
AS_COLUMNS = dict(zip("ABCD", CITIES, strict=True))
LABELLED = {"text": AS_LIST, "label": ["A", "B", "C", "D"]}
ONE_BY_ONE = [{"label": name, "text": text} for name, text in AS_COLUMNS.items()]

READ: dict[str, dict[str, Any]] = {
    "a list": {"choices": AS_LIST},
    "under options": {"options": AS_LIST},
    "under Choices": {"Choices": AS_LIST},
    "a tuple": {"choices": CITIES},
    "letters with points": {"choices": ["A. Oslo", "B. Lima", "C. Cairo", "D. Quito"]},
    "letters in brackets": {"options": ["(A) Oslo", "(B) Lima", "(C) Cairo", "(D) Quito"]},
    "letters and no space": {"options": ["A)Oslo", "B)Lima", "C)Cairo", "D)Quito"]},
    "small letters": {"options": ["a: Oslo", "b: Lima", "c: Cairo", "d: Quito"]},
    "texts and labels": {"choices": LABELLED},
    "labels in another order": {
        "choices": {"text": [*CITIES[2:], *CITIES[:2]], "label": ["C", "D", "A", "B"]}
    },
    "labels that are numbers": {"choices": {"text": AS_LIST, "label": list(NUMBERED)}},
    "one by one": {"choices": ONE_BY_ONE},
    "one by one, without labels": {"choices": [{"text": text} for text in CITIES]},
    "a mapping": {"options": AS_COLUMNS},
    "a mapping in another order": {"options": dict(reversed(AS_COLUMNS.items()))},
    "a mapping, small letters": {"options": {k.lower(): v for k, v in AS_COLUMNS.items()}},
    "JSON of a list": {"choices": json.dumps(AS_LIST)},
    "JSON of a mapping": {"choices": json.dumps(AS_COLUMNS)},
    "JSON of texts and labels": {"choices": json.dumps(LABELLED)},
    "JSON of one by one": {"choices": json.dumps(ONE_BY_ONE)},
    "a list as Python writes it": {"choices": str(AS_LIST)},
    "lines": {"options": "A. Oslo\nB. Lima\n\nC. Cairo\nD. Quito\n"},
    "columns": AS_COLUMNS,
    "columns, the last one blank": {**AS_COLUMNS, "E": " "},
    "columns, the last ones missing": {**AS_COLUMNS, "E": None, "F": float("nan")},
    "a list that ends with null": {"choices": [*CITIES, None]},
    "choices that are none, then options": {"choices": 4, "options": AS_LIST},
    "choices before options and columns": {
        "choices": AS_LIST,
        "options": ["1", "2"],
        **dict.fromkeys("ABCD", "other"),
    },
}

NOT_READ: dict[str, dict[str, Any]] = {
    "nothing": {},
    "another column": {"level": "easy", "topics": AS_LIST},
    "a number": {"choices": 4},
    "null": {"choices": None},
    "a text": {"choices": "Oslo or Lima"},
    "lines without letters": {"choices": "Oslo\nLima"},
    "one option": {"choices": ["Oslo"]},
    "an empty list": {"choices": []},
    "null in the middle": {"choices": ["Oslo", None, "Lima"]},
    "lists in it": {"choices": [["Oslo"], ["Lima"]]},
    "settings": {"options": {"temperature": 1, "seed": 2}},
    "labels of another kind": {"choices": {"text": AS_LIST, "label": ["N", "E", "S", "W"]}},
    "labels that are too few": {"choices": {"text": AS_LIST, "label": ["A", "B"]}},
    "a letter twice": {"choices": {"text": AS_LIST, "label": ["A", "A", "B", "C"]}},
    "a mapping with a gap": {"choices": {"A": "Oslo", "C": "Lima"}},
    "more than 26": {"choices": [f"city {i}" for i in range(27)]},
    "three columns": {"A": 1, "B": 2, "C": 3},
    "columns with a gap": {"A": 1, "B": 2, "D": 3, "E": 4},
    "small columns": {"a": 1, "b": 2, "c": 3, "d": 4},
    "broken JSON": {"choices": '["Oslo", "Lima"'},
    "brackets without an end": {"choices": "[" * 50_000 + "]"},
    "code": {"choices": "[__import__('os').getcwd(), 1]"},
}


@pytest.mark.parametrize("metadata", READ.values(), ids=READ)
def test_forms_that_are_read(metadata: dict[str, Any]) -> None:
    assert options_of(metadata) == CITIES


@pytest.mark.parametrize("metadata", NOT_READ.values(), ids=NOT_READ)
def test_what_is_not_known_gives_no_options(metadata: dict[str, Any]) -> None:
    assert options_of(metadata) == ()
    assert labels_of(metadata) == ()


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, 2.5, True], ("1", "2.5", "True")),
        (["A dog", "B flat"], ("A dog", "B flat")),
        (["A. B. Yeats", "the sea"], ("A. B. Yeats", "the sea")),
        (["B. Oslo", "A. Lima"], ("B. Oslo", "A. Lima")),  # not in order: the letters are content
        (["A.", "B."], ("A.", "B.")),
        (["A. 1.5", "B. 2.5"], ("1.5", "2.5")),
        ([f"{i}" for i in range(26)], tuple(f"{i}" for i in range(26))),
        (["None", "All of the above"], ("None", "All of the above")),
    ],
    ids=str,
)
def test_texts(values: list[Any], texts: tuple[str, ...]) -> None:
    assert options_of({"choices": values}) == texts


def test_labels() -> None:
    assert labels_of({"choices": {"text": AS_LIST, "label": list(NUMBERED)}}) == NUMBERED
    assert labels_of({"choices": {"text": AS_LIST, "label": [1, 2, 3, 4]}}) == NUMBERED
    assert labels_of({"options": AS_COLUMNS}) == ("A", "B", "C", "D")
    assert labels_of({"choices": AS_LIST}) == labels_of(AS_COLUMNS) == ()


@pytest.mark.parametrize(
    ("gold", "options", "labels", "letter"),
    [
        ("0", CITIES, (), "A"),
        ("3", CITIES, (), "D"),
        (" 2 ", CITIES, (), "C"),
        ("4", CITIES, (), "4"),  # not in the range
        ("4", CITIES, NUMBERED, "D"),
        ("1", CITIES, NUMBERED, "A"),
        ("0", CITIES, NUMBERED, "0"),  # numbers are labels here, and this is none
        ("2", CITIES, ("A", "B", "C", "D"), "C"),
        ("b", CITIES, ("a", "b", "c", "d"), "B"),
        ("B", CITIES, (), "B"),
        ("B", CITIES, ("A", "B", "C", "D"), "B"),
        ("E", CITIES, (), "E"),
        ("Lima", CITIES, (), "Lima"),
        ("2", ("1", "2", "3"), (), "2"),  # an option's text
        ("2", ("$1", "$2", "$3"), (), "2"),  # a number in an option
        ("2", ("1.0", "2.0", "3.0"), (), "2"),
        ("2", ("12", "20", "2.5"), (), "C"),
        ("2", ("version 1.2.2", "x", "y"), (), "C"),
        ("-1", CITIES, (), "-1"),
        ("1.0", CITIES, (), "1.0"),
        ("٢", CITIES, (), "٢"),
        ("", CITIES, (), ""),
        ("2", (), (), "2"),
        ("2", (), NUMBERED, "2"),
    ],
)
def test_a_reference_that_names_an_option(
    gold: str, options: tuple[str, ...], labels: tuple[str, ...], letter: str
) -> None:
    assert gold_letter(gold, options, labels) == letter


COLUMNS: list[tuple[list[str], list[tuple[str, ...]], list[str]]] = [
    (["0", "3", "1"], [CITIES] * 3, ["A", "D", "B"]),
    (["1", "4", "2"], [CITIES] * 3, ["A", "D", "B"]),
    (["0.0", "3.0"], [CITIES] * 2, ["A", "D"]),  # of a column that had gaps
    (["2.0", "1.5"], [CITIES] * 2, ["2.0", "1.5"]),
    (["2.0"], [("1.0", "2.0")], ["2.0"]),
    (["a", "D", " b"], [CITIES] * 3, ["A", "D", "B"]),
    (["a", "1"], [CITIES] * 2, ["A", "1"]),  # no column of positions
    (["A", "1.0"], [CITIES] * 2, ["A", "1.0"]),
    (["a"], [("b", "a")], ["a"]),  # an option's text
    (["a", "x"], [(), CITIES], ["a", "x"]),
    (["0", "4"], [CITIES] * 2, ["0", "4"]),  # from 0 or from 1: neither
    (["0", "2"], [CITIES, NUMBERED], ["A", "C"]),  # the column says that 2 is a position
    (["3", "2"], [NUMBERED] * 2, ["3", "2"]),  # each is an option's text
    (["1", "Lima"], [CITIES] * 2, ["1", "Lima"]),
    (["A", "D"], [CITIES] * 2, ["A", "D"]),
    (["0", "17"], [CITIES, ()], ["A", "17"]),  # a row without options
    (["5", "6"], [(), ()], ["5", "6"]),
    ([], [], []),
]


@pytest.mark.parametrize(
    ("golds", "options", "letters"), COLUMNS, ids=lambda value: str(value)[:40]
)
def test_a_column_of_references(
    golds: list[str], options: list[tuple[str, ...]], letters: list[str]
) -> None:
    assert gold_letters(golds, options) == letters


def test_a_column_in_which_some_rows_have_numbers_for_labels() -> None:
    labels = [NUMBERED, ("A", "B", "C", "D"), NUMBERED]
    assert gold_letters(["1", "C", "4"], [CITIES] * 3, labels) == ["A", "C", "D"]


def test_the_columns_that_hold_options() -> None:
    assert option_fields(["id", "choices", "level", "Options"]) == ["choices", "Options"]
    assert option_fields(["A", "B", "C", "D", "E", "G"]) == ["A", "B", "C", "D", "E"]
    assert option_fields(["A", "B", "C", "x"]) == []


OPEN = [
    (["1", "2"], [CITIES] * 2, True),
    (["1.0", "A"], [CITIES] * 2, False),  # no column of positions
    (["1", "A"], [CITIES] * 2, False),
    (["0", "2"], [CITIES] * 2, False),
    (["1", "4"], [CITIES] * 2, False),
    (["2", "3"], [NUMBERED] * 2, False),  # texts of options
    (["1"], [()], False),
    ([], [], False),
]


@pytest.mark.parametrize(("golds", "options", "is_open"), OPEN)
def test_positions_that_could_count_from_one(
    golds: list[str], options: list[tuple[str, ...]], is_open: bool
) -> None:
    assert may_count_from_one(golds, options) == is_open
