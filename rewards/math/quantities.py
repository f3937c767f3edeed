"""A plain number with its sign, currency, percent sign and unit, read exactly.

    read_quantity("$1,234.5")   # Quantity(Fraction(2469, 2), decimal=True, unit="$")

Units follow the convention of MATH and GSM8K: a unit that only one side states is ignored; where
both state one that is known here, they must agree, after conversion, and so must both sides of a
rate (`5 m/s` is 18 km/h, and neither 5 km/h nor 5 m). Unknown words ("clips") are ignored.
What it leaves out: formulas, which are for `expressions`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from groupwise.rewards.math.units import KNOWN_UNITS, unit_name

MAX_DIGITS = 300
"""Longer numbers are compared as text only: nothing is gained, and a million digits cost time."""

# Always matched against a whole text. The order of alternatives counts: thousands in groups of
# three, by commas or spaces, before plain digits. No digit or operator may stand in a unit, or else
# `5 + 3` would be five of something
_NUMBER = re.compile(
    r"(?P<sign>[-+])?\s?(?P<currency>[$€£¥₹])?\s?(?P<sign2>[-+])?"
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d{1,3}(?: \d{3})+(?!\d)(?:\.\d*)?"
    r"|\d+(?:\.\d*)?|\.\d+)"
    r"(?:[eE](?P<exponent>[-+]?\d{1,3})(?!\w))?"
    r"(?:\s?/\s?(?P<denominator>-?\d+(?:\.\d+)?))?"
    r"(?P<percent>\s?%)?(?P<degree>\s?°)?[$]?"
    r"(?P<unit>(?:(?:\s?/)?\s?[A-Za-z€£¥₹¢\\][^\d=+<>()\[\],;&|_!]*(?:\s?\^\s?[23])?)?)\.?"
)
_WORDS = re.compile(r"[A-Za-z]+")

_SCALE = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
_SPELLED_SCALE = {name: _SCALE[name] for name in ("hundred", "thousand", "million", "billion")}
# Words that make a number part of a larger expression: not units
_NOT_UNITS = {
    "pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "and", "or", "over", "times", "plus",
    "minus", "mod", "if", "for", "not", "but", "frac", "cdot", "divided", "squared", "cubed",
    "base", "to", "cup", "cap", "pm", "dots", "infty", "is", "then", "i", "e",
}  # fmt: skip
_NEVER_IN_UNITS = {"or", "and", "not", "isn", "wasn", "cannot", "never", "wrong"}
_NUMBER_NAMES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
_WORD_NUMBERS = {word: value for value, word in enumerate(_NUMBER_NAMES.split())}
_TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORD_NUMBERS |= {word: 10 * value for value, word in enumerate(_TENS, 3)}
# `two thirds`; a quarter may be a coin, so that it is left out
_PARTS = {
    "half": 2, "halve": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12, "twentieth": 20,
    "hundredth": 100,
}  # fmt: skip
_PARTS |= {f"{name}th": value for name, value in _WORD_NUMBERS.items() if 13 <= value <= 19}
_LETTERS_ONLY = re.compile(r"[A-Za-z][A-Za-z -]*")


# Short enough that equal decimals are equal floats: at most 15 digits
_PLAIN = re.compile(r"\$?(-?(?:\d{1,3}(?:,\d{3}){1,2}|\d{1,9})(?:\.\d{1,6})?)\.?")


def plain_number(text: str) -> float | None:
    """The value of a short plain number (`72`, `$1,234.50`), exact to the digit; else None."""
    match = _PLAIN.fullmatch(text)
    return None if match is None else float(match[1].replace(",", ""))


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as an exact fraction, and what was written around it.

    `decimal`: a point was written, so that the value may be a rounded one. `symbol_unit`: the unit
    is one bare letter, which might as well be a variable.
    """

    value: Fraction
    decimal: bool = False
    percent: bool = False
    unit: str = ""
    symbol_unit: bool = False


def read_quantity(text: str) -> Quantity | None:
    """A canonical text that is one number and nothing else but its marks and unit, else None."""
    if text.isdigit() and len(text) <= MAX_DIGITS and text.isascii():
        return Quantity(Fraction(int(text)))
    if len(text) > MAX_DIGITS + 100:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        name = text.removeprefix("\\text").strip(" {}") if len(text) < 60 else ""
        if (found := _spelled(name)) is None:
            return None
        value, words = Fraction(found[0]), found[1]
        if words and (part := _PARTS.get(words[0].removesuffix("s"))) is not None:
            value, words = value / part, words[1:]
        rest = " ".join(words[1:] if words[:1] == ["of"] else words)
        if len(words) > 3 or any(word in _WORD_NUMBERS for word in words):
            return None  # two point five, one in three
        scale, unit, symbol = _read_unit(" " + rest) if rest else (1, "", False)
        return None if scale == 0 else Quantity(value * scale, unit=unit, symbol_unit=symbol)
    digits = match["number"].replace(",", "").replace(" ", "")
    if len(digits) > MAX_DIGITS or (match["sign"] and match["sign2"]):
        return None
    value = Fraction(digits)
    if match["exponent"]:
        value *= Fraction(10) ** int(match["exponent"])
    if match["denominator"]:
        below = Fraction(match["denominator"])
        if len(match["denominator"]) > MAX_DIGITS or below == 0:
            return None
        value /= below
    if "-" in (match["sign"], match["sign2"]):
        value = -value
    unit, currency = match["unit"], match["currency"] or ""
    if unit:
        scale, unit, symbol = _read_unit(unit)
        if scale == 0:
            return None
        value *= scale
    else:
        symbol = False
    return Quantity(
        value,
        decimal="." in digits or bool(match["exponent"]),
        percent=bool(match["percent"]) or unit in ("percent", "percentage", "percent."),
        unit=f"{currency} {unit}" if currency and unit.startswith("per ") else unit or currency,
        symbol_unit=symbol,
    )


def spelled_number(text: str) -> int | None:
    """`twelve`, `twenty-four`, `one hundred and five thousand`; None for anything else."""
    found = _spelled(text)
    return found[0] if found is not None and not found[1] else None


def _spelled(text: str) -> tuple[int, list[str]] | None:
    """The value of the number words that a text begins with, and the words behind them."""
    if _LETTERS_ONLY.fullmatch(text) is None:
        return None
    words = text.casefold().replace("-", " ").split()
    total = current = 0
    at, last = 0, 100  # what the last word counted in: `four twenty` is no number
    for at, word in enumerate([*words, ""]):  # the empty word ends the number at the latest
        value = _WORD_NUMBERS.get(word)
        if value is not None and (last >= 100 or (last >= 20 and 0 < value < 10)):
            current, last = current + value, value if value >= 20 else 1
        elif at and (scale := _SPELLED_SCALE.get(word)) is not None and current:
            last = scale
            if scale == 100:
                current *= scale
            else:
                total, current = total + current * scale, 0
        elif not (word == "and" and last >= 100 and at):
            break
    if at == 0 or words[at - 1] == "and" or (at < len(words) and words[at] in _WORD_NUMBERS):
        return None
    return total + current, words[at:]


def _read_unit(raw: str) -> tuple[int, str, bool]:
    """(scale, unit, one bare letter); scale 0 if the text is no unit but a formula or prose."""
    quoted = "\\text" in raw
    words = _WORDS.findall(raw.replace("\\text", " "))
    unspaced = not raw.startswith(" ")
    bare = raw.strip()
    if len(words) > 6 or len(raw) > 80 or (not words and bare not in ("€", "£", "¥", "₹", "¢")):
        return 0, "", False
    if any(word in _NOT_UNITS for word in words[:1]) or _NEVER_IN_UNITS & set(words):
        return 0, "", False
    if "\\" in raw.replace("\\text", ""):
        return 0, "", False
    if bare.startswith("/"):  # $40/week, not 40/x
        per_word = len(words) > 0 and len(words[0]) > 2 and _spelled(words[0]) is None
        return (1, "per " + unit_name(bare[1:]), False) if per_word else (0, "", False)
    scale = _SCALE.get(words[0].lower(), 1) if words else 1
    if scale != 1:
        rest = raw[raw.lower().find(words[0].lower()) + len(words[0]) :].strip(" {}")
        return scale, unit_name(rest), False
    if not quoted and words:
        if len(bare) == 1 and bare.isalpha():
            return 1, unit_name(bare), True
        if unspaced and len(words[0]) <= 2 and words[0].lower() not in KNOWN_UNITS:
            return 0, "", False  # 3xy
        if "^" in bare and len(words[0]) == 1:
            return 0, "", False  # 3x^2
        if "*" in bare or ("/" in bare and len(words[0]) == 1 and len(words) == 1):
            return 0, "", False
    return 1, unit_name(raw), False
