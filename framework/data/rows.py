"""Rows of a data file as examples: fields by name, ids, reference answers, metadata.

    read_examples(config.data, "problems.jsonl", "train")   # [SourceExample(example, row), ...]

Rows that cannot be used are an error that names them; none is dropped silently. An answer that is
the position or label of an option (`rewards/options.py`) is read as the option's letter. Nested
fields are in `fields.py`, chat messages in `conversations.py`; which examples are held out is
decided in `examples.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from groupwise.framework.config import DataConfig
from groupwise.framework.data.conversations import (
    Conversation,
    NoConversationError,
    conversation,
    last_answer,
    plain_question,
)
from groupwise.framework.data.fields import (
    MISSING,
    field_names,
    field_of,
    listed,
    nearest,
    nested_names,
    only_one,
    plain,
    text_of,
)
from groupwise.framework.data.files import Notice, ignored, read_rows
from groupwise.framework.data.tables import Row
from groupwise.framework.data.templates import Template, read_template, shown
from groupwise.rewards.errors import UserError
from groupwise.rewards.options import (
    gold_letters,
    labels_of,
    may_count_from_one,
    option_fields,
    options_of,
)
from groupwise.rewards.types import Example, Message

_SHOWN_ROWS = 5
_WHOLE_CHATS = ("messages", "conversations", "conversation")
"""Columns that are known to hold the answer's turn too."""

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class SourceExample:
    """An example with the row it came from.

    `key` is the same for the same problem: the question, or all that the row puts before the model.
    """

    example: Example
    row: Row
    key: str


def read_examples(
    data: DataConfig, source: str, hub_split: str, notice: Notice = ignored
) -> list[SourceExample]:
    """Every row of the source, in its order. Raises UserError if rows cannot be used."""
    rows = read_rows(source, split=hub_split, config_name=data.config_name, notice=notice)
    asked = _column(rows, source, data.question_field, "data.question_field", question_of)
    prompts, keys = _prompts(rows, source, asked, data, notice)
    answers = _column(rows, source, data.answer_field, "data.answer_field", answer_of)
    if data.answer_after is not None:
        answers = _after(rows, source, answers, data)
    ids = _ids(rows, source, keys, data.id_field)
    kept = _kept_fields(rows, source, data)
    names = field_names(row.fields for row in rows)
    metadata = [_metadata(row, kept) for row in rows]
    answers = with_letters(answers, metadata, f"{source}: {data.answer_field!r}", notice)
    return [
        SourceExample(
            Example(
                id=example_id,
                question=found.question,
                answer=answer,
                messages=messages,
                metadata=fields,
                columns={name: row.fields.get(name) for name in names},
            ),
            row,
            key,
        )
        for row, found, messages, key, answer, example_id, fields in zip(
            rows, asked, prompts, keys, answers, ids, metadata, strict=True
        )
    ]


# --- what the model is asked -----------------------------------------------------------------


def question_of(value: Any) -> Conversation | None:
    """What a text or messages ask; None for anything else.

    Raises:
        NoConversationError: messages that cannot be read.
    """
    found = conversation(value)
    if found is None and (text := text_of(value)) is not None:
        return plain_question(text)
    return found


def _prompts(
    rows: Sequence[Row],
    source: str,
    asked: Sequence[Conversation],
    data: DataConfig,
    notice: Notice,
) -> tuple[list[tuple[Message, ...]], list[str]]:
    """The messages of each row, and its key: of what the row says, whatever the template says."""
    template = read_template(
        data.prompt_template,
        dict.fromkeys(("question", data.question_field)),
        [row.fields for row in rows],
        f"{source}: data.prompt_template",
    )
    refuse_unfilled(rows, source, template, "data.prompt_template")
    _refuse_the_answer(template, data.answer_field)
    prompts, keys = [], []
    for row, found in zip(rows, asked, strict=True):
        turns = list(found.messages)
        last = max(i for i, turn in enumerate(turns) if turn["role"] == "user")
        if template.text != "{question}":
            text = template.fill(dict.fromkeys(template.own, turns[last]["content"]), row.fields)
            turns[last] = {**turns[last], "content": text}
        filled = [shown(column, row.fields) for column in template.columns]
        keys.append(json.dumps([found.key, *filled]) if filled else found.key)
        if data.system_prompt is not None and not found.has_system:
            turns.insert(0, {"role": "system", "content": data.system_prompt})
        prompts.append(tuple(turns))
    _say_of_chats(source, asked, data, notice)
    return prompts, keys


def _refuse_the_answer(template: Template, answer_field: str) -> None:
    """Raises UserError if a column of the template is, or holds, the reference answer."""
    for column in template.columns:
        if column == answer_field:
            what = "is data.answer_field"
        elif answer_field.startswith(f"{column}.") and not option_fields([column]):
            what = f"holds data.answer_field {answer_field}"
        else:
            continue
        raise UserError(
            f"data.prompt_template: {{{column}}} {what}, and the prompt would give the answer "
            f"away; braces that are to stay need a space inside: {{ {column} }}"
        )


def _say_of_chats(
    source: str, asked: Sequence[Conversation], data: DataConfig, notice: Notice
) -> None:
    own = sum(found.has_system for found in asked)
    if own and data.system_prompt is not None:
        notice(
            f"{source}: {own} of {len(asked)} prompts begin with a system message of their own, "
            "which stays; data.system_prompt is put before the others only"
        )
    answered = sum(found.solution is not None for found in asked)
    if answered and data.question_field.rpartition(".")[2] not in _WHOLE_CHATS:
        notice(
            f"{source}: {answered} of {len(asked)} conversations in {data.question_field!r} end "
            "with an assistant's turn; it is not shown to the model (as a solution it is read "
            "where data.answer_field or training.warm_start.completion_field names that field)"
        )


def refuse_unfilled(rows: Sequence[Row], source: str, template: Template, key: str) -> None:
    """Raises UserError if rows have null where a template wants a column."""
    for column in template.columns:
        if bad := [row for row in rows if shown(column, row.fields) is None]:
            remedy = f"; {key} asks for it: fix or remove them"
            raise unusable(source, bad, len(rows), f"null in {column!r}", remedy)


# --- fields ----------------------------------------------------------------------------------


def with_letters(
    answers: Sequence[str],
    metadata: Sequence[Mapping[str, Any]],
    where: str = "",
    notice: Notice = ignored,
) -> list[str]:
    """The answers of a source; one that is the position or label of an option is its letter."""
    options = [options_of(fields) for fields in metadata]
    labels = [labels_of(fields) for fields in metadata]
    if may_count_from_one(answers, options, labels):
        notice(
            f"{where} has positions of options, of which none is 0 and none is the last if counted "
            "from 1; they are read from 0, so that 1 is the second option (B); if that is wrong, "
            "write letters"
        )
    return gold_letters(answers, options, labels)


def answer_of(value: Any) -> str | None:
    """A reference answer as text; None if there is none.

    Of messages it is the assistant's last turn, of a list with one element that element.

    Raises:
        NoConversationError: messages that cannot be read.
    """
    value = only_one(value)
    text = text_of(value)
    if text is not None and text[0] not in "[{":
        return text
    return last_answer(value) or text


def _column(
    rows: Sequence[Row],
    source: str,
    name: str,
    key: str,
    convert: Callable[[Any], ValueT | None],
) -> list[ValueT]:
    """The values of a field, converted. Raises UserError if rows have none that can be."""
    values: list[ValueT] = []
    wrong: dict[str, list[Row]] = {}  # rows by what is wrong with them
    for row in rows:
        value = field_of(row.fields, name)
        try:
            found = None if value is MISSING else convert(value)
            what = "no text"
        except NoConversationError as error:
            found, what = None, str(error)
        if found is not None:
            values.append(found)
        else:
            wrong.setdefault(what, []).append(row)
    if not wrong:
        return values
    if all(field_of(row.fields, name) is MISSING for row in rows):
        raise UserError(f"{source}: no row has a field {name!r}; {_meant(rows, name, key)}")
    what, bad = next(iter(wrong.items()))
    remedy = f"; fix or remove them, or set {key}"
    # Name a list or an object: the field exists, with another type than expected.
    odd = next((v for row in bad if isinstance(v := _nested(row, name), list | Mapping)), None)
    if what == "no text" and odd is not None:
        what = f"a {type(odd).__name__} instead of text"
        if isinstance(odd, Mapping) and odd:
            remedy += f" to what is in it: {', '.join(f'{name}.{inner}' for inner in odd)}"
    raise unusable(source, bad, len(rows), f"{what} in {name!r}", remedy)


def _nested(row: Row, name: str) -> Any:
    value = field_of(row.fields, name)
    return value.tolist() if hasattr(value, "tolist") else value


def _meant(rows: Sequence[Row], name: str, key: str) -> str:
    """Which field was probably meant, which there are, and what to set."""
    fields = [row.fields for row in rows]
    close = nearest(name, fields)
    hint = f"did you mean {close!r}? The" if close else "the"
    said = f"{hint} fields are {listed(nested_names(fields))}; set {key}"
    if close == "instruction" and "input" in field_names(fields):
        said += ', and data.prompt_template: "{question}\\n\\n{input}"'
    return said


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


def _ids(rows: Sequence[Row], source: str, keys: Sequence[str], id_field: str | None) -> list[str]:
    if id_field is None:
        counts: dict[str, int] = {}
        ids = []
        for key in keys:
            counts[key] = times = counts.get(key, 0) + 1
            ids.append(digest(key)[:12] + (f"-{times}" if times > 1 else ""))
        return ids
    ids = _column(rows, source, id_field, "data.id_field", text_of)
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
    fields = [row.fields for row in rows]
    for name in data.metadata_fields:
        if all(field_of(row, name) is MISSING for row in fields):
            close = nearest(name, fields)
            known = f"the fields are {listed(nested_names(fields))}"
            hint = f"did you mean {close!r}?" if close else known
            raise UserError(f"{source}: no row has data.metadata_fields {name!r}; {hint}")
    # Grading needs the options of a multiple choice
    return list(dict.fromkeys([*data.metadata_fields, *option_fields(present)]))


def _metadata(row: Row, kept: Sequence[str]) -> dict[str, Any]:
    found = {name: field_of(row.fields, name) for name in kept}
    return {name: plain(value) for name, value in found.items() if value is not MISSING}


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
