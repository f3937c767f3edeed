"""Whether an answer equals a reference, by an explicit table of the kinds of value.

    same(read("1/2"), read("0.5"), Rules())   # True; False: different; None: math-verify may tell

A pair of kinds that is not in `_TABLE` is never equal. Where a text has several readings, two of
the same kind decide, and only then two of different kinds; the likeliest first. Gold and answer are
never swapped: several rules are not symmetric, so that `x > 17` is no answer to 17. What it leaves
out: numbers and formulas (`amounts`), and units (`units`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

from groupwise.rewards.math.amounts import (
    Rules,
    amount_of,
    has_names,
    has_pi,
    same_amount,
    same_difference,
    same_equation,
    times,
)
from groupwise.rewards.math.calendar import same_time
from groupwise.rewards.math.units import (
    DEGREE,
    PERCENT,
    Unit,
    factor,
    without_rate,
    zero_and_step,
)
from groupwise.rewards.math.values import (
    Choice,
    Date,
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
    pairs = [(g, a) for g in gold for a in answer]
    for g, a in pairs:
        if _kind(g) is _kind(a):
            return _TABLE[_kind(g), _kind(a)](g, a, rules)
    verdicts = [rule(g, a, rules) for g, a in pairs
                if (rule := _TABLE.get((_kind(g), _kind(a)))) is not None]  # fmt: skip
    return True if True in verdicts else None if None in verdicts else False


def _kind(value: object) -> type:
    return Formula if isinstance(value, Number) else type(value)


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    found = list(verdicts)
    return False if False in found else None if None in found else True


def _in_order(gold: tuple[Reading, ...], answer: tuple[Reading, ...], rules: Rules) -> Verdict:
    if len(gold) != len(answer):
        return False
    return _all(same(g, a, rules) for g, a in zip(gold, answer, strict=True))


def _any_order(
    gold: tuple[Reading, ...], answer: tuple[Reading, ...], rules: Rules, repeated: bool = False
) -> Verdict:
    """Each gold element has a partner of its own, in any order; of a set repeated ones count once."""
    golds, answers = list(gold), list(answer)
    if not repeated:
        golds, answers = list(dict.fromkeys(gold)), list(dict.fromkeys(answer))
    if len(golds) != len(answers):
        return False
    undecided = False
    for g in golds:
        verdicts = [same(g, a, rules) for a in answers]
        if True in verdicts:  # the first that fits: equality is transitive, except for rounding
            answers.pop(verdicts.index(True))
        elif None in verdicts:
            undecided = True
        else:
            return False
    return None if undecided else True


# --- with units ----------------------------------------------------------------------------------


def _quantities(gold: Quantity, answer: Quantity, rules: Rules) -> Verdict:
    """Two stated units must convert into each other; a rate may leave out what it is paid for."""
    if gold.letters and answer.letters and same(*_multiplied(gold, answer), rules) is True:
        return True
    if (converted := temperature(gold.unit, answer.unit, answer.amount)) is not None:
        return same_amount(gold.amount, converted, rules)
    ratio = factor(gold.unit, answer.unit)
    if ratio is None:
        one, other = without_rate(gold.unit), without_rate(answer.unit)
        if (one is None) == (other is None):
            return False
        ratio = factor(one or gold.unit, other or answer.unit)
        if ratio is None:
            return False
    return same_amount(gold.amount, times(answer.amount, ratio), rules)


def temperature(gold: Unit, answer: Unit, amount: Number | Formula) -> Number | None:
    """A temperature on the gold's scale; None where the units are no two scales of it."""
    scales = zero_and_step(gold), zero_and_step(answer)
    if scales[0] is None or scales[1] is None or not isinstance(amount, Number):
        return None
    (zero, step), (other_zero, other_step) = scales
    kelvin = (amount.value + other_zero) * other_step
    return Number(kelvin / step - zero, True)


def _multiplied(*quantities: Quantity) -> Iterator[Reading]:
    """Letters behind a number as variables: `5m` as five times m."""
    for quantity in quantities:
        node = amount_of(quantity.amount)
        for letter in quantity.letters:
            node = ("*", node, ("name", letter))
        yield (Formula(node),)


def _unit_in_gold(gold: Quantity, answer: Number | Formula, rules: Rules) -> Verdict:
    if gold.letters and (len(gold.letters) == 1 or has_names(answer)):
        return same(*_multiplied(gold), (answer,), rules)  # 5m is no 5
    return _one_unit(gold.unit, gold.amount, answer, rules, lambda u, b: same_amount(u, b, rules))


def _unit_in_answer(gold: Number | Formula, answer: Quantity, rules: Rules) -> Verdict:
    if answer.letters and has_names(gold):
        return same((gold,), *_multiplied(answer), rules)
    return _one_unit(answer.unit, answer.amount, gold, rules, lambda u, b: same_amount(b, u, rules))


def _one_unit(
    unit: Unit,
    amount: Number | Formula,
    bare: Number | Formula,
    rules: Rules,
    equal: Callable[[Number | Formula, Number | Formula], Verdict],
) -> Verdict:
    """A unit that one side states is ignored; percent and degrees have rules of their own."""
    if unit == PERCENT:
        verdict: Verdict = False if rules.percent == "value" else equal(amount, bare)
        if verdict is False and rules.percent != "ignore":
            verdict = equal(times(amount, Fraction(1, 100)), bare)
        return verdict
    if unit == DEGREE and has_pi(bare) and not has_pi(amount):  # an amount with pi is radians
        return equal(Formula(("*", amount_of(amount), ("const", "degree"))), bare)
    return equal(amount, bare)


# --- words, letters, notation --------------------------------------------------------------------


def _choices(gold: Choice, answer: Choice, rules: Rules) -> Verdict:
    """The letter decides; texts behind two equal letters must not contradict each other."""
    if gold.letter != answer.letter:
        return False
    both = gold.rest and answer.rest and isinstance(gold.rest[0], (Number, Formula, Quantity))
    return same(gold.rest, answer.rest, rules) if both else True


def _behind_letter(gold: Any, answer: Choice, rules: Rules) -> Verdict:
    return same((gold,), answer.rest, rules) if answer.rest else False


def _option_text(gold: Choice, answer: Any, rules: Rules) -> Verdict:
    return same(gold.rest, (answer,), rules) if gold.rest else False


def _notations(gold: Notation, answer: Notation, rules: Rules) -> Verdict:
    parts = [[part.lstrip("0") or "0" for part in side.parts] for side in (gold, answer)]
    return gold.sign == answer.sign and parts[0] == parts[1]


def _numerals(gold: Numeral, answer: Numeral, rules: Rules) -> Verdict:
    """The same digits; a base that one side leaves out was asked for."""
    return gold.digits == answer.digits and (0 in (gold.base, answer.base)
                                             or gold.base == answer.base)  # fmt: skip


def _numeral_number(gold: Numeral, answer: Number | Formula, rules: Rules) -> Verdict:
    return isinstance(answer, Number) and gold.digits == str(answer.value)


def _ratios(gold: Ratio, answer: Ratio, rules: Rules) -> Verdict:
    """Ratios of numbers are equal if they reduce to the same one; others term by term."""
    if len(gold.terms) != len(answer.terms):
        return False
    x, y = (_numbers(side.terms) for side in (gold, answer))
    if x is None or y is None:
        if len(gold.terms) == 2 and (value := _ratio_of(answer)) is not None:
            return _ratio_value(gold, value, rules)
        return _in_order(gold.terms, answer.terms, rules)
    return any(x) == any(y) and all(
        p * y[j] == x[j] * q for i, (p, q) in enumerate(zip(x, y, strict=True)) for j in range(i)
    )


def _numbers(terms: tuple[Reading, ...]) -> list[Fraction] | None:
    firsts = [term[0] for term in terms]
    numbers = [first.value for first in firsts if isinstance(first, Number)]
    return numbers if len(numbers) == len(firsts) else None


def _ratio_value(ratio: Ratio, number: Number | Formula, rules: Rules) -> Verdict:
    value = _ratio_of(ratio)
    return value is not None and same_amount(value, number, rules)


def _ratio_of(ratio: Ratio) -> Formula | None:
    nodes = [amount_of(t[0]) for t in ratio.terms if isinstance(t[0], (Number, Formula))]
    return Formula(("/", *nodes)) if len(nodes) == len(ratio.terms) == 2 else None


def _time_value(time: Time, number: Number | Formula, rules: Rules) -> Verdict:
    """`1:10` may be a ratio as well: it equals the fraction of its two numbers, and no other."""
    exact = not number.rounded and not time.half and not time.second and time.minute
    return bool(exact) and same_amount(Number(Fraction(time.hour, time.minute)), number, rules)


def _ratio_time(ratio: Ratio, time: Time, rules: Rules) -> Verdict:
    terms = ((Number(Fraction(time.hour)),), (Number(Fraction(time.minute)),))
    return not time.half and not time.second and _ratios(ratio, Ratio(terms), rules)


# --- several parts -------------------------------------------------------------------------------


def _sequences(gold: Sequence, answer: Sequence, rules: Rules) -> Verdict:
    marks = {gold.brackets, answer.brackets}
    if marks == {"and", "or"} and any(isinstance(item[-1], Relation) for item in gold.items):
        return False
    if marks <= {"", "and", "or"}:
        if (items := _by_name(gold, answer)) is not None:
            return _in_order(*items, rules)
        letters = [i[0].letter for i in gold.items if isinstance(i[0], Choice)]
        if len(letters) == len(gold.items) and letters != sorted(letters):
            return _in_order(gold.items, answer.items, rules)  # D, B, A, C is an order
        return _any_order(gold.items, answer.items, rules, repeated=True)
    if gold.brackets in ("", "and") and answer.brackets == "[]" and len(gold.items) == 2:
        return False  # an interval
    if marks & {"", "and", "or"}:
        gold_items, answer_items = _right_sides(gold.items), _right_sides(answer.items)
        return _in_order(gold_items, answer_items, rules)
    return _in_order(gold.items, answer.items, rules)


def _by_name(gold: Sequence, answer: Sequence) -> tuple[tuple[Reading, ...], ...] | None:
    """`x = 1, y = 2` beside `1, 2`: in the order of the names, where only one side has them."""
    sides = _right_sides(gold.items), _right_sides(answer.items)
    named = [side is not whole.items for side, whole in zip(sides, (gold, answer), strict=True)]
    return sides if named[0] != named[1] else None


def _right_sides(items: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """`y = 3, x = 2` as (2, 3) where every part names another variable, in alphabetical order."""
    sides = {r.names[0]: r.sides[1] for r, *_ in items
             if isinstance(r, Relation) and r.operators == ("=",) and r.names[0]}  # fmt: skip
    return tuple(sides[name] for name in sorted(sides)) if len(sides) == len(items) else items


def _single(gold: Any, answer: Sequence, rules: Rules) -> Verdict:
    """Several answers are no answer, unless all are the same."""
    return answer.brackets in ("", ";", "and", "or") and _all(
        same((gold,), item, rules) for item in answer.items
    )


def _sets(gold: Set | Sequence, answer: Set | Sequence, rules: Rules) -> Verdict:
    for side in (gold, answer):
        if isinstance(side, Sequence) and side.brackets not in ("", ";", "and", "or"):
            return False  # the interval (1,2) is not the set {1,2}
    return _any_order(gold.items, answer.items, rules)


def _of_set(gold: Any, answer: Set, rules: Rules) -> Verdict:
    return len(answer.items) == 1 and same((gold,), answer.items[0], rules)


def _set_of(gold: Set, answer: Any, rules: Rules) -> Verdict:
    return len(gold.items) == 1 and same(gold.items[0], (answer,), rules)


def _sequence_of(gold: Sequence, answer: Any, rules: Rules) -> Verdict:
    return len(gold.items) == 1 and same(gold.items[0], (answer,), rules)


def _intervals(gold: Interval, answer: Interval, rules: Rules) -> Verdict:
    if gold.ends != answer.ends or (gold.name and answer.name and gold.name != answer.name):
        return False
    return _in_order((gold.low, gold.high), (answer.low, answer.high), rules)


def _unions(gold: Union, answer: Union, rules: Rules) -> Verdict:
    return _any_order(gold.parts, answer.parts, rules)


def _matrices(gold: Matrix, answer: Matrix, rules: Rules) -> Verdict:
    if gold.determinant != answer.determinant or len(gold.rows) != len(answer.rows):
        return False
    return _all(_in_order(g, a, rules) for g, a in zip(gold.rows, answer.rows, strict=True))


def _column(matrix: Matrix, sequence: Sequence, rules: Rules) -> Verdict:
    """A column vector written as a point."""
    if sequence.brackets != "()" or any(len(row) != 1 for row in matrix.rows):
        return False
    return _in_order(tuple(row[0] for row in matrix.rows), sequence.items, rules)


def _determinant(gold: Any, answer: Any, rules: Rules) -> Verdict:
    matrix = gold if isinstance(gold, Matrix) else answer
    return None if matrix.determinant else False


# --- equations and inequalities ------------------------------------------------------------------


def _relations(gold: Relation, answer: Relation, rules: Rules) -> Verdict:
    if "≈" in gold.operators + answer.operators:
        return _approximately(gold, answer, rules)
    if "≡" in gold.operators + answer.operators:
        return gold.modulus == answer.modulus and _congruent(gold, answer, rules)
    if gold.operators == answer.operators:
        if (verdict := _in_order(gold.sides, answer.sides, rules)) is True:
            return True
        if len(gold.operators) > 1 and set(gold.operators) != {"="}:
            return verdict
    if set(gold.operators) | set(answer.operators) == {"="}:
        return _equations(gold, answer, rules)
    if gold.operators == answer.operators == ("!=",):
        return same_equation(gold.sides, answer.sides)
    if gold.operators == answer.operators and len(gold.operators) == 1:
        if [bool(name) for name in gold.names] != [bool(name) for name in answer.names]:
            return False
        return same_difference(gold.sides, answer.sides)
    return False


def _equations(gold: Relation, answer: Relation, rules: Rules) -> Verdict:
    names = {side.names[0].partition("(")[0] if "(" in gold.names[0] + answer.names[0] and
             "(" not in min(gold.names[0], answer.names[0], key=len) else side.names[0]
             for side in (gold, answer)}  # fmt: skip
    if "" not in names and (len(names) == 1 or names in ({"y", "f"}, {"y", "g"})):
        verdict = same(gold.sides[-1], answer.sides[-1], rules)
        if verdict is not None:
            return verdict
    if gold.names[0] and not answer.names[0] and not any(map(_has_names, gold.sides[1])):
        return False  # 2x = 4 is x = 2 unsolved
    if len(gold.sides) == len(answer.sides) == 2:
        return same_equation(gold.sides, answer.sides)
    return False


def _has_names(value: Any) -> bool:
    return isinstance(value, Formula) and has_names(value)


def _congruent(gold: Relation, answer: Relation, rules: Rules) -> Verdict:
    verdict = same(gold.sides[0], answer.sides[0], rules)
    x, y = (_numbers((side.sides[1],)) for side in (gold, answer))
    if x is not None and y is not None:
        return verdict is True and (x[0] - y[0]) % gold.modulus == 0
    return _all((verdict, same(gold.sides[1], answer.sides[1], rules)))


def _assigned(gold: Any, answer: Relation, rules: Rules) -> Verdict:
    """`x = 5`, `P(A) = 0.3`, `6*7 = 42` beside a value; an inequality is no value."""
    if set(answer.operators) == {"≈"} or answer.operators[-1] == "≈":
        return _approximation(gold, answer, rules)
    if answer.operators == ("≡",):
        return same((gold,), answer.sides[1], rules) if answer.names[0] else False
    if set(answer.operators) != {"="}:
        return False
    last = answer.sides[-1]
    if not answer.names[0] and not _is_called(answer.sides[0]):
        if same(answer.sides[0], last, rules) is not True:
            return False
    return same((gold,), last, rules)


def _is_called(side: Reading) -> bool:
    """`f(6)`, `P(A)`: what a value is assigned to, though it is no name."""
    for value in side:
        if isinstance(value, Formula):
            node = value.node
            length = node[:2] == ("call", "abs") and node[2][0][0] == "*"  # |AB|
            if node[0] == "name" or length or (node[0] == "call" and len(node[1].rstrip("'")) == 1):
                return True
            if node[0] == "*" and node[1][0] == "name" and node[2][0] == "num":
                return True
            return has_names(value) and set(re.findall(r"\('(\S+?)'", repr(node))) <= {
                "name",
                "+",
                "*",
            }
    return False


def _assigning(gold: Relation, answer: Any, rules: Rules) -> Verdict:
    if "≈" in gold.operators:
        return same(gold.sides[-1], (answer,), rules)
    if gold.operators == ("≡",):
        return same(gold.sides[1], (answer,), rules) if gold.names[0] else False
    if set(gold.operators) != {"="} or not (gold.names[0] or _is_called(gold.sides[0])):
        return False
    return same(gold.sides[-1], (answer,), rules)


def _all_assigned(gold: Sequence, answer: Relation, rules: Rules) -> Verdict:
    """`x = y = 4` is the point (4, 4); `x = 1 \\pm 2` two values."""
    names = answer.names[:-1]
    if (
        gold.brackets == "()"
        and set(answer.operators) == {"="}
        and len(names) == len(gold.items) > 1
    ):
        return all(names) and _all(same(item, answer.sides[-1], rules) for item in gold.items)
    return _assigned(gold, answer, rules)


def _approximately(gold: Relation, answer: Relation, rules: Rules) -> Verdict:
    return same(gold.sides[-1], answer.sides[-1], rules)


def _approximation(gold: Any, answer: Relation, rules: Rules) -> Verdict:
    """`\\frac{3}{7} \\approx 0.43` as either side, if one rounds the other."""
    if len(answer.sides) > 3:
        return False
    first, last = answer.sides[-2], answer.sides[-1]
    if answer.names[-2]:
        return same((gold,), last, rules)
    exact, rounded = first[0], last[0]
    amounts = [v.amount if isinstance(v, Quantity) else v for v in (exact, rounded)]
    x, y = amounts
    if not isinstance(x, (Number, Formula)) or not isinstance(y, Number):
        return False
    places = len(str(float(y.value)).partition(".")[2]) if y.rounded else 0
    half = Rules(tolerance=0.5000001 * 10.0**-places)
    if same_amount(x, y, half) is not True:
        return False
    return any(same((gold,), side, rules) is True for side in (first, last))


_TABLE: dict[tuple[type, type], Rule] = {
    (Formula, Formula): same_amount,
    (Quantity, Quantity): _quantities,
    (Quantity, Formula): _unit_in_gold,
    (Formula, Quantity): _unit_in_answer,
    (Choice, Choice): _choices,
    (Truth, Truth): lambda g, a, _: g.value == a.value,
    (Words, Words): lambda g, a, _: g == a,
    (Words, Set): lambda g, a, _: g.names == ("no solution",) and not a.items,
    (Set, Words): lambda g, a, _: a.names == ("no solution",) and not g.items,
    (Date, Date): lambda g, a, _: g == a,
    (Time, Time): lambda g, a, _: same_time(g, a),
    (Time, Formula): _time_value,
    (Notation, Notation): _notations,
    (Numeral, Numeral): _numerals,
    (Numeral, Formula): _numeral_number,
    (Formula, Numeral): lambda g, a, rules: _numeral_number(a, g, rules),
    (Ratio, Ratio): _ratios,
    (Ratio, Formula): _ratio_value,
    (Formula, Ratio): lambda g, a, rules: _ratio_value(a, g, rules),
    (Ratio, Time): _ratio_time,
    (Sequence, Sequence): _sequences,
    (Set, Set): _sets,
    (Set, Sequence): _sets,
    (Sequence, Set): _sets,
    (Interval, Interval): _intervals,
    (Union, Union): _unions,
    (Matrix, Matrix): _matrices,
    (Matrix, Sequence): _column,
    (Sequence, Matrix): lambda g, a, rules: _column(a, g, rules),
    (Matrix, Formula): _determinant,
    (Formula, Matrix): _determinant,
    (Relation, Relation): _relations,
    (Sequence, Relation): _all_assigned,
    (Unread, Unread): lambda g, a, _: g == a and bool(g.text),
}
for _one in (Formula, Quantity, Words, Truth, Interval, Union, Matrix, Set, Ratio, Date, Time):
    _TABLE.setdefault((_one, Choice), _behind_letter)
    _TABLE.setdefault((Choice, _one), _option_text)
    _TABLE.setdefault((_one, Relation), _assigned)
    _TABLE.setdefault((Relation, _one), _assigning)
for _one in (Formula, Quantity, Words, Choice):
    _TABLE.setdefault((_one, Sequence), _single)
    _TABLE.setdefault((Sequence, _one), _sequence_of)
    _TABLE.setdefault((_one, Set), _of_set)
    _TABLE.setdefault((Set, _one), _set_of)
_TABLE[(Relation, Sequence)] = _assigning
