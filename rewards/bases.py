"""Numerals in another base: `101_2`, `(101)_{2}`, `4\\text{CD}_{16}`, `122_{\\text{three}}`."""

from __future__ import annotations

import re

from rewards.quantity import spelled_number

_DIGITS = r"(?:\d|\\text ?\{ ?[A-Z]+ ?\}|[A-F])+"
_NUMERAL = re.compile(
    rf"(?:\\text ?\{{ ?)?\(?({_DIGITS})\)?(?: ?\}})? ?"
    r"_ ?(?:(\d)|\{ ?\(?(\d{1,2})\)? ?\}|\{?(?:\\text ?\{ ?)?([a-z]+)(?: ?\})?\}?)"
)
_BARE = re.compile(_DIGITS)
_MARKS = re.compile(r"\\text|[{} ]")


def same_numeral(g: str, a: str) -> bool | None:
    """Whether canonical texts are the same numeral; None where the gold states no base.

    The same digits: a base that only one side states was asked for, two that are stated agree.
    """
    gold, answer = _NUMERAL.fullmatch(g), _NUMERAL.fullmatch(a)
    if gold is None and answer is None:
        return None
    gold_digits = gold[1] if gold else g if _BARE.fullmatch(g) else None
    answer_digits = answer[1] if answer else a if _BARE.fullmatch(a) else None
    if gold_digits is None or answer_digits is None:
        return None
    bases = {base for base in map(_base, (gold, answer)) if base is not None}
    return len(bases) < 2 and _MARKS.sub("", gold_digits) == _MARKS.sub("", answer_digits)


def _base(numeral: re.Match[str] | None) -> str | None:
    if numeral is None:
        return None
    written = numeral[2] or numeral[3]
    if written:
        return written
    value = spelled_number(numeral[4])
    return numeral[4] if value is None else str(value)
