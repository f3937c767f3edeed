r"""Values that are built of parts: labels, matrices, sets, tuples, intervals, lists, relations.

    read_built("(1, 2]", read)   # yields Interval(...)

The parts are read by the function that is handed in. A new construction goes into `_RULES`. What it
leaves out: what a part is (`read`), and whether two are equal (`compare`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from groupwise.rewards.math import values as v
from groupwise.rewards.math.amounts import amount_of
from groupwise.rewards.math.refusals import denies
from groupwise.rewards.math.spelling import compact, split_top

Reader = Callable[[str], v.Reading]

INFINITY = v.Formula(("const", "inf"))
MINUS_INFINITY = v.Formula(("neg", ("const", "inf")))
MAX_ELEMENTS = 64

_LABEL = re.compile(
    r"(\\text ?\{[^{}\d<>!=]*[:\s]\}|[A-Z][a-z]+(?: [a-z]+)?:) ?([-+\d\\(.${A-Za-z].*)"
)
_MEMBER = re.compile(
    r"(?:\(?[A-Za-z](?:_\{?\w\}?)?(?: ?, ?[A-Za-z])*\)? ?\\in(?![a-z]) ?"
    r"|\([A-Za-z](?: ?, ?(?:[A-Za-z]|\\[a-z]+))+ ?\) ?= ?"
    r"|[A-MO-TV-Z] ?(?=\([^()]*\d[^()]*,[^()]*\)$))(.*)"  # A(3, -2)
)
_MATRIX = re.compile(r"(.*?)\\begin\{([bpvBV]?matrix|array)\}(?:\{[clr| ]*\})?(.*)\\end\{\2\}")
_ROWS = re.compile(r"\\\\|\\cr(?![a-z])")
_BUILDER = re.compile(
    r"\\\{ ?\(?[A-Za-z](?:, ?[A-Za-z]\))? ?(?:\\in ?\\mathbb ?\{?R\}? ?)?[|:](.*)\\\}"
)
_WITHOUT = re.compile(r"\\mathbb ?\{?R\}? ?(?:\\setminus|\\backslash|-) ?\\\{([^,{}]+)\\\}")
_REVERSED = re.compile(r"(?=\]|.*\[$)([\[\](])([^\[\],]+,[^\[\],]+)([\[\])])")
_COMMA = re.compile(r"[,;]")
_LIST = re.compile(
    r"\\text ?\{[ ,]*(?:and|or|y|und|et|oder|ou|o) ?\}|\b(?:and|or)\b|\\lor(?![a-z])|[和或;]"
    r"|(?<!\d),|,(?!\d{3}(?!\d))"  # 1,500 is no list
)
_SAID = re.compile(r"\b(?:and|or)\b|\\lor")
_OPERATOR = re.compile(r"<=|>=|!=|<|>|=|≈|\\equiv(?![a-z])")
MODULUS = re.compile(r"(.*?[^ (=\\])[ (\\]*[pb]?mod ?\{? ?(\d+)[ })]*")
_DIFFERENCE = re.compile(r"(?<=\d)-(?=\d)")
_FLIP = {">": "<", ">=": "<="}
_NAME = re.compile(
    r"\\text ?\{[^{}=]*\}|\\[a-z]+(?:_\{?\w+\}?)?|[A-Za-z]{2,}(?: [A-Za-z]+){0,3}"
    r"|[A-Za-z]+'*(?:\^\{?-1\}?)?(?:_\{?\w+\}?)?'*(?: ?\([A-Za-z](?:, ?[A-Za-z])*\))?"
    r"|[A-Z] ?\([^()]*\)"
)


def read_built(text: str, read: Reader) -> Iterator[v.Value]:
    """The values that a spelled text is as something built of parts; none where it has no parts."""
    for rule in _RULES:
        if found := list(rule(text, read)):
            yield from found
            return


def _labelled(text: str, read: Reader) -> Iterator[v.Value]:
    r"""`\text{Answer: } 5` and `x \in (1, 2)`."""
    if (label := _LABEL.fullmatch(text)) is not None:
        yield from (v.Unread(compact(text)),) if denies(label[1]) else read(label[2])
    elif (member := _MEMBER.fullmatch(text)) is not None:
        yield from read(member[1])


def _matrix(text: str, read: Reader) -> Iterator[v.Value]:
    r"""A matrix, and one with a factor in front of it: `\frac{1}{2} \begin{pmatrix}…`."""
    if "\\begin" not in text or (match := _MATRIX.fullmatch(text)) is None:
        return
    rows = [row.strip() for row in _ROWS.split(match[3])]
    cells = tuple(tuple(map(read, row.split("&"))) for row in rows if row)
    if match[1]:
        factor = read(match[1].removesuffix("*"))[0]
        if not isinstance(factor, v.Number | v.Formula):
            return
        cells = tuple(tuple(_times(factor, cell) for cell in row) for row in cells)
    yield v.Matrix(cells, match[2] if match[2].lower() == "vmatrix" else "")


def _times(factor: v.Number | v.Formula, cell: v.Reading) -> v.Reading:
    if not isinstance(cell[0], v.Number | v.Formula):
        return cell
    return (v.Formula(("*", amount_of(factor), amount_of(cell[0]))),)


def _union(text: str, read: Reader) -> Iterator[v.Value]:
    r"""`A \cup B`, `\mathbb{R} \setminus \{0\}`, and `\{x : x > 2\}`, whose name may be any."""
    if (builder := _BUILDER.fullmatch(text)) is not None:
        for value in read(builder[1]):
            yield replace(value, name="") if isinstance(value, v.Interval) else value
    elif (without := _WITHOUT.fullmatch(text)) is not None:
        yield _outside(read(without[1]), read(without[1]), "", False)
    elif "\\cup" in text:
        yield v.Union(tuple(map(read, text.split("\\cup"))))


def _outside(low: v.Reading, high: v.Reading, name: str, closed: bool) -> v.Union:
    left, right = ("(]", "[)") if closed else ("()", "()")
    below = v.Interval((MINUS_INFINITY,), low, left, name)
    return v.Union(((below,), (v.Interval(high, (INFINITY,), right, name),)))


def _bracketed(text: str, read: Reader) -> Iterator[v.Value]:
    """Sets, points and intervals; nothing for brackets of a formula."""
    if (turned := _REVERSED.fullmatch(text)) is not None:  # ]1, 2[
        content = turned[2]
        opening, closing = turned[1].replace("]", "("), turned[3].replace("[", ")")
    elif (enclosed := _inside(text)) is not None:
        opening, closing, content = enclosed
    else:
        return
    parts = [part for part in split_top(content, _COMMA)[0] if part]
    if len(parts) > MAX_ELEMENTS:
        return
    items = tuple(map(read, parts))
    if opening == "\\{" or (opening == "{" and len(items) > 1):  # {1, 2}: no LaTeX
        yield v.Set(_flat(items))
    elif len(items) == 1 and opening != "{":
        yield from items[0]
    elif len(items) > 1:
        ends = "()" if opening == "\\langle" else opening + closing
        numbers = all(isinstance(i[0], v.Number | v.Formula | v.Quantity) for i in items)
        if len(items) == 2 and numbers and opening != "\\langle":
            yield v.Interval(*items, ends)
        if len(items) > 2 or ends in ("()", "[]"):
            yield v.Sequence(items, ends)


def _inside(text: str) -> tuple[str, str, str] | None:
    """(opening, closing, content) if one pair of brackets encloses the whole text."""
    for opening, closing in (("\\{", "\\}"), ("\\langle", "\\rangle")):
        inner = text.removeprefix(opening).removesuffix(closing)
        if len(inner) == len(text) - len(opening + closing) and opening not in inner:
            return opening, closing, inner
    if text[:1] not in ("(", "[", "{") or text[-1:] not in (")", "]", "}"):
        return None
    depth = 0
    for char in text[:-1]:
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return None
    return text[0], text[-1], text[1:-1]


def _list(text: str, read: Reader) -> Iterator[v.Value]:
    """Several answers without brackets."""
    parts = [part for part in split_top(text, _LIST)[0] if part]
    if not 2 <= len(parts) <= MAX_ELEMENTS:
        return
    items = tuple(map(read, parts))
    related = [any(isinstance(value, v.Relation) for value in item) for item in items]
    if "\\lor" in text and not all(related):
        return  # of statements nothing is known here
    said = _SAID.search(text)
    mark = (
        ";"
        if ";" in text and "," not in text
        else ""
        if said is None
        else "and"
        if said[0] == "and"
        else "or"
    )
    ranges = [r for i in items for r in i if isinstance(r, v.Interval | v.Union)]
    if any(related) and len(ranges) == len(items):
        joined = _both(ranges) if mark != "or" else None
        yield joined or v.Union(tuple((r,) for r in ranges))
    yield v.Sequence(_flat(items), mark)


def _flat(items: tuple[v.Reading, ...]) -> tuple[v.Reading, ...]:
    r"""With both branches of `\pm` as elements of their own."""
    flat: list[v.Reading] = []
    for item in items:
        several = item[0]
        if isinstance(several, v.Sequence) and several.brackets in ("", "and", "or"):
            flat += several.items
        else:
            flat.append(item)
    return tuple(flat)


def _both(ranges: list[v.Interval | v.Union]) -> v.Interval | None:
    """`x > 1 and x < 3`: one bound from each side of the same name."""
    below = [r for r in ranges if isinstance(r, v.Interval) and r.low == (MINUS_INFINITY,)]
    above = [r for r in ranges if isinstance(r, v.Interval) and r.high == (INFINITY,)]
    if len(below) != 1 or len(above) != 1 or below[0].name != above[0].name:
        return None
    low, high = above[0].low, below[0].high
    if not (isinstance(low[0], v.Number) and isinstance(high[0], v.Number)):
        return None
    between = v.Interval(low, high, above[0].ends[0] + below[0].ends[1], above[0].name)
    return between if low[0].value < high[0].value else None


def _relation(text: str, read: Reader) -> Iterator[v.Value]:
    """Equations, inequalities and chains, from left to right in rising order; and the interval that
    an inequality stands for."""
    sides, operators = split_top(text, _OPERATOR)
    modulus = 0
    if operators == ["\\equiv"]:
        if (match := MODULUS.fullmatch(sides[1])) is None:
            return
        sides, operators, modulus = [sides[0], match[1]], ["≡"], int(match[2])
    falling, rising = _FLIP.keys() & operators, {"<", "<="} & set(operators)
    if not operators or not all(sides) or (falling and rising):
        return
    names = tuple(map(_name, sides))
    turned = operators == ["="] and names[1] and not names[0]  # 4 = x
    if falling or turned:
        sides, names = sides[::-1], names[::-1]
        operators = [_FLIP.get(op, op) for op in operators[::-1]]
    # Beside an equals sign 24-3 is a difference, and no score
    readings = tuple(read(_DIFFERENCE.sub(" - ", side)) for side in sides)
    yield from _ranges(operators, names, readings)
    yield v.Relation(tuple(operators), readings, names, modulus)  # type: ignore[arg-type]


def _name(side: str) -> str:
    """The name that a side is, or "": what a value is assigned to."""
    named = _NAME.fullmatch(side) and side not in ("i", "e", "\\pi") and not denies(side)
    return compact(side) if named else ""


def _ranges(
    operators: list[str], names: tuple[str, ...], readings: tuple[v.Reading, ...]
) -> Iterator[v.Value]:
    """`1 < x <= 2` and `|x| < 3` as an interval, `x != 2` and `|x| > 3` as a union."""
    last = len(operators)
    letters = [i for i, name in enumerate(names) if len(name) == 1]
    if operators == ["!="] and letters == [0]:
        yield _outside(readings[1], readings[1], names[0], False)
    if last > 2 or not set(operators) <= {"<", "<="}:
        return
    closed = [operator == "<=" for operator in operators]
    if letters in ([0], [1]):
        at = letters[0]
        low, left = (readings[at - 1], closed[at - 1]) if at else ((MINUS_INFINITY,), False)
        high, right = (readings[at + 1], closed[at]) if at < last else ((INFINITY,), False)
        yield v.Interval(low, high, "(["[left] + ")]"[right], names[at])
    elif last == 1:
        for name, end, inside in (
            (_absolute(readings[0]), readings[1], True),
            (_absolute(readings[1]), readings[0], False),
        ):
            if name and isinstance(end[0], v.Number | v.Formula):
                minus = (v.Formula(("neg", amount_of(end[0]))),)
                ends = "[]" if closed[0] else "()"
                yield (v.Interval(minus, end, ends, name) if inside
                       else _outside(minus, end, name, closed[0]))  # fmt: skip


def _absolute(reading: v.Reading) -> str:
    """The name x of |x|, or ""."""
    for value in reading:
        if isinstance(value, v.Formula) and value.node[:2] == ("call", "abs"):
            inner = value.node[2][0]
            return str(inner[1]) if inner[0] == "name" else ""
    return ""


_RULES = (_labelled, _matrix, _union, _bracketed, _list, _relation)
"""The first that finds something is heard."""
