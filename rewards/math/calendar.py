"""Dates, times of day, and parts that a sign joins without arithmetic: ranges, versions, orders.

    read_date("March 5th, 2024")    # Date(2024, 3, 5)
    read_time("5 a.m.")             # Time(5, 0, 0, "a")
    read_notation("192.168.0.1")    # Notation(".", ("192", "168", "0", "1"))

A date whose day and month could be either way round is a Notation, which equals its own parts only.
What it leaves out: durations (`5 hours 30 minutes`), which are quantities.
"""

from __future__ import annotations

import re

from groupwise.rewards.math.values import Date, Notation, Time
from groupwise.rewards.math.vocabulary import MONTHS

_CLOCK = re.compile(
    r"(\d{1,2})(?:\s?[:.]\s?([0-5]\d)(?:\s?:\s?([0-5]\d))?)?\s?"
    r"(?:\\text\s*\{\s*)?(?:([ap])\.?\s?m\b\.?|(o'clock))?(?:\s*\})?",
    re.IGNORECASE,
)
_NAMED_TIMES = {"noon": Time(12, 0, 0, "p"), "midnight": Time(12, 0, 0, "a")}
_NUMBERS = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})")
_CHINESE = re.compile(r"(\d{4})年(\d{1,2})月(\d{1,2})日")
_DAY_FIRST = re.compile(r"(\d{1,2})(?:st|nd|rd|th|\.)? (?:of )?([A-Za-z]+)\.?(?:,? (\d{4}))?")
_MONTH_FIRST = re.compile(r"([A-Za-z]+)\.? (\d{1,2})(?:st|nd|rd|th)?(?:,? (\d{4}))?")
# A range or score has no space around its sign; with it, it is a difference
_JOINED = re.compile(
    r"v?\d+(?:\.\d+){2,}|\d{4}\s?-\s?\d{4}|\d+(?:\.\d+)?-\d+(?:\.\d+)?|\d+(?:-\d+){2,}|\d+(?:/\d+){2,}"
    r"|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){3,}|(?:[A-Z]\s?-\s?){2,}[A-Z]|(?:[A-Z]\s?(?:->|→|\\to|\\rightarrow)\s?)+[A-Z]"
)
_SIGN = re.compile(r"\s?(->|→|\\to|\\rightarrow|[-./:])\s?")


def read_date(text: str) -> Date | None:
    """A date in numbers or with the name of its month, where one reading is possible."""
    if (match := _NUMBERS.fullmatch(text)) is not None:
        first, second, third = int(match[1]), int(match[3]), int(match[4])
        if len(match[1]) == 4:
            return _checked(first, second, third)
        if len(match[4]) == 4 and (first > 12 or match[2] == "."):  # 5.3.2024: day first
            return _checked(third, second, first)
        return _checked(third, first, second) if len(match[4]) == 4 and second > 12 else None
    if (match := _CHINESE.fullmatch(text)) is not None:
        return _checked(int(match[1]), int(match[2]), int(match[3]))
    if (match := _DAY_FIRST.fullmatch(text)) is not None:
        day, name, year = match.groups()
    elif (match := _MONTH_FIRST.fullmatch(text)) is not None:
        name, day, year = match.groups()
    else:
        return None
    month = MONTHS.get(name.casefold())
    return _checked(int(year) if year else None, month, int(day)) if month else None


def _checked(year: int | None, month: int, day: int) -> Date | None:
    return Date(year, month, day) if 1 <= month <= 12 and 1 <= day <= 31 else None


def read_time(text: str) -> Time | None:
    """A time of day: with a colon, with AM or PM, or both."""
    if (named := _NAMED_TIMES.get(text.casefold())) is not None:
        return named
    match = _CLOCK.fullmatch(text)
    if match is None or int(match[1]) > 24 or not (match[2] or match[4] or match[5]):
        return None
    if "." in text[:3] and not match[4]:
        return None  # 5.30 is a number, 5.30 pm a time
    return Time(int(match[1]), int(match[2] or 0), int(match[3] or 0), (match[4] or "").lower())


def same_time(gold: Time, answer: Time) -> bool:
    """Whether two times of day agree, where AM and PM may be said by one side only."""
    return _on_24_hours(gold, answer) == _on_24_hours(answer, gold)


def _on_24_hours(time: Time, other: Time) -> tuple[int, int, int]:
    """`3:45` beside `3:45 PM` is that; beside `15:45` it stays what it is."""
    half = time.half or (other.half if time.hour <= 12 else "")
    hour = time.hour % 12 + (12 if half == "p" else 0) if half and time.hour <= 12 else time.hour
    return hour, time.minute, time.second


def read_notation(text: str) -> Notation | None:
    """Parts that a sign joins: `1914-1918`, `1.2.3`, `A-C-B`, `4/5/2020`."""
    if _JOINED.fullmatch(text) is None:
        return None
    parts = _SIGN.split(text.removeprefix("v"))
    sign = "-" if text[0].isalpha() and len(parts[0]) == 1 else parts[1]
    return Notation(sign, tuple(part.lower().lstrip("0") or "0" for part in parts[::2]))
