"""The protocol of sampling engines, used by everything that needs completions.

Evaluation and training use only this protocol; the engines are in `framework/sampling`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from groupwise.rewards.types import FinishReason


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt, the key of its random numbers, and which of its samples exist already.

    `key` is the example's id: the random numbers of a sample depend on (seed, key, sample index),
    so that neither the batch size, nor the order, nor a resume changes an answer. `done` are the
    sample indices that exist already. `text` is tokenised as it is, without adding special tokens;
    if `token_ids` are given, they are used instead.
    """

    key: str
    text: str
    done: frozenset[int] = frozenset()
    token_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are drawn. `temperature=0` is greedy; `top_k=0`, `top_p=1`, `min_p=0` are off.

    `max_tokens` bounds the completion, not the prompt. A completion that ends with one of `stop`
    is cut before it. With `logprobs`, samples have each token's log-probability under the model's
    distribution at `temperature`, before top-k, top-p and min-p remove tokens.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int = 0
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class SampledCompletion:
    """A finished sample of `prompts[prompt_index]`.

    `token_ids` include the end-of-text token where one was sampled; `text` does not show it.
    `logprobs`, if asked for, has one value per token of `token_ids`.
    """

    prompt_index: int
    sample_index: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[float, ...] | None = None


class Sampler(Protocol):
    """Draws `num_samples` completions per prompt, and yields each as it finishes, in any order.

    Sample indices run from 0 to `num_samples - 1` for each prompt; those in `Prompt.done` are left
    out. Closing the iterator early stops the work.
    """

    @property
    def name(self) -> str: ...

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]: ...
