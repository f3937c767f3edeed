"""The kinds of value that an answer may be read as (`read`), and that are compared (`compare`).

Each is a small frozen dataclass. `Unread` is what nobody understood: it equals its own spelling and
nothing else. What it leaves out: behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from groupwise.rewards.math.formula import Node
from groupwise.rewards.math.units import Unit


@dataclass(frozen=True, slots=True)
class Number:
    """An exact number; `rounded`: it was written with a point, so that it may be a rounded one."""

    value: Fraction
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula; without variables it is a number that only arithmetic tells."""

    node: Node
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number or formula with its unit; percent, degrees, currencies and moduli are units."""

    amount: Number | Formula
    unit: Unit
    letters: str = ""  # the unit's, where they stand at the number: `5m` may be five times m too


@dataclass(frozen=True, slots=True)
class Choice:
    """A letter of a multiple choice, in upper case, and what the text behind it is."""

    letter: str
    rest: Reading = ()
    bare: bool = False  # a lower-case letter alone, which may as well be a variable


@dataclass(frozen=True, slots=True)
class Truth:
    """Yes and true, no and false."""

    value: bool
    word: str


@dataclass(frozen=True, slots=True)
class Words:
    """Prose or names: without case, punctuation and articles; several names in order."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Date:
    """A calendar date; no year where none was written."""

    year: int | None
    month: int
    day: int


@dataclass(frozen=True, slots=True)
class Time:
    """A time of day; `half` is "a", "p" or "" where it was not said."""

    hour: int
    minute: int
    second: int
    half: str


@dataclass(frozen=True, slots=True)
class Notation:
    """Parts that a sign joins and no arithmetic: ranges, scores, addresses, versions, orders."""

    sign: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """`2:4`: terms of a ratio."""

    terms: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Numeral:
    """Digits in a stated base: `101_2`."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """Several answers. `brackets`: "()", "[]" or "<>"; "" for a bare list, whose order is free
    unless semicolons separate it (";")."""

    items: tuple[Reading, ...]
    brackets: str = ""


@dataclass(frozen=True, slots=True)
class Set:
    """Elements in any order; repeated ones count once."""

    items: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """Between two ends, which are values; `ends` are its brackets, as in `[)`."""

    low: Reading
    high: Reading
    ends: str
    name: str = ""  # of the variable, where an inequality was written


@dataclass(frozen=True, slots=True)
class Union:
    """Several intervals or sets as one."""

    parts: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells; a determinant is another thing than its matrix."""

    rows: tuple[tuple[Reading, ...], ...]
    determinant: str = ""  # or norm


@dataclass(frozen=True, slots=True)
class Relation:
    """`y = 2x`, `A < B < C`; written the other way round where it was `>`."""

    operators: tuple[Literal["=", "<", "<=", "!=", "≡", "≈"], ...]
    sides: tuple[Reading, ...]
    names: tuple[str, ...]  # of each side, where it is one name: what a value is assigned to; or ""
    modulus: int = 0


@dataclass(frozen=True, slots=True)
class Unread:
    """What was not understood, without space."""

    text: str


Value = (
    Number | Formula | Quantity | Choice | Truth | Words | Date | Time | Notation | Ratio
    | Numeral | Sequence | Set | Interval | Union | Matrix | Relation | Unread
)  # fmt: skip

Reading = tuple[Value, ...]
"""Every value that a text may be read as, the likeliest first: `3:45` is a Time or a Ratio."""
