"""Prompts in tokens with the samples to draw, and the finished sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.sampling.stopping import Stopping
from groupwise.rewards.errors import UserError


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt in tokens, and the sample indices that are wanted."""

    index: int
    key: str
    ids: tuple[int, ...]
    samples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """The most tokens of a prompt and its completion together; in words; the setting to raise."""

    tokens: int
    words: str
    key: str | None = None


def limit_of(model: Any) -> Limit | None:
    """The model's limit; None if it has none.

    Beyond `max_seq_length`, which Unsloth's loader sets, Unsloth's forward on a GPU cuts a prompt
    off with no more than a warning (2026.10.9, `LlamaModel_fast_forward`).
    """
    length = getattr(model, "max_seq_length", None)
    positions = getattr(model.config, "max_position_embeddings", None)
    limits = []
    if length is not None:
        limits.append(Limit(length, f"model.max_seq_length {length}", "model.max_seq_length"))
    if positions is not None:
        limits.append(Limit(positions, f"the {positions} positions of the model"))
    return min(limits, key=lambda limit: limit.tokens, default=None)


def encode_prompts(
    prompts: Sequence[Prompt], num_samples: int, params: SamplingParams, model: Any, tokenizer: Any
) -> list[PromptTokens]:
    """Tokenise what is not yet in tokens; prompts with nothing left to sample are dropped.

    Raises UserError for a prompt without tokens, and where prompt and completion together are
    longer than the model's positions, or than model.max_seq_length.
    """
    limit = limit_of(model)
    encoded = []
    for index, prompt in enumerate(prompts):
        samples = tuple(i for i in range(num_samples) if i not in prompt.done)
        if not samples:
            continue
        ids = prompt.token_ids
        if ids is None:
            # The chat template has written the special tokens already.
            ids = tuple(tokenizer(prompt.text, add_special_tokens=False)["input_ids"])
        if not ids:
            raise UserError(
                f"sampling: the prompt of example {prompt.key!r} has no tokens "
                f"(its text is {prompt.text!r}); give it a text or leave the example out."
            )
        if limit is not None and len(ids) + params.max_tokens > limit.tokens:
            raise UserError(_too_long(prompt.key, len(ids), params.max_tokens, limit))
        encoded.append(PromptTokens(index, prompt.key, ids, samples))
    return encoded


def _too_long(key: str, length: int, max_tokens: int, limit: Limit) -> str:
    remedies = [f"raise {limit.key} to {length + max_tokens}"] if limit.key else []
    if length < limit.tokens:
        remedies.append(f"lower max_tokens to {limit.tokens - length}")
    remedies.append("leave the example out")
    return (
        f"sampling: the prompt of example {key!r} has {length} tokens; with max_tokens "
        f"{max_tokens} that is more than {limit.words}: {', or '.join(remedies)}."
    )


def completion(
    prompt_index: int,
    sample_index: int,
    token_ids: Sequence[int],
    logprobs: Sequence[float] | None,
    stopping: Stopping,
) -> SampledCompletion:
    """The finished sample, with its text cut before the stop string."""
    text, reason = stopping.text_and_reason(token_ids)
    return SampledCompletion(
        prompt_index=prompt_index,
        sample_index=sample_index,
        text=text,
        token_ids=tuple(token_ids),
        finish_reason=reason,
        logprobs=None if logprobs is None else tuple(logprobs),
    )
