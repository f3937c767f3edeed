r"""A text read once: every value that it may stand for, the likeliest first.

    read("AC")       # (Sequence(...), Formula(...)): two letters of choices, or a product
    read("(1, 2]")   # (Interval(...),)

The rules and their order stand in `_RULES`, where a new notation is added. A text that no rule
understands is Unread. What it leaves out: what is built of parts (`build`), whether values are
equal (`compare`), and finding the answer in a longer text (`find`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from groupwise.rewards.math import calendar, formula, numbers, units
from groupwise.rewards.math import values as v
from groupwise.rewards.math.build import INFINITY, MINUS_INFINITY, MODULUS, read_built
from groupwise.rewards.math.refusals import denies
from groupwise.rewards.math.spelling import compact, spell
from groupwise.rewards.math.vocabulary import CURRENCIES, NAMED, PARTS, SCALES, TRUTHS
from groupwise.rewards.math.words import is_words, name_list, plain_words, without_text

MAX_DEPTH = 6
MAX_CHARS = 2_000

_NAMED_VALUES: dict[str, v.Value] = {
    "reals": v.Interval((MINUS_INFINITY,), (INFINITY,), "()"),
    "empty": v.Set(()),
    "infinity": INFINITY,
    "-infinity": MINUS_INFINITY,
}
_SPELLED_VALUES = {
    "\\emptyset": "empty", "\\{\\}": "empty", "\\mathbb{R}": "reals", "\\mathbbR": "reals",
}  # fmt: skip
_LETTER = re.compile(r"(?:[Oo]ption |[Cc]hoice )?\(?([A-J])\)?[.:)]?|\(?([a-j])[.)]")
_LETTERS = re.compile(r"[A-J]{2,6}")
# Outside brackets the letter needs a mark behind it: `A` begins many a sentence
_OPTION = re.compile(r"(?:\(([A-Ja-j])\)|([A-Ja-j])[.):](?!\d))\s*(.+)")
_GOES_ON = re.compile(r"[,;&/]|(?:and|or)\b")
_MARKS = re.compile(r"[{}() ]")
_NUMERAL = re.compile(r"([\dA-F]+)_(\d{1,2}|[a-z]+)")
_HEXADECIMAL = re.compile(r"(?=[A-F]*\d)(?=\d*[A-F])[\dA-F]{2,}")
_COLON = re.compile(r":|(?<=[\d}]) to (?=[\d\\])")
_NEGATIVE = re.compile(r"(?:negative|minus) (?=[$\d.])", re.IGNORECASE)
_SHORT_SCALE = re.compile(r"[-+]?\$?\d[\d,]*(?:\.\d+)?([kKM])")
_AND_A = re.compile(r"and an? (half|third|quarter)\b")
_FIRST_WORD = re.compile(r"[A-Za-z]+|[万亿]")
_ANY_UNIT = re.compile(r"in total|(?:square |cubic )?units?(?: ?\^ ?\{?[23]\}?)?")
_COMPOUND = re.compile(r",? +(?:and )?(?=\d)")
_REMARK = re.compile(r"(.*[\d}%]) +\(([^()\d]*[a-z]{2}[^()\d]*)\)")
# `42 (6 x 7)` says the same again, and 3 (1/2) is a mixed number
_EXPLAINED = re.compile(r"[-+$]?[\d.,]+ \((?!\d+/\d+\)$)")
_PROSE = re.compile(
    rf"(?<![\\A-Za-z])(?!(?:{'|'.join(sorted(formula.FUNCTIONS))}|pi|sqrt)\b)[A-Za-z]{{2,}}\s+(?=[A-Za-z\d$])"
)
_TEXTS = re.compile(r"\\text\s*\{[^{}]*\}")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SCIENTIFIC = re.compile(r"([-+]?[\d.]+ ?\* ?10 ?\^ ?(?:\{[^{}]*\}|-?\d+)) ?([A-Za-z\\].*)")


@dataclass(frozen=True, slots=True)
class _Parts:
    """Reads a part of a text; the depth of the nesting bounds the recursion."""

    depth: int
    comma: numbers.DecimalComma

    def __call__(self, text: str) -> v.Reading:
        return _read(text, _Parts(self.depth + 1, self.comma))


@lru_cache(maxsize=16_384)
def read(text: str, comma: numbers.DecimalComma = "auto") -> v.Reading:
    """Every value that an answer as written may stand for."""
    if len(text) > MAX_CHARS:
        return (v.Unread(text.strip()),)
    return _read(spell(text), _Parts(0, comma))


def _read(text: str, parts: _Parts) -> v.Reading:
    text = text.strip()
    if text.isdecimal() and len(text) <= 600:  # Python reads no more
        return (v.Number(Fraction(int(text))),)
    if text and parts.depth <= MAX_DEPTH:
        plain = " ".join(without_text(text).split()) if "\\text" in text else text
        for group in _RULES:
            seen = text if group is _RULES[-1] else plain
            if found := dict.fromkeys(value for rule in group for value in rule(seen, parts)):
                return tuple(found)
    return (v.Unread(compact(text)),)


def _named(text: str, _: _Parts) -> Iterator[v.Value]:
    if len(text) > 60:
        return
    words = plain_words(text)
    if (truth := TRUTHS.get(words)) is not None:
        yield v.Truth(truth, words)
    elif name := _SPELLED_VALUES.get(compact(text)) or NAMED.get(words):
        yield _NAMED_VALUES.get(name) or v.Words((name,))


def _calendar(text: str, _: _Parts) -> Iterator[v.Value]:
    if len(text) <= 60:
        for reader in (
            calendar.read_date,
            calendar.read_time,
            calendar.read_moment,
            calendar.read_notation,
        ):
            if (value := reader(text)) is not None:
                yield value
                return


def _numeral(text: str, _: _Parts) -> Iterator[v.Value]:
    if "_" in text and (match := _NUMERAL.fullmatch(_MARKS.sub("", text))) is not None:
        base = int(match[2]) if match[2].isdigit() else numbers.spelled_number(match[2])
        if base is not None:
            yield v.Numeral(match[1], base)
    elif _HEXADECIMAL.fullmatch(text):
        yield v.Numeral(text, 0)


def _ratio(text: str, parts: _Parts) -> Iterator[v.Value]:
    terms = _COLON.split(text)
    if not 2 <= len(terms) <= 8:
        return
    readings = tuple(map(parts, terms))
    if all(isinstance(r[0], v.Number | v.Formula | v.Quantity) for r in readings):
        yield v.Ratio(readings)
    if " to " in text and all(term.isdigit() for term in terms):
        yield v.Notation("-", tuple(terms))


def _quantity(text: str, parts: _Parts) -> Iterator[v.Value]:
    """A numeral, in digits or words, with its unit."""
    if (changed := numbers.with_decimal_comma(text, parts.comma)) is not None:
        if changed[1]:  # it may be a list as well
            yield from read_built(text, parts)
        text = changed[0]
    text = _NEGATIVE.sub("-", text, count=1)
    if (numeral := numbers.leading_number(text)) is None:
        words = numbers.spelled(text) if len(text) < 60 else None
        if words and (value := _with_unit(v.Number(words[0]), words[1], "")) is not None:
            yield value
        return
    rest = text[numeral.end :].strip()
    value = _with_unit(v.Number(numeral.value, numeral.rounded), rest, numeral.currency)
    if value is None:
        yield from _compound(text)
        return
    spaced = text[numeral.end : numeral.end + 1] == " "
    if not rest or numeral.currency or _is_unit(rest, spaced):
        if isinstance(value, v.Quantity) and rest.isalpha() and len(rest) < 4 and not spaced:
            value = replace(value, letters=rest)
        yield value
    if (match := _SHORT_SCALE.fullmatch(text)) is not None:
        yield v.Number(numeral.value * (10**6 if match[1] == "M" else 1000))


def _is_unit(rest: str, spaced: bool) -> bool:
    """Whether what stands behind a number is no variable: `3 apples`, `5cm`, and not `3xy`."""
    letters = re.match(r"[A-Za-z]+", rest)
    if letters is None or units.is_symbol(letters[0]):
        return True
    return len(letters[0]) > (1 if spaced else 3)


def _with_unit(number: v.Number, rest: str, currency: str) -> v.Number | v.Quantity | None:
    """A number and what stands behind it: a scale, a unit, nothing; None where that is no unit."""
    if (half := _AND_A.match(rest)) is not None:
        number = replace(number, value=number.value + Fraction(1, PARTS[half[1]]))
        rest = rest[half.end() :].strip()
    if (first := _FIRST_WORD.match(rest)) is not None:
        word = first[0].lower()
        part = PARTS.get(word.removesuffix("s"), 4)  # three quarters may be coins
        scale = SCALES.get(word) or Fraction(1, part)
        if word in SCALES or part != 4:
            number = replace(number, value=number.value * scale)
            rest = rest[first.end() :].strip().removeprefix("of ")
    rest = "in" if rest in ("''", '"') else rest
    rest = "" if _ANY_UNIT.fullmatch(rest) else rest
    if not rest and not currency:
        return number
    unit = units.read_unit(f"{currency} {rest}".strip())
    return None if unit is None else v.Quantity(number, unit)


def _compound(text: str) -> Iterator[v.Value]:
    """`5 hours and 30 minutes` in the first of its units."""
    total, first = Fraction(0), None
    for part in _COMPOUND.split(text, maxsplit=3):
        numeral = numbers.leading_number(part)
        unit = units.read_unit(part[numeral.end :].strip()) if numeral is not None else None
        if numeral is None or unit is None or not units.is_measure(unit):
            return
        first = first or unit
        factor = units.factor(first, unit)
        if factor is None or factor > 1:
            return
        total += numeral.value * factor
    if first is not None:
        yield v.Quantity(v.Number(total), first)


def _remark(text: str, parts: _Parts) -> Iterator[v.Value]:
    r"""`5 \text{ (in total)}` and `7 \pmod{10}`: a value with something said of it."""
    if (match := _REMARK.fullmatch(text)) is not None:
        if not denies(match[2]):
            yield from parts(match[1])
    elif "mod" in text and (match := MODULUS.fullmatch(text)) is not None:
        modulus = units.Unit(f"mod {match[2]}")
        for value in parts(match[1]):
            if isinstance(value, v.Number):
                yield v.Quantity(value, modulus)


def _option(text: str, parts: _Parts) -> Iterator[v.Value]:
    if (match := _OPTION.fullmatch(text)) is not None:
        rest = match[3]
        if not (_GOES_ON.match(rest) or _OPTION.search(rest) or _LETTER.fullmatch(rest)):
            yield v.Choice((match[1] or match[2]).upper(), parts(rest))


def _letter(text: str, _: _Parts) -> Iterator[v.Value]:
    plain = without_text(text).strip("() ") if "\\text" in text else text
    if (match := _LETTER.fullmatch(plain)) is not None:
        yield v.Choice((match[1] or match[2]).upper())
    elif _LETTERS.fullmatch(text) and list(text) == sorted(set(text)):
        yield v.Sequence(tuple((v.Choice(letter),) for letter in text))
    elif len(text) == 1 and text in "abcdefghij":
        yield v.Choice(text.upper(), bare=True)


def _words(text: str, _: _Parts) -> Iterator[v.Value]:
    if is_words(text):
        yield v.Words(name_list(text))


def _formula(text: str, parts: _Parts) -> Iterator[v.Value]:
    """A formula, with a unit behind it where one stands there."""
    if _EXPLAINED.match(text) or _PROSE.search(_TEXTS.sub("", text)):
        return
    if text[0] in CURRENCIES:
        unit = units.read_unit(text[0])
        for value in _formula(text[1:] or "?", parts):
            if isinstance(value, v.Formula) and unit is not None:
                yield v.Quantity(value, unit)
        return
    text, rounded = _THOUSANDS.sub("", text), "." in text
    if (power := _SCIENTIFIC.fullmatch(text)) is not None:
        amount, rest = _parsed(power[1], None), power[2]
    else:
        amount = _parsed(text, units.is_written_out)
        rest = " ".join(amount.rest) if amount is not None else ""
    if amount is not None and rest:
        number = amount.node[0] == "num"
        value = v.Number(amount.node[1], rounded) if number else v.Formula(amount.node, rounded)
        unit = units.read_unit(rest)
        if _ANY_UNIT.fullmatch(without_text(rest).strip()):
            yield value
        elif unit is not None and ("%" not in rest or rest == "%"):
            # `n odd` is no amount of n
            if not formula.names_in(amount.node) or units.is_measure(unit):
                yield v.Quantity(value, unit, rest if rest.isalpha() else "")
            return
    whole = _parsed(text, None)
    if whole is not None and not whole.rest:
        trees = formula.branches(formula.without_degrees(whole.node))  # both of \pm
        formulas = [v.Formula(tree, rounded) for tree in trees]
        yield formulas[0] if len(formulas) == 1 else v.Sequence(tuple((f,) for f in formulas))


def _parsed(text: str, is_unit: Callable[[str], bool] | None) -> formula.Parsed | None:
    try:
        return formula.parse(text, is_unit)
    except formula.UnreadableError:
        return None


Rule = Callable[[str, _Parts], Iterator[v.Value]]
_RULES: tuple[tuple[Rule, ...], ...] = (
    (_named,),  # yes, no solution, \emptyset
    (_calendar,),  # 5 March 2024, 3:45 (and no ratio: it equals no other time), 192.168.0.1
    (
        _numeral,  # 101_2
        _ratio,  # 2:3
        _quantity,  # 5, 1.5 million, twelve, 5 cm, $5
        _remark,  # 5 (in total), 7 mod 10
    ),
    (_option,),  # (B) 12
    (
        _letter,  # B, (b), option B, AC
        read_built,  # (1, 2], {1, 2}, x = 5, 1 and 2
        _words,  # Ann and Bob
        _formula,  # 2x + 1, \sqrt{2} cm
    ),
)
"""Every rule of the first group that finds anything is heard; no later group is. The last group
sees the `\\text{}` of the text, which tell the unit of `5\\text{ m}` from a variable."""
