"""Texts with colons: ratios (`2:4` is `1:2`) and times of day (`3:45 PM` is not `3:45 AM`).

    same_time("3:45 PM", "15:45")          # True
    same_ratio("2:4", "1:2", same=...)     # True; `same` compares terms that are no numbers

What it leaves out: durations (`1:30:00` is read as a time of day), and labels (`Answer: 5`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

_CLOCK = re.compile(
    r"(\d{1,2}) ?: ?([0-5]\d)(?: ?: ?([0-5]\d))? ?"
    r"(?:\\text ?\{ ?)?(?:([ap])\.? ?m\.?)?(?: ?\})?",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"(?:\\frac ?\{ ?(\d+) ?\} ?\{ ?(\d+) ?\}|(\d+) ?/ ?(\d+))")
# Bounded: Python refuses to read more than 4,300 digits
_NUMBER = re.compile(r"\d{1,30}(?:\.\d{1,30})?")


class _Time(NamedTuple):
    hour: int
    minute: int
    second: int
    half: str  # "a", "p", or "" where it is not said


def same_ratio(g: str, a: str, same: Callable[[str, str], bool | None]) -> bool | None:
    """Whether canonical texts are the same ratio; None if no ratio decides.

    Ratios of numbers are equal if they reduce to the same one, as fractions are. `same` compares
    the terms of others, one by one. A ratio of two beside no ratio is left to be read as a value.
    """
    gold, answer = ([term.strip() for term in text.split(":")] for text in (g, a))
    if len(gold) < 2 or (len(answer) < 2 and len(gold) == 2):
        return None
    if len(gold) != len(answer):
        return False
    if not all(_NUMBER.fullmatch(term) for term in (*gold, *answer)):
        return None if len(gold) == 2 else all(map(same, gold, answer))
    x, y = [Fraction(term) for term in gold], [Fraction(term) for term in answer]
    return any(x) == any(y) and all(
        p * y[j] == x[j] * q for i, (p, q) in enumerate(zip(x, y, strict=True)) for j in range(i)
    )


def same_time(g: str, a: str) -> bool | None:
    """Whether canonical texts are the same time of day; None if the gold looks like none.

    `1:10` may be a ratio as well: nothing tells. So it equals `1/10`, and no other ratio.
    """
    gold = _read(g)
    if gold is None:
        return None
    answer = _read(a)
    if answer is not None:
        return _on_24_hours(gold, answer) == _on_24_hours(answer, gold)
    fraction = _FRACTION.fullmatch(a)
    if fraction is None or gold.half or gold.second:
        return False
    top, bottom = (int(part) for part in fraction.groups() if part is not None)
    return (top, bottom) == (gold.hour, gold.minute)


def _read(text: str) -> _Time | None:
    match = _CLOCK.fullmatch(text)
    if match is None or int(match[1]) > 24:
        return None
    return _Time(int(match[1]), int(match[2]), int(match[3] or 0), (match[4] or "").lower())


def _on_24_hours(time: _Time, other: _Time) -> tuple[int, int, int]:
    """`3:45` beside `3:45 PM` is that; beside `15:45` it stays what it is."""
    half = time.half or (other.half if time.hour <= 12 else "")
    hour = time.hour % 12 + (12 if half == "p" else 0) if half and time.hour <= 12 else time.hour
    return hour, time.minute, time.second
