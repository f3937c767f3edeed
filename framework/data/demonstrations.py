"""Demonstrations for the warm start: examples with the completion to imitate.

    demonstrations = load_demonstrations(config.data, config.training.warm_start)
    rendered = render_demonstrations(demonstrations, tokenizer, config.data.max_prompt_length)

What it leaves out: whether a solution is right. A wrong one teaches the format as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.framework.config import DataConfig, WarmStartConfig
from groupwise.framework.data.examples import Reader, load_items
from groupwise.framework.data.fields import field_of
from groupwise.framework.data.prompts import PromptCache, render_prompts
from groupwise.framework.data.rows import (
    SourceExample,
    answer_of,
    read_examples,
    refuse_unfilled,
    unusable,
)
from groupwise.framework.data.templates import Template, read_template
from groupwise.rewards.types import Example

Demonstration = tuple[Example, str]
"""An example, and the completion to imitate."""

_KEY = "training.warm_start.completion_template"
_OWN = ("solution", "answer", "question")
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
"""GSM8K's calculator annotations, as in 48/2 = <<48/2=24>>24: not to be imitated."""


def load_demonstrations(
    data: DataConfig, warm_start: WarmStartConfig, read: Reader = read_examples
) -> list[Demonstration]:
    """The demonstrations that a config asks for, held-out problems excluded.

    The completion is `warm_start.completion_template` with solution and final answer. A solution
    that ends with a mark (`data.answer_after`, or else `####`) is split there: for GSM8K, the text
    before `####` goes inside <think>, the number inside <answer>. Without a mark the final answer
    is the reference answer. `read` reads a source.

    Raises:
        UserError: the source cannot be used, or rows of it have no solution.
    """
    if warm_start.data is None:
        items = load_items(data, "train", read)
    else:
        items = read(data, warm_start.data, data.train_split)
    found = [(item, _solution(item, data, warm_start)) for item in items]
    source = warm_start.data or data.train
    if bad := [item.row for item, solution in found if solution is None]:
        raise unusable(
            source,
            bad,
            len(items),
            f"no solution in {warm_start.completion_field or data.answer_field!r}",
            "; set training.warm_start.completion_field to the field that holds it",
        )
    opening = warm_start.completion_template.partition("{solution}")[0].strip()
    if doubled := [
        item.row
        for item, solution in found
        if opening and solution and solution[0].startswith(opening)
    ]:
        raise unusable(
            source,
            doubled,
            len(items),
            f"{opening!r} already",
            ", and training.warm_start.completion_template would write it again; set it to "
            '"{solution}"',
        )
    template = read_template(
        warm_start.completion_template,
        _OWN,
        [item.row.fields for item in items],
        f"{source}: {_KEY}",
    )
    refuse_unfilled([item.row for item in items], source, template, _KEY)
    return [
        (item.example, _fill(template, item, *solution))
        for item, solution in found[: warm_start.max_examples]
        if solution is not None
    ]


def render_demonstrations(
    demonstrations: Sequence[Demonstration],
    tokenizer: Any,
    max_prompt_length: int,
    cache: PromptCache | None = None,
    variables: Mapping[str, Any] | None = None,
) -> list[Demonstration]:
    """The demonstrations with rendered prompts, without those whose prompt is too long."""
    examples = [example for example, _ in demonstrations]
    rendered = render_prompts(examples, tokenizer, max_prompt_length, cache, variables)
    by_id = {example.id: example for example in rendered.examples}
    return [(by_id[e.id], text) for e, text in demonstrations if e.id in by_id]


def _solution(
    item: SourceExample, data: DataConfig, warm_start: WarmStartConfig
) -> tuple[str, str] | None:
    """The solution and its final answer; None if the row has no solution."""
    field = warm_start.completion_field or data.answer_field
    if warm_start.completion_field is None and data.answer_after is None:
        return None
    text = answer_of(field_of(item.row.fields, field))
    if text is None:
        return None
    before, mark, after = text.rpartition(data.answer_after or "####")
    solution, answer = (before, after.strip()) if mark else (text, item.example.answer)
    solution = _CALCULATOR.sub("", solution).strip()
    return (solution, answer) if solution else None


def _fill(template: Template, item: SourceExample, solution: str, answer: str) -> str:
    own = {"solution": solution, "answer": answer, "question": item.example.question}
    return template.fill(own, item.row.fields)
