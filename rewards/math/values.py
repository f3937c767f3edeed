"""The kinds of value that an answer may be read as (`read`), and that are compared (`compare`).

    Number     1/2, 0.5; exact, `rounded` where it was written with a point: maybe a rounded one
    Formula    2x+1, sqrt 2; without variables it is a number that only arithmetic tells
    Quantity   3 cm, 5%, 90°, $4, 7 (mod 10): an amount with its unit; `letters`: the unit's, where
               they stand at the number, as `5m` may be five times m too
    Choice     (A) 12: its letter in upper case and what its text is; `bare`: a lower-case letter
               alone, which may as well be a variable
    Truth      yes, false
    Words      names or prose in order, without case, punctuation and articles
    Time       3:45 pm; `half` is "a", "p" or "" where it was not said
    Notation   1914-1918, 1.2.3: parts that a sign joins and no arithmetic; and 5 March 2024
    Ratio      2:4
    Numeral    101_2: digits in a base; 0 where the base was not said
    Sequence   several answers, in `brackets` or none; the order of a bare list is free, unless
               semicolons separate it (";")
    Set        {1, 2}: in any order, and repeated ones count once
    Interval   [1, 2): two ends and their brackets; `name`: the variable's, of an inequality
    Union      several intervals or sets as one
    Matrix     rows of cells; `determinant` where its determinant or norm is meant
    Relation   y = 2x, A < B < C; the other way round where `>` was written. `names`: of each side
               that is one name, to which a value is assigned, or ""
    Unread     what nobody understood, without space: equal to its own spelling and nothing else

A new kind needs a rule in `read` and rows in the table of `compare`. What it leaves out: behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from groupwise.rewards.math.formula import Node
from groupwise.rewards.math.units import Unit


@dataclass(frozen=True, slots=True)
class Number:
    value: Fraction
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class Formula:
    node: Node
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class Quantity:
    amount: Number | Formula
    unit: Unit
    letters: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    letter: str
    rest: Reading = ()
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Truth:
    value: bool
    word: str


@dataclass(frozen=True, slots=True)
class Words:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Time:
    hour: int
    minute: int
    second: int
    half: str


@dataclass(frozen=True, slots=True)
class Notation:
    sign: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    terms: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Numeral:
    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Reading, ...]
    brackets: str = ""


@dataclass(frozen=True, slots=True)
class Set:
    items: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    low: Reading
    high: Reading
    ends: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Union:
    parts: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Reading, ...], ...]
    determinant: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    operators: tuple[Literal["=", "<", "<=", "!=", "≡", "≈"], ...]
    sides: tuple[Reading, ...]
    names: tuple[str, ...]
    modulus: int = 0


@dataclass(frozen=True, slots=True)
class Unread:
    text: str


Value = (
    Number | Formula | Quantity | Choice | Truth | Words | Time | Notation | Ratio
    | Numeral | Sequence | Set | Interval | Union | Matrix | Relation | Unread
)  # fmt: skip

Reading = tuple[Value, ...]
"""Every value that a text may be, the likeliest first: `(1, 2)` is an interval or a point."""
