"""Numerals in another base: `101_2`, `(101)_{2}`, `4\\text{CD}_{16}`, `122_{\\text{three}}`.

    same_numeral("101_2", "101")   # True: the base was asked for

What it leaves out: converting between bases. `101_2` and `5` are different answers.
"""

from __future__ import annotations

import re

from groupwise.rewards.math.quantities import spelled_number

_DIGITS = r"(?:\d|\\text ?\{ ?[A-Z]+ ?\}|[A-F])+"
_NUMERAL = re.compile(
    rf"(?:\\text ?\{{ ?)?\(?({_DIGITS})\)?(?: ?\}})? ?"
    r"_ ?(?:(\d)|\{ ?\(?(\d{1,2})\)? ?\}|\{?(?:\\text ?\{ ?)?([a-z]+)(?: ?\})?\}?)"
)
_BARE = re.compile(_DIGITS)
_MARKS = re.compile(r"\\text|[{} ]")


def same_numeral(g: str, a: str) -> bool | None:
    """Whether canonical texts are the same numeral; None if the gold states no base.

    The same digits: a base that only one side states was asked for, two that are stated agree.
    """
    gold, answer = _NUMERAL.fullmatch(g), _NUMERAL.fullmatch(a)
    if gold is None and answer is None:
        return None
    gold_digits = gold[1] if gold else g if _BARE.fullmatch(g) else None
    answer_digits = answer[1] if answer else a if _BARE.fullmatch(a) else None
    if gold_digits is None or answer_digits is None:
        return None
    bases = {_base(numeral) for numeral in (gold, answer) if numeral is not None}
    return (
        len(bases) == 1
        and None not in bases
        and _MARKS.sub("", gold_digits) == _MARKS.sub("", answer_digits)
    )


def _base(numeral: re.Match[str]) -> int | None:
    """The base that a numeral states; None for a name that is no number, as in `12_b`."""
    written = numeral[2] or numeral[3]
    return int(written) if written else spelled_number(numeral[4])
