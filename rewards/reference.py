"""How good is an answer that cannot be verified? A transparent comparison with a reference.

    ReferenceQuality()(example, completion)   # 0.0 to 1.0; None without a reference

Four parts, each visible through `explain`: length appropriateness 20 %, formulas and notation 30 %,
key-concept coverage 30 %, structure 20 %. Use it where nothing better exists, and beside rewards
that can be verified. What it leaves out: meaning. It compares surfaces: a paraphrase without the
reference's words scores low, and a wrong claim in its words scores high.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from functools import lru_cache

from pydantic import Field
from pydantic.dataclasses import dataclass

from groupwise.rewards.math.spelling import compact
from groupwise.rewards.text import MAX_TEXT_CHARS
from groupwise.rewards.types import Completion, Example

WEIGHTS: Mapping[str, float] = {
    "length": 0.2,
    "formulas": 0.3,
    "concepts": 0.3,
    "structure": 0.2,
}

_SMALL_WORDS = (
    "a an and are as at be been but by can could did do does each for from had has have he her "
    "his how i if in into is it its just may more most not now of on one only or our out over "
    "she should so some such than that the their them then there these they this those to total "
    "under up us was we were what when where which while who will with would you your also "
    "because therefore thus since let get gets given have answer question find "
)
_STOP_WORDS = frozenset(_SMALL_WORDS.split())
_WORD = re.compile(r"[^\W\d_]{3,}")
_FORMULA = re.compile(r"\$\$?([^$\n]{1,300})\$\$?|\\\(([^\n]{1,300}?)\\\)|\\\[([^\n]{1,300}?)\\\]")
_PLAIN_FORMULA = re.compile(r"[-+\d.,()a-zA-Z]{0,20} ?[-+*/^=×÷] ?[-+\d.,()a-zA-Z]{1,20}")
_NOTATION = re.compile(r"\\[A-Za-z]{2,20}|[=<>≤≥±×÷√∑∫π^]|\d+(?:\.\d+)?")
_STRUCTURE = {
    "paragraphs": re.compile(r"\n\s*\n"),
    "lists": re.compile(r"(?m)^\s{0,6}(?:[-*•]|\d{1,3}[.)])\s"),
    "headings": re.compile(r"(?m)^#{1,6}\s|^\*\*[^*\n]{1,100}\*\*\s*$"),
    "code": re.compile(r"```"),
    "sentences": re.compile(r"[.!?](?:\s|$)"),
}


@plain_dataclass(frozen=True, slots=True)
class QualityParts:
    """The four parts, each 0.0 to 1.0, before weighting; None if the reference has none."""

    length: float
    formulas: float | None
    concepts: float | None
    structure: float


@plain_dataclass(frozen=True, slots=True)
class _Features:
    words: tuple[str, ...]
    concepts: Counter[str]
    formulas: Counter[str]
    structure: dict[str, int]


@dataclass(frozen=True, config={"extra": "forbid"})
class ReferenceQuality:
    """How near an answer comes to its reference: 0.0 to 1.0.

    Coverage is reduced by ways to get it without an answer: repeated words (stuffing), formulas
    that are not in the reference, and copying the question. Weights need not sum to 1; a part that
    the reference does not have is left out of the mean.
    """

    length: float = Field(default=WEIGHTS["length"], ge=0, allow_inf_nan=False)
    formulas: float = Field(default=WEIGHTS["formulas"], ge=0, allow_inf_nan=False)
    concepts: float = Field(default=WEIGHTS["concepts"], ge=0, allow_inf_nan=False)
    structure: float = Field(default=WEIGHTS["structure"], ge=0, allow_inf_nan=False)

    def __post_init__(self) -> None:
        if self.length + self.formulas + self.concepts + self.structure <= 0:
            raise ValueError("at least one weight must be above 0")

    def __call__(self, example: Example, completion: Completion) -> float | None:
        if not example.answer.strip():
            return None
        parts = self.explain(example, completion)
        if parts is None:
            return 0.0
        weighed = [
            (weight, value)
            for weight, value in (
                (self.length, parts.length),
                (self.formulas, parts.formulas),
                (self.concepts, parts.concepts),
                (self.structure, parts.structure),
            )
            if value is not None
        ]
        total = sum(weight for weight, _ in weighed)
        if not total:
            return None
        content = [value for value in (parts.formulas, parts.concepts) if value is not None]
        # Form without content is worth nothing: content limits what length and structure add
        substance = max(content, default=1.0)
        form = self.length * parts.length + self.structure * parts.structure
        value = (sum(weight * value for weight, value in weighed) - form) + form * min(
            1.0, 2 * substance
        )
        return value / total

    def explain(self, example: Example, completion: Completion) -> QualityParts | None:
        """The parts of the value; None for an empty answer."""
        reference = _features(example.answer[:MAX_TEXT_CHARS])
        answer = _features(completion.text[:MAX_TEXT_CHARS])
        if not answer.words and not answer.formulas:
            return None
        question = _features(example.question[:MAX_TEXT_CHARS])
        fresh = _freshness(answer, question, reference)
        formulas = _overlap(reference.formulas, answer.formulas)
        concepts = _overlap(reference.concepts, answer.concepts)
        return QualityParts(
            length=_length(len(reference.words), len(answer.words)),
            formulas=None if formulas is None else formulas * fresh,
            concepts=None if concepts is None else concepts * fresh * _variety(answer),
            structure=_structure(reference.structure, answer.structure),
        )


@lru_cache(maxsize=512)
def _features(text: str) -> _Features:
    words = tuple(word.lower() for word in _WORD.findall(text))
    formulas: Counter[str] = Counter()
    for match in _FORMULA.finditer(text):
        formulas[compact(next(group for group in match.groups() if group is not None))] += 1
    for match in _PLAIN_FORMULA.finditer(_FORMULA.sub(" ", text)):
        formulas[compact(match.group())] += 1
    for mark in _NOTATION.findall(text):
        formulas[mark] += 1
    return _Features(
        words=words,
        concepts=Counter(_stem(word) for word in words if word not in _STOP_WORDS),
        formulas=formulas,
        structure={name: len(pattern.findall(text)) for name, pattern in _STRUCTURE.items()},
    )


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _length(reference: int, answer: int) -> float:
    """1.0 within a third of the reference's length; 0.0 at five times or a fifth of it."""
    ratio = abs(math.log((answer + 1) / (reference + 1)))
    free, worst = math.log(4 / 3), math.log(5)
    return min(1.0, max(0.0, 1.0 - (ratio - free) / (worst - free)))


def _overlap(reference: Counter[str], answer: Counter[str]) -> float | None:
    """Recall of the reference's distinct items, times a lenient precision; None if it has none."""
    if not reference:
        return None
    shared = sum(1 for item in reference if item in answer)
    if not shared:
        return 0.0
    recall = shared / len(reference)
    # An answer may use its own words: precision counts only where it falls below a half
    precision = min(1.0, 2 * shared / len(answer))
    return recall * precision


def _variety(answer: _Features) -> float:
    """Below 1.0 if there are few small words among the content words, or many repeated ones."""
    total = len(answer.words)
    content = sum(answer.concepts.values())
    if total < 12:
        return 1.0
    linking = 1.0 - content / total
    repeated = 1.0 - len(answer.concepts) / content if content else 0.0
    return min(1.0, linking / 0.15) * min(1.0, (1.0 - repeated) / 0.3)


def _freshness(answer: _Features, question: _Features, reference: _Features) -> float:
    """1.0, down to 0.0 if the answer has nothing of the reference that is not in the question."""
    if answer.words == reference.words:
        return 1.0
    items = set(answer.concepts) | set(answer.formulas)
    asked = set(question.concepts) | set(question.formulas)
    known = set(reference.concepts) | set(reference.formulas)
    if not items or not known - asked:
        return 1.0
    return min(1.0, 4 * len((items & known) - asked) / len(known - asked))


def _structure(reference: Mapping[str, int], answer: Mapping[str, int]) -> float:
    """Mean likeness over the kinds of structure that either text shows."""
    kinds = [name for name in reference if reference[name] or answer[name]]
    if not kinds:
        return 1.0
    likeness = [
        (min(reference[name], answer[name]) + 1) / (max(reference[name], answer[name]) + 1)
        for name in kinds
    ]
    return sum(likeness) / len(likeness)
