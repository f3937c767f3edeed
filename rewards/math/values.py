"""Numbers and formulas compared by their values.

    same_quantity(read_quantity("2 km"), read_quantity("2000 meters"), Rules())   # True
    same_expression("(x+1)^2", "x^2+2x+1", Rules())                               # True

What it leaves out: lists, sets, intervals, equations of names (see `compare`), and everything that
`expressions` cannot evaluate: there the verdict is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from groupwise.rewards.math.expressions import UnreadableError, Value, evaluate
from groupwise.rewards.math.quantities import Quantity, read_quantity
from groupwise.rewards.math.units import unit_factor

Percent = Literal["either", "ignore", "value"]

_ROUNDING = Fraction(1, 2_000_000)  # half a unit in the sixth decimal, as math-verify rounds
_NOT_LINEAR = re.compile(r"[\^\\()/]|[A-Za-z] ?\*? ?[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Rules:
    """The choices of comparison.

    `percent`: whether `25%` equals 25 and 0.25 (`either`), only 25 (`ignore`) or only 0.25
    (`value`). `tolerance` and `relative_tolerance` let numbers differ, on top of the sixth decimal
    of a number that was written with a point.
    """

    percent: Percent = "either"
    tolerance: float = 0.0
    relative_tolerance: float = 0.0


def same_quantity(gold: Quantity, answer: Quantity, rules: Rules) -> bool | None:
    """Whether two numbers with units are equal; None if a unit may be a variable."""
    if gold.symbol_unit != answer.symbol_unit:
        # `5 m` is five metres beside a plain 5; `5x` never is
        lettered = gold if gold.symbol_unit else answer
        if lettered is gold or lettered.unit not in ("m", "g", "h", "l", "s"):
            return None
    elif gold.symbol_unit and gold.unit != answer.unit:
        return False
    factor = unit_factor(gold.unit, answer.unit)
    if factor is None:
        return False
    value = answer.value * factor
    rounded = gold.decimal or answer.decimal
    if gold.percent == answer.percent or rules.percent == "ignore":
        return close(gold.value, value, rounded, rules)
    hundred = gold.value / 100 if gold.percent else gold.value
    other = value / 100 if answer.percent else value
    if rules.percent == "either" and close(gold.value, value, rounded, rules):
        return True
    return close(hundred, other, rounded, rules)


def close(gold: Fraction, answer: Fraction, rounded: bool, rules: Rules) -> bool:
    """Equal exactly, within the stated tolerance, or in six decimals if one was `rounded`."""
    if gold == answer:
        return True
    difference = abs(gold - answer)
    if rules.tolerance and difference <= Fraction(rules.tolerance):
        return True
    if rules.relative_tolerance and difference <= Fraction(rules.relative_tolerance) * abs(gold):
        return True
    return rounded and difference <= _ROUNDING and difference * 100_000 <= abs(gold)


def _same_value(gold: Value, answer: Value, rounded: bool, rules: Rules) -> bool | None:
    if isinstance(gold, Fraction) and isinstance(answer, Fraction):
        return close(gold, answer, rounded, rules)
    difference = abs(complex(gold) - complex(answer))
    size = max(abs(complex(gold)), abs(complex(answer)))
    if difference <= 1e-10 * size:
        return True
    allowed = max(rules.tolerance, rules.relative_tolerance * abs(complex(gold)))
    if difference <= allowed or (rounded and difference <= 5e-7 and difference <= 1e-5 * size):
        return True
    return False if difference > 1e-7 * size else None


def same_expression(g: str, a: str, rules: Rules) -> bool | None:
    """By value at fixed points: exact for rational formulas, to ten digits otherwise."""
    try:
        for point in range(3):
            gold, gold_names = value_of(g, point)
            answer, answer_names = value_of(a, point)
            verdict = _same_value(gold, answer, "." in g or "." in a, rules)
            if verdict is not True:
                # `\\sqrt{x^2}` and branch cuts agree at positive points; a difference is one
                return verdict
            if not gold_names and not answer_names:
                return True
    except (UnreadableError, OverflowError):
        return None
    return True


def value_of(text: str, point: int) -> tuple[Value, frozenset[str]]:
    """The value of a number or formula and its variables, as `expressions.evaluate` gives them."""
    quantity = read_quantity(text)
    if quantity is not None and not (quantity.unit or quantity.percent):
        return quantity.value, frozenset()
    return evaluate(text, point)


def proportional(gold: list[str], answer: list[str]) -> bool | None:
    """Two equations are the same if their differences of sides have a constant ratio."""
    ratios = []
    try:
        for point in range(3):
            top = [evaluate(side, point)[0] for side in gold]
            bottom = [evaluate(side, point)[0] for side in answer]
            if not all(isinstance(value, Fraction) for value in (*top, *bottom)):
                return None
            ratios.append((complex(top[0] - top[1]), complex(bottom[0] - bottom[1])))
    except (UnreadableError, OverflowError):
        return None
    (x, y) = ratios[0]
    if x == 0 or y == 0:
        return None
    if all(abs(p * y - q * x) <= 1e-9 * abs(p * y) for p, q in ratios[1:]):
        return True
    # Of two linear equations, one is a multiple of the other or they differ
    linear = not any(_NOT_LINEAR.search(side) for side in (*gold, *answer))
    return False if linear else None
