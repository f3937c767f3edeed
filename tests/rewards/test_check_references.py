"""References that cannot be graded against: decimal commas, letters that no option has, marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from groupwise.rewards import Completion, Correctness, Example, build_rubric, grade
from groupwise.rewards.check.commas import comma_references
from groupwise.rewards.check.prove import prove
from groupwise.rewards.check.references import (
    ReferenceVerdict,
    broken_references,
    judge_references,
)

PLACES = {str(i): f"row {i + 2}" for i in range(100)}


def examples(answers: Sequence[str], **metadata: Any) -> list[Example]:
    return [
        Example(str(i), f"{i}?", answer, metadata=metadata, columns={**metadata, "answer": answer})
        for i, answer in enumerate(answers)
    ]


def judged(answers: Sequence[str], parts: Any = None, **metadata: Any) -> ReferenceVerdict:
    with build_rubric(parts or {"correctness": 1.0}) as rubric:
        return judge_references(rubric, examples(answers, **metadata), PLACES)


@pytest.mark.parametrize(
    "answer",
    ["2,50", "-2,5", "0,125", "1.250,00", "2,50 €", "€ 2,50", "€2,50", "12,5 km", "2,5%",
     "1234,567", "We add.\n#### 2,50"],
)  # fmt: skip
def test_decimal_commas(answer: str) -> None:
    assert [found.place for found in comma_references(examples(["1", answer]), PLACES)] == ["row 3"]


@pytest.mark.parametrize(
    "answer",
    ["1,250", "(1,2)", "1,2,3", "1, 2", "2.50", "1,000.50", "[0,5]", "12", "x,5", "5,x", "a", "",
     "12,345,678", "{1,2}", "5 apples, 3 pears"],
)  # fmt: skip
def test_no_decimal_commas(answer: str) -> None:
    assert comma_references(examples(["1", answer]), PLACES) == ()


def test_many_decimal_commas_are_a_problem_and_few_a_notice() -> None:
    (problem,) = judged(["1,25", "2,50", "3,75", "15.200", "5"]).problems
    assert problem == (
        "3 of 5 references look like numbers with a decimal comma: '1,25' in row 2, '2,50' in row "
        "3, '3,75' in row 4; for these set rewards.parts.correctness.params.decimal_comma: "
        "european (2,50 and 2,5 are then the same number, and 1.250 is 1250), or never, if "
        "each is two answers"
    )
    few = judged(["2,50", *map(str, range(9))])
    assert not few.problems
    assert few.notices[0].startswith("1 of 10 references looks like a number with a decimal comma")
    assert judged(["2,3", *map(str, range(30))]).notices == (), "one in thirty may be a list"


@pytest.mark.parametrize("setting", ["european", "always", "never"])
def test_whoever_has_set_it_is_not_asked(setting: str) -> None:
    parts = {"right": {"use": "correctness", "params": {"decimal_comma": setting}}}
    assert judged(["2,50", "3,75"], parts) == ReferenceVerdict((), (), ())
    assert (
        "rewards.parts.right.params"
        in judged(["2,50"], {"right": {"use": "correctness"}}).problems[0]
    )


def test_letters_of_options_that_are_not_there() -> None:
    options = ["Oslo", "Lima", "Cairo", "Quito"]
    (problem,) = judged(["A", "E", "D", "F"], choices=options).problems
    assert problem == (
        "2 of 4 references are letters of options that are not there, such as E of 4 options: row "
        "3, row 5; no answer can be right there: mend these rows"
    )
    for spelled in ("(E)", "e", "E.", "f)"):
        assert "options that are not there" in judged(["A", spelled], choices=options).problems[0]
    assert not judged(["D", "(d)", "a."], choices=options).problems
    assert not judged(["E"], choices=["E", "F", "G", "H"]).problems, "an option's text"
    assert not judged(["E"]).problems


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["choice_a", "choice_b", "choice_c"], "choice_a, choice_b, choice_c look like"),
        (["opa", "opb", "opc", "opd"], "opa, opb, opc, opd look like"),
        (["Option 1", "Option 2", "Option 3"], "Option 1, Option 2, Option 3 look like"),
        (["A", "B", "C", "D"], ""),
        (["option_a"], ""),
        (["opinion", "operator", "optimum"], ""),
    ],
)  # fmt: skip
def test_columns_of_options_that_are_not_read(columns: list[str], said: str) -> None:
    notices = judged(["1", "2"], **dict.fromkeys(columns, "x")).notices
    assert said in " ".join(notices)
    assert bool(said) == bool(notices)


def test_options_in_a_form_that_is_not_read() -> None:
    assert (
        "options in 'choices' are in a form that is not read"
        in judged(["A"], choices="one").notices[0]
    )


WORDS = ["yes", "no", "unknown", "None"]


@pytest.mark.parametrize("mode", ["auto", "choice", "text"])
@pytest.mark.parametrize("answer", WORDS)
def test_a_word_that_means_missing_may_be_an_option(mode: Any, answer: str) -> None:
    grader = Correctness(mode=mode)
    parts = {"correctness": {"params": {"mode": mode}}}
    assert judged([answer] * 3, parts, choices=WORDS) == ReferenceVerdict((), (), ())
    for text in (f"<answer>{answer}</answer>", f"The answer is {'ABCD'[WORDS.index(answer)]}."):
        assert grade(text, answer, grader, WORDS).correct, text
    wrong = WORDS[WORDS.index(answer) - 1]
    assert not grade(f"<answer>{wrong}</answer>", answer, grader, WORDS).correct
    is_missing = answer in ("unknown", "None") and mode != "text"
    assert bool(judged([answer], parts).missing) == is_missing, "no options"


@pytest.mark.parametrize(
    ("gold", "text", "right"),
    [
        ("unknown", "<answer>unknown</answer>", True),
        ("unknown", "The answer is Unknown.", True),
        ("None", "<answer>none</answer>", True),
        ("not applicable", "<answer>Not applicable.</answer>", True),
        ("unknown", "<answer>true</answer>", False),
        ("unknown", "<answer>I don't know</answer>", False),
        ("unknown", "", False),
        ("true", "<answer>unknown</answer>", False),
    ],
)
def test_a_word_that_means_missing_is_an_answer_in_words(gold: str, text: str, right: bool) -> None:
    found = grade(text, gold, Correctness(mode="text"))
    assert found.correct == right
    assert found.status != "bad_reference"
    assert grade(text, gold).correct == (right and gold == "true")
    with build_rubric({"correctness": {"params": {"mode": "text"}}}) as rubric:
        proof = prove(rubric, examples(["true", gold, "false"]))
    assert not proof.problems
    assert not proof.missing


def test_the_way_out_is_named_where_every_mark_may_be_an_answer() -> None:
    assert (
        judged(["yes", "unknown"])
        .problems[0]
        .endswith("; if it is an answer, set rewards.parts.correctness.params.mode: text")
    )
    assert "mode: text" not in judged(["yes", "unknown", "NaN"]).problems[0]


def test_choices_may_be_referred_to_by_their_text() -> None:
    grader = Correctness(mode="choice")
    (example,) = examples(["Lima"], choices=["Oslo", "Lima"])
    assert grader.reads(example)
    found = grader.grades([example] * 2, [Completion("<answer>B</answer>"), Completion("A")])
    assert [one.correct for one in found] == [True, False]


@pytest.mark.parametrize(
    "answer",
    [
        "#REF!",
        "#DIV/0!",
        "#VALUE!",
        "#NAME?",
        "#NUM!",
        "#N/A",
        "#NULL!",
        "#BEZUG!",
        "#WERT!",
        "#N/D",
        "#¡VALOR!",
        "#¿NOMBRE?",
        "k. A.",
        "k.A.",
        "n. a.",
        "keine Angabe",
        "non renseigné",
        "#NV",
    ],
)
def test_errors_and_blanks_of_a_spreadsheet(answer: str) -> None:
    verdict = judged(["1", answer])
    assert [one.place for one in verdict.missing] == ["row 3"]
    assert answer in verdict.problems[0]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["1", "many", "N/A", "blue"], ["in row 4;", "2 of 4 references cannot be read: row 3, "]),
        (["1", "2.50"], []),
    ],
)  # fmt: skip
def test_what_is_said_of_an_evaluation(answers: list[str], said: list[str]) -> None:
    with build_rubric({"correctness": {"params": {"mode": "number"}}}) as rubric:
        found = broken_references(rubric, examples(answers), PLACES)
    assert len(found) == len(said)
    for sentence, part in zip(found, said, strict=True):
        assert part in sentence
    with build_rubric({"format": 1.0}) as rubric:
        assert broken_references(rubric, examples(answers), PLACES) == ()


BESIDE_OPTIONS = [
    (
        ["Rome", "Lima"],
        "1 of 2 references are none of the options beside them, such as 'Rome': row",
    ),
    (["True", "False"], "2 of 2 references are none of the options beside them, such as 'True': "),
    (["B", "Lima"], ""),
    (["(b)", "lima"], ""),
    (["The answer is Oslo.\n#### A", "B. Lima"], ""),
]


@pytest.mark.parametrize(("answers", "said"), BESIDE_OPTIONS)
def test_references_that_are_none_of_the_options(answers: list[str], said: str) -> None:
    notices = "\n".join(judged(answers, choices=["Oslo", "Lima"]).notices)
    assert said in notices if said else "none of the options" not in notices


def test_numbers_beside_options_in_another_spelling() -> None:
    assert not judged(["21.50", "22"], choices=["$21.5$", "22 cm"]).notices
