"""Is the answer right? Find it, read it once, compare it with the reference.

    >>> grade("6 times 7 is \\\\boxed{42}", "42").status
    'correct'

Gold answers are read as GSM8K (`… #### 1,234`), MATH (`… \\\\boxed{\\\\frac{1}{2}}`) and AIME
(`042`) write them: the bare answer, or the whole solution that ends with it. There is no credit for
a part of an answer, for one of several answers, for an answer found elsewhere in the text, or for
what was not understood. What is left out: the steps that led to the answer.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass

from groupwise.rewards.math.amounts import Percent, Rules
from groupwise.rewards.math.compare import same
from groupwise.rewards.math.find import RULES, find_answer
from groupwise.rewards.math.guess import MAX_ANSWER_CHARS, Extraction
from groupwise.rewards.math.letters import last_letter, letter_in
from groupwise.rewards.math.numbers import DecimalComma, plain_number
from groupwise.rewards.math.read import read
from groupwise.rewards.math.refusals import knows_nothing
from groupwise.rewards.math.sentences import last_truth, named_of_class, truth_in
from groupwise.rewards.math.spelling import compact, spell
from groupwise.rewards.math.statement import is_value, last_stated, stated
from groupwise.rewards.math.values import (
    Choice,
    Formula,
    Number,
    Quantity,
    Reading,
    Sequence,
    Truth,
    Unread,
    Words,
)
from groupwise.rewards.math.words import plain_words, without_text
from groupwise.rewards.missing import is_missing
from groupwise.rewards.options import gold_letter, options_of
from groupwise.rewards.types import Completion, Example, Grade
from groupwise.rewards.verify.pool import Outcome, shared_pool

Mode = Literal["auto", "math", "number", "choice", "text"]
"""What kind of answer is expected.

- `auto`: the reference decides: a letter A to J is a choice, prose is text, the rest mathematics;
- `math`: mathematics, even where the reference looks like prose or a choice;
- `number`: one number with its unit; never asks math-verify;
- `choice`: one letter;
- `text`: words, compared without case, punctuation and articles.
"""

MAX_REFERENCE_CHARS = 1_000
CACHE_SIZE = 65_536

_SENTENCES = re.compile(r"(?<=[.!?])\s|\n")
_STATING = re.compile(
    r"[=$]|\\\(|\b(?:is|are|equals|was|gives|has|have|pays|costs|gets|needs|earns|takes)\b"
)
_NOT_OTHER = re.compile(r", (?:and )?not [^,.]+\.?$")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")

Kind = Literal["number", "math", "choice", "truth", "text"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference answer as it is compared: its text, what it was read as, and what it asks for."""

    text: str
    kind: Kind
    number: float | None = None  # the value of a short plain number
    comma: DecimalComma = "auto"
    read_as: Reading = ()

    @property
    def reading(self) -> Reading:
        """Every value that it may stand for; of a plain number only where it is asked for."""
        return self.read_as or read(self.text, self.comma)


class Case(NamedTuple):
    """A text to grade. `closed`: it ended by itself and was not cut off."""

    text: str
    gold: str
    closed: bool = True
    options: tuple[str, ...] = ()


def read_reference(
    gold: str, mode: Mode = "auto", comma: DecimalComma = "auto"
) -> Reference | None:
    """The answer out of a reference: bare, at the end of a solution, or what its last sentence
    states. None: missing or unreadable."""
    text = gold.strip()
    numeric = mode in ("auto", "math", "number")
    if numeric and (number := _plain(text, comma)) is not None:
        return Reference(text, "number", number, comma)
    if "####" in text or "\\boxed" in text or "<answer>" in text or "\\fbox" in text:
        found = find_answer(text, ("answer_tag", "boxed", "hash"))
        text = found.text.strip() if found is not None else ""
    elif len(text) > MAX_REFERENCE_CHARS:
        return None
    if is_missing(text) or not compact(spell(text)):
        return None
    if numeric and (number := _plain(text, comma)) is not None:
        return Reference(text, "number", number, comma)
    if mode == "choice":
        letter = letter_in(text)
        return Reference(letter, "choice") if letter else None
    if mode == "text":
        return Reference(text, "text") if plain_words(text) else None
    reading = read(text, comma)
    if comma == "auto" and any(isinstance(value, Sequence) for value in reading):
        reading = tuple(
            v for v in reading if not (isinstance(v, (Number, Quantity)) and "," in text)
        )
    if len(_WORD.findall(text)) > 2 and not is_value(reading):
        prose = _prose_value(text)
        text, reading = (prose, read(prose, comma)) if prose is not None else (text, reading)
    kind = _kind(reading, mode)
    if mode == "number" and kind != "number":
        return None
    return Reference(text, kind, None, comma, reading)


def _plain(text: str, comma: DecimalComma) -> float | None:
    return None if comma == "always" and "," in text else plain_number(text)


def _prose_value(text: str) -> str | None:
    """The value that a reference in prose ends with: "Then 3 + 5 = 8. The answer is: 8."."""
    if (found := find_answer(text, ("phrase",))) is not None:
        words = found.text if is_value(read(found.text), words_too=True) else None
        return stated(found.text) or letter_in(found.text) or words
    *before, last = [s for s in _SENTENCES.split(text.strip()) if s.strip()]
    if not text.strip().endswith((".", "$", "!")) or any(is_value(read(s)) for s in before):
        return None
    return stated(last) if _STATING.search(last) else None


def _kind(reading: Reading, mode: Mode) -> Kind:
    first = reading[0]
    if mode == "auto":
        if isinstance(first, Choice) and not first.bare:
            return "choice"
        if isinstance(first, Truth):
            return "truth"
        if isinstance(first, Words):
            return "text"
    plain = isinstance(first, Number) or (
        isinstance(first, Quantity) and isinstance(first.amount, Number)
    )
    return "number" if plain else "math"


@checked_dataclass(frozen=True, config={"extra": "forbid"})
class Correctness:
    """1.0 for a right answer, 0.0 for a wrong or missing one, None if nothing can be known.

    `extract` are the rules that may find the answer, in descending priority (see `find.RULES`).
    `percent` says what `25%` equals. `decimal_comma` says how `2,50` is read: `always` as a decimal,
    `never`, or `auto`, where it can be no thousands. `tolerance` (absolute) and
    `relative_tolerance` allow numbers to differ. `timeout_s` bounds one comparison by math-verify.
    A reference that cannot be read or a comparison that was stopped gives None: a broken grader
    must not look like a bad model.
    """

    mode: Mode = "auto"
    extract: tuple[str, ...] = RULES
    percent: Percent = "either"
    decimal_comma: DecimalComma = "auto"
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

    def score_batch(
        self, examples: Ordered[Example], completions: Ordered[Completion]
    ) -> list[float | None]:
        return [self.value(grade) for grade in self.grades(examples, completions)]

    def value(self, grade: Grade) -> float | None:
        """What a grade is worth: `correct`, `wrong`, or None if nothing is known."""
        if grade.status in ("timeout", "bad_reference"):
            return None
        return self.correct if grade.correct else self.wrong

    def grades(self, examples: Ordered[Example], completions: Ordered[Completion]) -> list[Grade]:
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
        for case in cases:
            gold = gold_letter(case.gold, case.options) if case.options else case.gold
            reference = _cached_reference(gold, self.mode, self.decimal_comma)
            if reference is None:
                grades.append(_BAD_REFERENCE)
                continue
            found = self._find(case, reference)
            if found is None or _says_nothing(found.text):
                grades.append(_UNPARSEABLE)
                continue
            verdict = _compare(reference, found.text, rules, self.decimal_comma)
            if verdict is None and not (is_value(reference.reading) and is_value(read(found.text))):
                verdict = False  # math-verify is asked only about what was understood
            if verdict is None:
                undecided.setdefault((reference.text, found.text), []).append(len(grades))
            grades.append(_grade(bool(verdict), found))
        if undecided:
            self._ask_math_verify(undecided, grades, rules)
        return grades

    def _ask_math_verify(
        self, undecided: dict[tuple[str, str], list[int]], grades: list[Grade], rules: Rules
    ) -> None:
        pairs = list(undecided)
        spelled = [(_for_math_verify(gold), _for_math_verify(answer)) for gold, answer in pairs]
        outcomes = shared_pool().verify(spelled, self.timeout_s)
        for pair, outcome in zip(pairs, outcomes, strict=True):
            for index in undecided[pair]:
                grades[index] = _grade_outcome(outcome, grades[index])
            if outcome != "stopped":  # a timeout depends on how busy the machine is
                _verdicts.put((*pair, rules, "math"), outcome == "equal")

    def _find(self, case: Case, reference: Reference) -> Extraction | None:
        """What the text gives as its answer, of the kind that the reference asks for."""
        numeric = reference.kind == "number"
        found = find_answer(case.text, self.extract, closed=case.closed, numeric=numeric)
        if case.options and found is not None and reference.kind != "choice":
            found = _with_option(found, case.options)
        if reference.kind == "choice":
            return _find_letter(case, found, self.extract)
        if reference.kind in ("text", "truth"):
            return _find_words(case, found, reference, self.extract)
        sentence = ("answer_tag", "phrase", "hash", "whole")
        if found is None or (
            found.found_by not in sentence and not (found.found_by == "boxed" and numeric)
        ):
            return found
        return _find_value(case.text, found, reference)


def _says_nothing(text: str) -> bool:
    return not text[:1].isdigit() and knows_nothing(without_text(text))


def _find_value(text: str, found: Extraction, reference: Reference) -> Extraction:
    """What a marked sentence states, where it is no value itself."""
    if reference.text.endswith("!") and found.found_by == "phrase":
        # The mark that ends a sentence, unless the reference is a factorial too
        end = found.start + len(found.text)
        if found.text[-1:].isdigit() and text[end : end + 1] == "!":
            return found._replace(text=found.text + "!")
    if plain_number(found.text) is not None:
        return found
    reading = read(found.text)
    if (
        isinstance(reading[0], Choice)
        and not reading[0].rest
        and not isinstance(reference.reading[0], Choice)
    ):  # "The lecture begins at 1:45. The answer is D.": the value stands before its letter
        before = last_stated(text[: found.start].rpartition(".")[0])
        return found if before is None else Extraction(before[0], found.found_by, before[1])
    if is_value(reading, words_too=True) or _same_texts(reference, found.text):
        return found
    with_unit = isinstance(reference.reading[0], Quantity)
    value = stated(found.text, with_unit=with_unit)
    return found if value is None else found._replace(text=value)


def _find_letter(case: Case, found: Extraction | None, rules: Ordered[str]) -> Extraction | None:
    """The letter of an option: as marked, by the option's text, or on the last line with one."""
    text = case.text
    marked = found is not None and found.found_by in ("answer_tag", "boxed", "hash", "phrase")
    if found is not None and (marked or found.found_by == "whole"):
        letter = letter_in(found.text[:MAX_ANSWER_CHARS])
        if letter is None and case.options:
            letter = _option_named(found.text, case.options)
        if letter is not None and not _contradicts(letter, found.text, case.options):
            return found._replace(text=letter)
        if marked and found.found_by != "boxed":
            return None if isinstance(read(found.text)[0], Choice) else found
    if "whole" not in rules or not case.closed or text.rfind("<think>") > text.rfind("</think>"):
        return found
    behind = text[found.start + len(found.text) :] if found is not None and marked else text
    last = last_letter(behind[behind.rfind("</think>") + 1 :])
    if last is not None:
        return Extraction(last[0], "last_choice", len(text) - len(behind) + last[1])
    if case.options and (value := last_stated(text)) is not None:
        letter = _option_named(value[0], case.options)
        if letter is not None:
            return Extraction(letter, "last_choice", value[1])
    if found is None or isinstance(read(found.text)[0], Choice):
        return None  # a letter that was taken back
    return found if marked or found.found_by == "whole" else None


def _contradicts(letter: str, text: str, options: tuple[str, ...]) -> bool:
    """Whether the text behind a letter is that of another option."""
    rest = re.sub(r"^[\s(*]*[A-Z][\s).:*(]+", "", text).strip(" )")
    named = _option_named(rest, options) if options and rest else None
    return named is not None and named != letter


def _with_option(found: Extraction, options: tuple[str, ...]) -> Extraction:
    """The option's text where its letter was given."""
    if not is_value(read(found.text)) or isinstance(read(found.text)[0], Choice):
        letter = letter_in(found.text)
        if letter is not None and len(letter) == 1 and ord(letter) - 65 < len(options):
            return found._replace(text=options[ord(letter) - 65])
    return found


def _option_named(text: str, options: tuple[str, ...]) -> str | None:
    """The letter of the one option that a text equals."""
    reading = read(text)
    equal = [i for i, option in enumerate(options) if same(read(option), reading, Rules()) is True]
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[equal[0]] if len(equal) == 1 else None


def _find_words(
    case: Case, found: Extraction | None, reference: Reference, rules: Ordered[str]
) -> Extraction | None:
    """Words as marked; else the truth value, or the one word of a class, that the text ends on."""
    guessed = found is None or found.found_by in ("last_number", "last_math", "bold")
    if found is not None and (found.found_by == "last_math" and "\\text" in found.text):
        guessed = False
    text = case.text if guessed or found is None else _NOT_OTHER.sub("", found.text)
    if guessed and (not case.closed or "whole" not in rules):
        return None
    if reference.kind == "truth":
        word = last_truth(text) if guessed else truth_in(text)
    else:
        word = named_of_class(text, reference.text)
    if word is None:
        return None if guessed or found is None else found._replace(text=text)
    if found is None or guessed:
        return Extraction(word, "last_word", max(0, text.rfind(word)))
    return found._replace(text=word)


def _compare(reference: Reference, answer: str, rules: Rules, comma: DecimalComma) -> bool | None:
    if reference.text == answer:  # the commonest right answer; no cache is faster
        return True
    if reference.number is not None and not (rules.tolerance or rules.relative_tolerance):
        # Both have at most 15 digits, so that equal decimals are equal floats. A tiny difference is
        # left to `same`, which knows about rounding in the sixth decimal
        number = _plain(answer, comma)
        if number is not None and (
            number == reference.number or abs(number - reference.number) > 1e-6
        ):
            return number == reference.number
    key = (reference.text, answer, rules, (reference.kind, comma))
    verdict = _verdicts.get(key)
    if verdict is None:
        verdict = _same_texts(reference, answer) or same(
            reference.reading, read(answer, comma), rules
        )
        if verdict is None:
            verdict = _verdicts.get((reference.text, answer, rules, "math"))
        if verdict is not None:
            _verdicts.put(key, verdict)
    return verdict


def _same_texts(reference: Reference, answer: str) -> bool:
    """Whether the texts agree, whatever they mean."""
    if len(answer) > 4 * MAX_REFERENCE_CHARS:
        return False
    gold, spelled = compact(spell(reference.text)), compact(spell(answer))
    if gold == spelled:
        return True
    return reference.kind == "text" and plain_words(reference.text) == plain_words(answer) != ""


def _grade(equal: bool, found: Extraction) -> Grade:
    return Grade(equal, "correct" if equal else "wrong", found.text, found.found_by)


def _grade_outcome(outcome: Outcome, grade: Grade) -> Grade:
    equal = outcome == "equal"
    status = "timeout" if outcome == "stopped" else "correct" if equal else "wrong"
    return Grade(equal, status, grade.extracted, grade.found_by)


def _for_math_verify(text: str) -> str:
    return spell(text).replace("°", "").replace("≈", "=").replace("*", " \\cdot ")


class _VerdictCache:
    """Verdicts by (gold, extracted, rules, kind); the least recently used are dropped."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._entries: OrderedDict[tuple[object, ...], bool] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[object, ...]) -> bool | None:
        with self._lock:
            verdict = self._entries.get(key)
            if verdict is not None:
                self._entries.move_to_end(key)
            return verdict

    def put(self, key: tuple[object, ...], verdict: bool) -> None:
        with self._lock:
            self._entries[key] = verdict
            if len(self._entries) > self.size:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()


_BAD_REFERENCE = Grade(False, "bad_reference")
_UNPARSEABLE = Grade(False, "unparseable")
_verdicts = _VerdictCache(CACHE_SIZE)
_references: dict[tuple[str, Mode, DecimalComma], Reference] = {}


def _cached_reference(gold: str, mode: Mode, comma: DecimalComma) -> Reference | None:
    key = (gold, mode, comma)
    reference = _references.get(key)
    if reference is None:  # also where it was unreadable: that is rare, and quick to find again
        if len(_references) >= 16_384:
            _references.clear()
        reference = read_reference(gold, mode, comma)
        if reference is not None:
            _references[key] = reference
    return reference


_DEFAULT = Correctness()


def grade(
    text: str, gold: str, grader: Correctness = _DEFAULT, choices: Ordered[str] | None = None
) -> Grade:
    """Whether a text's final answer equals the gold answer; `grader` holds the choices of grading,
    `choices` the texts of a multiple choice's options.

    Raises:
        UserError: math-verify is needed and cannot be started.
    """
    return grader.grade_cases([Case(text, gold, True, tuple(choices or ()))])[0]


def grade_many(pairs: Iterable[tuple[str, str]], grader: Correctness = _DEFAULT) -> list[Grade]:
    """`grade` for (text, gold) pairs, in order; math-verify runs in parallel."""
    return grader.grade_cases(Case(text, gold) for text, gold in pairs)


def clear_caches() -> None:
    """Forget all verdicts, references and readings; for benchmarks."""
    _verdicts.clear()
    _references.clear()
    read.cache_clear()
