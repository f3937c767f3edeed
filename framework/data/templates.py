"""Templates of prompts and completions: `{name}` stands for a column of the row.

    template = read_template("{context}\\n\\n{question}", ("question",), rows, where)
    template.fill({"question": "Who?"}, row.fields)

Only a column's name in braces is a place for its value; other braces stay: `\\boxed{}`, `{"a": 1}`,
`{ name }`, and the arguments of LaTeX: `\\frac{a}{b}`, `x^{n}`. Braces in a value mean nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.framework.data.fields import (
    MISSING,
    field_of,
    listed,
    nearest,
    nested_names,
    only_one,
    plain_text,
    text_of,
)
from groupwise.rewards.errors import UserError
from groupwise.rewards.options import LETTERS, options_of

_BRACES = re.compile(
    r"(?P<latex>\\[A-Za-z]+(?:\{[^{}]*\})+|[\^_]\{[^{}]*\})|\{(?P<name>[^{}\n]+)\}"
)
_NAME = re.compile(r"[^\W\d][\w.-]*")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places for values: `own` ones, which the caller has, and `columns`."""

    text: str
    own: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def fill(self, own: Mapping[str, str], fields: Mapping[str, Any]) -> str:
        """The text with all values in their places. Every column must have a value."""
        values = {name: own[name] for name in self.own}
        values |= {name: shown(name, fields) or "" for name in self.columns}
        # These count inside LaTeX as well
        own_ones = re.compile(r"\{(" + "|".join(map(re.escape, self.own)) + r")\}")

        def put(found: re.Match[str]) -> str:
            if found["name"] is not None:
                return values.get(found["name"], found[0])
            return own_ones.sub(lambda inner: values[inner[1]], found[0])

        return _BRACES.sub(put, self.text)


def with_question(text: str, question_field: str, question: str) -> str:
    """The template of prompts around a question that has no row: the question alone where the
    template asks for columns."""
    own = ("question", question_field)
    names = [found["name"] for found in _BRACES.finditer(text) if found["name"] not in (None, *own)]
    if any(_NAME.fullmatch(name) for name in names):
        return question
    return Template(text, own).fill(dict.fromkeys(own, question), {})


def read_template(
    text: str, own: Collection[str], rows: Sequence[Mapping[str, Any]], where: str
) -> Template:
    """The template, with its columns found among the fields of the rows.

    Raises:
        UserError: a placeholder is no column; the message begins with `where` and has the nearest.
    """
    columns = []
    for found in _BRACES.finditer(text):
        name = found["name"]
        if name is None or name in own:
            continue
        if any(field_of(row, name) is not MISSING for row in rows):
            columns.append(name)
        elif _NAME.fullmatch(name):
            close = nearest(name, rows)
            hint = f"did you mean {{{close}}}? The" if close else "the"
            fields = listed(list(dict.fromkeys([*own, *nested_names(rows)])))
            raise UserError(
                f"{where} has {{{name}}}, and no row has such a field; {hint} fields are {fields}; "
                f"braces that are to stay need a space inside: {{ {name} }}"
            )
    return Template(text, tuple(own), tuple(dict.fromkeys(columns)))


def shown(column: str, fields: Mapping[str, Any]) -> str | None:
    """A column's value as it stands in a prompt; None for null.

    Text stays as it is, also blank. Options (`choices`, `options`, in a CSV as JSON) are written as
    lines "A. …", what else is nested as JSON.
    """
    value = only_one(field_of(fields, column))
    has_options = column.rpartition(".")[2].casefold() in ("choices", "options")
    if has_options and (options := options_of({"choices": value})):
        return "\n".join(f"{LETTERS[i]}. {option}" for i, option in enumerate(options))
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return text_of(value)
