"""What is built of parts: matrices, unions, sets, points, intervals, lists, relations.

    read_built("(1, 2]", 0, read)   # yields Interval(...)

The parts are read by the function that is handed in. What it leaves out: what a part is (`read`),
and whether two are equal (`compare`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from groupwise.rewards.math.refusals import denies
from groupwise.rewards.math.spelling import closes_at_end, compact, split_top
from groupwise.rewards.math.values import (
    Choice,
    Formula,
    Interval,
    Matrix,
    Number,
    Quantity,
    Reading,
    Relation,
    Sequence,
    Set,
    Union,
    Value,
    Words,
)
from groupwise.rewards.math.words import name_list

Reader = Callable[[str], Reading]

INFINITY = Formula(("const", "inf"))
MINUS_INFINITY = Formula(("neg", ("const", "inf")))
MAX_ELEMENTS = 64

_MATRIX = re.compile(r"\\begin\{([bpvBV]?matrix|array)\}(?:\{[clr| ]*\})?(.*)\\end\{\1\}")
_ROWS = re.compile(r"\\\\|\\cr(?![a-z])")
_COLUMNS = re.compile(r"&")
_COMMA = re.compile(r"\s*[,;]\s*")
_LIST = re.compile(
    r"\s*(?:[,;]\s*)?(?:\\text\s*\{\s*,?\s*(?:and|or|y|und|et|oder|ou|o)\s*\}|\b(?:and|or)\b|\\lor(?![a-z])|和|或)\s*"
    r"|\s*(?:;|(?<!\d),|,(?!\d{3}(?!\d)))\s*"  # 1,500 is no list
)
_SAID = re.compile(r"\b(and|or)\b|\\lor")
_WITHOUT = re.compile(r"\\mathbb ?\{?R\}? ?(?:\\setminus|\\backslash|-) ?\\\{([^,{}]+)\\\}")
_CUP = re.compile(r"\s*\\cup\s*")
_OPERATOR = re.compile(r"\s*(<=|>=|!=|<|>|=|≈|\\equiv(?![a-z]))\s*")
_MEMBER = re.compile(
    r"(?:\(?[A-Za-z](?:_\{?\w\}?)?(?: ?, ?[A-Za-z])*\)? ?\\in(?![a-z]) ?"
    r"|\([A-Za-z](?: ?, ?(?:[A-Za-z]|\\[a-z]+))+ ?\) ?= ?"
    r"|[A-MO-TV-Z] ?(?=\([^()]*\d[^()]*,[^()]*\)$))(.*)"  # A(3, -2)
)
_BUILDER = re.compile(
    r"\\\{ ?\(?[A-Za-z](?:, ?[A-Za-z]\))? ?(?:\\in ?\\mathbb ?\{?R\}? ?)?[|:](.*)\\\}"
)
_REVERSED = re.compile(r"(?=\]|.*\[$)([\[\](])([^\[\],]+,[^\[\],]+)([\[\])])")
LABEL = re.compile(
    r"(?:\\text ?\{([^{}\d<>!=]*[:\s]|[^{}\d<>!]*=) ?\}|([A-Z][a-z]+(?: [a-z]+)?:)) ?([-+\d\\(.${A-Za-z].*)"
)
_NAME = re.compile(
    r"(?:\\text ?\{[^{}=]*\}|[A-Za-z]+'*(?:\^\{?-1\}?)?(?:_\{?\w+\}?)?'*(?: ?\([A-Za-z](?:, ?[A-Za-z])*\))?|\\[a-z]+(?:_\{?\w+\}?)?"
    r"|[A-Za-z]{2,}(?: [A-Za-z]+){0,3}|[A-Z] ?\([^()]*\))"
)
_VECTOR = re.compile(r"\\(?:text|hat|vec)\s*\{\s*([ijk])\s*\}")
_FLIP = {">": "<", ">=": "<="}


def read_built(text: str, read: Reader) -> Iterator[Value]:
    """The values that a spelled text is as something built of parts; none where it has no parts."""
    if (label := LABEL.fullmatch(text)) is not None and "=" not in text[
        len(label[1] or label[2]) + 8 :
    ]:
        if not denies(label[1] or label[2]):
            yield from read(label[3])
        return
    if (member := _MEMBER.fullmatch(text)) is not None:
        yield from read(member[1])
        return
    if "\\begin" in text and (matrix := _matrix(text, read)) is not None:
        yield matrix
        return
    if text.startswith("\\{") and (builder := _BUILDER.fullmatch(text)) is not None:
        yield from map(_nameless, read(builder[1]))
        return
    if (without := _WITHOUT.fullmatch(text)) is not None:
        gap = read(without[1])
        yield Union((
            (Interval((MINUS_INFINITY,), gap, "()"),), (Interval(gap, (INFINITY,), "()"),)
        ))  # fmt: skip
        return
    if "\\cup" in text:
        yield Union(tuple(read(part) for part in _CUP.split(text)))
        return
    enclosed = list(_bracketed(text, read))
    if enclosed:
        yield from enclosed
        return
    listed = list(_list(text, read))
    yield from listed
    if not listed and _OPERATOR.search(text):
        yield from _relation(text, read)


def _nameless(value: Value) -> Value:
    """Without the name of a set builder's variable, which may be any."""
    if isinstance(value, Interval):
        return replace(value, name="")
    if isinstance(value, Union):
        return Union(tuple(tuple(map(_nameless, part)) for part in value.parts))
    return value


def _matrix(text: str, read: Reader) -> Matrix | None:
    scalar, begin, _ = text.partition("\\begin")
    factor: Reading = ()
    if scalar.strip() and scalar.strip() not in ("(", "["):
        factor, text = read(scalar.strip().removesuffix("*")), text[len(scalar) :]
        if not isinstance(factor[0], (Number, Formula)):
            return None
    inner = _inside(text)
    match = _MATRIX.fullmatch(inner[2].strip() if inner is not None else text)
    if match is None:
        return None
    rows = [row.strip() for row in _ROWS.split(match[2])]
    cells = tuple(tuple(read(cell.strip()) for cell in _COLUMNS.split(row)) for row in rows if row)
    if factor:
        cells = tuple(tuple(_times(factor, cell) for cell in row) for row in cells)
    return Matrix(cells, match[1] if match[1].lower() == "vmatrix" else "")


def _times(factor: Reading, cell: Reading) -> Reading:
    nodes = [("num", v.value) if isinstance(v, Number) else v.node
             for v in (factor[0], cell[0]) if isinstance(v, (Number, Formula))]  # fmt: skip
    return (Formula(("*", *nodes)),) if len(nodes) == 2 else cell


def _inside(text: str) -> tuple[str, str, str] | None:
    """(opening, closing, content) if one pair of brackets encloses the whole text."""
    for opening, closing in (("\\{", "\\}"), ("\\langle", "\\rangle")):
        if text.startswith(opening) and text.endswith(closing):
            inner = text[len(opening) : -len(closing)]
            if opening not in inner:
                return opening, closing, inner
    if text[:1] not in ("(", "[", "{") or text[-1:] not in (")", "]", "}"):
        return None
    depth = 0
    for index, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and index < len(text) - 1:
            return None
    return text[0], text[-1], text[1:-1]


def _bracketed(text: str, read: Reader) -> Iterator[Value]:
    """Sets, points and intervals; nothing for brackets of a formula."""
    if (turned := _REVERSED.fullmatch(text)) is not None:  # ]1, 2[
        left, content, right = turned.groups()
        ends = ("(" if left == "]" else left) + (")" if right == "[" else right)
        yield from _pair(content, ends, read)
        return
    inner = _inside(text)
    if inner is None:
        return
    opening, closing, content = inner
    parts = [part for part in split_top(content, _COMMA) if part.strip()]
    if len(parts) > MAX_ELEMENTS:
        return
    if opening in ("\\{", "{"):  # {1, 2}, as people write sets without LaTeX
        if opening == "\\{" or len(parts) > 1:
            yield Set(_flat(tuple(read(part) for part in parts)))
        elif closes_at_end(content):
            yield from read(content)
    elif len(parts) == 2 and opening != "\\langle":
        yield from _pair(content, opening + closing, read)
    elif len(parts) > 1 or (opening == "[" and parts and "," not in content):
        marks = "()" if opening == "\\langle" else opening + closing
        if len(parts) > 1 or marks == "[]":
            yield Sequence(tuple(read(part) for part in parts), marks)
    if len(parts) == 1 and opening in "([":
        yield from read(content)


def _pair(content: str, ends: str, read: Reader) -> Iterator[Value]:
    """Two in brackets: an interval, and a point unless the brackets differ."""
    parts = [part for part in split_top(content, _COMMA) if part.strip()]
    if len(parts) != 2:
        return
    low, high = (read(part) for part in parts)
    if all(isinstance(end[0], (Number, Formula, Quantity)) for end in (low, high)):
        yield Interval(low, high, ends)
    if ends in ("()", "[]"):
        yield Sequence((low, high), ends)


def _list(text: str, read: Reader) -> Iterator[Value]:
    """Several answers without brackets; names that "or" joins are no list."""
    parts = [part for part in split_top(text, _LIST) if part.strip()]
    if not 2 <= len(parts) <= MAX_ELEMENTS:
        return
    read_parts = tuple(read(part) for part in parts)
    kinds = {type(part[0]) for part in read_parts}
    if "\\lor" in text and not all(any(isinstance(v, Relation) for v in p) for p in read_parts):
        return  # of statements nothing is known here
    if kinds <= {Words} or (kinds <= {Words, Choice} and Words in kinds):
        if " or " not in text:
            yield Words(name_list(text))
        return
    mark = ";" if ";" in text and "," not in text else ""
    if not mark and (said := _SAID.search(text)) is not None:
        mark = "and" if said[1] == "and" else "or"
    sequence = Sequence(_flat(read_parts), mark)
    ranges = [next((v for v in part if isinstance(v, (Interval, Union))), None)
              for part in read_parts]  # fmt: skip
    if all(v is not None for v in ranges) and any(
        isinstance(v, Relation) for p in read_parts for v in p
    ):
        joined = _both(ranges) if " and" in text or "," in text else None
        yield joined if joined is not None else Union(tuple((v,) for v in ranges if v is not None))
    yield sequence


def _flat(parts: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """With both branches of `\\pm` as elements of their own."""
    flat: list[Reading] = []
    for part in parts:
        first = part[0]
        inner = isinstance(first, Sequence) and first.brackets in ("", "and", "or")
        flat += first.items if inner and isinstance(first, Sequence) else [part]
    return tuple(flat)


def _both(ranges: list[Value | None]) -> Value | None:
    """`x > 1 and x < 3`: one bound from each side of the same name."""
    if len(ranges) != 2 or not all(isinstance(part, Interval) for part in ranges):
        return None
    below = [p for p in ranges if isinstance(p, Interval) and p.low == (MINUS_INFINITY,)]
    above = [p for p in ranges if isinstance(p, Interval) and p.high == (INFINITY,)]
    if len(below) != 1 or len(above) != 1 or below[0].name != above[0].name:
        return None
    low, high = above[0].low, below[0].high
    if not (isinstance(low[0], Number) and isinstance(high[0], Number)):
        return None
    if low[0].value >= high[0].value:
        return None
    return Interval(low, high, above[0].ends[0] + below[0].ends[1], above[0].name)


def _relation(text: str, read: Reader) -> Iterator[Value]:
    """Equations, inequalities and chains, from left to right in rising order; and the interval that
    an inequality stands for."""
    pieces = _split_relation(text)
    if pieces is None:
        return
    sides, operators = pieces
    modulus = 0
    if operators == ["\\equiv"]:
        match = re.fullmatch(r"(.*?) ?\(?\\?p?b?mod ?\{? ?(\d+) ?\}?\)?", sides[1])
        if match is None:
            return
        sides, operators, modulus = [sides[0], match[1].rstrip("( \\")], ["≡"], int(match[2])
    if not sides[0] and operators[0] in "=≈":  # = 5, ≈ 5
        sides, operators = sides[1:], operators[1:]
        if not operators:
            yield from read(sides[0])
            return
    if not all(sides):
        return
    if any(op in _FLIP for op in operators) and not any(op in ("<", "<=") for op in operators):
        sides = sides[::-1]
        operators = [_FLIP.get(op, op) for op in operators[::-1]]
    if any(op in _FLIP for op in operators) or len(operators) > 12:
        return
    names = tuple(_name(side) for side in sides)
    readings = tuple(read(side) for side in sides)
    if operators == ["="] and names[1] and not names[0]:  # 4 = x
        names, readings = names[::-1], readings[::-1]
    yield from _ranges(operators, names, readings)
    yield Relation(tuple(operators), readings, names, modulus)  # type: ignore[arg-type]


def _split_relation(text: str) -> tuple[list[str], list[str]] | None:
    sides = [side.strip() for side in split_top(text, _OPERATOR)]
    operators, at = [], 0
    for side in sides[:-1]:  # the sign behind each side, and none inside brackets
        at = text.index(side, at) + len(side)
        match = _OPERATOR.match(text, at)
        assert match is not None
        operators.append(match[1])
        at = match.end()
    return (sides, operators) if operators else None


def _name(side: str) -> str:
    """The name that a side is, or "": what a value is assigned to."""
    named = _NAME.fullmatch(side) and side not in ("i", "e", "\\pi") and not denies(side)
    return compact(side) if named else ""


def _ranges(
    operators: list[str], names: tuple[str, ...], readings: tuple[Reading, ...]
) -> Iterator[Value]:
    """`1 < x <= 2` as an interval, `|x| < 3` too, `x != 2` as a union."""
    letters = [i for i, name in enumerate(names) if len(name) == 1]
    if operators == ["!="] and letters == [0]:
        yield Union((
            (Interval((MINUS_INFINITY,), readings[1], "()", names[0]),),
            (Interval(readings[1], (INFINITY,), "()", names[0]),),
        ))  # fmt: skip
    if not set(operators) <= {"<", "<="}:
        return
    left, right = "[" if operators[0] == "<=" else "(", "]" if operators[-1] == "<=" else ")"
    if len(operators) == 2 and letters == [1]:
        yield Interval(readings[0], readings[2], left + right, names[1])
    elif len(operators) == 1 and letters == [0]:
        yield Interval((MINUS_INFINITY,), readings[1], "(" + right, names[0])
    elif len(operators) == 1 and letters == [1]:
        yield Interval(readings[0], (INFINITY,), left + ")", names[1])
    elif len(operators) == 1:
        yield from _around_zero(readings, operators[0])


def _around_zero(readings: tuple[Reading, ...], operator: str) -> Iterator[Value]:
    """`|x| < 3` as an interval, `|x| > 3` as a union."""
    for side in (0, 1):
        name, end = _absolute(readings[side]), readings[1 - side]
        first = end[0]
        if name is None or not isinstance(first, (Number, Formula)):
            continue
        node = ("num", first.value) if isinstance(first, Number) else first.node
        minus = (Formula(("neg", node)),)
        left, right = ("[", "]") if operator == "<=" else ("(", ")")
        if side == 0:
            yield Interval(minus, end, left + right, name)
        else:
            yield Union((
                (Interval((MINUS_INFINITY,), minus, "(" + right, name),),
                (Interval(end, (INFINITY,), left + ")", name),),
            ))  # fmt: skip


def _absolute(reading: Reading) -> str | None:
    for value in reading:
        if isinstance(value, Formula) and value.node[:2] == ("call", "abs"):
            inner = value.node[2][0]
            if inner[0] == "name":
                return str(inner[1])
    return None
