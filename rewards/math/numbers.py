"""Numerals: plain digits, thousands, decimal commas, exponents, and numbers in words.

    read_number("1,234.5")   # (Fraction(2469, 2), rounded=True)
    spelled("twenty-four eggs")   # (24, ["eggs"])

What it leaves out: formulas (`formula`), and units (`units`).
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

MAX_DIGITS = 300
"""Longer numbers are compared as text only: nothing is gained, and a million digits cost time."""

# Thousands in groups of three before plain digits; always matched against the beginning of a text
NUMERAL = re.compile(
    r"(?P<sign>[-+]?)\s?(?P<currency>[$€£¥₹]?)\s?(?P<sign2>[-+]?)"
    r"(?P<number>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d*)?|\d{1,3}(?: \d{3})+(?![\d/])(?:\.\d*)?"
    r"|\d+(?:\.\d*)?|\.\d+)"
    r"(?:[eE](?P<exponent>[-+]?\d{1,3})(?!\w))?(?:\s?/\s?(?P<below>-?\d+(?:\.\d+)?)(?![/\w.]))?"
)
_COMMA = re.compile(r"[-+]?\s?[$€£¥₹]?\s?(\d{1,3}(?:[. ]\d{3})+,\d+|\d+,\d+)")
# Short enough that equal decimals are equal floats: at most 15 digits
_PLAIN = re.compile(r"\$?(-?(?:\d{1,3}(?:,\d{3}){1,2}|\d{1,9})(?:\.\d{1,6})?)\.?")
_LETTERS_ONLY = re.compile(r"[A-Za-z][A-Za-z -]*")
_NEGATIVE = re.compile(r"(?:negative|minus) ", re.IGNORECASE)


class Numeral(NamedTuple):
    """A number at the beginning of a text, and where it ends."""

    value: Fraction
    rounded: bool
    currency: str
    end: int


def plain_number(text: str) -> float | None:
    """The value of a short plain number (`72`, `$1,234.50`), exact to the digit; else None."""
    match = _PLAIN.fullmatch(text)
    return None if match is None else float(match[1].replace(",", ""))


def leading_number(text: str) -> Numeral | None:
    """The numeral that a spelled text begins with."""
    match = NUMERAL.match(text)
    if match is None or (match["sign"] and match["sign2"]):
        return None
    digits = match["number"].replace(",", "").replace(" ", "")
    below = match["below"]
    if len(digits) > MAX_DIGITS or (below and len(below) > MAX_DIGITS):
        return None
    value = Fraction(digits)
    if match["exponent"]:
        value *= Fraction(10) ** int(match["exponent"])
    if below:
        if not Fraction(below):
            return None
        value /= Fraction(below)
    if "-" in (match["sign"], match["sign2"]):
        value = -value
    rounded = "." in digits or bool(match["exponent"])
    return Numeral(value, rounded, match["currency"], match.end())


def with_decimal_comma(text: str, rule: DecimalComma) -> tuple[str, bool] | None:
    """A text that begins with `29,00` or `1.234,5` with a point for the comma, and whether the
    comma could as well separate two answers; None where it is thousands, or nothing."""
    match = _COMMA.match(text)
    if match is None or rule == "never":
        return None
    number = match[1]
    whole, _, decimals = number.partition(",")
    grouped = "." in whole or " " in whole
    if rule == "auto" and not grouped and len(decimals) == 3 and len(whole) <= 3:
        return None  # 1,234
    plain = whole.replace(".", "").replace(" ", "") + "." + decimals
    start = match.start(1)
    doubtful = not grouped and not decimals.startswith("0")
    return text[:start] + plain + text[match.end() :], doubtful


def spelled(text: str) -> tuple[Fraction, str] | None:
    """The number that words begin with, and the words behind it: `two thirds of a mile`."""
    negative = _NEGATIVE.match(text)
    words, value = [], None
    if negative is not None:
        text = text[negative.end() :]
    if _LETTERS_ONLY.fullmatch(text) is not None and (found := _english(text)) is not None:
        value, words = Fraction(found[0]), found[1]
        if words and (part := PARTS.get(words[0].removesuffix("s"))) is not None:
            value, words = value / part, words[1:]
        if words[:1] == ["of"]:
            words = words[2:] if words[1:2] in (["a"], ["an"], ["the"]) else words[1:]
        if words[:2] in (["and", "a"], ["and", "an"]):
            return value, " ".join(words)
        if len(words) > 3 or any(word in NUMBER_WORDS for word in words):
            return None  # two point five, one in three
    elif text[:1] in CHINESE_DIGITS or text[:1] in CHINESE_SCALES:
        number = next((i for i, c in enumerate(text) if c not in _CHINESE), len(text))
        words = [text[number:]] if text[number:] else []
        value = _chinese(text[:number]) if number > 1 or not words else None  # 四国 is a name
    if value is None:
        return None
    return (-value if negative else value), " ".join(words)


def spelled_number(text: str) -> int | None:
    """`twelve`, `twenty-four`, `one hundred and five thousand`; None for anything else."""
    found = _english(text) if _LETTERS_ONLY.fullmatch(text) is not None else None
    return found[0] if found is not None and not found[1] else None


def _english(text: str) -> tuple[int, list[str]] | None:
    words = text.casefold().replace("-", " ").split()
    total = current = 0
    at, last = 0, 100  # what the last word counted in: `four twenty` is no number
    for at, word in enumerate([*words, ""]):  # the empty word ends the number at the latest
        value = NUMBER_WORDS.get(word)
        if value is not None and (last >= 100 or (last >= 20 and 0 < value < 10)):
            current, last = current + value, value if value >= 20 else 1
        elif (
            at
            and word != "dozen"
            and word.isascii()
            and (scale := SCALES.get(word)) is not None
            and current
        ):
            last = scale
            if scale == 100:
                current *= scale
            else:
                total, current = total + current * scale, 0
        elif not (word == "and" and last >= 100 and at):
            break
    if at and words[at - 1] == "and":
        at -= 1
    if at == 0 or (at < len(words) and words[at] in NUMBER_WORDS):
        return None
    return total + current, words[at:]


_CHINESE = CHINESE_DIGITS.keys() | CHINESE_SCALES.keys()


def _chinese(text: str) -> Fraction | None:
    """`三百二十五` is 325."""
    total = section = digit = 0
    for char in text:
        if char in CHINESE_DIGITS:
            if digit:
                return None  # 二五: digits side by side may be anything
            digit = CHINESE_DIGITS[char]
        elif (scale := CHINESE_SCALES[char]) < 10**4:
            section, digit = section + (digit or 1) * scale, 0
        else:
            total, section, digit = total + (section + digit) * scale, 0, 0
    return Fraction(total + section + digit)
