"""Numbers and formulas compared by their values.

    same_amount(Formula(parse("(x+1)^2").node), Formula(parse("x^2+2x+1").node), Rules())   # True

What it leaves out: units and percent (`compare`), and algebra: what cannot be evaluated is None.
"""

from __future__ import annotations

import cmath
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from groupwise.rewards.math.evaluate import POINTS, Value, evaluated
from groupwise.rewards.math.formula import Node, UndefinedError, UnreadableError, names_in
from groupwise.rewards.math.values import Formula, Number, Quantity, Reading

Percent = Literal["either", "ignore", "value"]
Amount = Number | Formula

_ROUNDING = Fraction(1, 2_000_000)  # half a unit in the sixth decimal, as math-verify rounds
_CONSTANT = re.compile(r"[cCkK](?:_\{?\d\}?)?")


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
    if isinstance(gold, Number) and isinstance(answer, Number):
        return close(gold.value, answer.value, gold.rounded or answer.rounded, rules)
    g, a = amount_of(gold), amount_of(answer)
    if g == a:
        return True
    names, other = names_in(g), names_in(a)
    if names != other:
        a = _with_constants_of(names, other, a)
    rounded = gold.rounded or answer.rounded
    imaginary = "'i'" in repr((g, a))
    for point in range(POINTS if names or other else 1):
        try:
            (x, x_opaque), (y, y_opaque) = evaluated(g, point), evaluated(a, point)
        except UndefinedError:
            return False
        except (UnreadableError, OverflowError):
            if point < 3:
                return None
            continue
        if point >= 3 and not imaginary and not (_is_real(x) and _is_real(y)):
            continue  # outside the domain of one: both are compared where they are defined
        try:
            verdict = _same_value(x, y, rounded, rules)
        except OverflowError:  # one is too large for a float: 10^400 beside pi
            return False
        if verdict is not True:
            return None if x_opaque or y_opaque else verdict
    return True


def _is_real(value: Value) -> bool:
    return isinstance(value, Fraction) or abs(value.imag) <= 1e-9 * max(1.0, abs(value))


def _with_constants_of(names: frozenset[str], other: frozenset[str], node: Node) -> Node:
    """A constant of integration under the gold's name: C, c and C_1 are one, if alone."""
    missing, extra = sorted(names - other), sorted(other - names)
    if len(missing) != len(extra) or not all(map(_CONSTANT.fullmatch, missing + extra)):
        return node
    renamed = dict(zip(extra, missing, strict=True))

    def rename(part: Any) -> Any:
        if not isinstance(part, tuple):
            return part
        if part[:1] == ("name",):
            return ("name", renamed.get(part[1], part[1]))
        return tuple(rename(inner) for inner in part)

    return rename(node)  # type: ignore[no-any-return]


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
    x, y = complex(gold), complex(answer)
    if cmath.isinf(x) or cmath.isinf(y):
        return x == y
    difference, size = abs(x - y), max(abs(x), abs(y))
    if difference <= 1e-12 * size:
        return True
    allowed = max(rules.tolerance, rules.relative_tolerance * abs(x))
    if difference <= allowed or (rounded and difference <= 5e-7 and difference <= 1e-5 * size):
        return True
    return False if not difference <= 1e-7 * size else None


# --- equations -----------------------------------------------------------------------------------


def _difference(sides: tuple[Reading, ...]) -> Node | None:
    """Left less right of two sides that are numbers or formulas."""
    nodes = []
    for side in sides:
        amounts = [v.amount if isinstance(v, Quantity) else v for v in side]
        found = next((v for v in amounts if isinstance(v, (Number, Formula))), None)
        if found is None:
            return None
        nodes.append(amount_of(found))
    return ("-", nodes[0], nodes[1]) if len(nodes) == 2 else None


def same_difference(gold: tuple[Reading, ...], answer: tuple[Reading, ...]) -> bool | None:
    """Two inequalities are the same if one is a positive multiple of the other."""
    ratios = _ratios(gold, answer)
    return ratios is not None and len(set(ratios)) == 1 and ratios[0].real > 0


def same_equation(gold: tuple[Reading, ...], answer: tuple[Reading, ...]) -> bool | None:
    """Two equations are the same if one is a multiple of the other, or if both say the same of a
    name in which they are linear: `m v' + b v = f` and `v' = f/m - b v/m`."""
    ratios = _ratios(gold, answer)
    if ratios is None:
        return False
    if len(set(ratios)) == 1:
        return True
    g, a = _difference(gold), _difference(answer)
    assert g is not None and a is not None
    shared = names_in(g) & names_in(a)
    return names_in(g) == names_in(a) and any(_same_solution(g, a, name) for name in shared)


def _ratios(gold: tuple[Reading, ...], answer: tuple[Reading, ...]) -> list[complex] | None:
    g, a = _difference(gold), _difference(answer)
    if g is None or a is None:
        return None
    ratios = []
    try:
        for point in range(3):
            x, y = complex(evaluated(g, point)[0]), complex(evaluated(a, point)[0])
            if not x or not y:
                return None
            ratios.append(x / y)
    except (UnreadableError, OverflowError):
        return None
    first = ratios[0]
    return [first if abs(r - first) <= 1e-9 * abs(first) else r for r in ratios]


def _same_solution(gold: Node, answer: Node, name: str) -> bool:
    """Whether both are linear in a name, and vanish for the same value of it."""
    try:
        for point in range(3):
            roots = []
            for node in (gold, answer):
                at = [complex(evaluated(_placed(node, name, v), point)[0]) for v in (0, 1, 2)]
                if abs(at[2] - 2 * at[1] + at[0]) > 1e-9 * max(map(abs, at)) or at[0] == at[1]:
                    return False
                roots.append(-at[0] / (at[1] - at[0]))
            if abs(roots[0] - roots[1]) > 1e-9 * max(map(abs, roots)):
                return False
    except (UnreadableError, ArithmeticError):
        return False
    return True


def _placed(node: Any, name: str, value: int) -> Any:
    if not isinstance(node, tuple):
        return node
    if node == ("name", name):
        return ("num", Fraction(value))
    return tuple(_placed(part, name, value) for part in node)
