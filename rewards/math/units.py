"""Units of measure: one spelling for each, and the factor between two.

    unit_factor("cm", "m")   # 100: metres times 100 are centimetres

The factors are exact: those of the SI and of the international yard and pound. What it leaves out:
temperatures, whose scales have different zeros, and products such as `N m`. A unit that is not in
the table is compared with nothing and ignored.
"""

from __future__ import annotations

import re
from fractions import Fraction

# name -> (dimension, factor): spellings in singular; a plural `s` is dropped before the look-up
KNOWN_UNITS: dict[str, tuple[str, Fraction]] = {}
for _dimension, _table in {
    "length": {
        "mm millimeter millimetre": "0.001", "cm centimeter centimetre": "0.01",
        "dm decimeter": "0.1", "m meter metre": "1", "km kilometer kilometre": "1000",
        "inch inche in": "0.0254", "ft foot feet": "0.3048", "yd yard": "0.9144",
        "mi mile": "1609.344",
    },
    "mass": {
        "mg milligram": "0.001", "g gram gm": "1", "kg kilogram": "1000",
        "oz ounce": "28.349523125", "lb pound": "453.59237",
    },
    "time": {
        "sec second s": "1", "min minute": "60", "hr hour h": "3600", "day": "86400",
        "week": "604800",
    },
    "month": {"month": "1", "year yr": "12"},
    "volume": {"ml milliliter millilitre": "0.001", "l liter litre": "1"},
    "money": {"$ dollar usd buck": "1", "cent ¢": "0.01"},
    "euro": {"€ euro eur": "1"}, "pound sterling": {"£": "1"}, "rupee": {"₹ rupee": "1"},
}.items():  # fmt: skip
    for _names, _factor in _table.items():
        for _name in _names.split():
            KNOWN_UNITS[_name] = (_dimension, Fraction(_factor))
_RATES = {"mph": "mile per hour", "kmph": "km per hour", "kph": "km per hour"}
_PER = re.compile(r" ?/ ?|(?:^|(?<= ))per ")


def unit_name(raw: str) -> str:
    """`\\text{ square inches}` and `in^2` as one spelling."""
    text = raw.replace("\\text", " ").translate({123: " ", 125: " "}).casefold().strip(" .")
    power = ""
    for mark, words in (("^2", ("square", "sq.", "sq")), ("^3", ("cubic", "cu.", "cu"))):
        if mark in text.replace(" ", ""):
            text, power = text.replace("^", "").rstrip("23 "), mark
        for word in words:
            if text.startswith(word + " "):
                text, power = text[len(word) :].strip(), mark
    if text.endswith((" squared", " cubed")):
        text, _, last = text.rpartition(" ")
        power = "^2" if last == "squared" else "^3"
    text = " ".join(text.split())
    return _singular(text) + power


def unit_factor(gold: str, answer: str) -> Fraction | None:
    """The factor from the answer's unit to the gold's; None if the units conflict."""
    if not gold or not answer or gold == answer:
        return Fraction(1)
    gold_base, _, gold_power = gold.partition("^")
    answer_base, _, answer_power = answer.partition("^")
    gold_over, gold_under = _rate(gold_base)
    answer_over, answer_under = _rate(answer_base)
    if not gold_under and not answer_under:
        factor = _known_factor(gold_base, answer_base)
        if factor is None or (factor != 0 and gold_power != answer_power):
            return None
        return factor ** int(gold_power or 1) if factor else Fraction(1)
    over = _known_factor(gold_over, answer_over)
    if not gold_under or not answer_under:
        # 5 m/s is not 5 m; but $5 may be $5 per hour, and 5 clips may be 5 clips per day
        counted = over == 0 or KNOWN_UNITS.get(gold_over, "")[0] == "money"
        return Fraction(1) if counted else None
    under = _known_factor(gold_under, answer_under)
    if over is None or under is None:
        return None
    factor = (over or Fraction(1)) / (under or Fraction(1))
    # Only one of the two has a power, as in m/s^2: nothing is converted then
    return factor if gold_power == answer_power and (factor == 1 or not gold_power) else None


def _rate(unit: str) -> tuple[str, str]:
    """`miles per hour` as (mile, hour); the second is empty for a unit that is not a rate."""
    over, _, under = _PER.sub("/", _RATES.get(unit, unit), count=1).partition("/")
    return _singular(over.strip()), _singular(under.strip())


def _singular(name: str) -> str:
    return (
        name[:-1]
        if name not in KNOWN_UNITS and name[:-1] in KNOWN_UNITS and name[-1:] == "s"
        else name
    )


def _known_factor(gold: str, answer: str) -> Fraction | None:
    """Between two simple units; 0 if one is not known here, None if they conflict."""
    known_gold, known_answer = KNOWN_UNITS.get(gold), KNOWN_UNITS.get(answer)
    if known_gold is None or known_answer is None:
        return Fraction(0)
    return known_answer[1] / known_gold[1] if known_gold[0] == known_answer[0] else None
