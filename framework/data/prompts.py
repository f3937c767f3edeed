"""Examples put into the model's chat template, as text, with what is too long counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example


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
