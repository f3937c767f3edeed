"""The value of a formula at a point: exact where only rational numbers occur, else floating point.

    value(parse("x^2/4").node, point=0)

Each name has a fixed value at each point, so that two formulas are the same if they agree at all of
POINTS. A function that is known by name only (`f(2)`, `\\gcd(m, n)`) has a value made from its name
and arguments: it equals itself and nothing else. A new function goes into `_FUNCTIONS`. What it
leaves out: algebra.
"""

from __future__ import annotations

import cmath
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeGuard
from zlib import crc32

from groupwise.rewards.math.formula import Node, UndefinedError, UnreadableError

Value = Fraction | complex

POINTS = 8
"""At the first three every name is positive, at the fourth every one negative, then signs differ;
the last two are larger, of either sign. Names with an index (r_0) stand for amounts: positive."""
MAX_BITS = 4096  # of a numerator or denominator: 9^9^9 would take all memory
MAX_TERMS = 2_000


def value(node: Node, point: int = 0) -> Value:
    """The value of a tree at a point.

    Raises:
        UnreadableError: undefined there, or too large a number.
    """
    try:
        return _value(node, point, {})
    except (ArithmeticError, ValueError, RecursionError, TypeError) as error:
        raise UnreadableError from error


def _value(node: Node, point: int, bound: dict[str, Value]) -> Value:
    kind = node[0]
    if kind == "num":
        return node[1]  # type: ignore[no-any-return]
    if kind == "const":
        return _CONSTANTS[node[1]]
    if kind == "name":
        return bound[node[1]] if node[1] in bound else _variable(node[1], point)
    if kind in ("sum", "prod"):
        return _repeated(node, point, bound)
    if kind == "call":
        return _call(node[1], [_value(part, point, bound) for part in node[2]])
    if kind == "neg":
        return -_value(node[1], point, bound)
    if kind not in _ARITHMETIC:
        raise UnreadableError
    sides = _value(node[1], point, bound), _value(node[2], point, bound)
    if math.inf in map(abs, sides):
        raise UndefinedError
    return _bounded(_ARITHMETIC[kind](*sides))


def _variable(name: str, point: int) -> Fraction:
    """A fixed rational for each name and point, so that polynomials stay exact."""
    # crc32 and not hash(): Python's own differs from process to process
    digest = crc32(f"{name}{point}".encode())
    size = Fraction(digest % 997 + 101, 409) * (17 if point > 5 else 1)
    negative = point in (3, 7) or (point in (4, 5) and digest & 1024)
    return -size if negative and "_" not in name else size


def _repeated(node: Node, point: int, bound: dict[str, Value]) -> Value:
    """A sum or product of few terms; none in another one, which would take their product."""
    kind, name, low, high, body = node
    start, stop = _value(low, point, bound), _value(high, point, bound)
    if bound or not (_whole(start) and _whole(stop) and 0 <= stop - start <= MAX_TERMS):
        raise UnreadableError
    total: Value = Fraction(kind == "prod")
    for step in range(int(start), int(stop) + 1):
        term = _value(body, point, bound | {name: Fraction(step)})
        total = _bounded(total + term if kind == "sum" else total * term)
    return total


def _call(name: str, arguments: list[Value]) -> Value:
    if name in _FUNCTIONS:
        return _bounded(_FUNCTIONS[name](*arguments))
    if name not in _WHOLE:
        return _unknown(name, arguments)
    try:
        return Fraction(_WHOLE[name](*(int(a) if _whole(a) else a for a in arguments)))
    except TypeError:  # of numbers that are not whole, which stand for names
        return _unknown(name, sorted(arguments, key=str))


def _unknown(name: str, arguments: list[Value]) -> Fraction:
    shown = [f"{complex(a):.9g}" for a in arguments]
    return Fraction(crc32(f"{name}{shown}".encode()) % 9973 + 101, 409)


def _whole(number: Value) -> TypeGuard[Fraction]:
    return isinstance(number, Fraction) and number.denominator == 1


def _bounded(number: Value) -> Value:
    if isinstance(number, Fraction):
        if max(map(int.bit_length, number.as_integer_ratio())) > MAX_BITS:
            raise UnreadableError
    elif not cmath.isfinite(number):
        raise UnreadableError
    return number


def _pow(base: Value, exponent: Value) -> Value:
    if base == 0 and isinstance(exponent, Fraction) and exponent <= 0:
        raise UndefinedError
    if not (isinstance(base, Fraction) and _whole(exponent)):
        return complex(base) ** complex(exponent)
    if abs(exponent) * max(map(int.bit_length, base.as_integer_ratio())) > MAX_BITS:
        raise UnreadableError
    return base ** int(exponent)


def _root(of: Value, degree: Value) -> Value:
    if _whole(degree) and degree % 2 and not of.imag and of.real < 0:
        return -_root(-of, degree)  # the real cube root of -8
    return _pow(of, 1 / degree)


def _factorial(of: Value) -> Value:
    if not isinstance(of, Fraction) or of > 300:
        raise UnreadableError
    # Of a name: its value between the whole numbers
    return Fraction(math.factorial(int(of))) if _whole(of) else complex(math.gamma(of + 1))


def _binomial(of: Value, count: Value) -> Value:
    if _whole(of) and _whole(count) and 0 <= of <= 300 and count >= 0:
        return Fraction(math.comb(int(of), int(count)))
    return _factorial(of) / (_factorial(count) * _factorial(of - count))


_CONSTANTS: dict[str, complex] = {
    "pi": complex(math.pi), "e": complex(math.e), "i": 1j, "degree": complex(math.pi / 180),
    "inf": complex(math.inf),
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[Any, Any], Value]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "^": _pow,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "ln": cmath.log, "exp": cmath.exp,
    "arctan": cmath.atan, "arcsin": cmath.asin, "arccos": cmath.acos, "sinh": cmath.sinh,
    "cosh": cmath.cosh, "tanh": cmath.tanh, "cot": lambda x: 1 / cmath.tan(x),
    "sec": lambda x: 1 / cmath.cos(x), "csc": lambda x: 1 / cmath.sin(x), "abs": abs,
    "log": lambda *base_of: cmath.log(base_of[-1]) / cmath.log((10, *base_of)[-2]),
    "root": _root, "factorial": _factorial, "binom": _binomial,
}  # fmt: skip
# Of rational numbers only
_WHOLE: dict[str, Callable[..., Any]] = {
    "gcd": math.gcd, "lcm": math.lcm, "min": min, "max": max,
    "floor": math.floor, "ceil": math.ceil,
}  # fmt: skip
