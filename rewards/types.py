"""The data types of every reward, log and trainer: Example, Completion, Grade, Score, Reward.

No torch, no tokenizer, no file access: a reward is a plain function of text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Status = Literal["correct", "wrong", "unparseable", "timeout", "bad_reference"]
"""The result of checking an answer; the five are counted separately.

- `correct`: equal to the reference answer;
- `wrong`: an answer was found, and it differs;
- `unparseable`: no answer was found in the text;
- `timeout`: checking took too long and was stopped: nothing is known about the answer;
- `bad_reference`: the reference answer itself cannot be read: nothing is known about the answer.
"""

STATUSES: tuple[Status, ...] = ("correct", "wrong", "unparseable", "timeout", "bad_reference")

FinishReason = Literal["stop", "length"]
"""Why sampling ended: an end-of-text token or stop string, or the token limit (truncated)."""

Message = Mapping[str, str]
"""One chat turn: {"role": "system" | "user" | "assistant", "content": text}."""


@dataclass(frozen=True, slots=True)
class Example:
    """One problem with its reference answer.

    `id` is stable from run to run: the logs and the random numbers of sampling are keyed by it.
    `prompt` is the text exactly as the model sees it, after the chat template; it stays empty until
    a tokenizer has rendered `messages`. Rewards look at it to learn, for example, whether the
    template has already opened `<think>`. `prompt_ids` are its tokens, if known: code that sets
    another `prompt` has to set them too, or empty them.

    `columns` are the fields of the example's row as they were read: all of them, under their own
    names, with their own types. `metadata` is what the logs keep of them.
    """

    id: str
    question: str
    answer: str
    messages: tuple[Message, ...] = ()
    prompt: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prompt_ids: tuple[int, ...] = field(default=(), repr=False, compare=False)
    columns: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer: its text without the end-of-text token, and its length in tokens.

    `token_ids` are needed only by rewards that look at tokens (some of TRL's); they may stay empty.
    """

    text: str
    num_tokens: int = 0
    finish_reason: FinishReason = "stop"
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Grade:
    """Whether an answer equals its reference, and what was taken as the answer.

    `extracted` is the answer as found in the text, None if none was found; `found_by` names the
    rule that found it (`answer_tag`, `boxed`, `hash`, `phrase`, `last_number`, ...).
    """

    correct: bool
    status: Status
    extracted: str | None = None
    found_by: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What a completion is worth: the raw value of each reward by name, and their composed total.

    `parts` are raw: weights, gates and clipping have been applied to `total` only. A part is None
    where that reward had no opinion. `extra` is what functions logged beside it (`log_extra`).
    """

    total: float
    parts: Mapping[str, float | None]
    grade: Grade | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Reward(Protocol):
    """A reward that judges one completion at a time."""

    def __call__(self, example: Example, completion: Completion) -> float | None: ...


@runtime_checkable
class BatchReward(Protocol):
    """Judges many completions in one call: a learned model, a function in TRL's form."""

    def score_batch(
        self, examples: Sequence[Example], completions: Sequence[Completion]
    ) -> list[float | None]:
        """One value for each completion, in order; None if it has no opinion."""
        ...
