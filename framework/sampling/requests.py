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


def encode_prompts(
    prompts: Sequence[Prompt], num_samples: int, params: SamplingParams, model: Any, tokenizer: Any
) -> list[PromptTokens]:
    """Tokenise what is not yet in tokens; prompts with nothing left to sample are dropped.

    Raises UserError for a prompt without tokens, and where prompt and completion together are
    longer than the model's positions.
    """
    limit = getattr(model.config, "max_position_embeddings", None)
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
        if limit is not None and len(ids) + params.max_tokens > limit:
            raise UserError(
                f"sampling: the prompt of example {prompt.key!r} has {len(ids)} tokens; with "
                f"max_tokens {params.max_tokens} that is more than the {limit} positions of the "
                f"model. Lower max_tokens to {max(limit - len(ids), 0)} or leave the example out."
            )
        encoded.append(PromptTokens(index, prompt.key, ids, samples))
    return encoded


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
