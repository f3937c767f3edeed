"""Is the answer right? Extract it, compare it fast, ask math-verify only where that cannot tell.

    >>> grade("6 times 7 is \\\\boxed{42}", "42").status
    'correct'

Gold answers are read as GSM8K (`… #### 1,234`), MATH (`… \\\\boxed{\\\\frac{1}{2}}`) and AIME
(`042`) write them: the bare answer, or the whole solution that ends with it. There is no credit for
a part of an answer, for one of several answers, or for an answer found elsewhere in the text. What
is left out: the steps that led to the answer.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass

from groupwise.rewards.math.choices import choice_letter, without_choice
from groupwise.rewards.math.compare import same
from groupwise.rewards.math.extract import RULES, find_answer
from groupwise.rewards.math.latex import FRACTIONS, POWERS, canonical, unwrap
from groupwise.rewards.math.quantities import plain_number, read_quantity
from groupwise.rewards.math.unmarked import MAX_ANSWER_CHARS, NUMBER, SCALE, Extraction
from groupwise.rewards.math.values import Percent, Rules
from groupwise.rewards.math.verify_pool import Outcome, shared_pool
from groupwise.rewards.math.words import is_words, named, plain_words
from groupwise.rewards.types import Completion, Example, Grade

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

_MARKED_CHOICE = re.compile(
    r"\(([A-J])\)|\b(?:[Oo]ption|[Cc]hoice|[Gg]raph|[Ff]igure) ([A-J])\b|\*\*\(?([A-J])\)?[.:]?\*\*"
)
# Of a sentence, its only number is the answer; of a formula it is not: 5! is not 5
_NOT_PROSE = re.compile(
    r"[=^\\{}<>|±]|\b(?:not|wrong|incorrect|anything but)\b|n['’]t\b"
    r"|\b(?:less|more|fewer|greater|other) than [$\d]|\d ?!+(?=[^\s!])|^[^A-Za-z]*\d ?!"
    r"|- ?\("  # -(-7)
)
# What explains an answer is no part of it: "42, since 6 * 7 = 42", "42 (6 * 7)", "42, not 43"
_CLAUSE = re.compile(
    r",? (?:because|since|as|which)\b|, (?:so|that is|i\.e\.|meaning|not)\b"
    r"|; (?=[A-Za-z])| (?:per|every) (?=\d)"
    r"| \((?![-$\d.,?]*\))(?=(?:[^()]|\([^()]*\))*\)\D*$)"
)
_CALCULATOR = re.compile(r"<<[^<>\n]{0,200}>>")  # GSM8K: 20*2=<<20*2=40>>40
_DENIED = re.compile(r"^(?:, | \()not [-$\d.,]+\)?$")
_HEDGE = re.compile(
    r"\b(?:or|not|no|either|maybe|perhaps|possibly|alternative(?:ly)?|wrong|incorrect|wait"
    r"|actually|also|otherwise|again|well|bound|(?:could|might|may) be)\b|n['’]t\b",
    re.IGNORECASE,
)
# 17i, 17/x, 17 pi and 17½ are not 17, but 17m is
_SYMBOL = re.compile(
    r"[A-Za-z](?![A-Za-z])(?<![mglhs])|\s?[+/*]\s?[A-Za-z](?![A-Za-z])|\^|_|\s?[-+*/]\s*$"
    rf"|\s?[{FRACTIONS}{POWERS}]|\s?[/*]?\s?(?:pi|sqrt|sin|cos|tan|log|ln|squared|cubed)(?![a-z])"
)
# "6*7, which is 42", "40, so 42": what was said before is explained, and the value comes last
_RESULT = re.compile(
    r", (?:(?:which|that) (?:is|equals|makes|gives|means)(?: equal to)?|so|i\.e\.|meaning) ([^,;]+)"
)
_INSTEAD = re.compile(r"not [^,;.]{1,40},? but (?:rather )?([^,;]+)")
_SHORT_SCALE = re.compile(r"(\$?\d[\d,]*(?:\.\d+)?)([kKM])")
_SINGLE_CHOICE = re.compile(r"[\s(*]*([A-J])[\s).:*]*")


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference answer as it is compared: its text, and the kind of answer that it asks for."""

    text: str
    kind: Literal["number", "math", "choice", "text"]
    number: float | None = None  # the value of a short plain number


def read_reference(gold: str, mode: Mode = "auto") -> Reference | None:
    """The answer out of a reference: bare, or the end of a whole solution. None: unreadable."""
    text = gold.strip()
    if mode in ("auto", "math", "number") and (number := plain_number(text)) is not None:
        return Reference(text, "number", number)
    if "####" in text or "\\boxed" in text or "<answer>" in text or "\\fbox" in text:
        found = find_answer(text, ("answer_tag", "boxed", "hash"))
        text = found.text if found is not None else ""
    elif len(text) > MAX_REFERENCE_CHARS:
        return None
    text = text.strip()
    if mode in ("auto", "math", "number") and (number := plain_number(text)) is not None:
        return Reference(text, "number", number)
    if not text or not canonical(text):
        return None
    if mode == "number":
        return Reference(text, "number") if read_quantity(canonical(text)) else None
    if mode == "choice":
        letter = choice_letter(canonical(text))
        return Reference(letter, "choice") if letter else None
    if mode == "text":
        return Reference(text, "text") if plain_words(text) else None
    spelled = canonical(text)
    if mode == "auto":
        if choice_letter(spelled):
            return Reference(text, "choice")
        if is_words(spelled):
            return Reference(text, "text")
    return Reference(text, "number" if read_quantity(spelled) else "math")


@checked_dataclass(frozen=True, config={"extra": "forbid"})
class Correctness:
    """1.0 for a right answer, 0.0 for a wrong or missing one, None if nothing can be known.

    `extract` are the rules that may find the answer, in descending priority (see `extract.RULES`).
    `percent` says what `25%` equals. `tolerance` (absolute) and `relative_tolerance` allow numbers
    to differ. `timeout_s` bounds one comparison by math-verify. A reference that cannot be read or
    a comparison that was stopped gives None: a broken grader must not look like a bad model.
    """

    mode: Mode = "auto"
    extract: tuple[str, ...] = RULES
    percent: Percent = "either"
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
        return self.grade_texts(
            (completion.text, example.answer, completion.finish_reason == "stop")
            for example, completion in zip(examples, completions, strict=True)
        )

    def grade_texts(self, cases: Iterable[tuple[str, str, bool]]) -> list[Grade]:
        """Grades for (text, gold, whether the text ended by itself and was not cut off).

        Raises:
            UserError: math-verify is needed and cannot be started.
        """
        rules = Rules(self.percent, self.tolerance, self.relative_tolerance)
        grades: list[Grade | None] = []
        undecided: dict[tuple[str, str], list[int]] = {}
        found_at: list[Extraction | None] = []
        for text, gold, closed in cases:
            reference = _cached_reference(gold, self.mode)
            found = self._find(text, reference, closed) if reference is not None else None
            found_at.append(found)
            if reference is None or found is None:
                grades.append(_BAD_REFERENCE if reference is None else _UNPARSEABLE)
            else:
                verdict = _compare(reference, found.text, rules)
                grades.append(None if verdict is None else _grade(verdict, found))
                if verdict is None:
                    pair = (reference.text, found.text)
                    undecided.setdefault(pair, []).append(len(grades) - 1)
        if undecided:
            pairs = list(undecided)
            outcomes = shared_pool().verify(
                [(_for_math_verify(g), _for_math_verify(a)) for g, a in pairs], self.timeout_s
            )
            for pair, outcome in zip(pairs, outcomes, strict=True):
                for index in undecided[pair]:
                    found = found_at[index]
                    assert found is not None
                    grades[index] = _grade_outcome(outcome, found)
                if outcome != "stopped":  # a timeout depends on how busy the machine is
                    _verdicts.put((*pair, rules, "math"), outcome == "equal")
        return [grade for grade in grades if grade is not None]

    def _find(self, text: str, reference: Reference, closed: bool) -> Extraction | None:
        found = find_answer(text, self.extract, closed=closed, numeric=reference.kind == "number")
        if reference.kind == "choice":
            return _find_choice(text, found, self.extract)
        if reference.kind == "text" and found is not None:
            named = found.found_by == "last_math" and "\\text" in found.text
            guess = not named and found.found_by in ("last_number", "last_math", "bold")
            return None if guess else found
        if found is not None and "!" in reference.text and found.found_by == "phrase":
            # The mark that ends a sentence, unless the reference is a factorial too
            end = found.start + len(found.text)
            if found.text[-1:].isdigit() and text[end : end + 1] == "!":
                return found._replace(text=found.text + "!")
        if found is not None and found.found_by in ("answer_tag", "phrase", "hash"):
            return _inner(found, reference)
        return found


def _inner(found: Extraction, reference: Reference) -> Extraction:
    """An answer in a sentence ("She has 72 clips left"): its number, if it is the only one."""
    text = found.text
    if plain_number(text) is not None:
        return found
    if reference.number is not None and (short := _SHORT_SCALE.fullmatch(text)):  # $42K
        return found._replace(text=short[1] + (" million" if short[2] == "M" else " thousand"))
    if reference.kind != "number" or read_quantity(canonical(text)) is not None:
        return found
    if (instead := _INSTEAD.fullmatch(text)) is not None:
        return found._replace(text=instead[1])
    if "<<" in text:
        text = _CALCULATOR.sub("", text)
        found = found._replace(text=text)
    clause = _CLAUSE.search(text, 0, MAX_ANSWER_CHARS)
    if clause is not None and not _HEDGE.search(_DENIED.sub("", text[clause.start() :])):
        result = _RESULT.fullmatch(text, clause.start())
        text = text[: clause.start()]
        stated = read_quantity(canonical(text.rsplit("=", 1)[-1])) is not None
        if result is not None and (not stated or plain_number(result[1]) is not None):
            return found._replace(text=result[1])
        if stated:
            return found._replace(text=text)
    numbers = list(NUMBER.finditer(unwrap(text[:MAX_ANSWER_CHARS])))
    if len(numbers) == 1 and not _NOT_PROSE.search(text.replace("\\$", "$")):
        number, after = numbers[0].group().strip(), numbers[0].string[numbers[0].end() :]
        if _SYMBOL.match(after) is None:
            scale = SCALE.match(after)
            return found._replace(text=number + scale.group() if scale else number)
    return found


def _find_choice(text: str, found: Extraction | None, rules: Sequence[str]) -> Extraction | None:
    """A letter: as marked, or `(B)` or `option B` on the last line that has one."""
    if found is not None and found.found_by not in ("last_number", "last_math", "bold", "whole"):
        if choice_letter(canonical(found.text)):
            return found
        marked = _MARKED_CHOICE.findall(found.text[:MAX_ANSWER_CHARS])
        letters = {letter for groups in marked for letter in groups if letter}
        if len(letters) == 1:
            return Extraction(letters.pop(), found.found_by, found.start)
        return found
    if found is not None and found.found_by == "whole":
        return found
    if "whole" not in rules or text.rfind("<think>") > text.rfind("</think>"):
        return None
    for line in reversed(text[-MAX_ANSWER_CHARS:].rstrip().splitlines()):
        if single := _SINGLE_CHOICE.fullmatch(line):
            return Extraction(single.group(1), "last_choice", text.rfind(line))
        letters = {letter for groups in _MARKED_CHOICE.findall(line) for letter in groups if letter}
        if letters:
            return (
                Extraction(letters.pop(), "last_choice", text.rfind(line))
                if len(letters) == 1
                else None
            )
    return None


def _compare(reference: Reference, answer: str, rules: Rules) -> bool | None:
    if reference.text == answer:  # the commonest right answer; no cache is faster
        return True
    if reference.number is not None and not (rules.tolerance or rules.relative_tolerance):
        # Both have at most 15 digits, so that equal decimals are equal floats. A tiny difference is
        # left to `same`, which knows about rounding in the sixth decimal
        number = plain_number(answer)
        if number is not None and (
            number == reference.number or abs(number - reference.number) > 1e-6
        ):
            return number == reference.number
    key = (reference.text, answer, rules, reference.kind)
    verdict = _verdicts.get(key)
    if verdict is not None:
        return verdict
    if reference.kind == "text":
        verdict = _same_words(canonical(reference.text), canonical(answer))
    elif reference.kind == "choice":
        verdict = bool(same(reference.text, answer, rules))
    else:
        verdict = same(reference.text, answer, rules)
        if verdict is None:
            verdict = _verdicts.get((reference.text, answer, rules, "math"))
    if verdict is not None:
        _verdicts.put(key, verdict)
    return verdict


def _same_words(gold: str, answer: str) -> bool:
    words = named(gold)
    return named(answer) == words or named(without_choice(answer)) == words


def _grade(equal: bool, found: Extraction) -> Grade:
    return Grade(equal, "correct" if equal else "wrong", found.text, found.found_by)


def _grade_outcome(outcome: Outcome, found: Extraction) -> Grade:
    if outcome == "stopped":
        return Grade(False, "timeout", found.text, found.found_by)
    return _grade(outcome == "equal", found)


def _for_math_verify(text: str) -> str:
    return canonical(text).replace("°", "").replace("≈", "=").replace("*", " \\cdot ")


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
_references: dict[tuple[str, Mode], Reference] = {}


def _cached_reference(gold: str, mode: Mode) -> Reference | None:
    key = (gold, mode)
    reference = _references.get(key)
    if reference is None:  # also where it was unreadable: that is rare, and quick to find again
        if len(_references) >= 16_384:
            _references.clear()
        reference = read_reference(gold, mode)
        if reference is not None:
            _references[key] = reference
    return reference


_DEFAULT = Correctness()


def grade(text: str, gold: str, grader: Correctness = _DEFAULT) -> Grade:
    """Whether a text's final answer equals the gold answer; `grader` holds the choices.

    Raises:
        UserError: math-verify is needed and cannot be started.
    """
    return grader.grade_texts([(text, gold, True)])[0]


def grade_many(pairs: Iterable[tuple[str, str]], grader: Correctness = _DEFAULT) -> list[Grade]:
    """`grade` for (text, gold) pairs, in order; math-verify runs in parallel."""
    return grader.grade_texts((text, gold, True) for text, gold in pairs)


def clear_caches() -> None:
    """Forget all verdicts and references; for benchmarks."""
    _verdicts.clear()
    _references.clear()
