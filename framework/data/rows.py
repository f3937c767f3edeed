"""Rows of a data file as examples: fields by name, ids, reference answers, metadata.

    read_examples(config.data, "problems.jsonl", "train")   # [SourceExample(example, row), ...]

Rows that cannot be used are an error that names them; none is dropped silently. An answer that is
the position or label of an option (`rewards/options.py`) is read as the option's letter. Which
examples are held out is decided in `examples.py`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from groupwise.framework.config import DataConfig
from groupwise.framework.data.files import Notice, ignored, read_rows
from groupwise.framework.data.tables import Row
from groupwise.rewards.errors import UserError
from groupwise.rewards.options import gold_letters, labels_of, option_fields, options_of
from groupwise.rewards.types import Example, Message

_SHOWN_ROWS = 5


@dataclass(frozen=True)
class SourceExample:
    """An example with the row it came from."""

    example: Example
    row: Row


def read_examples(
    data: DataConfig, source: str, hub_split: str, notice: Notice = ignored
) -> list[SourceExample]:
    """Every row of the source, in its order. Raises UserError if rows cannot be used."""
    rows = read_rows(source, split=hub_split, config_name=data.config_name, notice=notice)
    questions = _column(rows, source, data.question_field, "data.question_field")
    answers = _column(rows, source, data.answer_field, "data.answer_field")
    if data.answer_after is not None:
        answers = _after(rows, source, answers, data)
    ids = _ids(rows, source, questions, data.id_field)
    kept = _kept_fields(rows, source, data)
    names = field_names(row.fields for row in rows)
    metadata = [{k: _plain(row.fields[k]) for k in kept if k in row.fields} for row in rows]
    if option_fields(kept):
        options = [options_of(fields) for fields in metadata]
        answers = gold_letters(answers, options, [labels_of(fields) for fields in metadata])
    return [
        SourceExample(
            Example(
                id=example_id,
                question=question,
                answer=answer,
                messages=_messages(question, data),
                metadata=fields,
                columns={name: row.fields.get(name) for name in names},
            ),
            row,
        )
        for row, question, answer, example_id, fields in zip(
            rows, questions, answers, ids, metadata, strict=True
        )
    ]


def _messages(question: str, data: DataConfig) -> tuple[Message, ...]:
    user = {"role": "user", "content": data.prompt_template.replace("{question}", question)}
    if data.system_prompt is None:
        return (user,)
    return ({"role": "system", "content": data.system_prompt}, user)


def _column(rows: Sequence[Row], source: str, name: str, key: str) -> list[str]:
    """The values of a field as text. Raises UserError if rows have none."""
    values = [text_of(row.fields.get(name)) for row in rows]
    bad = [row for row, value in zip(rows, values, strict=True) if value is None]
    if not bad:
        return [value for value in values if value is not None]
    present = field_names(row.fields for row in rows)
    if name not in present:
        close = get_close_matches(name, present, 1)
        hint = f"did you mean {close[0]!r}? The" if close else "the"
        raise UserError(
            f"{source}: no row has a field {name!r}; {hint} fields are {', '.join(present)}; "
            f"set {key}"
        )
    odd = next(
        (row.fields[name] for row in bad if isinstance(row.fields.get(name), list | dict)), None
    )
    # Name a list or an object: the field exists, with another type than expected.
    what = "no text" if odd is None else f"a {type(odd).__name__} instead of text"
    remedy = f"; fix or remove them, or set {key}"
    raise unusable(source, bad, len(rows), f"{what} in {name!r}", remedy)


def field_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of all fields, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def text_of(value: Any) -> str | None:
    """A value as text: numbers are written out; null, NaN, blank text, lists, objects are None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None  # how pandas writes a missing value
    if isinstance(value, bool | int | float):
        return str(value)
    if not isinstance(value, str):
        return None
    # JSON can hold half a surrogate pair ("\\ud800"), which no tokenizer takes: U+FFFD replaces it.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip() or None


def _after(rows: Sequence[Row], source: str, answers: Sequence[str], data: DataConfig) -> list[str]:
    mark = data.answer_after or ""
    found = [answer.rpartition(mark) for answer in answers]
    bad = [
        row for row, (_, sep, tail) in zip(rows, found, strict=True) if not sep or not tail.strip()
    ]
    if bad:
        what = f"nothing after {mark!r} in {data.answer_field!r}"
        remedy = "; fix or remove them, or set data.answer_after"
        raise unusable(source, bad, len(rows), what, remedy)
    return [tail.strip() for _, _, tail in found]


def _ids(
    rows: Sequence[Row], source: str, questions: Sequence[str], id_field: str | None
) -> list[str]:
    if id_field is None:
        counts: dict[str, int] = {}
        ids = []
        for question in questions:
            counts[question] = counts.get(question, 0) + 1
            times = counts[question]
            ids.append(digest(question)[:12] + (f"-{times}" if times > 1 else ""))
        return ids
    ids = _column(rows, source, id_field, "data.id_field")
    first: dict[str, Row] = {}
    for row, example_id in zip(rows, ids, strict=True):
        if example_id in first:
            raise UserError(
                f"{source}: the id {example_id!r} appears twice ({first[example_id].where} and "
                f"{row.where}); ids in data.id_field {id_field!r} must differ"
            )
        first[example_id] = row
    return ids


def _kept_fields(rows: Sequence[Row], source: str, data: DataConfig) -> list[str]:
    present = field_names(row.fields for row in rows)
    if data.metadata_fields is None:
        used = {data.question_field, data.answer_field, data.id_field}
        return [field for field in present if field not in used]
    if missing := [field for field in data.metadata_fields if field not in present]:
        close = get_close_matches(missing[0], present, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(present)}"
        raise UserError(f"{source}: no row has data.metadata_fields {missing[0]!r}; {hint}")
    # Grading needs the options of a multiple choice
    return list(dict.fromkeys([*data.metadata_fields, *option_fields(present)]))


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: dates and the like, from Parquet, become text."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value)


def unusable(source: str, bad: Sequence[Row], total: int, what: str, remedy: str) -> UserError:
    """The error that `bad` of all rows have `what`; it names the first of them."""
    shown = [row.where for row in bad[:_SHOWN_ROWS]]
    more = f" and {len(bad) - len(shown)} more" if len(bad) > len(shown) else ""
    have = "has" if len(bad) == 1 else "have"
    return UserError(
        f"{source}: {len(bad)} of {total} rows {have} {what} ({', '.join(shown)}{more}){remedy}"
    )


def digest(text: str) -> str:
    """SHA-256 in hexadecimal. Ids and the held-out part depend on it, not on the order of rows."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
