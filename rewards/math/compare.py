"""Whether an answer equals a reference, by an explicit table of the kinds of value.

    same(read("1/2"), read("0.5"), Rules())   # True; False: different; None: math-verify may tell

A pair of kinds that is not in `_TABLE` is never equal. Where a text has several readings, two of
the same kind decide, and only then two of different kinds; the likeliest first. Gold and answer are
never swapped: several rules are not symmetric, so that `x > 17` is no answer to 17. A new kind of
value needs a row of its own. What it leaves out: numbers and formulas (`amounts`), and which units
convert into each other (`units`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any

from groupwise.rewards.math.amounts import (
    Rules,
    amount_of,
    has_names,
    has_pi,
    same_amount,
    same_equation,
    times,
)
from groupwise.rewards.math.calendar import same_time
from groupwise.rewards.math.units import DEGREE, PERCENT, conversion
from groupwise.rewards.math.values import (
    Choice,
    Formula,
    Interval,
    Matrix,
    Notation,
    Number,
    Numeral,
    Quantity,
    Ratio,
    Reading,
    Relation,
    Sequence,
    Set,
    Time,
    Truth,
    Union,
    Unread,
    Words,
)

Verdict = bool | None
Rule = Callable[[Any, Any, Rules], Verdict]


def same(gold: Reading, answer: Reading, rules: Rules) -> Verdict:
    """Whether two readings are equal; None if nothing here can tell."""
    pairs = [(_kind(g), _kind(a), g, a) for g in gold for a in answer]
    for kind, other, g, a in pairs:
        if kind is other:
            return _TABLE[kind, other](g, a, rules)
    return _any(_TABLE[x, y](g, a, rules) for x, y, g, a in pairs if (x, y) in _TABLE)


def _kind(value: object) -> type:
    return Formula if isinstance(value, Number) else type(value)


def _any(verdicts: Iterable[Verdict]) -> Verdict:
    found = set(verdicts)
    return True if True in found else None if None in found else False


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    found = set(verdicts)
    return False if False in found else None if None in found else True


def _in_order(gold: tuple[Reading, ...], answer: tuple[Reading, ...], rules: Rules) -> Verdict:
    if len(gold) != len(answer):
        return False
    return _all(same(g, a, rules) for g, a in zip(gold, answer, strict=True))


def _any_order(gold: Iterable[Reading], answer: Iterable[Reading], rules: Rules) -> Verdict:
    """Each gold element has a partner of its own: the first that fits."""
    golds, answers = list(gold), list(answer)
    if len(golds) != len(answers):
        return False
    undecided = False
    for g in golds:
        verdicts = [same(g, a, rules) for a in answers]
        if True in verdicts:
            answers.pop(verdicts.index(True))
        elif None in verdicts:
            undecided = True
        else:
            return False
    return None if undecided else True


def _single(gold: Any, answer: Any, rules: Rules) -> Verdict:
    """Several answers are no single one, unless all are the same."""
    golds, answers = (getattr(side, "items", ((side,),)) for side in (gold, answer))
    pairs = [(g, a) for g in golds for a in answers]
    return bool(pairs) and _free(gold, answer) and _all(same(g, a, rules) for g, a in pairs)


def _sets(gold: Set | Sequence, answer: Set | Sequence, rules: Rules) -> Verdict:
    """In any order; repeated elements count once."""
    golds, answers = dict.fromkeys(gold.items), dict.fromkeys(answer.items)
    return _free(gold, answer) and _any_order(golds, answers, rules)


def _free(*sides: Any) -> bool:
    """Whether there are no brackets: the interval (1,2) is not the set {1,2}."""
    return {getattr(side, "brackets", "") for side in sides} <= {"", ";", "and", "or"}


# --- with units ----------------------------------------------------------------------------------


def _quantities(gold: Quantity, answer: Quantity, rules: Rules) -> Verdict:
    if (way := conversion(gold.unit, answer.unit)) is None:
        return False
    factor, zero = way
    amount = times(answer.amount, factor)
    if zero and isinstance(amount, Number):
        amount = Number(amount.value + zero, True)
    return same_amount(gold.amount, amount, rules)


def _one_unit(gold: Any, answer: Any, rules: Rules) -> Verdict:
    """A unit that one side states is ignored; percent and degrees have rules of their own."""
    stated, bare = (gold, answer) if isinstance(gold, Quantity) else (answer, gold)
    amounts = [stated.amount]
    if stated.letters and (has_names(bare) or (stated is gold and len(stated.letters) == 1)):
        amounts = [Formula(_multiplied(stated))]  # 5m is no 5
    elif stated.unit == PERCENT:
        hundredth = times(stated.amount, Fraction(1, 100))
        either = [stated.amount, hundredth]
        amounts = {"ignore": either[:1], "value": either[1:], "either": either}[rules.percent]
    elif stated.unit == DEGREE and has_pi(bare):  # 180° is pi
        amounts = [Formula(("*", amount_of(stated.amount), ("const", "degree")))]
    return _any(
        same_amount(a, bare, rules) if stated is gold else same_amount(bare, a, rules)
        for a in amounts
    )


def _multiplied(quantity: Quantity) -> Any:
    """Letters behind a number as variables: `5m` as five times m."""
    node = amount_of(quantity.amount)
    for letter in quantity.letters:
        node = ("*", node, ("name", letter))
    return node


# --- ratios --------------------------------------------------------------------------------------


def _ratios(gold: Any, answer: Any, rules: Rules) -> Verdict:
    """Term by term, or with the same quotient of any two neighbours."""
    golds, answers = _terms(gold), _terms(answer)
    verdict = _in_order(golds, answers, rules)
    x, y = (
        [amount_of(term[0]) for term in terms if isinstance(term[0], (Number, Formula))]
        for terms in (golds, answers)
    )
    if verdict is True or not len(x) == len(y) == len(golds) == len(answers):
        return verdict
    quotients = ([Formula(("/", *pair)) for pair in pairwise(nodes)] for nodes in (x, y))
    return _all(same_amount(g, a, rules) for g, a in zip(*quotients, strict=True))


def _terms(value: Any) -> tuple[Reading, ...]:
    """Of a ratio; of `1:10`, which is read as a time; of the number 1/2, which is 1/2 to 1."""
    if isinstance(value, Ratio):
        return value.terms
    if not isinstance(value, Time):
        return ((value,), (Number(Fraction(1)),))
    plain = not value.half and not value.second
    return tuple((Number(Fraction(n)),) for n in (value.hour, value.minute) if plain)


# --- several parts -------------------------------------------------------------------------------


def _sequences(gold: Sequence, answer: Sequence, rules: Rules) -> Verdict:
    marks = {gold.brackets, answer.brackets}
    if marks == {"and", "or"} and any(isinstance(item[-1], Relation) for item in gold.items):
        return False
    golds, answers = _right_sides(gold.items), _right_sides(answer.items)
    if marks <= {"", "and", "or"}:
        if (golds is gold.items) != (answers is answer.items):
            return _in_order(golds, answers, rules)  # `x = 1, y = 2` beside `1, 2`
        letters = [i[0].letter for i in gold.items if isinstance(i[0], Choice)]
        if len(letters) < len(gold.items) or letters == sorted(letters):  # D, B, A, C is an order
            return _any_order(gold.items, answer.items, rules)
    if gold.brackets in ("", "and") and answer.brackets == "[]" and len(gold.items) == 2:
        return False  # an interval
    return _in_order(golds, answers, rules)


def _right_sides(items: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """`y = 3, x = 2` as (2, 3) where every part names another variable, in alphabetical order."""
    sides = {r.names[0]: r.sides[1] for r, *_ in items
             if isinstance(r, Relation) and r.operators == ("=",) and r.names[0]}  # fmt: skip
    return tuple(sides[name] for name in sorted(sides)) if len(sides) == len(items) else items


def _intervals(gold: Interval, answer: Interval, rules: Rules) -> Verdict:
    if gold.ends != answer.ends or (gold.name and answer.name and gold.name != answer.name):
        return False
    return _in_order((gold.low, gold.high), (answer.low, answer.high), rules)


def _matrices(gold: Matrix, answer: Matrix, rules: Rules) -> Verdict:
    if gold.determinant != answer.determinant or len(gold.rows) != len(answer.rows):
        return False
    return _all(_in_order(g, a, rules) for g, a in zip(gold.rows, answer.rows, strict=True))


def _column(point: Sequence) -> Matrix:
    """A point written as a column vector."""
    return Matrix(tuple((item,) for item in point.items if point.brackets == "()"))


# --- equations and inequalities ------------------------------------------------------------------


def _relations(gold: Relation, answer: Relation, rules: Rules) -> Verdict:
    operators = set(gold.operators + answer.operators)
    if gold.modulus != answer.modulus:
        return False
    if "≈" in operators:
        return same(gold.sides[-1], answer.sides[-1], rules)
    if operators == {"="}:
        return _equations(gold, answer, rules)
    return gold.operators == answer.operators and _in_order(gold.sides, answer.sides, rules)


def _equations(gold: Relation, answer: Relation, rules: Rules) -> Verdict:
    """`y = 2x` and `f(x) = 2x` by what they assign; others if one is a multiple of the other."""
    names = {side.names[0].partition("(")[0] for side in (gold, answer)}
    if "" not in names and (len(names) == 1 or names in ({"y", "f"}, {"y", "g"})):
        return same(gold.sides[-1], answer.sides[-1], rules)
    solved = not any(isinstance(v, Formula) and has_names(v) for v in gold.sides[1])
    if gold.names[0] and not answer.names[0] and solved:
        return False  # 2x = 4 is x = 2 unsolved
    return len(gold.sides) == len(answer.sides) == 2 and same_equation(gold.sides, answer.sides)


def _assigned(gold: Any, answer: Any, rules: Rules) -> Verdict:
    """`x = 5`, `P(A) = 0.3`, `6*7 = 42` beside a value; an inequality is no value."""
    if isinstance(answer, Relation):
        return _any(same((gold,), side, rules) for side in _stated(answer, rules))
    return _any(same(side, (answer,), rules) for side in _stated(gold, rules))


def _stated(relation: Relation, rules: Rules) -> tuple[Reading, ...]:
    """What a relation says that something is; both sides of `3/7 ≈ 0.43` if it is rounded so."""
    first, last = relation.sides[-2:]
    if set(relation.operators) in ({"="}, {"≡"}):
        start = relation.sides[0]
        return (last,) if _is_called(relation, 0) or same(start, last, rules) is True else ()
    if relation.operators[-1] != "≈" or _is_called(relation, -2):
        return (last,) if relation.operators[-1] == "≈" else ()
    exact, rounded = (v.amount if isinstance(v, Quantity) else v for v in (first[0], last[0]))
    if not isinstance(exact, (Number, Formula)) or not isinstance(rounded, Number):
        return ()
    places = 0
    while places < 12 and (rounded.value * 10**places).denominator > 1:
        places += 1
    half = Rules(tolerance=0.5000001 * 10.0**-places)
    return (first, last) if same_amount(exact, rounded, half) is True else ()


def _is_called(relation: Relation, at: int) -> bool:
    """Whether a side is what a value is assigned to: `x`, `f(6)`, `P(A)`, `|AB|`, `x + y`;
    2x is not."""
    value = relation.sides[at][0]
    if relation.names[at] or not isinstance(value, Formula):
        return bool(relation.names[at])
    node = value.node
    if node[0] == "call":
        return len(node[1]) == 1 or (node[1] == "abs" and node[2][0][0] == "*")
    kinds = set(re.findall(r"\('(\S+?)'", repr(node)))
    return has_names(value) and kinds <= {"name", "+", "*"}


def _all_assigned(gold: Sequence, answer: Relation, rules: Rules) -> Verdict:
    """`x = y = 4` is the point (4, 4); `x = 1 \\pm 2` two values."""
    if gold.brackets == "()" and set(answer.operators) == {"="} and all(answer.names[:-1]):
        return _in_order(gold.items, (answer.sides[-1],) * (len(answer.sides) - 1), rules)
    return _assigned(gold, answer, rules)


# --- the table -----------------------------------------------------------------------------------


_SINGLE = (Formula, Quantity, Words, Truth, Interval, Union, Matrix, Set, Ratio, Notation, Numeral,
           Time)  # fmt: skip
_TABLE: dict[tuple[type, type], Rule] = {
    # a value behind its letter, its name, or alone in a list
    **{(one, Choice): lambda g, a, rules: same((g,), a.rest, rules) for one in _SINGLE},
    **{(Choice, one): lambda g, a, rules: same(g.rest, (a,), rules) for one in _SINGLE},
    **{(one, Relation): _assigned for one in _SINGLE},
    **{(Relation, one): _assigned for one in (*_SINGLE, Sequence)},
    **{(one, several): _single for one in (*_SINGLE, Choice) for several in (Sequence, Set)},
    **{(several, one): _single for one in (*_SINGLE, Choice) for several in (Sequence, Set)},
    (Sequence, Relation): _all_assigned,
    (Relation, Relation): _relations,
    # amounts; a Number is compared as a Formula
    (Formula, Formula): same_amount,
    (Quantity, Quantity): _quantities,
    (Quantity, Formula): _one_unit,
    (Formula, Quantity): _one_unit,
    (Numeral, Numeral): lambda g, a, _: g.digits == a.digits and len({g.base, a.base} - {0}) < 2,
    (Numeral, Formula): lambda g, a, _: isinstance(a, Number) and g.digits == str(a.value),
    (Formula, Numeral): lambda g, a, _: isinstance(g, Number) and a.digits == str(g.value),
    (Ratio, Ratio): _ratios,
    (Ratio, Formula): _ratios,
    (Formula, Ratio): _ratios,
    (Ratio, Time): _ratios,
    (Time, Formula): lambda g, a, rules: not a.rounded and _ratios(g, a, rules),
    # words, letters, dates
    (Choice, Choice): lambda g, a, _: g.letter == a.letter,
    (Truth, Truth): lambda g, a, _: g.value == a.value,
    **{(one, one): lambda g, a, _: g == a for one in (Words, Notation, Unread)},
    (Words, Set): lambda g, a, _: g.names == ("no solution",) and not a.items,
    (Set, Words): lambda g, a, _: a.names == ("no solution",) and not g.items,
    (Time, Time): lambda g, a, _: same_time(g, a),
    # several parts
    (Sequence, Sequence): _sequences,
    (Set, Set): _sets,
    (Set, Sequence): _sets,
    (Sequence, Set): _sets,
    (Interval, Interval): _intervals,
    (Union, Union): lambda g, a, rules: _any_order(g.parts, a.parts, rules),
    (Matrix, Matrix): _matrices,
    (Matrix, Sequence): lambda g, a, rules: _matrices(g, _column(a), rules),
    (Sequence, Matrix): lambda g, a, rules: _matrices(_column(g), a, rules),
    (Matrix, Formula): lambda g, _a, _: None if g.determinant else False,  # math-verify computes it
}
