"""Units of measure: what a text of letters names, and the factor between two units.

    factor(read_unit("km/h"), read_unit("m/s"))   # Fraction(18, 5)

pint knows the units and their exact factors (https://pint.readthedocs.io); it is asked about single
names only, the first time that two stated units differ. What is no unit is a label ("clips"): two
labels agree if they share a word. What it leaves out: scales with another zero (20 °C is no K).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from groupwise.rewards.math.vocabulary import CURRENCIES, SYMBOLS

_MONEY = {
    "$": ("$", 100), "dollar": ("$", 100), "usd": ("$", 100), "buck": ("$", 100),
    "cent": ("$", 1), "¢": ("$", 1), "€": ("€", 1), "euro": ("€", 1), "eur": ("€", 1),
    "£": ("£", 1), "¥": ("¥", 1), "yen": ("¥", 1), "yuan": ("yuan", 1), "₹": ("₹", 1),
    "rupee": ("₹", 1), "rs": ("₹", 1),
}  # fmt: skip
# What pint names otherwise, or does not know
_OTHER_NAMES = {
    "°": "degree", "deg": "degree", "gm": "gram", "kmph": "kph", "sec": "second", "inche": "inch",
    "°c": "degC", "°f": "degF", "celsius": "degC", "fahrenheit": "degF", "cc": "cm",
}  # fmt: skip
_SCALES = {
    "°c": (Fraction(27315, 100), Fraction(1)), "°cels": (Fraction(27315, 100), Fraction(1)),
    "°f": (Fraction(45967, 100), Fraction(5, 9)), "°fahr": (Fraction(45967, 100), Fraction(5, 9)),
    "k": (Fraction(0), Fraction(1)), "kelvi": (Fraction(0), Fraction(1)),
}  # fmt: skip
# pint takes these for units, and people do not: a cat is no centi-technical-atmosphere
_LABELS = {
    "unit", "cat", "bars", "point", "hand", "bag", "rod", "chain", "link", "nail", "slug", "stone",
    "count", "turn", "pin", "set", "mark", "sheet", "barn", "are", "table", "pole", "perch",
    "span", "drop", "pig", "bit", "face", "pack", "page", "line", "item", "part", "player",
    "game", "case", "cord", "hat", "pat", "pet", "pant", "at", "as", "a", "in total", "em",
    "beat", "skein", "lot", "dot", "can", "circle", "cycle", "revolution", "times", "mat", "cable",
}  # fmt: skip
_POWERS = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3, "cu": 3, "cu.": 3}
_POWER_BEHIND = {"squared": 2, "cubed": 3}
_FACTOR = re.compile(r"([A-Za-z°€£¥₹¢$µμΩ.'\u0080-\U0010ffff]+)\s*(?:\^\s*\{?\s*(-?[1-4])\s*\}?)?")
_RATES = {"mph": "mile per hour", "kmph": "km per hour", "kph": "km per hour"}
_PER = re.compile(r"\s*/\s*|(?:^|(?<=\s))per\s+")
_ARTICLES = {"a", "an", "the", "of"}
_NO_UNIT = re.compile(r"(?<![A-Za-z])-(?!\d)|[+=<>|!&\[\]();,]|\\(?!text|frac)")
# Words that make a number part of a larger statement: not units
_SAYING = {
    "pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "and", "or", "over", "times", "plus",
    "minus", "mod", "if", "for", "not", "but", "frac", "cdot", "divided", "squared", "cubed",
    "base", "to", "pm", "dots", "infty", "is", "then", "i", "e", "isn", "wasn",
    "cannot", "never", "wrong", "maybe", "no", "than", "when", "because", "since",
    "so", "that", "which", "either", "x", "y",
}  # fmt: skip
_NEVER = {"or", "and", "not", "isn", "wasn", "cannot", "never", "wrong", "no", "if", "but", "than",
          "either", "nor", "except", "is", "was", "are", "below", "halved",
          "negative", "over", "factorial", "inverse", "doubled", "odd", "something"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as it was written, in lower case but for symbols (kHz, MB): over, and under its bars."""

    over: str
    under: tuple[str, ...] = ()


PERCENT = Unit("%")
DEGREE = Unit("°")


@lru_cache(maxsize=4096)
def read_unit(text: str) -> Unit | None:
    """The unit that a spelled text is, with the labels in it; None: it says something else."""
    text = text.replace("\\Omega", "ohm").replace("\\mu ", "µ").replace("\\mu", "µ")
    if len(text) > 80 or _NO_UNIT.search(text):
        return None
    plain = text.replace("\\text", " ").replace("\\frac", "").replace("}{", "}/{").replace("~", " ")
    plain = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", " ", plain)
    plain = " ".join(_joined(plain.translate({123: " ", 125: " ", 42: " "}))).strip(" .,")
    if re.search(r"(?<!\^)(?<!\^ )(?<!\^-)\d", plain):
        return None
    if re.match(r"(?:%|percent|per cent)(?![A-Za-z])", plain.lower()):
        return PERCENT
    words = re.findall(r"[^\W\d_]+", plain.casefold())
    if not plain or (words and (words[0] in _SAYING or _NEVER & set(words))) or len(words) > 6:
        return None
    over, *under = _PER.split(_RATES.get(plain.casefold(), plain))
    over = over.strip()
    if len(under) > 2 or not all(part.strip() for part in under) or not (over or under):
        return None
    if any(_FACTOR.fullmatch(word) is None for word in " ".join((over, *under)).split()):
        return None
    return (
        DEGREE
        if over in ("°", "deg", "degree", "degrees") and not under
        else Unit(over, tuple(under))
    )


@lru_cache(maxsize=4096)
def _factors_of(unit: Unit) -> tuple[tuple[str, int], ...]:
    """Named factors with their powers: `m/s^2` as (("m", 1), ("s", -2))."""
    found = _factors(unit.over, 1)
    for part in unit.under:
        found += _factors(part, -1)
    return tuple(sorted(found))


def _factors(text: str, sign: int) -> list[tuple[str, int]]:
    """`square feet`, `N m`, `kg m^2`, `minutes long`, `black skirts`."""
    if not text.strip():
        return []
    words = [word for word in text.split() if word not in _ARTICLES]
    power = 1
    if words and words[0].casefold() in _POWERS:
        power, words = _POWERS[words[0].casefold()], words[1:]
    if len(words) > 1 and words[-1].casefold() in _POWER_BEHIND:
        power, words = _POWER_BEHIND[words[-1].casefold()], words[:-1]
    if not words:
        return []
    found = [_FACTOR.fullmatch(word) for word in words]
    symbols = [(_singular(m[1]), int(m[2] or 1)) for m in found if m is not None]
    if len(symbols) < len(found):
        return []
    known = [symbol for symbol in symbols if is_known(symbol[0])]
    if len(known) == len(symbols):
        return [(name, p * power * sign) for name, p in known]
    label = [name.casefold() for name, _ in symbols]
    if known and known[0] == symbols[0]:  # 50 miles away
        rest = [(" ".join(label[1:]), sign)]
        return [(known[0][0], known[0][1] * power * sign), *rest]
    return [(" ".join(label), power * sign)]


def _joined(text: str) -> list[str]:
    """Words, with its power at each: `cm ^2`."""
    return re.sub(r"\s*\^\s*", "^", text).split()


def _singular(name: str) -> str:
    name = name.strip(".")
    if len(name) > 3 and name.endswith("s") and not name.endswith("ss") and name not in _LABELS:
        name = name[:-1] if not name.endswith("ies") else name[:-3] + "y"
    return _OTHER_NAMES.get(name.casefold(), name)


def is_known(name: str) -> bool:
    """Whether a name is a currency or a unit of measure."""
    return name.casefold() in _MONEY or _measure(name) is not None


def zero_and_step(unit: Unit) -> tuple[Fraction, Fraction] | None:
    """Of a scale of temperature: what is added to come from zero, and its step in kelvin."""
    return None if unit.under else _SCALES.get(unit.over.casefold().replace("degrees ", "°")[:5])


def is_measure(unit: Unit) -> bool:
    """Whether every factor is a unit of measure or money, and no label."""
    return all(is_known(name) for name, _ in _factors_of(unit))


@cache
def _registry() -> Any:
    import pint  # slow: not at start-up, and not before two units are compared

    return pint.UnitRegistry(non_int_type=Fraction, cache_folder=None)


@lru_cache(maxsize=4096)
def _measure(name: str) -> tuple[Fraction, tuple[tuple[str, Fraction], ...]] | None:
    """The factor to base units and the dimension of one name; None if it is no unit."""
    if (
        (name.casefold() if len(name) > 1 else name) in _LABELS
        or not name.isalpha()
        or len(name) > 20
    ):
        return None
    for spelling in dict.fromkeys((name, name.lower())):
        if len(name) == 1 and spelling != name:
            continue
        try:
            factor, units = _registry().get_base_units(spelling)
            dimension = tuple(sorted((str(k), Fraction(v)) for k, v in units._units.items()))
            return Fraction(factor), dimension
        except Exception:  # pint raises its own, tokenize's and others on what is no unit
            continue
    return None


def factor(gold: Unit, answer: Unit) -> Fraction | None:
    """What an amount in the answer's unit is multiplied with to be in the gold's; None: no way."""
    if gold == answer:
        return Fraction(1)
    if "£" in (gold.over, answer.over):  # where £ is stated, pounds are money
        gold, answer = (Unit("£", u.under) if u.over in ("pound", "pounds") else u
                        for u in (gold, answer))  # fmt: skip
    if gold.over.startswith("mod ") or answer.over.startswith("mod "):
        return None
    gold_factors, answer_factors = _factors_of(gold), _factors_of(answer)
    total, dimension = Fraction(1), dict[str, Fraction]()
    labels: list[list[tuple[str, int]]] = [[], []]
    for side, factors, sign in ((0, gold_factors, -1), (1, answer_factors, 1)):
        for name, power in factors:
            if (money := _MONEY.get(name.casefold())) is not None:
                size, base = Fraction(money[1]), ((money[0], Fraction(1)),)
            elif (measure := _measure(name)) is not None:
                size, base = measure
            else:
                labels[side].append((name, power))
                continue
            total *= size ** (power * sign)
            for symbol, exponent in base:
                dimension[symbol] = dimension.get(symbol, Fraction(0)) + exponent * power * sign
    if _angle(gold_factors) != _angle(answer_factors) or any(dimension.values()):
        return None
    return total if _same_labels(*labels) else None


def _angle(factors: tuple[tuple[str, int], ...]) -> bool:
    """An angle has no dimension in pint's eyes; in ours it is no plain number."""
    names = {name for name, _ in factors}
    return bool(names & {"degree", "rad", "radian", "gradian", "arcmin", "arcsec", "arcsecond"})


def _same_labels(gold: list[tuple[str, int]], answer: list[tuple[str, int]]) -> bool:
    """One says no more than the other: "black skirts" and "skirts", but not "red skirts"."""
    for sign in (1, -1):
        golds = {word for name, p in gold if p * sign > 0 for word in name.split()}
        answers = {word for name, p in answer if p * sign > 0 for word in name.split()}
        if not (golds <= answers or answers <= golds):
            return False
    return True


def without_rate(unit: Unit) -> Unit | None:
    """`$ per hour` as `$`: what money or a label is counted for is often left out."""
    if not unit.under or not unit.over:
        return None
    counted = (name.casefold() in _MONEY or _measure(name) is None
               for name, _ in _factors(unit.over, 1))  # fmt: skip
    return Unit(unit.over) if all(counted) else None


def is_written_out(text: str) -> bool:
    """Whether letters behind a formula are a unit: `\\text{m}`, `cm`, and no single letter."""
    return len(text) > 1 and is_symbol(text)


def is_symbol(text: str) -> bool:
    """Whether letters behind a number are a unit's symbol: `cm`; `5 m` may be five times m too."""
    return text.startswith("\\text") or text[:1] in CURRENCIES or text in SYMBOLS


def conversion(gold: Unit, answer: Unit) -> tuple[Fraction, Fraction] | None:
    """Factor and summand from the answer's unit to the gold's; a rate may leave out what it is
    paid for."""
    scales = zero_and_step(gold), zero_and_step(answer)
    if scales[0] is not None and scales[1] is not None:
        (zero, step), (other_zero, other_step) = scales
        return other_step / step, other_zero * other_step / step - zero
    ratio = factor(gold, answer)
    if ratio is None:
        one, other = without_rate(gold), without_rate(answer)
        if (one is None) != (other is None):
            ratio = factor(one or gold, other or answer)
    return None if ratio is None else (ratio, Fraction(0))
