"""How an answer is built: a matrix, union, set, sequence, list or one formula, and its parts.

    read_structure("(1, 2)")   # Structure("sequence", ("1", "2"), "()")

Texts are canonical (`latex`). What it leaves out: whether two parts are equal, which `compare`
decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from groupwise.rewards.math.latex import split_top

_MATRIX = re.compile(r"\\begin\{([bpvBV]?matrix|array)\}(?:\{[clr| ]*\})?(.*)\\end\{\1\}")
RELATION = re.compile(r"<=|>=|!=|<|>|=|\\in(?![a-z])")
_MEMBERSHIP = re.compile(
    r"(?:[A-Za-z] ?\\in |\([A-Za-z](?: ?, ?[A-Za-z])+\) ?= ?"
    r"|[A-Z] ?(?=\([^()]*\d[^()]*,[^()]*\)$))(.*)"  # A(3, -2)
)
_REVERSED = re.compile(r"(?=\]|.*\[$)([\[\](])([^\[\],]+,[^\[\],]+)([\[\])])")
_ABSOLUTE = re.compile(r"\| ?([A-Za-z]) ?\| ?(<=?) ?([^<>=|,]+)")
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!=", "\\in": "\\in"}


@dataclass(frozen=True, slots=True)
class Structure:
    """The kind of a text, its elements in order, and what else has to agree."""

    kind: Literal["matrix", "union", "set", "sequence", "list", "formula"]
    parts: tuple[str, ...]
    marks: str = ""  # the brackets of a sequence; the columns of a matrix


def read_structure(text: str) -> Structure:
    """The outermost structure; `formula` with the text as its only part where there is none."""
    text = text.strip()
    if (reversed_marks := _REVERSED.fullmatch(text)) is not None:  # ]1, 2[
        left, content, right = reversed_marks.groups()
        text = f"{'(' if left == ']' else left}{content}{')' if right == '[' else right}"
    if (matrix := _MATRIX.fullmatch(text)) is not None:
        rows = [row.strip() for row in matrix[2].replace("\\cr", "\\\\").split("\\\\")]
        cells = [[cell.strip() for cell in row.split("&")] for row in rows if row]
        kind = "det " if matrix[1] == "vmatrix" else ""
        widths = kind + " ".join(str(len(row)) for row in cells)
        return Structure("matrix", tuple(cell for row in cells for cell in row), widths)
    if "\\cup" in text:
        return Structure("union", tuple(part.strip() for part in text.split("\\cup")))
    inner = _inside(text)
    if inner is not None:
        opening, closing, content = inner
        parts = _elements(content)
        if opening == "\\{":
            return Structure("set", _spread(parts))
        if len(parts) > 1:
            return Structure("sequence", parts, opening + closing)
    else:
        parts = _spread(_elements(text))
        if len(parts) > 1:
            return Structure("list", parts)
    return Structure("formula", (text,))


def _inside(text: str) -> tuple[str, str, str] | None:
    """(opening, closing, content) if one pair of brackets encloses the whole text."""
    if text.startswith("\\{") and text.endswith("\\}"):
        return "\\{", "\\}", text[2:-2]
    if text[:1] not in ("(", "[", "{") or text[-1:] not in (")", "]", "}"):
        return None
    depth = 0
    for index, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and index < len(text) - 1:
            return None
    if text[0] == "{":  # {1, 2}, as people write sets without LaTeX
        return "\\{", "\\}", text[1:-1]
    return text[0], text[-1], text[1:-1]


def _elements(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in split_top(text.replace("\\{", "{"), ",;"))
    return tuple(part for part in parts if part) if "\\{" not in text else _set_elements(text)


def _set_elements(text: str) -> tuple[str, ...]:
    marked = text.replace("\\{", "([").replace("\\}", "])")
    parts = (part.strip() for part in split_top(marked, ",;"))
    return tuple(part.replace("([", "\\{").replace("])", "\\}") for part in parts if part)


def _spread(parts: tuple[str, ...]) -> tuple[str, ...]:
    """`a \\pm b` is two elements."""
    spread: list[str] = []
    for part in parts:
        if part.count("\\pm") == 1:
            spread += [part.replace("\\pm", "+"), part.replace("\\pm", "-")]
        else:
            spread.append(part)
    return tuple(spread)


def without_membership(text: str) -> str:
    """Without `x \\in` or `(x, y) =` before a set, an interval or a point."""
    match = _MEMBERSHIP.fullmatch(text)
    return match[1].strip() if match else text


def right_sides(parts: tuple[str, ...]) -> tuple[str, ...]:
    """`x = 2, y = 3` as (2, 3) where every part names a variable, in alphabetical order."""
    sides = [part.split("=") for part in parts]
    if not all(len(side) == 2 for side in sides):
        return parts
    names = [side[0].strip() for side in sides]
    return tuple(side[1].strip() for side in sides) if names == sorted(names) else parts


def as_interval(text: str) -> str | None:
    """`1 < x <= 2` as `(1,2]`, `x > 3` as `(3,\\infty)`; None for anything else."""
    if (absolute := _ABSOLUTE.fullmatch(text)) is not None:  # |x| < 3
        name, relation, bound = absolute.groups()
        text = f"-({bound}){relation}{name}{relation}{bound}"
    operators = RELATION.findall(text)
    sides = [side.strip() for side in RELATION.split(text)]
    if not operators or not set(operators) <= {"<", "<=", ">", ">="} or len(operators) > 2:
        return None
    if {op[0] for op in operators} == {">"}:
        sides, operators = sides[::-1], [_FLIP[op] for op in operators[::-1]]
    elif {op[0] for op in operators} != {"<"}:
        return None
    variable = [index for index, side in enumerate(sides) if re.fullmatch(r"[A-Za-z]", side)]
    if len(variable) != 1 or (len(sides) == 3 and variable != [1]):
        return None
    if len(sides) == 3:
        low, high = sides[0], sides[2]
        return (
            ("[" if operators[0] == "<=" else "(")
            + f"{low},{high}"
            + ("]" if operators[1] == "<=" else ")")
        )
    if variable == [0]:
        return f"(-\\infty,{sides[1]}" + ("]" if operators[0] == "<=" else ")")
    return ("[" if operators[0] == "<=" else "(") + f"{sides[0]},\\infty)"
