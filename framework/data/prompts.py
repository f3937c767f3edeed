"""Examples put into the model's chat template, as text and in tokens; what is too long is counted.

    variables = template_variables(config.model)
    rendered = render_prompts(examples, tokenizer, 512, variables=variables)
    rendered.examples[0].prompt, rendered.examples[0].prompt_ids

Left out: prompts in which the answer has already begun. A template gets the messages and the
variables, and asks for the assistant's turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from groupwise.framework.config import ModelConfig
from groupwise.framework.data.conversations import messages_as_text
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example, Message

DATE = "chat_template_date"
"""The key of the model section, and in a log's settings, that holds the date of its prompts."""


@dataclass(frozen=True)
class LeftOut:
    """An example whose prompt has too many tokens."""

    id: str
    num_tokens: int


@dataclass(frozen=True)
class RenderedPrompts:
    """Examples with `prompt` and `prompt_ids`, those left out, and the longest prompt in tokens."""

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


class PromptCache:
    """Rendered prompts by their messages, so that each distinct one is rendered and tokenised once.

    It belongs to one tokenizer. Another one that would give the same texts and ids counts as the
    same: prompts that the preflight rendered, before the model was loaded, are used afterwards too.
    """

    def __init__(self) -> None:
        self._tokenizer: Any = None
        self._variables: Mapping[str, Any] = {}
        self._prompts: dict[str, tuple[str, tuple[int, ...]]] = {}

    def use(self, tokenizer: Any, variables: Mapping[str, Any]) -> None:
        """Sets tokenizer and variables; clears the cache unless both give the same as the last."""
        if variables != self._variables:
            self._prompts.clear()
            self._variables = variables
        if tokenizer is not self._tokenizer:
            if self._prompts and not render_alike(tokenizer, self._tokenizer):
                self._prompts.clear()
            self._tokenizer = tokenizer

    def get(self, example: Example) -> tuple[str, tuple[int, ...]]:
        """The prompt of an example, as text and in tokens."""
        key = messages_as_text(example.messages)
        if key not in self._prompts:
            prompt = apply_chat_template(self._tokenizer, example.messages, self._variables)
            # The template writes the special tokens itself; adding them would double the first.
            ids = self._tokenizer(prompt, add_special_tokens=False)["input_ids"]
            self._prompts[key] = prompt, tuple(ids)
        return self._prompts[key]


def render_prompts(
    examples: Sequence[Example],
    tokenizer: Any,
    max_prompt_length: int,
    cache: PromptCache | None = None,
    variables: Mapping[str, Any] | None = None,
) -> RenderedPrompts:
    """Puts each example's messages into the tokenizer's chat template, which gets `variables`.

    Prompts of more than `max_prompt_length` tokens are left out, and counted. `cache` provides
    prompts rendered earlier, and stores new ones.

    Raises:
        UserError: there is no chat template, it fails, or no prompt is short enough.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            "the tokenizer has no chat template, so a question cannot be put to the model; set "
            "model.chat_template to a Jinja file, or use the instruction-tuned model"
        )
    cache = cache or PromptCache()
    cache.use(tokenizer, variables or {})
    kept, left_out, longest = [], [], 0
    for example in examples:
        prompt, ids = cache.get(example)
        if len(ids) > max_prompt_length:
            left_out.append(LeftOut(example.id, len(ids)))
            continue
        kept.append(replace(example, prompt=prompt, prompt_ids=ids))
        longest = max(longest, len(ids))
    if examples and not kept:
        shortest = min(item.num_tokens for item in left_out)
        raise UserError(
            f"data.max_prompt_length: {max_prompt_length} leaves no prompt: the shortest of "
            f"{len(examples)} has {shortest} tokens"
        )
    if len({e.question for e in kept}) > 1 and len({e.prompt for e in kept}) == 1:
        raise UserError(
            f"the chat template leaves the question out: {len(kept)} problems have one and the "
            f"same prompt, {kept[0].prompt!r}; fix model.chat_template, or the tokenizer's own"
        )
    return RenderedPrompts(tuple(kept), tuple(left_out), longest, max_prompt_length)


@dataclass(frozen=True, slots=True)
class FixedDate:
    """`strftime_now` of a template, for one moment; equal to another of the same moment."""

    now: datetime

    def __call__(self, format: str) -> str:
        return self.now.strftime(format)


def template_variables(
    model: ModelConfig | None, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a chat template is given beside the messages: the config's variables, and the date.

    `more` adds to the config's. Without `model.chat_template_date` the date is that of this call.
    """
    date = model.chat_template_date if model else None
    now = datetime.fromisoformat(date) if date else datetime.now().astimezone()
    given = {**(model.chat_template_kwargs if model else {}), **(more or {})}
    # A variable hides the global function of this name, with which transformers 5.17 gives
    # templates today's date (`render_jinja_template`).
    return {**given, "strftime_now": FixedDate(now)}


def template_identity(model: ModelConfig, tokenizer: Any) -> dict[str, Any]:
    """What the settings of a log keep of the template's variables: those that prompts depend on."""
    kept: dict[str, Any] = {}
    if model.chat_template_kwargs:
        kept["chat_template_kwargs"] = model.chat_template_kwargs
    if "strftime_now" in str(tokenizer.chat_template):
        kept[DATE] = model.chat_template_date
    return kept


def apply_chat_template(
    tokenizer: Any, messages: Sequence[Message], variables: Mapping[str, Any]
) -> str:
    """The prompt that asks for the assistant's turn after these messages, as text.

    `variables`: `template_variables`.

    Raises:
        UserError: the template fails.
    """
    from jinja2 import TemplateError  # slow: not at start-up

    turns = [dict(message) for message in messages]  # templates expect dictionaries
    try:
        return str(
            tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, **variables
            )
        )
    except TemplateError as error:
        has_system = any(message["role"] == "system" for message in messages)
        hint = "; if it takes no system message, set data.system_prompt: null" if has_system else ""
        raise UserError(f"the chat template fails: {error}{hint}") from error


def render_alike(one: Any, other: Any) -> bool:
    """Whether two tokenizers are known to give the same text and ids for any messages."""
    described = [_described(tokenizer) for tokenizer in (one, other)]
    return None not in described and described[0] == described[1]


def _described(tokenizer: Any) -> object | None:
    """Everything that a prompt depends on: template, special tokens, the tokenisation model.

    None for a tokenizer without a Rust backend, which cannot be compared.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    model = json.loads(backend.to_str())
    # Padding and truncation do not matter for a single prompt, and libraries change them at will.
    model |= {"padding": None, "truncation": None}
    return tokenizer.chat_template, tokenizer.special_tokens_map, model
