"""Numerals: plain digits, thousands, decimal commas, exponents, and numbers in words.

    leading_number("1,234.5 kg")    # Leading(Fraction(2469, 2), rounded=True, currency="", end=7)
    spelled("twenty-four eggs")     # (Fraction(24), "eggs")

New words go into the tables of `vocabulary`. What it leaves out: formulas (`formula`), and units.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal, NamedTuple

from groupwise.rewards.math.vocabulary import (
    CHINESE_DIGITS,
    CHINESE_SCALES,
    NUMBER_WORDS,
    PARTS,
    SCALES,
)

DecimalComma = Literal["auto", "never", "always"]
"""How `2,50` is read: `always` as a decimal, `never`; `auto`: where it can be no thousands."""

_MAX_CHARS = 300  # longer numbers are compared as text only: a million digits cost time
_NUMERAL = re.compile(
    r"([-+]?)\s?([$€£¥₹]?)\s?([-+]?)"
    r"((?:\d{1,3}(?:(?:,\d{3})+(?!\d)|(?: \d{3})+(?![\d/]))|\d+)(?:\.\d*)?|\.\d+)"
    r"([eE][-+]?\d{1,3}(?!\w))?(?:\s?/\s?(-?\d+(?:\.\d+)?)(?![/\w.]))?"
)
_COMMA = re.compile(r"[-+]?\s?[$€£¥₹]?\s?((?:\d{1,3}(?:[. ]\d{3})*[. ](?=\d{3},))?)(\d+),(\d+)")
_BRACED_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")  # LaTeX: 2{,}50
# `1.250,00`, `15.200`, `2,50`; no part of 1,000.5, a date, 1,2,3, a point (1,2) or 0.125
_EUROPEAN = re.compile(
    r"(?P<pair>[(\[]-?\d+,-?\d+[)\]])|(?<![\d.,])"
    r"(?P<whole>[1-9]\d{0,2}(?:\.\d{3})+|\d+)(?:,(?P<decimals>\d+))?(?!\d|[.,]\d)"
)
# Short enough that equal decimals are equal floats: at most 15 digits
_PLAIN = re.compile(r"\$?(-?(?:\d{1,3}(?:,\d{3}){1,2}|\d{1,9})(?:\.\d{1,6})?)\.?")
_LETTERS_ONLY = re.compile(r"[A-Za-z][A-Za-z -]*")
_NEGATIVE = re.compile(r"^(?:negative|minus) ", re.IGNORECASE)


class Leading(NamedTuple):
    """A number at the beginning of a text, and where it ends."""

    value: Fraction
    rounded: bool
    currency: str
    end: int


def plain_number(text: str) -> float | None:
    """The value of a short plain number (`72`, `$1,234.50`), exact to the digit; else None."""
    match = _PLAIN.fullmatch(text)
    return None if match is None else float(match[1].replace(",", ""))


def leading_number(text: str) -> Leading | None:
    """The numeral that a spelled text begins with: `-$1,234.5`, `6e23`, `3/4`."""
    match = _NUMERAL.match(text)
    if match is None or len(match[0]) > _MAX_CHARS:
        return None
    sign, currency, sign_behind, digits, exponent, below = match.groups(default="")
    if not Fraction(below or 1):
        return None
    value = Fraction(re.sub("[, ]", "", digits) + exponent) / Fraction(below or 1)
    value = -value if "-" in sign + sign_behind else value
    return Leading(value, "." in digits or bool(exponent), currency, match.end())


def as_english(text: str) -> str:
    """A text whose numbers are written as in 1.250,00, with these as English writes them.

    A point that can group nothing is a decimal one already: 2.5, 0.125.
    """

    def number(found: re.Match[str]) -> str:
        if found["pair"]:
            return found[0]
        decimals = "" if found["decimals"] is None else f".{found['decimals']}"
        return found["whole"].replace(".", "") + decimals

    return _EUROPEAN.sub(number, _BRACED_COMMA.sub(",", text))


def with_decimal_comma(text: str, rule: DecimalComma) -> tuple[str, bool] | None:
    """A text that begins with `29,00` or `1.234,5` with a point for the comma, and whether the
    comma could as well separate two answers; None where it is thousands, or nothing."""
    match = _COMMA.match(text)
    if match is None or rule == "never":
        return None
    groups, whole, decimals = match[1], match[2], match[3]
    if rule == "auto" and not groups and len(decimals) == 3 and len(whole) <= 3:
        return None  # 1,234
    plain = f"{groups}{whole}".replace(".", "").replace(" ", "") + "." + decimals
    doubtful = rule == "auto" and not groups and not decimals.startswith("0")
    return text[: match.start(1)] + plain + text[match.end() :], doubtful


def spelled(text: str) -> tuple[Fraction, str] | None:
    """The number that words begin with, and the words behind it: `two thirds of a mile`."""
    text, negative = _NEGATIVE.subn("", text)
    if _LETTERS_ONLY.fullmatch(text) is not None:
        found = _english(text.casefold().replace("-", " ").split())
    else:
        found = _chinese(text)
    if found is None:
        return None
    return (-found[0] if negative else found[0]), found[1]


def spelled_number(text: str) -> int | None:
    """`twelve`, `twenty-four`, `one hundred and five thousand`; None for anything else."""
    found = spelled(text)
    return int(found[0]) if found is not None and not found[1] else None


def _english(words: list[str]) -> tuple[Fraction, str] | None:
    """`["two", "hundred", "and", "five", "eggs"]` is 205 and "eggs"."""
    total = current = at = 0
    last = 100  # what the last word counted in: `four twenty` is no number
    for word in words:
        value, scale = NUMBER_WORDS.get(word), SCALES.get(word, 1)
        if value is not None and (last >= 100 or (last >= 20 and 0 < value < 10)):
            current, last = current + value, value if value >= 20 else 1
        elif scale == 100 and current:
            current, last = current * scale, scale
        elif scale > 100 and current:
            total, current, last = total + current * scale, 0, scale
        elif not (word == "and" and last >= 100):
            break
        at += 1
    number, words = Fraction(total + current), words[at:]
    if words and (part := PARTS.get(words[0].removesuffix("s"))) is not None:
        number, words = number / part, words[1:]
    if not at or len(words) > 4 or NUMBER_WORDS.keys() & words:
        return None  # two point five, one in three
    return number, " ".join(words).removeprefix("of ")


def _chinese(text: str) -> tuple[Fraction, str] | None:
    """`三百二十五` is 325; the one sign of 四国 is a name's."""
    total = section = digit = at = 0
    for char in text:
        if char in CHINESE_DIGITS and not digit:  # 二五: digits side by side may be anything
            digit = CHINESE_DIGITS[char]
        elif (scale := CHINESE_SCALES.get(char, 0)) >= 10**4:
            total, section, digit = total + (section + digit) * scale, 0, 0
        elif scale:
            section, digit = section + (digit or 1) * scale, 0
        else:
            break
        at += 1
    if at == 0 or at == 1 < len(text):
        return None
    return Fraction(total + section + digit), text[at:]
