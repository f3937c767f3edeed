"""The value of a formula at a point: exact where only rational numbers occur, else floating point.

    value(parse("x^2/4").node, point=0)

Each name has a fixed value at each point, so that two formulas are the same if they agree at all of
POINTS. A function that is known by name only (`f(2)`, `\\gcd(m, n)`) has a value made from its name
and arguments: it equals itself and nothing else. What it leaves out: algebra.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any
from zlib import crc32

from groupwise.rewards.math.formula import Node, UndefinedError, UnreadableError

Value = Fraction | complex

POINTS = 8
"""At the first three every name is positive; at the others signs differ, but for names with an
index (r_0), which stand for amounts; at the last two numbers are larger."""
MAX_BITS = 4096  # of a numerator or denominator: 9^9^9 would take all memory
MAX_TERMS = 2_000

_ELEMENTARY: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "ln": cmath.log, "exp": cmath.exp,
    "arctan": cmath.atan, "arcsin": cmath.asin, "arccos": cmath.acos, "sinh": cmath.sinh,
    "cosh": cmath.cosh, "tanh": cmath.tanh, "cot": lambda x: 1 / cmath.tan(x),
    "sec": lambda x: 1 / cmath.cos(x), "csc": lambda x: 1 / cmath.sin(x),
}  # fmt: skip
_CONSTANTS: dict[str, complex] = {
    "pi": complex(math.pi), "e": complex(math.e), "i": 1j, "degree": complex(math.pi / 180),
    "inf": complex(math.inf),
}  # fmt: skip
_INTEGER: dict[str, Callable[..., int]] = {
    "gcd": math.gcd, "lcm": math.lcm, "floor": math.floor, "ceil": math.ceil,
}  # fmt: skip


class Evaluation:
    """One point. `opaque`: a sum or integral was valued by its parts only, so that a difference
    says nothing."""

    def __init__(self, point: int) -> None:
        self.point = point
        self.opaque = False
        self.bound: dict[str, Value] = {}

    def value(self, node: Node) -> Value:
        """The value of a tree.

        Raises:
            UnreadableError: undefined here, or too large a number.
        """
        kind = node[0]
        if kind == "num":
            return node[1]  # type: ignore[no-any-return]
        if kind == "name":
            bound = self.bound.get(node[1])
            return self.variable(node[1]) if bound is None else bound
        if kind == "const":
            return _CONSTANTS[node[1]]
        if kind == "neg":
            return -self.value(node[1])
        if kind in _ARITHMETIC:
            left, right = self.value(node[1]), self.value(node[2])
            if any(isinstance(side, complex) and cmath.isinf(side) for side in (left, right)):
                raise UndefinedError
            return _ARITHMETIC[kind](left, right)
        if kind == "call":
            return self.call(node[1], [self.value(part) for part in node[2]])
        return self.big(*node)

    def variable(self, name: str) -> Fraction:
        """A fixed rational for each name and point, so that polynomials stay exact."""
        # crc32 and not hash(): Python's own differs from process to process
        digest = crc32(f"{name}{self.point}".encode())
        size = Fraction(digest % 997 + 101, 409) * (17 if self.point > 5 else 1)
        negative = self.point in (3, 7) or (self.point in (4, 5) and digest & 1024)
        return -size if negative and "_" not in name else size

    def call(self, name: str, arguments: list[Value]) -> Value:
        first = arguments[0]
        if name == "root":
            return _root(first, arguments[1])
        if name == "factorial":
            return _factorial(first)
        if name == "binom":
            return _binomial(*arguments)
        if name == "abs":
            return abs(first)
        if name == "log":
            base = complex(arguments[0]) if len(arguments) > 1 else 10
            if base in (0, 1) or complex(arguments[-1]) == 0:
                raise UnreadableError
            return _finite(cmath.log(complex(arguments[-1])) / cmath.log(base))
        if name in _ELEMENTARY and len(arguments) == 1:
            return _finite(_ELEMENTARY[name](complex(first)))
        exact = [a for a in arguments if isinstance(a, Fraction)]
        if len(exact) == len(arguments) and not self.opaque:
            if name in ("min", "max"):
                return (min if name == "min" else max)(exact)
            whole = all(a.denominator == 1 for a in exact)
            if name in _INTEGER and (whole or name in ("floor", "ceil")):
                return Fraction(_INTEGER[name](*(exact if len(exact) == 1 else map(int, exact))))
        return self.unknown(name, arguments)

    def unknown(self, name: str, arguments: list[Value]) -> Value:
        shown = [f"{complex(a):.9g}" for a in arguments]
        if name in ("gcd", "lcm", "min", "max"):
            shown.sort()
        return Fraction(crc32(f"{name}{shown}".encode()) % 9973 + 101, 409)

    def big(self, kind: str, name: str, low: Node | None, high: Node | None, body: Node) -> Value:
        """A sum or product with few terms has its value; else it is known by its parts only."""
        ends = [self.value(end) if end is not None else Fraction(0) for end in (low, high)]
        start, stop = ends
        if (
            kind in ("sum", "prod")
            and isinstance(start, Fraction) and isinstance(stop, Fraction)
            and start.denominator == stop.denominator == 1
            and 0 <= stop - start <= MAX_TERMS and high is not None
        ):  # fmt: skip
            total: Value = Fraction(kind == "prod")
            for step in range(int(start), int(stop) + 1):
                self.bound[name] = Fraction(step)
                term = self.value(body)
                total = _add(total, term) if kind == "sum" else _mul(total, term)
            del self.bound[name]
            return total
        self.bound[name] = Fraction(crc32(b"bound") % 997 + 101, 409)  # whatever it is called
        inner = self.value(body)
        del self.bound[name]
        self.opaque = True
        return self.unknown(kind + str(low is None) + str(high is None), [*ends, inner])


def value(node: Node, point: int = 0) -> Value:
    """The value of a tree at a point.

    Raises:
        UnreadableError: undefined there, or too large a number.
    """
    return evaluated(node, point)[0]


def evaluated(node: Node, point: int) -> tuple[Value, bool]:
    """`value`, and whether a sum or integral in it was valued by its parts only."""
    evaluation = Evaluation(point)
    try:
        return evaluation.value(node), evaluation.opaque
    except (ArithmeticError, ValueError, RecursionError, TypeError) as error:
        raise UnreadableError from error


def _finite(number: complex) -> complex:
    if not cmath.isfinite(number):
        raise UnreadableError
    return number


def _bounded(number: Fraction) -> Fraction:
    if number.numerator.bit_length() > MAX_BITS or number.denominator.bit_length() > MAX_BITS:
        raise UnreadableError
    return number


def _add(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a + b)
    return _finite(complex(a) + complex(b))


def _mul(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a * b)
    return _finite(complex(a) * complex(b))


def _div(a: Value, b: Value) -> Value:
    if b == 0:
        raise UndefinedError
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a / b)
    return _finite(complex(a) / complex(b))


def _pow(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        if base == 0 and exponent <= 0:
            raise UndefinedError
        if abs(exponent) * size > MAX_BITS:
            raise UnreadableError
        return base ** int(exponent)
    power, number = complex(exponent), complex(base)
    if abs(power) > 500 or number == 0:
        raise UnreadableError
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        return _finite(number ** int(exponent))
    if number.imag == 0 and number.real < 0 and isinstance(exponent, Fraction):
        if exponent.denominator % 2:
            raise UnreadableError  # (-8)^{1/3}: two conventions
    elif isinstance(base, Fraction) and isinstance(exponent, Fraction) and base > 0:
        if exponent.denominator < 20 and (exact := _exact_root(base, exponent.denominator)):
            return _pow(exact, Fraction(exponent.numerator))
    return _finite(number**power)


_ARITHMETIC: dict[str, Callable[[Value, Value], Value]] = {
    "+": _add, "-": lambda a, b: _add(a, -b), "*": _mul, "/": _div, "^": _pow,
}  # fmt: skip


def _root(of: Value, degree: Value) -> Value:
    if not isinstance(degree, Fraction) or degree.denominator != 1 or not 2 <= degree <= 20:
        return _pow(of, _div(Fraction(1), degree))
    n = int(degree)
    if isinstance(of, Fraction) and of >= 0 and (exact := _exact_root(of, n)) is not None:
        return exact
    number = complex(of)
    if n > 2 and number.imag == 0 and number.real < 0:
        if n % 2 == 0:
            raise UnreadableError
        return -(complex(-number) ** (1 / n))
    return cmath.sqrt(number) if n == 2 else number ** (1 / n)


def _factorial(of: Value) -> Value:
    if not isinstance(of, Fraction) or of > 300:
        raise UnreadableError
    if of.denominator == 1:
        if of < 0:
            raise UnreadableError
        return Fraction(math.factorial(int(of)))
    return complex(math.gamma(of + 1))  # of a name: its value between the whole numbers


def _binomial(of: Value, count: Value) -> Value:
    if not (isinstance(of, Fraction) and isinstance(count, Fraction)) or abs(of) > 300:
        raise UnreadableError
    if count.denominator == 1 and 0 <= count <= 300:
        if of.denominator == 1 and of >= 0:
            return Fraction(math.comb(int(of), int(count)))
        product = Fraction(1)
        for step in range(int(count)):
            product *= (of - step) / (step + 1)
        return _bounded(product)
    return _div(_factorial(of), _mul(_factorial(count), _factorial(of - count)))


def _exact_root(number: Fraction, degree: int) -> Fraction | None:
    parts: list[Any] = []
    for part in (number.numerator, number.denominator):
        root = math.isqrt(part) if degree == 2 else round(part ** (1 / degree))
        if root**degree != part:
            return None
        parts.append(root)
    return Fraction(parts[0], parts[1])
