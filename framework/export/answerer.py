"""What an export is asked in the check, and who answers: the protocol of its loaders.

A loader is a program that loads an export as its users do, and serves an `Answerer` to the process
that started it (`process.py`): `plain.py` with transformers and peft. Token ids, never text, are
compared: a template or a tokenizer that was lost on the way shows at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from groupwise.evaluation.sampler import Sampler
from groupwise.rewards.types import Message


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, the tuned policy's greedy answer to it, and the tokens whose chances are compared.

    `candidates` (T, K) are, at each of the T tokens of `answer_ids`, the K tokens that the policy
    finds likeliest there.
    """

    messages: tuple[Message, ...]
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model says to a question.

    `greedy_ids` is its own greedy answer, with the token that ends it. `logprobs` (T, K) are the
    log-probabilities, over the whole vocabulary, of the question's candidates, behind the prompt
    and the *policy's* answer up to each place. `best_ids` (T) is the likeliest token there.
    """

    greedy_ids: tuple[int, ...]
    logprobs: tuple[tuple[float, ...], ...]
    best_ids: tuple[int, ...]


class Answerer(Sampler, Protocol):
    """An export, loaded. As a `Sampler` it draws for Pass@K, by the random numbers of our own
    engines where it can: answers that are drawn alike differ only where the models do.
    """

    @property
    def loader(self) -> str:
        """What has loaded it, with versions: "transformers 5.17.0, peft 0.21.0"."""
        ...

    @property
    def end_ids(self) -> Sequence[int]:
        """The tokens at which it ends an answer, as its own files say."""
        ...

    def render(self, messages: Sequence[Message], variables: Mapping[str, Any]) -> list[int]:
        """The tokens of a prompt, by the export's own template and tokenizer.

        `variables` of the template are plain values; `strftime_now` is the moment (ISO 8601) that
        the template's function of this name has to tell.
        """
        ...

    def answer(
        self,
        prompt_ids: Sequence[int],
        answer_ids: Sequence[int],
        candidates: Sequence[Sequence[int]],
        max_tokens: int,
    ) -> Reply:
        """To the fields of a `Question`; `max_tokens` bounds its own greedy answer."""
        ...
