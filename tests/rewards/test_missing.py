"""Marks of a missing answer: which texts are one, and which words are answers all the same."""

from __future__ import annotations

import time

import pytest

from groupwise.rewards.missing import MISSING, is_missing, missing_spelling

MARKS = [
    *("", "  ", "\n", '""', "$$", r"\text{}"),
    *("nan", "NaN", "'nan'.", r"\(\mathrm{NaN}\)", "None", "none.", '"None"', "**None**", "(none)"),
    *("null", "NULL", "`null`", "nil", "<answer>None</answer>", r"\boxed{\text{None}}"),
    *("N/A", "n/a.", "N.A.", "NA", "#N/A", "<NA>", "[N/A]", "“n/a”", "N/A\n"),
    *("\u200bN/A", r"\text{N/A}", r"$\text{N/A}$", r"\mathrm{N/A}", "N / A"),
    *("-", "--", "—", "–", "?", "???", "...", "…", "___", "- -"),
    *("notfound", "Not Found", "NOT_FOUND", "not found.", "no answer", "No answer.", "unknown"),
    *("proof", "Proof.", "see proof", "See proof.", "TBD", "todo", "missing", "[missing]"),
]

ANSWERS = [
    *("0", "0.0", "False", "false", "no", "No.", "nothing", "zero", "all", "never"),
    *("undefined", "Undefined.", "no solution", "No solutions.", "does not exist", "DNE"),
    *("None of the above", "none of these", "not given", "impossible", "infinity"),
    *("{}", "[]", "()", r"\emptyset", r"\varnothing", "∅"),
    *("Na", "Na.", r"\text{Na}", "NaCl", "N", "A", "a", "n", "(A)", "[1]", "Nan Goldin", "Nile"),
    *("-1", "-x", "x_1", "5!", "1/2", ".5", "$5", "%", "+", "=", "/", ",", ";", "!", "*"),
    *("proof by induction", "the proof", "unknown quantity", "missing link", "a missing digit"),
]


@pytest.mark.parametrize("text", MARKS, ids=repr)
def test_marks(text: str) -> None:
    assert is_missing(text)
    assert missing_spelling(text) == text.strip()


@pytest.mark.parametrize("text", ANSWERS, ids=repr)
def test_answers_are_no_marks(text: str) -> None:
    assert not is_missing(text)
    assert missing_spelling(text) is None


def test_the_table_is_found_whatever_its_case() -> None:
    assert {mark for mark in MISSING if mark != mark.casefold()} == set()
    assert [mark for mark in MISSING if not (is_missing(mark) and is_missing(mark.upper()))] == []


@pytest.mark.parametrize(
    ("reference", "spelling"),
    [
        ("We could not finish.\n#### N/A", "N/A"),
        ("It follows. ####", None),
        (r"It follows. \boxed{}", None),
        ("#### 3", None),
        ("N/A #### 3", None),
        (r"Hence the claim. $\boxed{\text{None}}$.", r"\text{None}"),
        (r"Hence \boxed{nan}", "nan"),
        (r"\boxed{None} was the first guess, but \boxed{4}", None),
        (r"\boxed{None} was a guess; the value is 4", None),
        ("There is none", None),
        ("I saw none.", None),
    ],
)
def test_the_end_of_a_reference(reference: str, spelling: str | None) -> None:
    assert missing_spelling(reference) == spelling


@pytest.mark.parametrize(
    "piece", ["(", r"\text{", "$", "<", "{", r"\boxed{", r"\boxed{}", '"', "-"]
)
def test_long_texts_are_read_at_once(piece: str) -> None:
    start = time.process_time()
    for text in (piece * 50_000, piece * 40, "####" + piece * 40):
        missing_spelling(text)
    assert time.process_time() - start < 10
