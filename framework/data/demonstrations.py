"""Solutions to imitate in the warm start: (example, completion text)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from groupwise.framework.config import DataConfig, WarmStartConfig
from groupwise.framework.data.examples import load_items
from groupwise.framework.data.prompts import render_prompts
from groupwise.framework.data.rows import SourceExample, read_examples, text_of, unusable
from groupwise.rewards.types import Example

_CALCULATOR = re.compile(r"<<[^<>\n]*>>")


"""GSM8K's calculator notes, as in 48/2 = <<48/2=24>>24: an aid for graders, not for imitation."""


def load_demonstrations(data: DataConfig, warm_start: WarmStartConfig) -> list[tuple[Example, str]]:
    """Worked answers to imitate: (example, completion text), held-out problems excluded.

    The completion is `warm_start.completion_template` with the worked answer and the final one. A
    worked answer that ends with a mark (`data.answer_after`, or else `####`) is split there: for
    GSM8K, the text before `####` goes inside <think>, the number inside <answer>. Without a mark
    the final one is the reference answer.

    Raises:
        UserError: the source cannot be used, or rows of it have no worked answer.
    """
    if warm_start.data is None:
        items, _ = load_items(data, "train")
    else:
        items = read_examples(data, warm_start.data, data.train_split)
    found = [(item, _worked(item, data, warm_start)) for item in items]
    source = warm_start.data or data.train
    if bad := [item.row for item, worked in found if worked is None]:
        raise unusable(
            source,
            bad,
            len(items),
            f"no worked answer in {warm_start.completion_field or data.answer_field!r}",
            "; set training.warm_start.completion_field to the field that holds it",
        )
    opening = warm_start.completion_template.partition("{solution}")[0].strip()
    doubled = [i.row for i, worked in found if opening and worked and worked[0].startswith(opening)]
    if doubled:
        raise unusable(
            source,
            doubled,
            len(items),
            f"{opening!r} already",
            ", and training.warm_start.completion_template would write it again; set it to "
            '"{solution}"',
        )
    return [
        (item.example, _fill(warm_start.completion_template, *worked))
        for item, worked in found[: warm_start.max_examples]
        if worked is not None
    ]


def render_demonstrations(
    demonstrations: Sequence[tuple[Example, str]],
    tokenizer: Any,
    max_prompt_length: int,
    chat_template: str | None = None,
) -> list[tuple[Example, str]]:
    """The demonstrations with rendered prompts, without those whose prompt is too long."""
    examples = [example for example, _ in demonstrations]
    rendered = render_prompts(examples, tokenizer, max_prompt_length, chat_template)
    by_id = {example.id: example for example in rendered.examples}
    return [(by_id[e.id], text) for e, text in demonstrations if e.id in by_id]


def _worked(
    item: SourceExample, data: DataConfig, warm_start: WarmStartConfig
) -> tuple[str, str] | None:
    """The worked answer and the final answer that it comes to; None where there is none."""
    field = warm_start.completion_field or data.answer_field
    if warm_start.completion_field is None and data.answer_after is None:
        return None
    text = text_of(item.row.fields.get(field))
    if text is None:
        return None
    before, mark, after = text.rpartition(data.answer_after or "####")
    solution, answer = (before, after.strip()) if mark else (text, item.example.answer)
    solution = _CALCULATOR.sub("", solution).strip()
    return (solution, answer) if solution else None


def _fill(template: str, solution: str, answer: str) -> str:
    # In one pass: a solution that happens to hold "{answer}" must stay as it is.
    values = {"{solution}": solution, "{answer}": answer}
    return re.sub(r"\{solution\}|\{answer\}", lambda found: values[found.group()], template)
