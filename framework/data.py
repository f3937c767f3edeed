"""From data files to examples: fields by name, held-out part, chat prompts, demonstrations.

    train = load_examples(config.data, "train")  # ExampleSet(examples, report)
    rendered = render_prompts(train.examples, tokenizer, config.data.max_prompt_length)

Nothing is dropped in silence: rows that cannot be used are refused with their numbers, prompts that
are too long are counted. No torch here; `datasets` is imported only for a hub data set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from framework.config import TOY, DataConfig, ExperimentConfig, WarmStartConfig
from framework.example_rows import SourceExample, digest, read_examples, text_of, unusable
from rewards.errors import UserError
from rewards.types import Example

Split = Literal["train", "eval"]

_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
"""GSM8K's calculator notes, as in 48/2 = <<48/2=24>>24: an aid for graders, not for imitation."""


@dataclass(frozen=True)
class DataReport:
    """What was read, in numbers: rows in the source, rows held out of it, questions that repeat."""

    source: str
    num_rows: int
    num_examples: int
    num_held_out: int = 0
    num_repeated_questions: int = 0

    def __str__(self) -> str:
        text = f"{self.num_examples} examples from {self.source}"
        if self.num_examples != self.num_rows:
            text += f" ({self.num_rows} rows"
            text += f", {self.num_held_out} held out for evaluation)" if self.num_held_out else ")"
        if self.num_repeated_questions:
            text += f"; {self.num_repeated_questions} questions stand there more than once"
        return text


@dataclass(frozen=True)
class ExampleSet:
    """Examples, not yet rendered, and where they came from."""

    examples: tuple[Example, ...]
    report: DataReport


@dataclass(frozen=True)
class LeftOut:
    """An example whose prompt has too many tokens."""

    id: str
    num_tokens: int


@dataclass(frozen=True)
class RenderedPrompts:
    """Examples with their `prompt`, those that were left out, and the longest prompt kept."""

    examples: tuple[Example, ...]
    left_out: tuple[LeftOut, ...]
    longest_prompt: int
    max_prompt_length: int

    def __str__(self) -> str:
        text = f"{len(self.examples)} prompts, the longest has {self.longest_prompt} tokens"
        if self.left_out:
            longest = max(item.num_tokens for item in self.left_out)
            text += (
                f"; {len(self.left_out)} left out with more than data.max_prompt_length "
                f"{self.max_prompt_length} tokens (up to {longest})"
            )
        return text


def load_examples(data: DataConfig, split: Split) -> ExampleSet:
    """The problems of one split, in the order of the source, without `prompt`.

    Where `data.eval` is null, `eval_fraction` of train is held out: by the hash of the question, so
    that the same questions are held out whatever the order of the rows and the seed, and a question
    that stands twice never lands on both sides. With an `eval_fraction` of 0 there
    are no problems to evaluate on.

    Raises:
        UserError: the source is missing, empty or broken, or rows of it cannot be used.
    """
    items, report = _load(data, split)
    limit = data.max_train_examples if split == "train" else data.max_eval_examples
    examples = tuple(item.example for item in items[:limit])
    return ExampleSet(examples, replace(report, num_examples=len(examples)))


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
        items, _ = _load(data, "train")
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


def with_toy(
    config: ExperimentConfig, model: Path, train: Path, evaluation: Path
) -> ExperimentConfig:
    """The config with the toy's own files wherever it says `toy`, its worked answers included."""
    values: dict[str, Any] = {}
    if config.model.name == TOY:
        values["model.name"] = str(model)
    if config.data.train == TOY:
        values["data.train"] = str(train)
        if config.data.eval is None:
            values["data.eval"] = str(evaluation)
        if config.training.warm_start.completion_field is None:
            values["training.warm_start.completion_field"] = "solution"
            values["training.warm_start.completion_template"] = "{solution}"  # tags and all
    if config.data.eval == TOY:
        values["data.eval"] = str(evaluation)
    return config.with_values(values) if values else config


def overlap(train: Iterable[Example], evaluation: Iterable[Example]) -> list[str]:
    """Ids of evaluation examples whose question is also in train, but for case and spaces."""
    seen = {_normalised(example.question) for example in train}
    return [example.id for example in evaluation if _normalised(example.question) in seen]


def render_prompts(
    examples: Sequence[Example],
    tokenizer: Any,
    max_prompt_length: int,
    chat_template: str | None = None,
) -> RenderedPrompts:
    """Put each example's messages into the tokenizer's chat template, as text.

    Prompts of more than `max_prompt_length` tokens are left out, and counted. `chat_template` is
    the text of a template to use in place of the tokenizer's own.

    Raises:
        UserError: there is no chat template, it fails, or no prompt is short enough.
    """
    if not (chat_template or getattr(tokenizer, "chat_template", None)):
        raise UserError(
            "the tokenizer has no chat template, so a question cannot be put to the model; set "
            "model.chat_template to a Jinja file, or use the instruction-tuned model"
        )
    kept, left_out, longest = [], [], 0
    for example in examples:
        prompt = _apply_template(tokenizer, example, chat_template)
        # The template writes the special tokens itself; adding them again would double the first.
        num_tokens = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        if num_tokens > max_prompt_length:
            left_out.append(LeftOut(example.id, num_tokens))
            continue
        kept.append(replace(example, prompt=prompt))
        longest = max(longest, num_tokens)
    if examples and not kept:
        shortest = min(item.num_tokens for item in left_out)
        raise UserError(
            f"data.max_prompt_length: {max_prompt_length} leaves no prompt: the shortest of "
            f"{len(examples)} has {shortest} tokens"
        )
    if len({e.question for e in kept}) > 1 and len({e.prompt for e in kept}) == 1:
        raise UserError(
            f"the chat template leaves the question out: {len(kept)} problems have one and the "
            f"same prompt, {kept[0].prompt!r}; mend model.chat_template, or the tokenizer's own"
        )
    return RenderedPrompts(tuple(kept), tuple(left_out), longest, max_prompt_length)


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


def _apply_template(tokenizer: Any, example: Example, chat_template: str | None) -> str:
    from jinja2 import TemplateError

    messages = [dict(message) for message in example.messages]
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, chat_template=chat_template, tokenize=False, add_generation_prompt=True
            )
        )
    except TemplateError as error:
        has_system = any(message["role"] == "system" for message in messages)
        hint = "; if it takes no system message, set data.system_prompt: null" if has_system else ""
        raise UserError(f"the chat template fails: {error}{hint}") from error


def _load(data: DataConfig, split: Split) -> tuple[list[SourceExample], DataReport]:
    held_out = data.eval is None
    if split == "eval" and data.eval is not None:
        source, hub_split = data.eval, data.eval_split
    else:
        source, hub_split = data.train, data.train_split
    items = everything = read_examples(data, source, hub_split)
    if held_out:
        for_eval = _held_out(everything, data.eval_fraction)
        items = [i for i in everything if (i.example.question in for_eval) == (split == "eval")]
        if not items and data.eval_fraction:
            rows = f"{len(everything)} row{'s are' if len(everything) > 1 else ' is'}"
            raise UserError(
                f"{source}: {rows} too few to hold data.eval_fraction {data.eval_fraction:g} of "
                "them out for evaluation; name a file under data.eval"
            )
    questions = {item.example.question for item in items}
    report = DataReport(
        source=source,
        num_rows=len(everything),
        num_examples=len(items),
        num_held_out=len(everything) - len(items) if split == "train" else 0,
        num_repeated_questions=len(items) - len(questions),
    )
    return items, report


def _held_out(items: Sequence[SourceExample], fraction: float) -> set[str]:
    """The questions to hold out: those with the smallest hashes, at least one."""
    questions = sorted({item.example.question for item in items}, key=digest)
    return set(questions[: max(1, round(fraction * len(questions)))] if fraction else [])


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


def _normalised(text: str) -> str:
    return " ".join(text.lower().split())
