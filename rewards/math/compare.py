"""Is an answer equal to a reference? Decided here where that is certain; else math-verify is asked.

    same("\\frac{1}{2}", "0.5", Rules())   # True; False: different; None: not decided here

Lists, sets, tuples, intervals, unions, matrices, equations and inequalities are split into elements
(`structure`), which are compared as numbers or by evaluating them (`values`). Gold and answer are
never swapped: several rules are not symmetric, so that `x > 17` is no answer to 17. What it leaves
out: finding the answer in a text (`extract`), and whatever needs a computer algebra system.
"""

from __future__ import annotations

import re
from typing import Literal

from groupwise.rewards.math.choices import same_choice
from groupwise.rewards.math.expressions import UnreadableError
from groupwise.rewards.math.latex import canonical, compact
from groupwise.rewards.math.numerals import same_numeral
from groupwise.rewards.math.quantities import read_quantity
from groupwise.rewards.math.ratios import same_ratio, same_time
from groupwise.rewards.math.structure import (
    RELATION,
    Structure,
    as_interval,
    read_structure,
    right_sides,
    without_membership,
)
from groupwise.rewards.math.units import unit_factor, unit_name
from groupwise.rewards.math.values import (
    Rules,
    proportional,
    same_expression,
    same_quantity,
    value_of,
)
from groupwise.rewards.math.words import is_words, named, plain_words

MAX_ELEMENTS = 64
MAX_COMPARED_CHARS = 2_000

# What a value is assigned to: x, x_{1}, f(x), \text{Area}, \theta
_NAME = re.compile(r"(?:\\text ?\{[^{}=]*\}|[A-Za-z]+(?:_\{?\w+\}?)?(?: ?\([A-Za-z]\))?|\\[a-z]+)")
# At least two letters: in `3 x` the x is a factor. Of several \text{} only the last is the unit
_TRAILING_UNIT = re.compile(r"(.*[\d)}A-Za-z]) ?(\\text ?\{[^{}]*\}(?:\^[23])?)")
_TRAILING_WORD = re.compile(r"(.*[\d)}]) ([a-zA-Z]{2,}(?: [a-zA-Z]{2,}){0,3}(?:\^[23])?)")
_OPERATOR = re.compile(r"[-+*/=<>^_|&()\[\]]|\\(?!text)")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan)")
_TWO_NUMBERS = re.compile(r"[-+.\d ]*\d \d[-+.\d ]*")
# In a label or remark beside a value: it is taken back, or is one of several
_DENIAL = re.compile(
    r"\b(?:not|no|or|maybe|perhaps|wrong|incorrect|false|than|anything but)\b", re.IGNORECASE
)
# C(5,2) is a point where a point is asked for; x = y = 4 is one too
_CHOSEN_FROM = re.compile(r"(?<![A-Za-z])C ?\( ?(\d+) ?, ?(\d+) ?\)")
_CHAIN = re.compile(r"((?:[A-Za-z] ?= ?){2,})([^=,()]+)")
_MODULUS = re.compile(r"(.*[^ ]) ?\(?\\[pb]?mod ?\{? ?(\d+) ?\}?\)?")
# 5 \text{ (in total)}, \text{Answer: }5. With a digit inside it would be a second value
_REMARK = re.compile(r"(.*[^ ]) ?\\text ?\{ ?\(([^{}\d]*)\) ?\}")
_LABEL = re.compile(r"\\text ?\{([^{}\d<>!]*[:=\s])\} ?([-+\d\\(.].*)")


def same(gold: str, answer: str, rules: Rules) -> bool | None:
    """Whether two answers as written are equal; None if only math-verify can tell."""
    if len(answer) > MAX_COMPARED_CHARS or len(gold) > MAX_COMPARED_CHARS:
        return gold.strip() == answer.strip()
    g, a = canonical(gold), canonical(answer)
    if g == a and g:
        return True
    sizes = [text.count(",") + text.count("&") for text in (g, a)]
    if max(sizes) > MAX_ELEMENTS:  # elements are compared pair by pair
        return None if min(sizes) > MAX_ELEMENTS // 2 else False
    return _same(g, a, rules, 0)


def _same(g: str, a: str, rules: Rules, depth: int) -> bool | None:
    """`same` for canonical texts; `depth` counts the nesting, which bounds the recursion."""
    # The order is part of the rules: `3:45` is a time before it is a ratio, `101_2` a numeral and
    # no variable with an index, and words are compared as words only where nothing else reads them.
    if not g or not a:
        return False
    if g == a or compact(g) == compact(a):
        return True
    if depth > 8:
        return None
    if ":" in g and depth < 8:
        colons = same_time(g, a)
        if colons is None:
            colons = same_ratio(g, a, lambda gold, term: _same(gold, term, rules, depth + 1))
        if colons is not None:
            return colons
    if "≈" in a or "≈" in g:
        return _same_approximation(g.replace("≈", "="), a, rules, depth)
    if "_" in g or "_" in a:
        numeral = same_numeral(g, a)
        if numeral is not None:
            return numeral
    if "mod" in a and depth < 8 and (modulus := _MODULUS.fullmatch(a)) is not None:
        asked = _MODULUS.fullmatch(g)
        if asked is None or asked[2] == modulus[2]:
            return _same(asked[1] if asked else g, modulus[1], rules, depth + 1)
        return False
    gold_number, answer_number = read_quantity(g), read_quantity(a)
    if gold_number is not None and answer_number is not None:
        verdict = same_quantity(gold_number, answer_number, rules)
        if verdict is not None:
            return verdict
    if (gold_number is None) != (answer_number is None):
        # A comma between digits separates either thousands or elements; the other side tells which:
        # 1,024 beside 2^{10} is one number, and no list
        if answer_number is not None and "," in a and "," not in g:
            a = a.replace(",", "")
        elif gold_number is not None and "," in g and "," not in a:
            g = g.replace(",", "")
    if "\\text" in g + a and _OPERATOR.search(g + a) is None:
        words = plain_words(g)
        if words and words == plain_words(a):
            return True
    if depth < 4:  # once: what stands behind a letter, `(B) 42`, is compared four levels further
        choice = same_choice(g, a, lambda gold, rest: _same(gold, rest, rules, depth + 4))
        if choice is not None:
            return choice
    if is_words(g):
        return named(g) == named(a)
    if is_words(a) and answer_number is None:
        return False
    return _same_structure(g, a, rules, depth)


def _same_approximation(g: str, a: str, rules: Rules, depth: int) -> bool | None:
    """`x \\approx 5` as 5; `\\frac{3}{7} \\approx 0.43` as either side, if one rounds the other."""
    first, *between, last = (side.strip() for side in a.split("≈")) if "≈" in a else (a, a)
    if depth > 7 or between or _DENIAL.search(first):
        return False
    first = first.split("=")[-1].strip()
    named = first != "\\pi" and _NAME.fullmatch(first)
    if not first or named or first == last:
        return _same(g, last, rules, depth + 1)
    try:
        rounded = _split_unit(last)[0]
        gap = complex(value_of(_split_unit(first)[0], 0)[0]) - complex(value_of(rounded, 0)[0])
    except UnreadableError:
        return None
    except OverflowError:
        return False
    places = len(rounded.partition(".")[2])
    if not abs(gap) <= 0.5000001 * 10.0**-places:
        return False
    return _same(g, first, rules, depth + 1) or _same(g, last, rules, depth + 1)


# --- structure -------------------------------------------------------------------------------


def _same_structure(g: str, a: str, rules: Rules, depth: int) -> bool | None:
    if "\\dots" in g or "\\dots" in a:
        return False  # 1,2,…,n: math-verify drops what the dots stand for; only spelling counts
    if (label := _LABEL.fullmatch(a)) is not None and depth < 8:
        return not _DENIAL.search(label[1]) and _same(g, label[2], rules, depth + 1)
    if not g.startswith("("):
        a = _CHOSEN_FROM.sub(r"\\binom{\1}{\2}", a)
    elif (chain := _CHAIN.fullmatch(a)) is not None:
        a = f"({','.join([chain[2]] * chain[1].count('='))})"
    g, a = without_membership(g), without_membership(a)
    gold, answer = read_structure(g), read_structure(a)
    simple = ("list", "formula")
    if gold.kind in simple and answer.kind in simple and not (gold.kind == answer.kind == "list"):
        related = _same_relation(g, a, gold, answer, rules, depth)
        if related != "none":
            return None if related == "unknown" else related == "same"
    if gold.kind != answer.kind:
        return _same_across(gold, answer, g, a, rules, depth)
    if gold.kind == "formula":
        return _same_formula(g, a, rules, depth)
    if gold.kind == "matrix":
        if gold.marks != answer.marks:
            return False
        return _all_same(gold.parts, answer.parts, rules, depth)
    if gold.kind == "sequence":
        if gold.marks != answer.marks and len(gold.parts) == 2:
            return False  # (1,2), [1,2) and [1,2] are different intervals
        return _all_same(gold.parts, answer.parts, rules, depth)
    return _any_order(gold.parts, answer.parts, rules, depth)


def _same_across(
    gold: Structure, answer: Structure, g: str, a: str, rules: Rules, depth: int
) -> bool | None:
    """Different kinds: a list beside a set or tuple, an inequality beside an interval."""
    kinds = {gold.kind, answer.kind}
    if kinds == {"set", "list"}:
        return _any_order(gold.parts, answer.parts, rules, depth)
    if kinds == {"set", "sequence"}:
        return False  # the interval (1,2) is not the set {1,2}
    if kinds == {"sequence", "list"}:
        if (gold if gold.kind == "sequence" else answer).marks != "()":
            return False
        gold_parts, answer_parts = right_sides(gold.parts), right_sides(answer.parts)
        return _all_same(gold_parts, answer_parts, rules, depth)
    if kinds == {"union", "list"}:
        listed = gold if gold.kind == "list" else answer
        intervals = [as_interval(part) for part in listed.parts]
        if None in intervals:
            return None
        parts = tuple(interval for interval in intervals if interval is not None)
        pair = (parts, answer.parts) if listed is gold else (gold.parts, parts)
        return _any_order(*pair, rules, depth)
    if kinds == {"matrix", "sequence"}:
        matrix, sequence = (gold, answer) if gold.kind == "matrix" else (answer, gold)
        column = set(matrix.marks.split()) == {"1"}  # a column vector written as a point
        if not column or sequence.marks != "()":
            return False
        return _all_same(gold.parts, answer.parts, rules, depth)
    if "formula" in kinds:
        other = gold if answer.kind == "formula" else answer
        formula = a if answer.kind == "formula" else g
        if other.kind in ("sequence", "union") and (interval := as_interval(formula)) is not None:
            sides = (g, interval) if formula is a else (interval, a)
            return _same(*sides, rules, depth + 1)
        if other.kind == "set" and len(other.parts) == 1:
            sides = (g, other.parts[0]) if formula is g else (other.parts[0], a)
            return _same(*sides, rules, depth + 1)
        if other.kind == "list":
            return False  # several answers are no answer
        if other.kind in ("set", "sequence") and read_quantity(formula) is not None:
            return False
    return None


def _all_same(
    gold: tuple[str, ...], answer: tuple[str, ...], rules: Rules, depth: int
) -> bool | None:
    if len(gold) != len(answer):
        return False
    verdicts = [_same(g, a, rules, depth + 1) for g, a in zip(gold, answer, strict=True)]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _any_order(
    gold: tuple[str, ...], answer: tuple[str, ...], rules: Rules, depth: int
) -> bool | None:
    """Each gold element has a partner of its own, in any order; repeated ones count once."""
    golds, answers = list(dict.fromkeys(gold)), list(dict.fromkeys(answer))
    if len(golds) != len(answers):
        return False
    undecided = False
    for g in golds:
        verdicts = [_same(g, a, rules, depth + 1) for a in answers]
        if True in verdicts:  # the first that fits: equality is transitive, except for rounding
            answers.pop(verdicts.index(True))
        elif None in verdicts:
            undecided = True
        else:
            return False
    return None if undecided else True


# --- equations and inequalities --------------------------------------------------------------


def _same_relation(
    g: str, a: str, gold: Structure, answer: Structure, rules: Rules, depth: int
) -> Literal["same", "different", "unknown", "none"]:
    gold_relations, answer_relations = RELATION.findall(g), RELATION.findall(a)
    if not gold_relations and not answer_relations:
        return "none"
    if set(gold_relations) | set(answer_relations) == {"="}:
        if not gold_relations and answer.kind == "formula":
            return _named(_same(g, a.split("=")[-1].strip(), rules, depth + 1))
        if gold.kind == "formula" and not answer_relations:
            left, _, right = g.partition("=")
            if _NAME.fullmatch(left.strip()) and "=" not in right:
                return _named(_same(right.strip(), a, rules, depth + 1))
            return "unknown"
        if gold.kind == answer.kind == "formula":
            return _named(_same_equation(g, a, rules, depth))
        if gold.kind == "formula" and len(gold_relations) == 1 and answer.kind == "list":
            return "different"
        if gold.kind == "list" and not answer_relations and answer.kind == "formula":
            return "different"
        return "none"
    if not gold_relations and set(answer_relations) & {"<", "<=", ">", ">=", "!="}:
        return "different"  # x > 17 is not 17
    gold_interval, answer_interval = as_interval(g), as_interval(a)
    if gold_interval and answer_interval:
        names = [set(re.findall(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", text)) for text in (g, a)]
        if names[0] != names[1]:
            return "different"  # y < 2 is not x < 2
        return _named(_same(gold_interval, answer_interval, rules, depth + 1))
    return "none" if gold_interval or answer_interval else "unknown"


def _named(verdict: bool | None) -> Literal["same", "different", "unknown"]:
    return "unknown" if verdict is None else "same" if verdict else "different"


def _same_equation(g: str, a: str, rules: Rules, depth: int) -> bool | None:
    gold_sides, answer_sides = ([side.strip() for side in text.split("=")] for text in (g, a))
    named = _NAME.fullmatch(gold_sides[0]) and _NAME.fullmatch(answer_sides[0])
    names = {compact(gold_sides[0]), compact(answer_sides[0])}
    if named and (len(names) == 1 or names == {"y", "f(x)"}):
        verdict = _same(gold_sides[-1], answer_sides[-1], rules, depth + 1)
        if verdict is not None:
            return verdict
    if len(gold_sides) == len(answer_sides) == 2:
        return proportional(gold_sides, answer_sides)
    return None


def _same_formula(g: str, a: str, rules: Rules, depth: int) -> bool | None:
    if g.endswith("%") or a.endswith("%"):
        return _same_percent(g, a, rules, depth)
    if a[-1] in "+-*/^_" or "?" in a:
        return False
    if (remark := _REMARK.fullmatch(a)) is not None and depth < 8:
        return not _DENIAL.search(remark[2]) and _same(g, remark[1], rules, depth + 1)
    gold_core, gold_unit = _split_unit(g)
    answer_core, answer_unit = _split_unit(a)
    if (gold_unit or answer_unit) and depth < 8:
        factor = unit_factor(gold_unit, answer_unit)
        if factor is None:
            return False
        if factor != 1:
            answer_core = f"({answer_core})*{factor.numerator}/{factor.denominator}"
        return _same(gold_core, answer_core, rules, depth + 1)
    if "\\text" in answer_core and read_quantity(g) is not None:
        return False  # 5 apples and 3 pears: prose around several numbers
    infinities = ("\\infty", "+\\infty", "-\\infty")
    if compact(g) in infinities or compact(a) in infinities:
        return compact(g).lstrip("+") == compact(a).lstrip("+")
    if _TWO_NUMBERS.fullmatch(g) or _TWO_NUMBERS.fullmatch(a):
        return False  # `4 2` is neither 42 nor a list
    # `90°` is 90, but the sine of 30° is not that of 30
    g, a = (t if _TRIGONOMETRY.search(t) else t.removesuffix("°").strip() for t in (g, a))
    return same_expression(g, a, rules)


def _same_percent(g: str, a: str, rules: Rules, depth: int) -> bool | None:
    """Formulas of which one or both are percentages, by the rule for percent."""
    both = g.endswith("%") and a.endswith("%")
    bare_g, bare_a = g.removesuffix("%").strip(), a.removesuffix("%").strip()
    if depth > 7 or bare_g.endswith("%") or bare_a.endswith("%"):
        return None
    verdict: bool | None = False
    if both or rules.percent != "value":
        verdict = _same(bare_g, bare_a, rules, depth + 1)
    if verdict is False and not both and rules.percent != "ignore":
        hundred_g = f"({bare_g})/100" if g.endswith("%") else g
        hundred_a = f"({bare_a})/100" if a.endswith("%") else a
        verdict = same_expression(hundred_g, hundred_a, rules)
    return verdict


def _split_unit(text: str) -> tuple[str, str]:
    for pattern in (_TRAILING_UNIT, _TRAILING_WORD):
        match = pattern.fullmatch(text)
        if match and read_quantity("1 " + match[2]) is not None:
            return match[1].strip(), unit_name(match[2])
    return text, ""
