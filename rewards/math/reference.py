"""A reference answer: missing, bare, at the end of a solution, or stated by its last sentence.

    read_reference("She sold 24 + 48 = 72.\\n#### 72")   # Reference("72", "number", 72.0)

What it leaves out: which references are missing (`rewards.missing`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from groupwise.rewards.math.find import find_answer
from groupwise.rewards.math.letters import letter_in
from groupwise.rewards.math.numbers import DecimalComma, plain_number
from groupwise.rewards.math.read import read
from groupwise.rewards.math.refusals import knows_nothing
from groupwise.rewards.math.spelling import compact, spell
from groupwise.rewards.math.statement import is_value, stated
from groupwise.rewards.math.values import (
    Choice,
    Number,
    Quantity,
    Reading,
    Sequence,
    Truth,
    Words,
)
from groupwise.rewards.math.words import plain_words
from groupwise.rewards.missing import is_label, is_missing

Mode = Literal["auto", "math", "number", "choice", "text"]
"""What kind of answer is expected.

- `auto`: the reference decides: a letter A to J is a choice, prose is text, the rest mathematics;
- `math`: mathematics, even where the reference looks like prose or a choice;
- `number`: one number with its unit; never asks math-verify;
- `choice`: one letter;
- `text`: words, compared without case, punctuation and articles.
"""

Kind = Literal["number", "math", "choice", "truth", "text"]

MAX_REFERENCE_CHARS = 1_000

MARKS = ("####", "\\boxed", "<answer>", "\\fbox")
_SENTENCES = re.compile(r"(?<=[.!?])\s|\n")
_NOT_STATING = re.compile(
    r"\b(?:prove[dns]?|proofs?|induction|steps?|lemmas?|theorems?|shown?|holds?|of them)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")


@dataclass(slots=True, eq=False)
class Reference:
    """A reference answer as it is compared: its text, what it asks for, and what it was read as."""

    text: str
    kind: Kind
    number: float | None = None  # the value of a short plain number
    comma: DecimalComma = "auto"
    read_as: Reading = ()

    @property
    def reading(self) -> Reading:
        """Every value that it may stand for; of a plain number only where it is asked for."""
        return self.read_as or read(self.text, self.comma)

    @property
    def has_unit(self) -> bool:
        """Whether a unit is asked for."""
        return self.number is None and isinstance(self.reading[0], Quantity)


@lru_cache(maxsize=16_384)
def read_reference(
    gold: str, mode: Mode = "auto", comma: DecimalComma = "auto"
) -> Reference | None:
    """The answer out of a reference; None: missing or unreadable."""
    text = gold.strip()
    numeric = mode in ("auto", "math", "number")
    if numeric and (number := short_number(text, comma)) is not None:
        return Reference(text, "number", number, comma)
    if any(mark in text for mark in MARKS):
        found = find_answer(text, ("answer_tag", "boxed", "hash"))
        return read_reference(found.text, mode, comma) if found is not None else None
    missing = is_missing(text) or knows_nothing(text)
    missing = missing and not (mode == "text" and is_label(text))
    if len(text) > MAX_REFERENCE_CHARS or missing or not compact(spell(text)):
        return None
    if mode == "choice":
        letter = letter_in(text)
        return Reference(letter, "choice") if letter else None
    if mode == "text":
        return Reference(text, "text") if plain_words(text) else None
    reading = read(text, comma)
    if comma == "auto" and "," in text and any(isinstance(v, Sequence) for v in reading):
        # `2,50 €` is a decimal, `2,50` alone a list
        whole = tuple(v for v in reading if isinstance(v, Quantity))
        reading = whole or tuple(v for v in reading if not isinstance(v, Number))
    if len(_WORD.findall(text)) > 1 and not is_value(reading):
        prose = _prose_value(text)
        text, reading = (prose, read(prose, comma)) if prose is not None else (text, reading)
    kind = _kind(reading, mode)
    return None if mode == "number" != kind else Reference(text, kind, None, comma, reading)


def short_number(text: str, comma: DecimalComma) -> float | None:
    """The value of a short plain number; None for one whose comma may be a decimal's."""
    return None if comma == "always" and "," in text else plain_number(text)


def _prose_value(text: str) -> str | None:
    """The value that a reference in prose ends with: "Then 3 + 5 = 8. The answer is: 8."."""
    if (found := find_answer(text, ("phrase",))) is not None:
        words = found.text if is_value(read(found.text), words_too=True) else None
        return stated(found.text) or letter_in(found.text) or words
    *before, last = [s for s in _SENTENCES.split(text.strip()) if s.strip()]
    if not text.strip().endswith((".", "$", "!")) or any(is_value(read(s)) for s in before):
        return None
    return None if _NOT_STATING.search(last) and "=" not in last else stated(last)


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
