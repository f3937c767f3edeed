"""Numbers and formulas compared by their values.

    same_amount(Formula(parse("(x+1)^2").node), Formula(parse("x^2+2x+1").node), Rules())   # True

What it leaves out: units and percent (`compare`), and algebra: what cannot be evaluated is None.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from groupwise.rewards.math.evaluate import POINTS, Value, value
from groupwise.rewards.math.formula import (
    Node,
    UndefinedError,
    UnreadableError,
    names_in,
    replaced,
)
from groupwise.rewards.math.values import Formula, Number, Reading

Percent = Literal["either", "ignore", "value"]
Amount = Number | Formula

_ROUNDING = Fraction(1, 2_000_000)  # half a unit in the sixth decimal, as math-verify rounds
_CONSTANT = re.compile(r"[cC](?:_\{?\d\}?)?")


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


def amount_of(amount: Amount) -> Node:
    """The tree of a number or formula."""
    return ("num", amount.value) if isinstance(amount, Number) else amount.node


def times(amount: Amount, factor: Fraction) -> Amount:
    """The amount in another unit."""
    if factor == 1:
        return amount
    if isinstance(amount, Number):
        return Number(amount.value * factor, amount.rounded)
    return Formula(("*", ("num", factor), amount.node), amount.rounded)


def has_pi(amount: Amount) -> bool:
    """Whether pi stands in a formula."""
    return isinstance(amount, Formula) and "'pi'" in repr(amount.node)


def has_names(amount: Amount) -> bool:
    """Whether variables stand in it."""
    return isinstance(amount, Formula) and bool(names_in(amount.node))


def same_amount(gold: Amount, answer: Amount, rules: Rules) -> bool | None:
    """By value: exact for rational numbers, to ten digits otherwise; None if there is none."""
    rounded = gold.rounded or answer.rounded
    if isinstance(gold, Number) and isinstance(answer, Number):
        return _same_number(gold.value, answer.value, rounded, rules)
    g, a = amount_of(gold), amount_of(answer)
    if g == a:
        return True
    names, other = names_in(g), names_in(a)
    missing, extra = sorted(names - other), sorted(other - names)
    if len(missing) == len(extra) and all(map(_CONSTANT.fullmatch, missing + extra)):
        # A constant of integration under the gold's name: C, c and C_1 are one, if alone
        a = replaced(a, {("name", x): ("name", m) for x, m in zip(extra, missing, strict=True)})
    real = "'i'" not in repr((g, a))
    for point in range(POINTS if names or other else 1):
        try:
            x, y = value(g, point), value(a, point)
        except UndefinedError:
            return False
        except UnreadableError:
            if point < 3:
                return None
            continue
        if point >= 3 and real and not (_is_real(x) and _is_real(y)):
            continue  # outside the domain of one: both are compared where they are defined
        if (verdict := _same_value(x, y, rounded, rules)) is not True:
            return verdict
    return True


def _is_real(number: Value) -> bool:
    return isinstance(number, Fraction) or abs(number.imag) <= 1e-9 * max(1.0, abs(number))


def _same_number(gold: Fraction, answer: Fraction, rounded: bool, rules: Rules) -> bool:
    """Equal exactly, within the stated tolerance, or in six decimals if one was `rounded`."""
    if gold == answer:
        return True
    difference, size = abs(gold - answer), abs(gold)
    if rounded and difference <= _ROUNDING and difference * 100_000 <= size:
        return True
    allowed, relative = rules.tolerance, rules.relative_tolerance
    return bool(allowed and difference <= Fraction(allowed)) or bool(
        relative and difference <= Fraction(relative) * size
    )


def _same_value(gold: Value, answer: Value, rounded: bool, rules: Rules) -> bool | None:
    if isinstance(gold, Fraction) and isinstance(answer, Fraction):
        return _same_number(gold, answer, rounded, rules)
    try:
        x, y = complex(gold), complex(answer)
    except OverflowError:  # one is too large for a float: 10^400 beside pi
        return False
    if math.inf in (abs(x), abs(y)):
        return x == y
    difference, size = abs(x - y), max(abs(x), abs(y))
    allowed = max(rules.tolerance, rules.relative_tolerance * abs(x), 1e-12 * size)
    if difference <= allowed or (rounded and difference <= 5e-7 and difference <= 1e-5 * size):
        return True
    return None if difference <= 1e-7 * size else False


# --- equations -----------------------------------------------------------------------------------

Sides = tuple[Reading, ...]


def same_equation(gold: Sides, answer: Sides) -> bool:
    """Two equations are the same if one is a multiple of the other, or if both say the same of a
    name in which they are linear: `m v' + b v = f` and `v' = f/m - b v/m`."""
    g, a = _difference(gold), _difference(answer)
    if not (g and a):
        return False
    names = names_in(g)
    if not names:
        return False
    return _ratio(g, a) != 0 or (
        names == names_in(a) and any(_equal(_roots(g, name), _roots(a, name)) for name in names)
    )


def _difference(sides: Sides) -> Node:
    """Left less right of two sides that are numbers or formulas, or ()."""
    nodes = [[amount_of(v) for v in side if isinstance(v, (Number, Formula))] for side in sides]
    return ("-", nodes[0][0], nodes[1][0]) if len(nodes) == 2 and all(nodes) else ()


def _ratio(gold: Node, answer: Node) -> complex:
    """The one number that the answer has to be multiplied by to be the gold, or 0."""
    ratios = [x / y for x, y in zip(_at(gold), _at(answer), strict=False) if y]
    return ratios[0] if len(ratios) == 3 and _equal(ratios, ratios[:1] * 3) else 0


def _roots(node: Node, name: str) -> list[complex]:
    """Where a formula vanishes that is linear in a name; otherwise nothing."""
    zero, one, two = (_at(node, name, place) for place in range(3))
    linear = _equal([2 * y for y in one], [x + z for x, z in zip(zero, two, strict=False)])
    return [x / (x - y) for x, y in zip(zero, one, strict=True) if x != y] if linear else []


def _at(node: Node, name: str = "", place: int = 0) -> list[complex]:
    """The values at three points, with a number in the place of a name."""
    placed = replaced(node, {("name", name): ("num", Fraction(place))})
    try:
        return [complex(value(placed, point)) for point in range(3)]
    except (UnreadableError, OverflowError):
        return []


def _equal(some: list[complex], others: list[complex]) -> bool:
    return len(some) == len(others) > 0 and all(
        abs(x - y) <= 1e-9 * max(abs(x), abs(y)) for x, y in zip(some, others, strict=True)
    )
