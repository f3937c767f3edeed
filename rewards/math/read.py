"""A text read once: every value that it may stand for, the likeliest first.

    read("3:45")     # (Time(3, 45, 0, ""), Ratio(...))
    read("(1, 2]")   # (Interval(...),)

The rules stand in `_RULES` in their order: what has a name, letters of choices, dates, times and
notation that is no arithmetic, numbers with units, what is built of parts (`build`), formulas, and
last words. A text that no rule understands is Unread. What it leaves out: whether values are equal
(`compare`), and finding the answer in a longer text (`find`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from groupwise.rewards.math import units
from groupwise.rewards.math.build import INFINITY, MINUS_INFINITY, read_built
from groupwise.rewards.math.calendar import read_date, read_notation, read_time
from groupwise.rewards.math.formula import (
    FUNCTIONS,
    Parsed,
    UnreadableError,
    branches,
    parse,
    without_degrees,
)
from groupwise.rewards.math.numbers import (
    DecimalComma,
    leading_number,
    spelled,
    spelled_number,
    with_decimal_comma,
)
from groupwise.rewards.math.refusals import denies
from groupwise.rewards.math.spelling import compact, spell
from groupwise.rewards.math.values import (
    Choice,
    Formula,
    Interval,
    Notation,
    Number,
    Numeral,
    Quantity,
    Ratio,
    Reading,
    Sequence,
    Set,
    Truth,
    Unread,
    Value,
    Words,
)
from groupwise.rewards.math.vocabulary import CURRENCIES, NAMED, PARTS, SCALES, TRUTHS
from groupwise.rewards.math.words import is_words, name_list, plain_words

MAX_DEPTH = 6
MAX_CHARS = 2_000

_NAMED_VALUES: dict[str, Value] = {
    "reals": Interval((MINUS_INFINITY,), (INFINITY,), "()"),
    "empty": Set(()),
    "infinity": INFINITY,
    "-infinity": MINUS_INFINITY,
}
_SPELLED_VALUES = {
    "\\emptyset": "empty", "\\{\\}": "empty", "\\mathbb{R}": "reals", "\\mathbbR": "reals",
}  # fmt: skip
_CHOICE = re.compile(
    r"(?:\\text ?\{ ?)?\(? ?(?:\\text ?\{ ?)?\(?([A-J])\)? ?\}? ?\)? ?\}?[.:)]?|\(?([a-j])[.)]"
)
# Outside brackets the letter needs a mark behind it: `A` begins many a sentence
_LEADING_CHOICE = re.compile(
    r"(?:\\text ?\{ ?\(([A-J])\) ?\}|\(([A-Ja-j])\)|\\text ?\{ ?([A-J]) ?[.):] ?\}"
    r"|([A-Ja-j])[.):](?!\d))\s*(.+)"
)
_NAMED_CHOICE = re.compile(
    r"(?:\\text ?\{ ?)?(?:option|choice|answer|graph|figure) \(?([A-Ja-j])\)?(?: ?\})?",
    re.IGNORECASE,
)
_LETTERS = re.compile(r"[A-J]{2,6}")  # AC: two letters, or a product
_GOES_ON = re.compile(r"[,;&/]|(?:and|or)\b")
_DIGITS = r"(?:\d|\\text ?\{ ?[A-Z]+ ?\}|[A-F])+"
_NUMERAL = re.compile(
    rf"(?:\\text ?\{{ ?)?\(?({_DIGITS})\)?(?: ?\}})? ?_ ?(?:(\d)(?!\d)|\{{ ?\(?(\d{{1,2}})\)? ?\}}"
    r"|\{?(?:\\text ?\{ ?)?([a-z]+)(?: ?\})?\}?)"
)
_HEXADECIMAL = re.compile(r"(?=[A-F]*\d)(?=\d*[A-F])[\dA-F]{2,}")
_MARKS = re.compile(r"\\text|[{} ]")
_COLON = re.compile(r"\s*(?:\{:\}|:|\\text ?\{ ?(?:to|:) ?\}|(?<=\d) to (?=\d))\s*")
_INCHES = {"''": "in", '"': "in"}
_ANY_UNIT = re.compile(
    r"(?:\\text ?\{ ?)?(?:square |cubic |sq\.? )?units?(?: ?\})?(?: ?\^ ?[23])?(?: ?\})?"
)
_AND_A = re.compile(r"and an? (half|third|quarter)\b")
_NEGATIVE = re.compile(r"(?:negative|minus) (?=[$\d.])", re.IGNORECASE)
_SHORT_SCALE = re.compile(r"([-+]?\$?\d[\d,]*(?:\.\d+)?)([kKM])")
_REMARK = re.compile(
    r"(.*\S) ?(?:\\text ?\{ ?\(([^{}\d]*)\) ?\}|(?<=[\d}%]) \(([^()\d]*[a-z]{2}[^()\d]*)\))"
)
_MODULUS = re.compile(
    r"(.*?[^ (=\\]) ?(?:\\pmod ?\{? ?(\d+) ?\}?|\(? ?\\?b?mod ?\{? ?(\d+) ?\}? ?\)?)"
)
_EXPLAINED = re.compile(r"[-+$]?[\d.,]+ \(")
_PROSE = re.compile(
    rf"(?<![\\A-Za-z])(?!(?:{'|'.join(sorted(FUNCTIONS))}|pi|sqrt)\b)[A-Za-z]{{2,}}\s+(?=[A-Za-z\d$])"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_TEXTS = re.compile(r"\\text\s*\{[^{}]*\}")
_SCIENTIFIC = re.compile(r"([-+]?[\d.]+ ?\* ?10 ?\^ ?(?:\{ ?-?\d+ ?\}|-?\d+)) ?([A-Za-z\\].*)")
_MIXED = re.compile(r"-?\d+ \(\d+/\d+\)")
_COMPOUND = re.compile(r",? (?:and )?(?=\d)|\}(?=\d)")
_NOT_A_FORMULA = re.compile(r"[?\"#&@]|\\text ?\{[^{}]*\d")


@lru_cache(maxsize=16_384)
def read(text: str, comma: DecimalComma = "auto") -> Reading:
    """Every value that an answer as written may stand for."""
    if len(text) > MAX_CHARS:
        return (Unread(text.strip()),)
    return read_spelled(spell(text), 0, comma)


def read_spelled(text: str, depth: int = 0, comma: DecimalComma = "auto") -> Reading:
    """`read` for a text in the one spelling; `depth` counts the nesting, which bounds recursion."""
    text = text.strip()
    if text.isdigit() and text.isascii() and len(text) <= 300:
        return (Number(Fraction(int(text))),)
    if not text or depth > MAX_DEPTH:
        return (Unread(compact(text)),)
    found: list[Value] = []
    for rule in _RULES:
        found += rule(text, depth, comma)
        if found and (rule in _DECIDING or isinstance(found[-1], Choice) and found[-1].rest):
            break
    return tuple(dict.fromkeys(found)) or (Unread(compact(text)),)


def _named(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    if len(text) > 60 or any(char.isdigit() for char in text):
        return
    words = plain_words(text)
    if (truth := TRUTHS.get(words)) is not None:
        yield Truth(truth, words)
    name = _SPELLED_VALUES.get(compact(text)) or NAMED.get(words)
    if name is not None:
        yield _NAMED_VALUES.get(name) or Words((name,))


def _choice(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    if (match := _CHOICE.fullmatch(text)) is not None:
        yield Choice((match[1] or match[2]).upper())
    elif (match := _NAMED_CHOICE.fullmatch(text)) is not None:
        yield Choice(match[1].upper())
    elif _LETTERS.fullmatch(text) and list(text) == sorted(set(text)):
        yield Sequence(tuple((Choice(letter),) for letter in text))
    elif len(text) == 1 and text in "abcdefghij":
        yield Choice(text.upper(), bare=True)
    elif (match := _LEADING_CHOICE.fullmatch(text)) is not None:
        letter = next(part for part in match.groups()[:4] if part)
        other = _LEADING_CHOICE.search(match[5]) or _CHOICE.fullmatch(match[5])
        if not _GOES_ON.match(match[5]) and other is None:
            yield Choice(letter.upper(), read_spelled(match[5], depth + 1, comma))


def _calendar(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    if len(text) > 60:
        return
    plain = text.replace("\\text", "").translate({123: " ", 125: " "}) if "\\text" in text else text
    plain = " ".join(plain.split())
    if (date := read_date(plain)) is not None:
        yield date
    elif (time := read_time(plain)) is not None:
        yield time  # and no ratio: `3:45` equals no other time
    elif (notation := read_notation(plain)) is not None:
        yield notation


def _numeral(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    if "_" in text and (match := _NUMERAL.fullmatch(text)) is not None:
        written = match[2] or match[3]
        base = int(written) if written else spelled_number(match[4])
        if base is not None:
            yield Numeral(_MARKS.sub("", match[1]), base)
    elif _HEXADECIMAL.fullmatch(text):
        yield Numeral(text, 0)


def _ratio(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    if ":" not in text and " to " not in text and "{to" not in text.replace(" ", ""):
        return
    terms = _COLON.split(text)
    if 2 <= len(terms) <= 8 and all(terms) and not any("," in term for term in terms):
        read_terms = tuple(read_spelled(term, depth + 1, comma) for term in terms)
        numbers = all(isinstance(term[0], (Number, Formula, Quantity)) for term in read_terms)
        if numbers or all(map(_letter, read_terms)):
            yield Ratio(read_terms)
        if " to " in text and len(terms) == 2 and all(term.isdigit() for term in terms):
            yield Notation("-", tuple(terms))


def _letter(reading: Reading) -> bool:
    return isinstance(reading[0], Choice) and not reading[0].rest


def _quantity(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    """A numeral, in digits or words, with its unit."""
    if "," in text and (changed := with_decimal_comma(text, comma)) is not None:
        as_point, doubtful = changed
        if doubtful:
            yield from read_built(text, depth, lambda t, d: read_spelled(t, d, comma))
        text = as_point
    if (negative := _NEGATIVE.match(text)) is not None:
        text = "-" + text[negative.end() :]
    if (numeral := leading_number(text)) is not None:
        number = Number(numeral.value, numeral.rounded)
        rest = text[numeral.end :].strip().removesuffix("$").strip()
        if not rest and not numeral.currency:
            yield number
        elif (value := _with_unit(number, rest, numeral.currency)) is not None:
            spaced = text[numeral.end : numeral.end + 1] == " "
            if numeral.currency or _is_unit(rest, spaced):
                if isinstance(value, Quantity) and not spaced and rest.isalpha() and len(rest) < 4:
                    value = replace(value, letters=rest)
                yield value
            if (match := _SHORT_SCALE.fullmatch(text)) is not None:
                yield Number(numeral.value * (10**6 if match[2] == "M" else 1000))
        else:
            yield from _compound(text)
    elif text[0].isalpha() or text.startswith("\\text"):
        plain = text.replace("\\text", " ").translate({123: " ", 125: " "}).strip()
        if len(plain) < 60 and (words := spelled(plain)) is not None:
            value = _with_unit(Number(words[0]), words[1], "")
            if value is not None:
                yield value


def _is_unit(rest: str, spaced: bool) -> bool:
    """Whether what stands behind a number is no variable: `3 apples`, `5cm`, and not `3xy`."""
    letters = re.match(r"[A-Za-z]+", rest)
    if letters is None or units.is_symbol(letters[0]):
        return True
    return len(letters[0]) > (1 if spaced else 3)


def _with_unit(number: Number, rest: str, currency: str) -> Value | None:
    """A number and what stands behind it: a scale, a unit, nothing; None where that is no unit."""
    if (half := _AND_A.match(rest)) is not None:
        number = Number(number.value + Fraction(1, PARTS[half[1]]), number.rounded)
        rest = rest[half.end() :].strip()
    first = re.match(r"(?:\\text ?\{ ?)?([A-Za-z]+|[万亿])", rest)
    part = PARTS.get(first[1].lower().removesuffix("s")) if first is not None else None
    if first is not None and part is not None and part != 4 and first[1][-1] in "sf":
        number, rest = Number(number.value / part), rest[first.end() :].strip().removeprefix("of ")
        first = None
    if first is not None and (scale := SCALES.get(first[1].lower())) is not None:
        number = Number(number.value * scale, number.rounded)
        rest = rest[first.end() :].strip(" {}")
        rest = rest.removeprefix("of ")
    rest = _INCHES.get(rest, rest)
    if not rest or _ANY_UNIT.fullmatch(rest):
        unit = units.read_unit(currency) if currency else None
        return Quantity(number, unit) if unit is not None else number
    if currency and not re.match(r"/|per\b|each\b|an? \w", rest):
        if units.read_unit(rest) is None:
            return None
        rest = rest.removeprefix("in total")
    unit = units.read_unit(f"{currency} {rest}".strip())
    return None if unit is None else Quantity(number, unit)


def _compound(text: str) -> Iterator[Value]:
    """`5 hours and 30 minutes` in the first of its units."""
    parts = _COMPOUND.split(text)
    if not 2 <= len(parts) <= 3:
        return
    total, first = Fraction(0), None
    for part in parts:
        numeral = leading_number(part.strip())
        unit = units.read_unit(part.strip()[numeral.end :].strip()) if numeral is not None else None
        if numeral is None or unit is None or not units.is_measure(unit):
            return
        first = first or unit
        factor = units.factor(first, unit)
        if factor is None or factor > 1:
            return
        total += numeral.value * factor
    if first is not None:
        yield Quantity(Number(total), first)


def _built(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    yield from read_built(text, depth, lambda part, deeper: read_spelled(part, deeper, comma))


def _remark(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    """`5 \\text{ (in total)}` and `7 \\pmod{10}`: a value with something said of it."""
    if text[-1] in ")}" and (match := _REMARK.fullmatch(text)) is not None:
        if not denies(match[2] or match[3] or ""):
            yield from read_spelled(match[1], depth + 1, comma)
    elif "mod" in text and (match := _MODULUS.fullmatch(text)) is not None:
        modulus = units.Unit(f"mod {match[2] or match[3]}")
        for value in read_spelled(match[1].rstrip("( "), depth + 1, comma):
            if isinstance(value, Number):
                yield Quantity(value, modulus)


def _formula(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    """A formula, with a unit behind it where one stands there."""
    if _NOT_A_FORMULA.search(text) or _PROSE.search(_TEXTS.sub("", text)):
        return
    if text[0] in CURRENCIES and not text[1:2].isdigit() or text.startswith("$"):
        yield from _money(text, depth, comma)
        return
    if _EXPLAINED.match(text) and not _MIXED.fullmatch(text):
        return  # 42 (6 x 7)
    text = _THOUSANDS.sub("", text)
    rounded = "." in text
    if (match := _SCIENTIFIC.fullmatch(text)) is not None and match[2]:
        unit, power = units.read_unit(match[2]), _parsed(match[1], None)
        if unit is not None and power is not None:
            yield Quantity(Formula(power.node, rounded), unit)
            return
    whole = _parsed(text, None)
    split = _parsed(text, units.is_written_out)
    if split is not None and split.rest:
        rest = " ".join(split.rest)
        number = split.node[0] == "num"
        amount = Number(split.node[1], rounded) if number else Formula(split.node, rounded)
        unit = units.read_unit(rest)
        if _ANY_UNIT.fullmatch(rest):
            yield amount
        elif unit is not None and ("%" not in rest or rest == "%"):
            yield Quantity(amount, unit, rest if rest.isalpha() else "")
            return
    if whole is not None and not whole.rest:
        if whole.node[0] == "*" and whole.node[2] == ("const", "degree"):
            yield Quantity(Formula(whole.node[1], rounded), units.DEGREE)
            return
        trees = branches(without_degrees(whole.node))
        formulas = tuple(Formula(tree, rounded) for tree in trees)
        yield formulas[0] if len(trees) == 1 else Sequence(tuple((f,) for f in formulas))


def _money(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    """A currency sign in front of a formula: `$1\\frac{1}{4}`."""
    unit = units.read_unit(text[0])
    for value in _formula(text[1:], depth, comma) if unit is not None and len(text) > 1 else ():
        if isinstance(value, Formula) and unit is not None:
            yield Quantity(value, unit)


def _parsed(text: str, is_unit: Callable[[str], bool] | None) -> Parsed | None:
    try:
        return parse(text, is_unit)
    except UnreadableError:
        return None


def _words(text: str, depth: int, comma: DecimalComma) -> Iterator[Value]:
    if is_words(text):
        names = name_list(text)
        if names:
            yield Words(names)


Rule = Callable[[str, int, DecimalComma], Iterator[Value]]
_RULES: tuple[Rule, ...] = (
    _named, _calendar, _numeral, _ratio, _quantity, _remark, _choice, _built, _words, _formula,
)  # fmt: skip
_DECIDING = {_named, _calendar, _remark}
"""Where one of these has found something, no later rule is asked."""


def amount(value: Value) -> Number | Formula | None:
    """The bare number or formula of a value."""
    return (
        replace(value).amount
        if isinstance(value, Quantity)
        else (value if isinstance(value, (Number, Formula)) else None)
    )
