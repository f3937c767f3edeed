"""Formulas: LaTeX, plain and source notation parsed once into a tree; `evaluate` has its values.

    parse("\\frac{x+1}{2}")   # ("/", ("+", ("name", "x"), ("num", 1)), ("num", 2))

The text is in the one spelling (`spelling`). What is not in the grammar is refused (UnreadableError)
and never guessed: a command, a word or a mark that has no rule below makes the whole text unread. A
new function or operator goes into the tables here, and its value into `evaluate`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, NamedTuple

Node = tuple[Any, ...]
"""("num", Fraction), ("name", text), ("const", "pi"), ("+", a, b), ("call", function, arguments),
("sum", variable, low, high, body), ..."""

MAX_CHARS = 400
MAX_DEPTH = 30  # of brackets: Python's own recursion is bounded, and a text can be all "((("

_TOKEN = re.compile(
    r"\s*(\\(?:frac|d?frac)\s*\{\s*(?:d|\\partial)(?![A-Za-z]{2})\s*(?:\^\s*\{?\d\}?)?\s*"
    r"(?:[A-Za-z]|\\[a-z]+)(?:\([a-z]\))?\s*\}\s*\{\s*(?:d|\\partial)\s*"
    r"(?:[A-Za-z]|\\[a-z]+)\s*(?:\^\s*\{?\d\}?)?\s*\}"  # \frac{d^2 y}{dx^2}
    r"|\bd[a-z]/d[a-z]\b"
    r"|\\(?:overline|overrightarrow|overleftrightarrow|widehat|hat|vec|tilde|dot|ddot|angle"
    r"|triangle)\s*(?:\{\s*[A-Za-z\\]{1,12}\s*\}|[A-Za-z]{1,4}(?![A-Za-z]))"  # names with marks
    r"|\\text\s*\{[^{}]*\}|\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\\.|[A-Za-z]+|<=|>=|!=|.)",
    re.DOTALL,
)
FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "ln", "exp", "arcsin", "arccos", "arctan", "sinh",
    "cosh", "tanh", "log", "gcd", "lcm", "min", "max", "abs", "det", "floor", "ceil", "lg",
    "asin", "acos", "atan", "arg", "Re", "Im", "factorial", "binomial", "comb",
}  # fmt: skip
_SAME_FUNCTION = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "Abs": "abs",
    "lg": "log",
    "binomial": "binom",
    "comb": "binom",
}
GREEK = set(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon "
    "phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega hbar ell".split()
)
_WORD_CONSTANTS = {"pi": ("const", "pi"), "infty": ("const", "inf"), "infinity": ("const", "inf")}
# `f(x)` is a call, `x(x+1)` a product
_CALLED = set("fghFGHPE")
_BIG = {"\\sum": "sum", "\\prod": "prod", "\\int": "int", "\\lim": "lim"}
_PAIRS = {"(": ")", "[": "]", "{": "}", "|": "|", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_ENDS = {
    "",
    "+",
    "-",
    "\\pm",
    "\\mp",
    ")",
    "}",
    "*",
    "/",
    "=",
    ",",
    "|",
    "]",
    "\\rfloor",
    "\\rceil",
}


_ZERO = ("num", Fraction(0))


class UnreadableError(Exception):
    """The formula is outside what this grammar understands, or its value outside all bounds."""


class UndefinedError(UnreadableError):
    """The formula has no value: 0^0, 1/0."""


class Parsed(NamedTuple):
    """A tree, and the tokens behind it, which may be a unit."""

    node: Node
    rest: tuple[str, ...]


def parse(text: str, is_unit: Any = None) -> Parsed:
    """The tree of a formula. With `is_unit`, letters behind a number that it knows end it.

    Raises:
        UnreadableError: outside the grammar, too long or too deep.
    """
    if len(text) > MAX_CHARS:
        raise UnreadableError
    parser = _Parser([t for t in _TOKEN.findall(text) if not t.isspace()], is_unit)
    try:
        node = parser.sum()
    except (RecursionError, ValueError, ArithmeticError, IndexError) as error:
        raise UnreadableError from error
    return Parsed(node, tuple(parser.tokens[parser.at :]))


class _Parser:
    """Recursive descent over the tokens of one formula."""

    def __init__(self, tokens: list[str], is_unit: Any) -> None:
        self.tokens = tokens
        self.is_unit = is_unit
        self.at = 0
        self.depth = 0
        self.bars = 0

    def peek(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected is not None and token != expected):
            raise UnreadableError
        self.at += 1
        return token

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError
        node = self.product()
        while self.peek() in ("+", "-", "\\pm", "\\mp"):
            node = (self.take(), node, self.product())
        self.depth -= 1
        return node

    def product(self) -> Node:
        signs = []
        while self.peek() in ("+", "-", "\\pm", "\\mp"):
            signs.append(self.take())
        node = self.power()
        divided = False
        while token := self.peek():
            if token in ("*", "/"):
                self.take()
                negative = self.peek() == "-" and bool(self.take())
                if token == "/" and len(self.peek()) in (2, 3) and self.is_product(self.peek()):
                    raise UnreadableError  # a/bc: two readings
                right = self.power()
                node = (token, node, ("neg", right) if negative else right)
                divided = token == "/"
            elif self.starts_factor(token):
                whole = node[0] == "num" and node[1].denominator == 1 and not divided
                if token[0].isdigit() and self.peek(1) == "^" and self.tokens[self.at - 2] == "^":
                    node = ("*", node, self.power())  # 2^6 3^5
                elif token[0].isdigit() and self.tokens[self.at - 1][-1].isdigit():
                    node = self.mixed(node) if whole else self.fail()  # 2 1/2; but 2 3: no product
                elif divided:  # 1/2x: two readings, so none
                    raise UnreadableError
                elif whole and token == "(" and self.is_fraction():  # 8 (6/19)
                    self.take()
                    node = self.mixed(node)
                    self.take(")")
                else:
                    node = ("*", node, self.power())
            else:
                break
        for sign in reversed(signs):
            node = node if sign == "+" else ("neg", node) if sign == "-" else (sign, _ZERO, node)
        return node

    def is_product(self, token: str) -> bool:
        return token.isalpha() and token not in FUNCTIONS | GREEK | {"pi"}

    def fail(self) -> Node:
        raise UnreadableError

    def is_fraction(self) -> bool:
        return (
            self.peek(1).isdigit()
            and self.peek(2) == "/"
            and self.peek(3).isdigit()
            and self.peek(4) == ")"
        )

    def starts_factor(self, token: str) -> bool:
        """Whether a factor follows without a sign; words and known units do not go on."""
        if token.startswith("\\text"):
            return token[5:].strip(" {}") in ("i", "e")
        if token[0].isalpha() and token.isascii():
            if self.is_unit and self.tokens[self.at - 1][-1] in "0123456789)}" and self.unit_here():
                return False
            return len(token) <= 3 or token in FUNCTIONS or token in GREEK or token == "sqrt"
        if token == "\\Omega" and self.is_unit and self.tokens[self.at - 1][-1].isdigit():
            return False
        if token[0] == "\\":
            name = token[1:]
            return (
                name in FUNCTIONS or name in GREEK or token in _BIG or _is_marked(token)
                or name in ("frac", "sqrt", "pi", "binom", "infty", "lfloor", "lceil")
            )  # fmt: skip
        return (
            token in ("(", "{", "[")
            or token[0].isdigit()
            or token[0] == "."
            or (token == "|" and not self.bars)
        )

    def unit_here(self) -> bool:
        return bool(self.is_unit(self.peek()))

    def mixed(self, whole: Node) -> Node:
        """`2 1/3` is two and a third, if the fraction is a proper one of plain numbers."""
        top, slash, bottom = self.take(), self.take("/"), self.take()
        if not (top.isdigit() and bottom.isdigit() and slash and int(top) < int(bottom)):
            raise UnreadableError
        return ("num", whole[1] + Fraction(int(top), int(bottom)))

    def power(self) -> Node:
        node = self.atom()
        while (token := self.peek()) in ("^", "!", "°", "'"):
            self.take()
            if token == "!" and self.peek() == "!":
                raise UnreadableError  # n!! is no (n!)!
            if token == "!":
                node = ("call", "factorial", (node,))
            elif token == "°":
                node = ("*", node, ("const", "degree"))
            elif token == "'":
                raise UnreadableError  # a prime belongs to a name, where `letters` takes it
            else:
                node = ("^", node, self.exponent())
                if self.peek() == "^":  # x^2^3: from the left or from the right?
                    raise UnreadableError
        return node

    def exponent(self) -> Node:
        if self.peek() == "-":  # 10^-5, as people and programs write it
            self.take()
            return ("neg", self.exponent())
        if self.peek() == "{" and self.peek(1) == "(" and self.closes_group():
            raise UnreadableError  # x^{(2)} is a derivative
        # LaTeX's x^12 is x^1 2; people mean x^{12}
        return self.atom()

    def closes_group(self) -> bool:
        """Whether a number in brackets fills the braces: `{(2)}`."""
        return self.peek(2).isdigit() and self.peek(3) == ")" and self.peek(4) == "}"

    def group(self, opening: str) -> Node:
        self.take(opening)
        node = self.sum()
        self.take(_PAIRS[opening])
        return node

    def argument(self) -> Node:
        """What follows `\\frac`: a group, or one digit or letter of LaTeX's short form."""
        token = self.peek()
        if token == "{":
            return self.group("{")
        if token[:1].isalnum() and token.isascii() and len(token) > 1 and token.isalnum():
            self.tokens[self.at : self.at + 1] = [token[0], token[1:]]
        return self.atom()

    def atom(self) -> Node:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            return self.number(token)
        if token in ("(", "[", "{", "|", "\\lfloor", "\\lceil"):
            return self.bracketed(token)
        if token[0] == "\\":
            return self.command(token)
        if token.isalpha() and token.isascii():
            return self.letters(token)
        if token.startswith("d") and "/d" in token:
            return ("name", f"d{token[1]}/d{token[-1]}")
        raise UnreadableError

    def number(self, token: str) -> Node:
        if len(token) > 200:
            raise UnreadableError
        node: Node = ("num", Fraction(token))
        if self.peek() == "\\frac" and token.isdigit():
            start = self.at
            fraction = self.atom()
            plain = all(t.isdigit() or t in "{}\\frac" for t in self.tokens[start : self.at])
            if not plain:
                return ("*", node, fraction)
            if fraction[1][1] >= fraction[2][1]:
                raise UnreadableError
            return ("+", node, fraction)
        return node

    def bracketed(self, token: str) -> Node:
        self.at -= 1
        if token != "|":
            digit_before = self.at > 0 and self.tokens[self.at - 1][-1] in "0123456789}"
            node = self.group(token)
            if token == "{" and node[0] == "num" and (digit_before or self.peek()[:1].isdigit()
                                                      or self.peek() == "{"):  # fmt: skip
                raise UnreadableError  # {2}21 is no product
            return node if token in "([{" else ("call", token[2:], (node,))
        self.bars += 1
        node = self.group("|")
        self.bars -= 1
        return ("call", "abs", (node,))

    def command(self, token: str) -> Node:
        name = token[1:]
        if token == "\\frac":
            top, below = self.argument(), self.argument_alone()
            if top[0] == "name" and top[1] in ("d", "\\partial") and "'d'" in repr(below):
                raise UnreadableError  # an operator: \frac{d}{dx}
            return ("/", top, below)
        if token == "\\binom":
            return ("call", "binom", (self.argument(), self.argument_alone()))
        if token == "\\sqrt":
            return self.root()
        if name in _WORD_CONSTANTS:
            return _WORD_CONSTANTS[name]
        if name in FUNCTIONS:
            return self.function(_SAME_FUNCTION.get(name, name))
        if name in GREEK:
            return self.named(token)
        if token in _BIG:
            return self.big(_BIG[token])
        if token.startswith("\\text") and (inner := token[5:].strip(" {}")) in ("i", "e"):
            return ("const", inner)
        if _is_marked(token):
            return self.named(_derivative("".join(token.split())))
        raise UnreadableError

    def argument_alone(self) -> Node:
        """The second argument; digits behind it would have no certain owner: `\\frac 123`."""
        node = self.argument()
        if self.peek()[:1].isdigit() and self.tokens[self.at - 1][-1].isdigit():
            raise UnreadableError
        return node

    def root(self) -> Node:
        degree: Node = ("num", Fraction(2))
        if self.peek() == "[":
            degree = self.group("[")
        return ("call", "root", (self.group("{") if self.peek() == "{" else self.atom(), degree))

    def function(self, name: str) -> Node:
        """`\\sin(x)`, `\\sin x`, `\\sin 30°`, `\\sin^2 x`, `\\log_2 8`, `\\gcd(m, n)`."""
        base: tuple[Node, ...] = ()
        exponent: Node | None = None
        if self.peek() == "_":
            self.take()
            base = (self.argument(),)
        if self.peek() == "^":
            self.take()
            exponent = self.exponent()
            if exponent == ("neg", ("num", Fraction(1))) and name in ("sin", "cos", "tan"):
                name, exponent = f"arc{name}", None  # the inverse, not the reciprocal
            elif exponent[0] == "neg":
                raise UnreadableError
        opening = self.peek()
        if opening in ("(", "{"):
            arguments = self.arguments(opening)
        else:
            arguments = (self.function_argument(),)
        node: Node = ("call", name, (*base, *arguments))
        return node if exponent is None else ("^", node, exponent)

    def function_argument(self) -> Node:
        """Without brackets: one product of a number and names, `\\sin 2x`, up to the next sign."""
        node = self.power()
        while self.peek() not in _ENDS and not self.peek().startswith("\\text"):
            name = self.peek().removeprefix("\\")
            if name in FUNCTIONS or self.peek() in ("(", "°") or node[0] == "call":
                break
            node = ("*", node, self.power())
        return node

    def arguments(self, opening: str) -> tuple[Node, ...]:
        self.take(opening)
        found = [self.sum()]
        while self.peek() == ",":
            self.take()
            found.append(self.sum())
        self.take(_PAIRS[opening])
        return tuple(found)

    def big(self, kind: str) -> Node:
        """`\\sum_{k=1}^{n} k`, `\\int_0^1 x\\,dx`, `\\lim_{x \\to 0} f`."""
        low: Node | None = None
        high: Node | None = None
        name = ""
        if self.peek() == "_":
            self.take()
            braces = self.peek() == "{" and bool(self.take())
            if kind != "int":
                name = self.take()
                if self.take() not in ("=", "\\to", "\\rightarrow"):
                    raise UnreadableError
            low = self.sum() if braces else self.argument()
            if braces:
                self.take("}")
        if self.peek() == "^":
            self.take()
            high = self.argument()
        body = self.integrand() if kind == "int" else (_bound(self.product(), name), name)
        indexed = any(part.endswith(f"_{name}") for part in names_in(body[0]))
        if indexed or (kind == "int" and (low is None or high is None)):
            raise UnreadableError  # a_k has no value, and an indefinite integral has many
        return (kind, body[1], low, high, body[0])

    def integrand(self) -> tuple[Node, str]:
        at = next(
            (i for i in range(self.at, len(self.tokens)) if re.fullmatch("d[a-z]", self.tokens[i])),
            -1,
        )
        if at < 0:
            raise UnreadableError
        inner = _Parser(self.tokens[self.at : at], None)
        node: Node = ("num", Fraction(1)) if not inner.tokens else inner.sum()
        if inner.peek():
            raise UnreadableError
        self.at = at + 1
        return node, self.tokens[at][1]

    def letters(self, token: str) -> Node:
        if token in _WORD_CONSTANTS:
            return _WORD_CONSTANTS[token]
        if token in ("sqrt", "Sqrt"):
            return self.root()
        name = _SAME_FUNCTION.get(token, token)
        if token in FUNCTIONS or name in FUNCTIONS:
            return self.function(name)
        if token in GREEK:
            return self.named("\\" + token)
        if len(token) > 3:  # a word: one name, which stands between signs only
            alone = self.peek() in _ENDS | {"^"} and self.before() in _ENDS | {"(", "{"}
            return ("name", token) if alone else self.fail()
        node: Node | None = None
        for index, letter in enumerate(token):
            last = index == len(token) - 1
            factor = self.named(letter) if last else _letter(letter)
            if last and node is not None and self.peek() == "^":
                self.take()
                factor = ("^", factor, self.exponent())
            node = factor if node is None else ("*", node, factor)
        assert node is not None
        return node

    def before(self) -> str:
        return self.tokens[self.at - 2] if self.at > 1 else ""

    def named(self, name: str) -> Node:
        """A name with its index and primes: `x`, `x_{1}`, `f'`; and called: `f(2)`."""
        if self.peek() == "_":
            self.take()
            index = [self.take()]
            if index == ["{"]:
                while index[-1] != "}":
                    index.append(self.take())
            name += "_" + "".join(index).strip("{}")
        primes = 0
        while self.peek() == "'":
            self.take()
            primes += 1
        name += "'" * primes
        if name == "C" and self.peek() == "(" and self.peek(1).isdigit() and self.peek(2) == ",":
            return ("call", "binom", self.arguments("("))
        number = self.peek(1).isdigit() and self.peek(2) == ")"  # y(0), \tau(6)
        if self.peek() == "(" and (name[0] in _CALLED or primes or number):
            return ("call", name, self.arguments("("))
        return _letter(name)


def _bound(node: Any, name: str) -> Any:
    """The variable of a sum is one, even where it is called i or e."""
    if not isinstance(node, tuple):
        return node
    return ("name", name) if node == ("const", name) else tuple(_bound(p, name) for p in node)


def _is_marked(token: str) -> bool:
    """Whether a token is a name with a mark (`\\vec{v}`, `\\angle ABC`) or a derivative."""
    return token[0] == "\\" and ("{" in token or " " in token) and token[:5] != "\\text"


def _derivative(token: str) -> str:
    """One name for `\\dot{x}`, `\\frac{dx}{dt}` and `x'`: by time, or of y by x."""
    match = re.fullmatch(
        r"\\frac\{(?:d|\\partial)(?:\^\{?(\d)\}?)?(.+?)\}\{(?:d|\\partial)(.+?)(?:\^.*)?\}", token
    )
    if match is not None:
        order, of, by = match.groups()
        plain = by == "t" or (of, by) == ("y", "x")
        return of + "'" * int(order or 1) if plain else token
    match = re.fullmatch(r"\\(d?)dot\{?(.+?)\}?", token)
    return token if match is None else match[2] + ("''" if match[1] else "'")


def _letter(name: str) -> Node:
    return ("const", name) if name in ("i", "e") else ("name", name)


def branches(node: Node) -> tuple[Node, ...]:
    """A formula with `\\pm` as the two that it stands for."""
    upper, lower = _chosen(node, "+"), _chosen(node, "-")
    return (upper,) if upper == lower else (upper, lower)


def _chosen(node: Any, sign: str) -> Any:
    if not isinstance(node, tuple):
        return {"\\pm": sign, "\\mp": "-" if sign == "+" else "+"}.get(node, node)
    return tuple(_chosen(part, sign) for part in node)


def without_degrees(node: Node) -> Node:
    """`180^\\circ - 2x` without its degrees, but for a formula with a function of an angle."""
    shown = repr(node)
    if "'degree'" not in shown or any(f"'{name}'" in shown for name in FUNCTIONS):
        return node
    return _undegreed(node)  # type: ignore[no-any-return]


def _undegreed(node: Any) -> Any:
    if not isinstance(node, tuple):
        return node
    if node == ("const", "degree"):
        return ("num", Fraction(1))
    return tuple(_undegreed(part) for part in node)


def names_in(node: Node) -> frozenset[str]:
    """The variables of a tree."""
    if node[0] == "name":
        return frozenset((node[1],))
    found: frozenset[str] = frozenset()
    for part in node[1:]:
        if isinstance(part, tuple) and part:
            if isinstance(part[0], str):
                found |= names_in(part)
            else:
                for inner in part:
                    found |= names_in(inner)
    return found - {node[1]} if node[0] in ("sum", "prod", "int", "lim") else found
