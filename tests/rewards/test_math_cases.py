"""Which answers equal which references: the cases in `cases/`, each a line of JSON.

    {"gold": "5 m", "answer": "500 cm", "right": true, "convention": "..."}

`answer` is a bare answer, tried under every mark; `text` is a whole text, graded as it is.
`convention` is the rule that the case stands for. What else a line may hold: `choices` (the texts
of a question's options), `grader` (parameters of Correctness), `cut_off` (the text ended at a token
limit), and what the grade must say beside its verdict: `status`, `extracted`, `found_by`.

To add a case, add a line to the file of its kind. What is no line is in `test_math_more.py`; rules
over generated cases are in `test_math_principles.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groupwise.rewards import Completion, Correctness, Example, Grade, grade, grade_many

Case = dict[str, Any]

FOLDER = Path(__file__).parent / "cases"
MARKS = {
    "bare": "%s",
    "boxed": r"We get 3 and then 17. Thus $\boxed{%s}$.",
    "minerva": "Some 12 work.\nThe final answer is $%s$. I hope it is correct.",
    "answer": "Some 12 work.\nAnswer: %s",
    "tags": "<think>3 x</think><answer>%s</answer>",
}
REQUIRED = {"gold", "right", "convention"}
SAID = ("status", "extracted", "found_by")
OPTIONAL = {"choices", "grader", "cut_off", *SAID}


def read(path: Path) -> list[Case]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


FILES = {path.stem: read(path) for path in sorted(FOLDER.glob("*.jsonl"))}
UNDER_MARKS = [
    (name, mark)
    for name, cases in FILES.items()
    for mark in (*MARKS, "text")
    if any(("text" in case) == (mark == "text") for case in cases)
]


def text_of(case: Case, mark: str) -> str:
    if mark == "text":
        return str(case["text"])
    return MARKS[mark].replace("%s", case["answer"])


def grade_case(text: str, case: Case) -> Grade:
    grader = Correctness(**case.get("grader", {}))
    if "choices" in case:
        return grade(text, case["gold"], grader, choices=case["choices"])
    reason = "length" if case.get("cut_off") else "stop"
    [got] = grader.grades([Example("", "", case["gold"])], [Completion(text, finish_reason=reason)])
    return got


def grades_of(cases: list[Case], mark: str) -> list[Grade]:
    """Plain cases in one batch, so that math-verify runs in parallel."""
    plain = [case for case in cases if not case.keys() & {"choices", "grader", "cut_off"}]
    batch = iter(grade_many([(text_of(case, mark), case["gold"]) for case in plain]))
    ids = {id(case) for case in plain}
    return [
        next(batch) if id(case) in ids else grade_case(text_of(case, mark), case) for case in cases
    ]


@pytest.mark.parametrize(("name", "mark"), UNDER_MARKS)
def test_cases(name: str, mark: str) -> None:
    cases = [case for case in FILES[name] if ("text" in case) == (mark == "text")]
    wrong = []
    for case, got in zip(cases, grades_of(cases, mark), strict=True):
        differs = [key for key in SAID if key in case and getattr(got, key) != case[key]]
        if got.correct != case["right"] or differs:
            wrong.append(
                f"gold {case['gold']!r}, text {text_of(case, mark)!r}: {got}, "
                f"expected {'right' if case['right'] else 'wrong'}"
                f"{''.join(f', {key} {case[key]!r}' for key in differs)}: {case['convention']}"
            )
    if wrong:
        pytest.fail(f"{len(wrong)} of {len(cases)}\n" + "\n".join(wrong), pytrace=False)


@pytest.mark.parametrize("name", FILES)
def test_every_line_is_whole(name: str) -> None:
    for case in FILES[name]:
        assert case.keys() >= REQUIRED, case
        assert ("answer" in case) != ("text" in case), case
        assert case.keys() <= REQUIRED | OPTIONAL | {"answer", "text"}, case
        assert isinstance(case["gold"], str), case
        assert isinstance(case["right"], bool), case
        assert case["convention"][:1].isupper() or case["convention"][:1] == "`", case
        assert case["convention"].endswith("."), case
        if not case["right"]:
            assert case.get("status") != "correct", case


def test_no_case_stands_twice() -> None:
    seen: dict[str, str] = {}
    for name, cases in FILES.items():
        for case in cases:
            key = json.dumps(
                {k: v for k, v in case.items() if k not in ("right", "convention", *SAID)},
                sort_keys=True,
            )
            assert key not in seen, (name, seen[key], case)
            seen[key] = name


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_right_and_wrong_cases(name: str) -> None:
    verdicts = {case["right"] for case in FILES[name]}
    assert verdicts == {True, False}


def test_every_reference_scores_full_and_nothing_scores_zero() -> None:
    golds = {
        case["gold"]: None
        for cases in FILES.values()
        for case in cases
        if case["right"] and "answer" in case and not case.keys() & {"choices", "grader"}
    }
    boxed = [gold if "boxed" in gold else f"\\boxed{{{gold}}}" for gold in golds]
    grades = grade_many(zip(boxed, golds, strict=True))
    assert [g for g, got in zip(golds, grades, strict=True) if not got.correct] == []
    assert not any(got.correct for got in grade_many(("", gold) for gold in golds))
