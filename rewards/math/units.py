"""Units of measure: what a text of letters names, and the way from one unit to another.

    factor(read_unit("km/h"), read_unit("m/s"))   # Fraction(18, 5)

pint knows the units and their exact factors (https://pint.readthedocs.io); it is asked about single
names only, the first time that two stated units differ. What is no unit is a label ("clips"): two
labels agree if one says no more than the other. New names go into the tables of `vocabulary`. What
it leaves out: prefixes of their own (`k Ω`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, NamedTuple

from groupwise.rewards.math.vocabulary import (
    CURRENCIES,
    MONEY,
    NEVER_IN_UNITS,
    NO_MEASURES,
    SYMBOLS,
)

_OTHER_NAMES = {"°": "degree", "inche": "inch"}  # what pint does not know
_POWERS = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3, "cu": 3, "cu.": 3, "squared": 2, "cubed": 3}
_SCALES = {"c": "celsius", "f": "fahrenheit"}
_ZERO = {"celsius": Fraction("273.15"), "fahrenheit": Fraction("459.67")}  # over the absolute zero
_SCALE = re.compile(r"(?:°|degrees?) ?([CF])(?:elsius|ahrenheit)?\b", re.IGNORECASE)
_NO_UNIT = re.compile(r"(?<![A-Za-z])-(?!\d)|[+=<>|!&\[\]();,]|\\(?!text|frac|mu|Omega)")
_SPACE = re.compile(r"\\text|\\frac|[{}*~]|(?<=[A-Za-z])-(?=[A-Za-z])")
_PERCENT = re.compile(r"(?:%|percent|per cent)(?![A-Za-z])\D*", re.IGNORECASE)
_PER = re.compile(r"\s*/\s*|(?:^|(?<=\s))per\s+")
_WORD = re.compile(r"(?!')[A-Za-z°€£¥₹¢$µμΩ.'\u0080-\U0010ffff]+(?:\^-?[1-4])?")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as it was written: over, and under its bars."""

    over: str
    under: tuple[str, ...] = ()


PERCENT = Unit("%")
DEGREE = Unit("°")


@lru_cache(maxsize=4096)
def read_unit(text: str) -> Unit | None:
    """The unit that a spelled text is, with the labels in it; None: it says something else."""
    if len(text) > 80 or _NO_UNIT.search(text):
        return None
    text = text.replace("\\Omega", "ohm").replace("\\mu", "µ").replace("}{", "}/{")
    plain = " ".join(re.sub(r"\s*\^\s*", "^", _SPACE.sub(" ", text)).split()).strip(" .,")
    plain = _SCALE.sub(lambda m: _SCALES[m[1].lower()], plain).replace("µ ", "µ")
    if _PERCENT.fullmatch(plain):
        return PERCENT
    if NEVER_IN_UNITS.intersection(re.findall(r"[^\W\d_]+", plain.casefold())):
        return None
    over, *under = _PER.split(plain)
    known = all(map(_WORD.fullmatch, " ".join((over, *under)).split()))
    if not known or not all(under) or set(plain.split()) <= _POWERS.keys():  # 42 squared
        return None
    return DEGREE if plain in ("deg", "degree", "degrees") else Unit(over.strip(), tuple(under))


class _Meaning(NamedTuple):
    size: Fraction
    dimension: dict[str, Any]  # of base units, which powers
    labels: tuple[set[str], set[str]]  # over and under the bar


@lru_cache(maxsize=4096)
def _meaning(unit: Unit) -> _Meaning:
    """Its factors in base units, and the words that are none: `50 square feet of red cloth`."""
    size, dimension = Fraction(1), dict[str, Any]()
    labels: tuple[set[str], set[str]] = (set(), set())
    for at, part in enumerate((unit.over, *unit.under)):
        words = part.split()
        power = -1 if at else 1
        for word in words:
            power *= _POWERS.get(word.casefold(), 1)
        label = labels[bool(at)]
        for word in words:
            name, _, exponent = word.partition("^")
            measure = _measure(_singular(name)) if not label else None
            if word.casefold() in _POWERS:
                continue
            if measure is None:  # and so are all words behind it: `eggs in` has no inch
                label.add(_singular(name).casefold() + exponent)
                continue
            total = power * int(exponent or 1)
            size *= measure[0] ** total
            for base, of_base in measure[1].items():
                dimension[base] = dimension.get(base, 0) + of_base * total
    return _Meaning(size, {k: v for k, v in dimension.items() if v}, labels)


def _singular(name: str) -> str:
    """In lower case, but for symbols as short as `kHz`."""
    if len(name) > 3:
        name = name.casefold()
        name = name if name.endswith(("ss", "us")) else name.removesuffix("s")
    return _OTHER_NAMES.get(name, name)


@cache
def _registry() -> Any:
    import pint  # slow: not at start-up, and not before two units are compared

    return pint.UnitRegistry(non_int_type=Fraction, cache_folder=None)


@lru_cache(maxsize=4096)
def _measure(name: str) -> tuple[Fraction, dict[str, Any]] | None:
    """The factor to base units and those units, of one name; None if it is no unit."""
    if (money := MONEY.get(name.casefold())) is not None:
        return Fraction(money[1]), {money[0]: 1}
    if name in NO_MEASURES or not name.isalpha() or len(name) > 20:
        return None
    try:
        factor, units = _registry().get_base_units(name)
    except Exception:  # pint raises its own, tokenize's and others on what is no unit
        return None
    return Fraction(factor), {str(base): power for base, power in units._units.items()}


def is_measure(unit: Unit) -> bool:
    """Whether every factor is a unit of measure or money, and no label."""
    return not any(_meaning(unit).labels)


def factor(gold: Unit, answer: Unit) -> Fraction | None:
    """What an amount in the answer's unit is multiplied with to be in the gold's; None: no way."""
    if "£" in (gold.over, answer.over):  # where £ is stated, pounds are money
        gold, answer = (Unit("£", u.under) if u.over in ("pound", "pounds") else u
                        for u in (gold, answer))  # fmt: skip
    g, a = _meaning(gold), _meaning(answer)
    nested = all(x <= y or y <= x for x, y in zip(g.labels, a.labels, strict=True))
    return a.size / g.size if nested and g.dimension == a.dimension else None


def conversion(gold: Unit, answer: Unit) -> tuple[Fraction, Fraction] | None:
    """Factor and summand from the answer's unit to the gold's; a rate of money or of a label may
    leave out what it is paid for."""
    if gold == answer:
        return Fraction(1), Fraction(0)
    ratio = factor(gold, answer)
    if ratio is None and bool(gold.under) != bool(answer.under):
        gold, answer = Unit(gold.over), Unit(answer.over)
        if _meaning(gold).dimension.keys() <= set(CURRENCIES):
            ratio = factor(gold, answer)
    if ratio is None:
        return None
    zero, other = (0 if u.under else _ZERO.get(u.over, 0) for u in (gold, answer))
    return ratio, other * ratio - zero


def is_written_out(text: str) -> bool:
    """Whether letters behind a formula are a unit: `\\text{m}`, `cm`, and no single letter."""
    return len(text) > 1 and is_symbol(text)


def is_symbol(text: str) -> bool:
    """Whether letters behind a number are a unit's symbol: `cm`; `5 m` may be five times m too."""
    return text.startswith("\\text") or text[:1] in CURRENCIES or text in SYMBOLS
