"""Is the answer right? Find it, read it once, compare it with the reference.

    >>> grade("6 times 7 is \\\\boxed{42}", "42").status
    'correct'

There is no credit for a part of an answer, for one of several answers, for an answer found
elsewhere in the text, or for what was not understood. What is left out: the steps that led to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from numbers import Number
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass

from groupwise.rewards.errors import UserError
from groupwise.rewards.math.amounts import Percent, Rules
from groupwise.rewards.math.compare import same
from groupwise.rewards.math.find import RULES, find_answer, visible
from groupwise.rewards.math.guess import Extraction
from groupwise.rewards.math.numbers import DecimalComma, as_english
from groupwise.rewards.math.read import read
from groupwise.rewards.math.reference import Mode, Reference, read_reference, short_number
from groupwise.rewards.math.refusals import knows_nothing
from groupwise.rewards.math.spelling import spell
from groupwise.rewards.math.statement import is_value, last_stated
from groupwise.rewards.math.wanted import (
    Case,
    find_letter,
    find_value,
    find_words,
    same_texts,
    with_option,
)
from groupwise.rewards.math.words import without_text
from groupwise.rewards.missing import is_label, is_missing
from groupwise.rewards.options import gold_letter, letter_of_text, options_of
from groupwise.rewards.types import Completion, Example, Grade, Status
from groupwise.rewards.verify.pool import Outcome, shared_pool

CACHE_SIZE = 65_536

_SENTENCES = ("answer_tag", "phrase", "hash", "whole")  # rules whose answer may be a sentence


@checked_dataclass(frozen=True, config={"extra": "forbid"})
class Correctness:
    """1.0 for a right answer, 0.0 for a wrong or missing one, None if nothing can be known.

    `extract` are the rules that may find the answer; their priority is that of `find.RULES`.
    `percent` says what `25%` equals, `decimal_comma` how `2,50` is read: `always` as a decimal,
    `never`, or `auto`, where it can be no thousands; `european`: as a decimal, and `1.250` as 1250,
    in references and answers. `tolerance` (absolute) and `relative_tolerance` allow numbers to
    differ. `timeout_s` bounds one comparison by math-verify.
    A reference that cannot be read or a comparison that was stopped gives None: a broken grader
    must not look like a bad model.
    """

    mode: Mode = "auto"
    extract: tuple[str, ...] = RULES
    percent: Percent = "either"
    decimal_comma: Literal["auto", "never", "always", "european"] = "auto"
    tolerance: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    relative_tolerance: float = Field(default=0.0, ge=0.0, lt=1.0)
    timeout_s: float = Field(default=3.0, gt=0.0, le=120.0)
    correct: float = Field(default=1.0, allow_inf_nan=False)
    wrong: float = Field(default=0.0, allow_inf_nan=False)

    def __post_init__(self) -> None:
        unknown = [rule for rule in self.extract if rule not in RULES]
        if unknown:
            raise ValueError(f"unknown extraction rule {unknown[0]!r}; known: {', '.join(RULES)}")
        if not self.extract:
            raise ValueError("extract names no rule")

    @property
    def comma(self) -> DecimalComma:
        """How commas are read once European numbers are written as English ones."""
        return "never" if self.decimal_comma == "european" else self.decimal_comma

    def score_batch(
        self, examples: Sequence[Example], completions: Sequence[Completion]
    ) -> list[float | None]:
        return [self.value(grade) for grade in self.grades(examples, completions)]

    def value(self, grade: Grade) -> float | None:
        """What a grade is worth: `correct`, `wrong`, or None if nothing is known."""
        if grade.status in ("timeout", "bad_reference"):
            return None
        return self.correct if grade.correct else self.wrong

    def grades(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        """The grade of each completion against its example's answer."""
        return self.grade_cases(
            Case(
                completion.text,
                example.answer,
                completion.finish_reason == "stop",
                options_of(example.metadata) if example.metadata else (),
            )
            for example, completion in zip(examples, completions, strict=True)
        )

    def grade_cases(self, cases: Iterable[Case]) -> list[Grade]:
        """Grades for cases, in order; math-verify runs in parallel.

        Raises:
            UserError: math-verify is needed and cannot be started.
        """
        rules = Rules(self.percent, self.tolerance, self.relative_tolerance)
        grades: list[Grade] = []
        undecided: dict[tuple[str, str], list[int]] = {}
        for raw in cases:
            case = self._written(raw)
            reference = self._reference(case)
            found = self._find(case, reference) if reference is not None else None
            if reference is None or found is None or _says_nothing(found.text, reference):
                grades.append(_BAD_REFERENCE if reference is None else _UNPARSEABLE)
                continue
            verdict = _compare(reference, found.text, rules, self.comma)
            if verdict is None and self.mode != "number":
                undecided.setdefault((reference.text, found.text), []).append(len(grades))
            status: Status = "correct" if verdict else "wrong"
            grades.append(Grade(bool(verdict), status, found.text, found.found_by))
        if undecided:
            self._ask_math_verify(undecided, grades)
        return grades

    def reads(self, example: Example) -> bool:
        """Whether the example's reference can be graded against."""
        case = Case("", example.answer, True, options_of(example.metadata))
        return self._reference(self._written(case)) is not None

    def _written(self, case: Case) -> Case:
        """The case as text, in English notation; a gold that is a number has no other one."""
        english = as_english if self.decimal_comma == "european" else str
        is_text = isinstance(case.gold, str)
        return Case(
            english(as_text(case.text, "text")),
            english(case.gold) if is_text else as_text(case.gold, "gold"),
            case.closed,
            tuple(map(english, case.options)),
        )

    def _reference(self, case: Case) -> Reference | None:
        gold = gold_letter(case.gold, case.options) if case.options else case.gold
        # "unknown" says nothing, unless it is one of the options
        if case.options and (self.mode == "choice" or is_missing(gold)):
            letter = letter_of_text(gold, case.options)
            if letter is not None:
                return Reference(letter, "choice")
        return read_reference(gold, self.mode, self.comma)

    def _find(self, case: Case, reference: Reference) -> Extraction | None:
        """What the text gives as its answer, of the kind that the reference asks for."""
        case = case._replace(text=visible(case.text))
        numeric = reference.kind == "number"
        found = find_answer(case.text, self.extract, closed=case.closed, numeric=numeric)
        if reference.kind == "choice":
            return find_letter(case, found, self.extract)
        if case.options and found is not None:
            found = with_option(found, case.options)
        if reference.kind in ("text", "truth"):
            return find_words(case, found, reference, self.extract)
        if found is not None and found.found_by == "last_number" and reference.has_unit:
            stated = last_stated(case.text[found.start :], with_unit=True)
            return found if stated is None else found._replace(text=stated[0])
        if found is None or not (
            found.found_by in _SENTENCES or (numeric and found.found_by == "boxed")
        ):
            return found
        return find_value(case.text, found, reference)

    def _ask_math_verify(
        self, undecided: dict[tuple[str, str], list[int]], grades: list[Grade]
    ) -> None:
        outcomes = {pair: _told[pair] for pair in undecided if pair in _told}
        pairs = [pair for pair in undecided if pair not in outcomes]
        spelled = [(_for_math_verify(gold), _for_math_verify(answer)) for gold, answer in pairs]
        told = dict(zip(pairs, shared_pool().verify(spelled, self.timeout_s), strict=True))
        if len(_told) + len(pairs) > CACHE_SIZE:
            _told.clear()
        # A timeout depends on how busy the machine is
        _told.update({pair: out for pair, out in told.items() if out != "stopped"})
        for pair, outcome in (outcomes | told).items():
            for index in undecided[pair]:
                grades[index] = _grade_outcome(outcome, grades[index])


def _says_nothing(text: str, reference: Reference) -> bool:
    """Whether the answer is "unknown" or the like, where that is not the reference itself."""
    if text[:1].isdigit() or not knows_nothing(without_text(text)):
        return False
    return not (reference.kind == "text" and is_label(reference.text))


def _compare(reference: Reference, answer: str, rules: Rules, comma: DecimalComma) -> bool | None:
    if reference.text == answer:  # the commonest right answer; no cache is faster
        return True
    if reference.number is not None and not (rules.tolerance or rules.relative_tolerance):
        # Both have at most 15 digits, so that equal decimals are equal floats. A tiny difference is
        # left to `same`, which knows about rounding in the sixth decimal
        number = short_number(answer, comma)
        if number is not None and (
            number == reference.number or abs(number - reference.number) > 1e-6
        ):
            return number == reference.number
    return _verdict(reference, answer, rules, comma)


@lru_cache(maxsize=CACHE_SIZE)
def _verdict(reference: Reference, answer: str, rules: Rules, comma: DecimalComma) -> bool | None:
    """Equal or not; None where math-verify is to be asked, because both were read."""
    if same_texts(reference, answer):
        return True
    reading = read(answer, comma)
    verdict = same(reference.reading, reading, rules)
    understood = verdict is not None or (is_value(reference.reading) and is_value(reading))
    return verdict if understood else False


def _grade_outcome(outcome: Outcome, grade: Grade) -> Grade:
    equal = outcome == "equal"
    status: Status = "timeout" if outcome == "stopped" else "correct" if equal else "wrong"
    return Grade(equal, status, grade.extracted, grade.found_by)


def _for_math_verify(text: str) -> str:
    return spell(text).replace("°", "").replace("≈", "=").replace("*", " \\cdot ")


_BAD_REFERENCE = Grade(False, "bad_reference")
_UNPARSEABLE = Grade(False, "unparseable")
_told: dict[tuple[str, str], Outcome] = {}  # what math-verify said of (gold, answer)
_DEFAULT = Correctness()


def grade(
    text: str,
    gold: str | float,
    grader: Correctness = _DEFAULT,
    choices: Sequence[str] | None = None,
) -> Grade:
    """Whether a text's final answer equals the gold answer; a number is taken as its text.

    `grader` holds the conventions, `choices` the texts of a multiple choice's options.

    Raises:
        UserError: one of them is neither a text nor a number, or math-verify is needed and cannot
            be started.
    """
    return grader.grade_cases([Case(text, gold, True, tuple(choices or ()))])[0]


def grade_many(
    pairs: Iterable[tuple[str, str | float]], grader: Correctness = _DEFAULT
) -> list[Grade]:
    """`grade` for (text, gold) pairs, in order; math-verify runs in parallel."""
    return grader.grade_cases(Case(text, gold) for text, gold in pairs)


def as_text(value: object, what: str) -> str:
    """A text as it is, a number written out.

    Raises:
        UserError: anything else, such as None.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Number):
        return str(value)
    shown = "None" if value is None else f"a {type(value).__name__}, {value!r:.60}"
    raise UserError(f"grading: the {what} is {shown}; it has to be a text or a number")


def clear_caches() -> None:
    """Forget all verdicts, references and readings, as if nothing had been graded."""
    _told.clear()
    for cached in (_verdict, read_reference, read):
        cached.cache_clear()
