"""Dates, times of day, and parts that a sign joins without arithmetic: ranges, versions, orders.

    read_date("March 5th, 2024")    # Notation("date", ("2024", "3", "5"))
    read_time("5 a.m.")             # Time(5, 0, 0, "a")
    read_moment("2024-03-05T14:30") # Notation("moment", ("2024", "3", "5", "14", "30", "0"))
    read_notation("192.168.0.1")    # Notation(".", ("192", "168", "0", "1"))

A date whose day and month could be either way round is a notation with the sign that it has. What
it leaves out: durations (`5 hours 30 minutes`), which are quantities.
"""

from __future__ import annotations

import re

from groupwise.rewards.math.values import Notation, Time
from groupwise.rewards.math.vocabulary import MONTHS

_CLOCK = re.compile(
    r"(\d{1,2})(?:\s?:\s?([0-5]\d)(?:\s?:\s?([0-5]\d))?)?\s?(?:([ap])\.?\s?m\b\.?|(o'clock))?",
    re.IGNORECASE,
)
_MOMENT = re.compile(r"(.{4,40}?\S)(?:T|,? (?:at )?)(\d{1,2}(?::| ?[ap]\.? ?m\b).*)", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})")
_MONTH_NAMED = re.compile(
    r"(?:(\d{1,2})(?:st|nd|rd|th|\.)? (?:of )?([A-Za-z]+)\.?"
    r"|([A-Za-z]+)\.? (\d{1,2})(?:st|nd|rd|th)?)(?:,? (\d{4}))?"
)
# A range or score has no space around its sign; with it, it is a difference
_JOINED = re.compile(
    r"\d+(?:\.\d+){2,}|\d{4}\s?-\s?\d{4}|\d+(?:\.\d+)?-\d+(?:\.\d+)?|\d+([-/]\d+){2,}"
    r"|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){3,}|(?:[A-Z]\s?(?:-|->|→|\\to|\\rightarrow)\s?){2,}[A-Z]"
)
_SIGN = re.compile(r"\s?(->|→|\\to|\\rightarrow|[-./:])\s?")


def read_date(text: str) -> Notation | None:
    """A date in numbers or with the name of its month, where one reading is possible."""
    year: str | None
    if (match := _YEAR_FIRST.fullmatch(text)) is not None:
        year, month, day = match.groups()
    elif (match := _YEAR_LAST.fullmatch(text)) is not None:
        day, sign, month, year = match.groups()
        if int(month) > 12:
            day, month = month, day
        elif int(day) <= 12 and sign != ".":  # 5.3.2024: day first
            return None
    elif (match := _MONTH_NAMED.fullmatch(text)) is not None:
        day, name, year = match[1] or match[4], match[2] or match[3], match[5]
        month = str(MONTHS.get(name.casefold(), ""))
    else:
        return None
    return _joined("date", year or "", month, day) if month else None


def read_time(text: str) -> Time | None:
    """A time of day: with a colon, with AM or PM, or both."""
    match = _CLOCK.fullmatch(text)
    if match is None or int(match[1]) > 24 or not (match[2] or match[4] or match[5]):
        return None
    return Time(int(match[1]), int(match[2] or 0), int(match[3] or 0), (match[4] or "").lower())


def read_moment(text: str) -> Notation | None:
    """A date and a time of it, in twenty-four hours: one that says no half of the day has none."""
    match = _MOMENT.fullmatch(text)
    date, time = (read_date(match[1]), read_time(match[2])) if match else (None, None)
    if date is None or time is None:
        return None
    half = time.half if time.hour <= 12 else ""
    hour = time.hour % 12 + 12 * (half == "p") if half else time.hour
    return Notation("moment", (*date.parts, str(hour), str(time.minute), str(time.second)))


def same_time(gold: Time, answer: Time) -> bool:
    """Whether two times of day agree, where AM and PM may be said by one side only: `3:45` beside
    `3:45 PM` is that; beside `15:45` it stays what it is."""
    hours = []
    for time in (gold, answer):
        half = (time.half or gold.half or answer.half) if time.hour <= 12 else ""
        hours.append(time.hour % 12 + 12 * (half == "p") if half else time.hour)
    return hours[0] == hours[1] and (gold.minute, gold.second) == (answer.minute, answer.second)


def read_notation(text: str) -> Notation | None:
    """Parts that a sign joins: `1914-1918`, `1.2.3`, `A-C-B`, `4/5/2020`."""
    if _JOINED.fullmatch(text) is None:
        return None
    parts = _SIGN.split(text)
    return _joined("-" if text[0].isalpha() and len(parts[0]) == 1 else parts[1], *parts[::2])


def _joined(sign: str, *parts: str) -> Notation:
    return Notation(sign, tuple(part.lower().lstrip("0") or "0" for part in parts))
