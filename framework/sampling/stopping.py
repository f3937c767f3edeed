"""When a sample ends: end-of-text tokens, stop strings, the token limit; and its text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from groupwise.framework.sampling.turn_end import turn_end
from groupwise.rewards.types import FinishReason


class Stopping:
    """Decides after each token whether a sample has ended.

    A stop string can only be completed by a token whose own text contains the string's last
    character. This is determined once per token id, when it is first sampled; for all other tokens
    nothing is decoded.
    """

    def __init__(self, model: Any, tokenizer: Any, stop: Sequence[str], max_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.eos_ids = end_of_text_ids(model, tokenizer)
        # A stop string that is a token of its own (<|im_end|>) ends like an end-of-text token:
        # the decoded text may not show it.
        added = tokenizer.get_added_vocab()
        self.end_ids = self.eos_ids | {added[s] for s in stop if s in added}
        self.strings = tuple(s for s in stop if s not in added)
        self._last_characters = {s[-1] for s in self.strings}
        self._may_complete: dict[int, bool] = {}

    def ended(self, token_ids: Sequence[int]) -> bool:
        """Whether the sample ends with its newest token, `token_ids[-1]`."""
        token = token_ids[-1]
        if token in self.end_ids or len(token_ids) >= self.max_tokens:
            return True
        if not self.strings:
            return False
        may = self._may_complete.get(token)
        if may is None:
            may = self._may_complete[token] = self._can_complete(token)
        return may and self._cut(self._decode(token_ids)) is not None

    def text_and_reason(self, token_ids: Sequence[int]) -> tuple[str, FinishReason]:
        """The text as a reader sees it, and why the sample ended."""
        ended = bool(token_ids) and token_ids[-1] in self.end_ids
        text = self._decode(token_ids[:-1] if ended else token_ids)
        cut = self._cut(text)
        if cut is not None:
            return text[:cut], "stop"
        return text, "stop" if ended else "length"

    def _decode(self, token_ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def _cut(self, text: str) -> int | None:
        """Where the first stop string begins."""
        found = [at for s in self.strings if (at := text.find(s)) >= 0]
        return min(found, default=None)

    def _can_complete(self, token: int) -> bool:
        # Decoded behind itself: at the very start some tokenizers drop a leading space. A token
        # with half a character decodes to U+FFFD; what it completes is only seen in the whole.
        text = self._decode([token, token])
        return "\ufffd" in text or not self._last_characters.isdisjoint(text)


def end_of_text_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """All tokens that end a text.

    `generation_config` may name several, the tokenizer one more, and the chat template ends a turn
    with one that may be neither.
    """
    end = turn_end(tokenizer)
    generation_config = getattr(model, "generation_config", None)
    return as_ids(
        getattr(generation_config, "eos_token_id", None),
        tokenizer.eos_token_id,
        None if end is None else end.token_id,
    )


def as_ids(*found: int | Iterable[int] | None) -> frozenset[int]:
    """Token ids as transformers' configs have them: a number, several, or none."""
    ids: set[int] = set()
    for given in found:
        if isinstance(given, int):
            ids.add(given)
        elif given is not None:
            ids.update(int(i) for i in given)
    return frozenset(ids)
