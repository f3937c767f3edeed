"""A small, bounded evaluator of formulas: enough LaTeX to decide most answers in microseconds.

    evaluate("\\frac{x+1}{2}")   # (Fraction, frozenset({"x"})); x has a fixed value at each `point`

A formula is parsed once by recursive descent and evaluated: exactly where only rational numbers
occur, in floating point otherwise, at fixed points for its variables. What it does not fully
understand it refuses (`UnreadableError`), and math-verify decides; it never guesses.
What it leaves out: sums, integrals, limits, matrices, relations.
"""

from __future__ import annotations

import cmath
import math
import re
from fractions import Fraction
from zlib import crc32

Value = Fraction | complex

MAX_CHARS = 300
MAX_DEPTH = 30  # of brackets: Python's own recursion is bounded, and a text can be all "((("
MAX_BITS = 4096  # of a numerator or denominator: 9^9^9 would take all memory

_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\\.|[A-Za-z]+|.)", re.DOTALL)
_FUNCTIONS = {
    "\\sin": cmath.sin, "\\cos": cmath.cos, "\\tan": cmath.tan, "\\ln": cmath.log,
    "\\exp": cmath.exp, "\\arctan": cmath.atan, "\\arcsin": cmath.asin, "\\arccos": cmath.acos,
    "\\sinh": cmath.sinh, "\\cosh": cmath.cosh, "\\tanh": cmath.tanh,
}  # fmt: skip
_GREEK = {"\\theta", "\\alpha", "\\beta", "\\gamma", "\\lambda", "\\phi", "\\omega", "\\mu"}
# `f(x)` is a call, `x(x+1)` a product; the rest of the alphabet is taken as variables
_CALLED = set("fghFGHPQ")


class UnreadableError(Exception):
    """The formula is outside what this evaluator understands."""


class _Parser:
    """Recursive descent over one formula. `point` selects the values of the variables."""

    def __init__(self, text: str, point: int) -> None:
        if len(text) > MAX_CHARS:
            raise UnreadableError
        self.tokens = [token for token in _TOKEN.findall(text) if not token.isspace()]
        self.at = 0
        self.depth = 0
        self.in_function = 0
        self.point = point
        self.variables: set[str] = set()

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected is not None and token != expected):
            raise UnreadableError
        self.at += 1
        return token

    def run(self) -> Value:
        value = self.sum()
        if self.peek():
            raise UnreadableError
        return value

    def sum(self) -> Value:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError
        value = self.product()
        while self.peek() in ("+", "-"):
            if self.take() == "+":
                value = _add(value, self.product())
            else:
                value = _add(value, _negated(self.product()))
        self.depth -= 1
        return value

    def product(self) -> Value:
        sign = 1
        while self.peek() in ("+", "-"):
            sign *= -1 if self.take() == "-" else 1
        value = self.power()
        divided = False
        while token := self.peek():
            if token == "*":
                self.take()
                value = _mul(value, self.signed_power())
                divided = False
            elif token == "/":
                self.take()
                value = _div(value, self.signed_power())
                divided = True
            elif token in ("(", "{") or token[0].isalnum() or token[0] == ".":
                # 1/2x: two readings, so none. 2 3: no product
                if divided or (token[0].isdigit() and self.tokens[self.at - 1][-1].isdigit()):
                    raise UnreadableError
                value = _mul(value, self.power())
            elif token[0] == "\\" and token not in ("\\}", "\\{"):
                if divided:
                    raise UnreadableError
                value = _mul(value, self.power())
            else:
                break
        return value if sign == 1 else _negated(value)

    def signed_power(self) -> Value:
        if self.peek() == "-":
            self.take()
            return _negated(self.power())
        return self.power()

    def power(self) -> Value:
        value = self.atom()
        while self.peek() in ("^", "!", "%", "°"):
            token = self.take()
            if token == "!":
                value = _factorial(value)
            elif token == "°" and self.in_function:
                value = _mul(value, complex(math.pi / 180))
            elif token in "%°":
                # the caller has stated what these mean; inside a formula they mean nothing known
                raise UnreadableError
            else:
                value = _pow(value, self.exponent())
                if self.peek() == "^":  # x^2^3: from the left or from the right?
                    raise UnreadableError
        return value

    def exponent(self) -> Value:
        if self.peek() == "-":
            raise UnreadableError
        token = self.peek()
        if token == "{":
            return self.group("{", "}")
        if token.isdigit():
            # LaTeX's x^12 is x^1 2; people mean x^{12}
            return Fraction(self.take())
        return self.atom()

    def group(self, opening: str, closing: str) -> Value:
        self.take(opening)
        value = self.sum()
        self.take(closing)
        return value

    def atom(self) -> Value:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            if len(token) > 200:
                raise UnreadableError
            value = Fraction(token)
            if self.peek() == "\\frac" and value.denominator == 1:
                return self.mixed(value)
            return value
        if token in ("(", "[", "{"):
            self.at -= 1
            return self.group(token, {"(": ")", "[": "]", "{": "}"}[token])
        if token == "\\frac":
            return _div(self.group("{", "}"), self.group("{", "}"))
        if token == "\\binom":
            return _binomial(self.group("{", "}"), self.group("{", "}"))
        if token == "\\sqrt":
            return self.root()
        if token == "\\pi":
            return complex(math.pi)
        if token == "\\log" and self.peek() == "_":
            return self.logarithm()
        if token in _FUNCTIONS:
            return self.function(token)
        if token in _GREEK:
            return self.variable(token)
        if token.isalpha() and token.isascii():
            return self.letters(token)
        raise UnreadableError

    def mixed(self, whole: Fraction) -> Value:
        """`2\\frac{1}{3}` is two and a third, if the fraction is a proper one of plain numbers."""
        start = self.at
        self.take("\\frac")
        top, bottom = self.group("{", "}"), self.group("{", "}")
        plain = all(token.isdigit() or token in "{}" for token in self.tokens[start + 1 : self.at])
        if not (plain and isinstance(top, Fraction) and isinstance(bottom, Fraction)):
            return _mul(whole, _div(top, bottom))
        if top >= bottom:
            raise UnreadableError
        return whole + top / bottom

    def root(self) -> Value:
        degree = 2
        if self.peek() == "[":
            index = self.group("[", "]")
            if not isinstance(index, Fraction) or index.denominator != 1 or not 2 <= index <= 20:
                raise UnreadableError
            degree = int(index)
        value = self.group("{", "}") if self.peek() == "{" else self.group("(", ")")
        if isinstance(value, Fraction) and value >= 0:
            exact = _exact_root(value, degree)
            if exact is not None:
                return exact
        number = complex(value)
        if degree > 2 and number.imag == 0 and number.real < 0 and degree % 2:
            return -(complex(-number) ** (1 / degree))
        if degree > 2 and number.real < 0:
            raise UnreadableError
        return cmath.sqrt(number) if degree == 2 else number ** (1 / degree)

    def logarithm(self) -> Value:
        self.take("_")
        base = self.group("{", "}") if self.peek() == "{" else self.atom()
        closing = {"(": ")", "{": "}"}.get(self.peek())
        argument = self.group(self.peek(), closing) if closing else self.atom()
        if complex(base) in (0, 1) or complex(argument) == 0:
            raise UnreadableError
        return _finite(cmath.log(complex(argument)) / cmath.log(complex(base)))

    def function(self, name: str) -> Value:
        """`\\sin(x)`, `\\sin x`, `\\sin 30°`, `\\sin^2 x`; not `\\sin 2x`: where does it end?"""
        exponent: Value = Fraction(1)
        if self.peek() == "^":
            self.take()
            exponent = self.exponent()
            if not isinstance(exponent, Fraction) or exponent < 1:
                raise UnreadableError  # \sin^{-1} is the inverse, not the reciprocal
        self.in_function += 1
        if self.peek() in ("(", "{"):
            argument = self.group(self.peek(), ")" if self.peek() == "(" else "}")
        else:
            argument = self.power()
            if self.peek() not in ("", "+", "-", ")", "}", "*", "/"):
                raise UnreadableError
        self.in_function -= 1
        return _pow(_finite(_FUNCTIONS[name](complex(argument))), exponent)

    def letters(self, token: str) -> Value:
        if len(token) > 2:  # a word
            raise UnreadableError
        value: Value = Fraction(1)
        for index, letter in enumerate(token):
            last = index == len(token) - 1
            if last and self.peek() == "_":
                raise UnreadableError
            if letter == "i":
                factor: Value = 1j
            elif letter == "e":
                factor = complex(math.e)
            else:
                if last and self.peek() == "(" and letter in _CALLED:
                    raise UnreadableError
                factor = self.variable(letter)
            if last and self.peek() == "^" and len(token) > 1:
                self.take()
                factor = _pow(factor, self.exponent())
            value = _mul(value, factor)
        return value

    def variable(self, name: str) -> Value:
        """A fixed positive rational for each name and point, so that polynomials stay exact."""
        self.variables.add(name)
        # crc32 and not hash(): Python's own differs from process to process
        digest = crc32(f"{name}{self.point}".encode())
        return Fraction(digest % 997 + 101, 409)


def evaluate(text: str, point: int = 0) -> tuple[Value, frozenset[str]]:
    """The value of a canonical formula, with its variables (valued by `point`).

    Raises:
        UnreadableError: outside the grammar, too long, too deep, or too large a number.
    """
    parser = _Parser(text, point)
    try:
        return parser.run(), frozenset(parser.variables)
    except (ArithmeticError, ValueError, RecursionError) as error:
        raise UnreadableError from error


def _finite(value: complex) -> complex:
    if not cmath.isfinite(value):
        raise UnreadableError
    return value


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
        raise UnreadableError
    return value


def _negated(value: Value) -> Value:
    return -value


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
        raise UnreadableError
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a / b)
    return _finite(complex(a) / complex(b))


def _pow(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * size > MAX_BITS or (base == 0 and exponent <= 0):
            raise UnreadableError
        return base ** int(exponent)
    power, number = complex(exponent), complex(base)
    if abs(power) > 500 or number == 0:
        raise UnreadableError
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        return _finite(number ** int(exponent))
    if number.imag == 0 and number.real < 0 and isinstance(exponent, Fraction):
        raise UnreadableError  # (-8)^{1/3}: two conventions
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator < 20:
        exact = _exact_root(base, exponent.denominator)
        if exact is not None:
            return _pow(exact, Fraction(exponent.numerator))
    return _finite(number**power)


def _factorial(value: Value) -> Value:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= 300:
        raise UnreadableError
    return Fraction(math.factorial(int(value)))


def _binomial(of: Value, count: Value) -> Value:
    if not (isinstance(of, Fraction) and isinstance(count, Fraction)) or not 0 <= of <= 300:
        raise UnreadableError
    if of.denominator != 1 or count.denominator != 1 or count < 0:
        raise UnreadableError
    return Fraction(math.comb(int(of), int(count)))


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    parts = []
    for number in (value.numerator, value.denominator):
        root = math.isqrt(number) if degree == 2 else round(number ** (1 / degree))
        if root**degree != number:
            return None
        parts.append(root)
    return Fraction(parts[0], parts[1])
