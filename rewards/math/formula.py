"""Formulas: LaTeX, plain and source notation parsed once into a tree; `evaluate` has its values.

    parse("\\frac{x+1}{2}")   # ("/", ("+", ("name", "x"), ("num", 1)), ("num", 2))

The text is in the one spelling (`spelling`). What is not in the grammar is refused
(UnreadableError) and never guessed: a command, a word or a mark that has no rule below makes the
whole text unread. A new function goes into the tables here, and its value into `evaluate`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

Node = tuple[Any, ...]
"""("num", Fraction), ("name", text), ("const", "pi"), ("+", a, b), ("neg", a),
("call", function, arguments), ("sum", variable, low, high, body)."""

# So that no tree is deeper than Python's stack bears, however deep the caller stands in it
_DEEP = re.compile(r"(?:[-+]\s*){20}|(?:[({\[|]\s*){30}|(?:[-+][^-+]{1,400}){100}")
MAX_CHARS = 400

_NAMES = """sin cos tan cot sec csc ln exp arcsin arccos arctan sinh cosh tanh log gcd lcm min max
abs det floor ceil arg Re Im factorial asin=arcsin acos=arccos atan=arctan Abs=abs lg=log
binomial=binom comb=binom"""
FUNCTIONS = {name.partition("=")[0]: name.rpartition("=")[2] for name in _NAMES.split()}
_LETTERS = """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau
upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega hbar ell"""
_GREEK = set(_LETTERS.split())
_CONSTANTS = {"pi": "pi", "infty": "inf", "infinity": "inf"}
_WORDS = FUNCTIONS.keys() | _GREEK | _CONSTANTS.keys() | {"sqrt", "Sqrt"}
_CALLED = "fghFGHPE"  # `f(x)` is a call, `x(x+1)` a product
_PAIRS = {"(": ")", "[": "]", "{": "}", "|": "|", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_SUMS = {"+", "-", "\\pm", "\\mp"}
_ENDS = {"", "*", "/", "=", ",", "\\to"} | _SUMS | set(_PAIRS.values())  # of a factor
_BIG = {"\\sum", "\\prod", "\\int", "\\lim"}

_TOKEN = re.compile(
    r"\\text\s*\{[^{}]*\}|\d+(?:\.\d+)?|\.\d+|!!|[A-Za-z]+|\s+"
    r"|\\(?:over[a-z]+|(?:wide)?hat|vec|tilde|angle|triangle)"
    r"\s*(?:\{\s*[A-Za-z\\]{1,12}\s*\}|[A-Za-z]{1,4}(?![A-Za-z]))"  # one name: \vec{v}, \angle ABC
    r"|\\[A-Za-z]+|\\.|.",
    re.DOTALL,
)
# \frac{d^2 y}{dx^2}, \dot{x}, \ddot{x}
_VARIABLE = r"([A-Za-z]|\\[a-z]+)"
_DERIVATIVE = re.compile(
    rf"\\frac ?\{{ ?(?:d|\\partial) ?(?:\^ ?\{{?(\d)\}}?)? ?{_VARIABLE}? ?\}}"
    rf" ?\{{ ?(?:d|\\partial) ?{_VARIABLE} ?(?:\^ ?\{{?\d\}}?)? ?\}}"
    rf"|\\(d?)dot ?\{{? ?{_VARIABLE} ?\}}?"
)
# 2 1/3, 2\frac{1}{3}, 8 (6/19), and not x^2\frac13, \log_2\frac13
_MIXED = re.compile(
    r"(?<![\d.^_/])(?<!\\frac)(?<!\\frac )(\d+)"
    r"(?: ?\\frac ?(?:\{ ?(\d+) ?\}|(\d)) ?(?:\{ ?(\d+) ?\}|(\d))"
    r"| (\d+)/(\d+)(?![\d.])| ?\((\d+)/(\d+)\))"
)
_ZERO, _ONE, _TWO = (("num", Fraction(n)) for n in range(3))


class UnreadableError(Exception):
    """The formula is outside what this grammar understands, or its value outside all bounds."""


class UndefinedError(UnreadableError):
    """The formula has no value: 0^0, \\infty - \\infty."""


class Parsed(NamedTuple):
    """A tree, and the tokens behind it, which may be a unit."""

    node: Node
    rest: tuple[str, ...]


def parse(text: str, is_unit: Callable[[str], bool] | None = None) -> Parsed:
    """The tree of a formula. With `is_unit`, letters behind a number that it knows end it.

    Raises:
        UnreadableError: outside the grammar, too long or too deep.
    """
    if len(text) > MAX_CHARS or _DEEP.search(text):
        raise UnreadableError
    text = _MIXED.sub(_mixed, _DERIVATIVE.sub(_derivative, text))
    parser = _Parser([t for t in _TOKEN.findall(text) if not t.isspace()], is_unit)
    try:
        node = parser.sum()
    except (RecursionError, ValueError, ArithmeticError, IndexError) as error:
        raise UnreadableError from error
    return Parsed(node, tuple(parser.tokens[parser.at :]))


def _mixed(match: re.Match[str]) -> str:
    whole, top, below = (part for part in match.groups() if part)
    if int(top) >= int(below):
        raise UnreadableError
    return f"({whole}+{top}/{below})"


def _derivative(match: re.Match[str]) -> str:
    """One name for `\\dot{x}`, `\\frac{dx}{dt}` and `x'`: by time, or of y by x."""
    order, of, by, two, dotted = match.groups()
    of, by = of or dotted, by or "t"
    if of is None:
        raise UnreadableError  # an operator: \frac{d}{dx}
    primes = "'" * (2 if two else int(order or 1))
    plain = by == "t" or (of, by) == ("y", "x")
    return f" {of}{primes} " if plain else f"\\vec{{{of}\\{by}}}{primes}"


class _Parser:
    """Recursive descent over the tokens of one formula."""

    def __init__(self, tokens: list[str], is_unit: Callable[[str], bool] | None) -> None:
        self.tokens = tokens
        self.is_unit = is_unit
        self.at = 0
        self.bars = self.integrals = 0  # that are open

    def peek(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else ""

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, token: str) -> bool:
        found = self.peek() == token
        self.at += found
        return found

    def expect(self, *tokens: str) -> None:
        if self.take() not in tokens:
            raise UnreadableError

    # --- operators, from the loosest to the tightest ---------------------------------------------

    def sum(self) -> Node:
        self.accept("+")
        node = _ZERO if self.peek() in ("\\pm", "\\mp") else self.product()
        while self.peek() in _SUMS:
            node = (self.take(), node, self.product())
        return node

    def product(self) -> Node:
        node = self.power()
        divided = False
        while (token := self.peek()) in ("*", "/") or self.starts_factor(token):
            if token in ("*", "/"):
                self.take()
                divided = token == "/"
            elif divided:  # 1/2x, a/bc: two readings, so none
                raise UnreadableError
            else:
                self.refuse_two_numbers(node)
                token = "*"
            node = (token, node, self.power())
        return node

    def refuse_two_numbers(self, before: Node = ("",)) -> None:
        """`2 3`, `{2}21` and `\\frac 123` are no products, but `2^6 3^5` is one."""
        number = before[0] == "num" or self.tokens[self.at - 1].isdigit()
        power = self.peek(1) == self.tokens[self.at - 2] == "^"
        if number and not power and self.peek(self.peek() == "{")[:1].isdigit():
            raise UnreadableError

    def starts_factor(self, token: str) -> bool:
        """Whether a factor follows without a sign; words and known units do not go on."""
        before = self.tokens[self.at - 1][-1]
        if token.startswith("\\text"):
            return token[5:].strip(" {}") in ("i", "e")
        if self.is_unit and before in "0123456789)}" and self.is_unit(token):
            return False
        if token.isalpha() and token.isascii():
            if self.integrals and len(token) == 2 and token[0] == "d":
                return False
            return len(token) <= 3 or token in _WORDS
        if token == "|":
            return not self.bars
        return token not in _ENDS and token[0] in "([{\\.0123456789"

    def power(self) -> Node:
        if self.accept("-"):
            return ("neg", self.power())
        node = self.atom()
        if self.peek() == "'":
            raise UnreadableError  # a prime belongs to a name
        if self.accept("!"):
            node = ("call", "factorial", (node,))
        elif self.accept("°"):
            node = ("*", node, ("const", "degree"))
        # One only: x^2^3 has two readings. LaTeX's x^12 is x^1 2, but people mean x^{12}
        return ("^", node, self.exponent()) if self.accept("^") else node

    def exponent(self) -> Node:
        if self.tokens[self.at :][:2] == ["{", "("] and self.tokens[self.at :][3:5] == [")", "}"]:
            raise UnreadableError  # x^{(2)} is a derivative
        return ("neg", self.exponent()) if self.accept("-") else self.atom()

    # --- what operators join ---------------------------------------------------------------------

    def atom(self) -> Node:
        token = self.take()
        name = token.removeprefix("\\")
        if token[0].isdecimal() or token[0] == ".":
            return ("num", Fraction(token))
        if token in _PAIRS:
            self.bars += token == "|"
            (node,) = self.arguments(token)
            self.bars -= token == "|"
            return node if token in "([{" else ("call", {"|": "abs"}.get(token, token[2:]), (node,))
        if token in ("\\frac", "\\binom"):
            parts = self.argument(), self.argument()
            self.refuse_two_numbers()
            return ("/", *parts) if token == "\\frac" else ("call", "binom", parts)
        if name in ("sqrt", "Sqrt"):
            (degree,) = self.arguments("[") if self.accept("[") else (_TWO,)
            return ("call", "root", (self.atom(), degree))
        if name in _CONSTANTS:
            return ("const", _CONSTANTS[name])
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if token in _BIG:
            return self.big(name)
        if token.startswith("\\text") and name[4:].strip(" {}") in ("i", "e"):
            return ("const", name[4:].strip(" {}"))
        if name in _GREEK:
            return self.named("\\" + name)
        if token[0] == "\\" and not name.isalpha() and len(name) > 1 and name[:4] != "text":
            return self.named("".join(token.split()))  # \vec{v}
        return self.letters(token)

    def arguments(self, opening: str) -> tuple[Node, ...]:
        """What stands behind an opening bracket, up to the closing one."""
        found = [self.sum()]
        while self.accept(","):
            found.append(self.sum())
        self.expect(_PAIRS[opening])
        return tuple(found)

    def argument(self) -> Node:
        """What follows `\\frac`: a group, or one digit or letter of LaTeX's short form."""
        if self.peek().isdigit():
            self.tokens[self.at : self.at + 1] = self.peek()
        return self.atom()

    def function(self, name: str) -> Node:
        """`\\sin(x)`, `\\sin 30°`, `\\sin^2 x`, `\\log_2 8`, `\\gcd(m, n)`."""
        base = (self.argument(),) if self.accept("_") else ()
        exponent = self.exponent() if self.accept("^") else None
        if exponent == ("neg", _ONE) and name in ("sin", "cos", "tan"):
            name, exponent = f"arc{name}", None  # the inverse, not the reciprocal
        if self.peek() in ("(", "{"):
            arguments = self.arguments(self.take())
        else:  # a product of a number and names, up to the next sign or function: \sin 2x
            node = self.power()
            while self.peek() not in _ENDS and self.starts_factor(self.peek()):
                if self.peek().removeprefix("\\") in FUNCTIONS:
                    break
                node = ("*", node, self.power())
            arguments = (node,)
        node = ("call", name, (*base, *arguments))
        return node if exponent is None else ("^", node, exponent)

    def big(self, kind: str) -> Node:
        """`\\sum_{k=1}^{n} k`, `\\int_0^1 x\\,dx`, `\\lim_{x \\to 0} f`."""
        name, low, high = "", None, None
        if self.accept("_"):
            braces = self.accept("{")
            if kind != "int":
                name = self.take()
                self.expect("=", "\\to", "\\rightarrow")
            low = self.sum() if braces else self.argument()
            if braces:
                self.expect("}")
        if self.accept("^"):
            high = self.argument()
        if kind == "int":
            self.integrals += 1
            body = self.sum()
            self.integrals -= 1
            name = self.take()[1:]
            if low is None or high is None:
                raise UnreadableError  # an indefinite integral has many values
        else:
            body = self.product()
        # Whatever the variable is called: i and e are one too, and sums stand in sums
        variable = ("name", f"#{repr(body).count('#')}")
        body = replaced(body, {("name", name): variable, ("const", name): variable})
        if any(part.endswith(f"_{name}") for part in names_in(body)):
            raise UnreadableError  # a_k has no value
        return (kind, variable[1], low, high, body)

    def letters(self, token: str) -> Node:
        """A product of letters; a longer word is one name, which stands between signs only."""
        if not (token.isalpha() and token.isascii()):
            raise UnreadableError
        if len(token) <= 3:
            self.tokens[self.at - 1 : self.at] = token
            return self.named(token[0])
        before = self.tokens[self.at - 2] if self.at > 1 else ""
        if self.peek() not in _ENDS | {"^"} or before not in _ENDS | {"(", "{"}:
            raise UnreadableError
        return ("name", token)

    def named(self, name: str) -> Node:
        """A name with its index and primes: `x`, `x_{1}`, `f'`; and called: `f(2)`."""
        primes = ""
        while self.peek() in ("_", "'"):
            if self.take() == "'":
                primes += "'"
                continue
            index = [self.take()]
            while index[0] == "{" and index[-1] != "}":
                index.append(self.take())
            name += "_" + "".join(index).strip("{}")
        name += primes
        if self.peek() == "(":
            number = self.peek(1).isdigit()
            if name == "C" and number and self.peek(2) == ",":
                name = "binom"
            elif not (name[0] in _CALLED or name[-1] == "'" or (number and self.peek(2) == ")")):
                return ("const" if name in ("i", "e") else "name", name)
            return ("call", name, self.arguments(self.take()))
        return ("const" if name in ("i", "e") else "name", name)


# --- trees ---------------------------------------------------------------------------------------


def replaced(node: Any, parts: Mapping[Any, Any]) -> Any:
    """The tree with some of its parts replaced."""
    if node in parts:
        return parts[node]
    return tuple(replaced(p, parts) for p in node) if isinstance(node, tuple) else node


def branches(node: Node) -> tuple[Node, ...]:
    """A formula with `\\pm` as the two that it stands for."""
    upper = replaced(node, {"\\pm": "+", "\\mp": "-"})
    lower = replaced(node, {"\\pm": "-", "\\mp": "+"})
    return (upper,) if upper == lower else (upper, lower)


def without_degrees(node: Node) -> Node:
    """`180^\\circ - 2x` without its degrees, but for a formula with a function of an angle."""
    if "'call'" in repr(node):
        return node
    return replaced(node, {("const", "degree"): _ONE})  # type: ignore[no-any-return]


def names_in(node: Any) -> frozenset[str]:
    """The variables of a tree."""
    if not isinstance(node, tuple):
        return frozenset()
    if node[0] == "name":
        return frozenset(node[1:])
    found = frozenset().union(*map(names_in, node))
    return found - {node[1]} if node[0] in ("sum", "prod", "int", "lim") else found
