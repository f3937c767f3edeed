"""How an answer is written: its format, length, repetition and steps, whatever its content.

    Length(max_length=200, slack=100)(example, completion)   # 0.0 to 1.0

Each reward is a frozen dataclass whose fields are its parameters in YAML, called with an example
and a completion. What it leaves out: whether the answer is right, except in `CosineLength`.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from groupwise.rewards.math.find import find_answer
from groupwise.rewards.text import MAX_TEXT_CHARS
from groupwise.rewards.types import Completion, Example, Grade

_CHECKED: Any = {"extra": "forbid", "arbitrary_types_allowed": True}
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

Template = Literal["think_answer", "think", "answer", "boxed", "think_boxed"]
_TEMPLATE_TAGS: dict[str, tuple[str, ...]] = {
    "think_answer": ("think", "answer"),
    "think": ("think",),
    "answer": ("answer",),
    "boxed": (),
    "think_boxed": ("think",),
}
_STEP_NUMBER = re.compile(r"(?:step\s*)?\d+\s*[.):]|[-*•]\s", re.IGNORECASE)


@dataclass(frozen=True, config=_CHECKED)
class Format:
    """1.0 if the completion keeps to a template, else 0.0 (or a share, if `graded`).

    `template`: `think_answer` is `<think>…</think><answer>…</answer>`, `think` the first half,
    `answer` the second; `boxed` asks for exactly one `\\boxed{…}`; `think_boxed` for a thought,
    then a box. Each tag must occur exactly once, in order, with something inside, and only space
    outside (for `think`, the answer follows it).

    `pattern` replaces `template`: a regular expression that must match the whole text, with `.`
    matching newlines. After `pattern_timeout_s` it is stopped, which gives None.

    `think_opened`: whether the prompt ends with an open `<think>`, so that the completion must not
    open it again; `auto` looks at the prompt. Getting this wrong gives every completion 0.0.
    """

    template: Template = "think_answer"
    pattern: str | None = None
    graded: bool = False
    think_opened: Literal["auto"] | bool = "auto"
    pattern_timeout_s: float = Field(default=0.5, gt=0, le=10)

    def __post_init__(self) -> None:
        if self.pattern is not None:
            import regex  # slow, and rarely needed: not at start-up

            try:
                regex.compile(self.pattern, regex.DOTALL)
            except regex.error as error:
                raise ValueError(f"pattern {self.pattern!r}: {error}") from None

    def __call__(self, example: Example, completion: Completion) -> float | None:
        opened = self.think_opened
        if opened == "auto":
            opened = opens_thought(example.prompt)
        text = completion.text
        if self.pattern is not None:
            return self._matches("<think>" + text if opened else text)
        if len(text) > MAX_TEXT_CHARS or not text.strip():
            return 0.0
        checks = self._checks(text, bool(opened))
        if self.graded:
            return sum(checks) / len(checks)
        return 1.0 if all(checks) else 0.0

    def _matches(self, text: str) -> float | None:
        # Not `re`, which has no time-out: a user's pattern may backtrack for hours
        import regex  # slow: not at start-up

        try:
            found = regex.fullmatch(
                self.pattern, text, regex.DOTALL, timeout=self.pattern_timeout_s
            )
        except TimeoutError:
            return None
        return 1.0 if found else 0.0

    def _checks(self, text: str, opened: bool) -> list[bool]:
        """One check for each tag that the completion has to write, then order, then the rest."""
        tags = _TEMPLATE_TAGS[self.template]
        marks = [mark for tag in tags for mark in (f"<{tag}>", f"</{tag}>")]
        written = marks[1:] if opened and marks[:1] == ["<think>"] else marks
        once = [text.count(mark) == 1 for mark in written]
        if written is not marks and "<think>" in text:
            once[0] = False
        whole = "<think>" + text if written is not marks else text
        position, in_order, outside, insides = 0, all(once), "", []
        for index, mark in enumerate(marks):
            at = whole.find(mark, position)
            if at < 0:
                in_order = False
                break
            between = whole[position:at]
            if index % 2:
                insides.append(between)
            else:
                outside += between
            position = at + len(mark)
        rest = whole[position:]
        if self.template in ("boxed", "think_boxed"):
            boxed = rest.count("\\boxed") == 1 and find_answer(rest, ("boxed",), closed=False)
            return [*once, in_order and not outside.strip(), bool(boxed)]
        if self.template == "think":  # the answer follows the thought
            clean = bool(rest.strip()) and not outside.strip()
        else:
            clean = not (outside + rest).strip()
        filled = all(inside.strip() for inside in insides)
        return [*once, in_order and filled, in_order and clean]


def opens_thought(prompt: str) -> bool:
    """Whether the chat template has already written `<think>` for the model."""
    return prompt.rstrip().endswith("<think>")


def _length(completion: Completion, unit: str) -> int:
    if unit == "characters":
        return len(completion.text)
    if unit == "words":
        return len(completion.text.split())
    if completion.num_tokens == 0 and completion.text:
        raise ValueError("the completion's num_tokens is unknown; use unit: words or characters")
    return completion.num_tokens


Unit = Literal["tokens", "words", "characters"]


@dataclass(frozen=True, config=_CHECKED)
class Length:
    """1.0 between `min_length` and `max_length`; falls to 0.0 over `slack` beyond either end.

    Without `slack` it falls at once. A completion that was cut off at the token limit gets 0.0.
    """

    max_length: Count
    min_length: int = Field(default=1, ge=0)
    slack: int = Field(default=0, ge=0)
    unit: Unit = "tokens"

    def __post_init__(self) -> None:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} is above max_length {self.max_length}")

    def __call__(self, example: Example, completion: Completion) -> float:  # noqa: ARG002
        if completion.finish_reason == "length":
            return 0.0
        length = _length(completion, self.unit)
        beyond = max(self.min_length - length, length - self.max_length, 0)
        if beyond == 0:
            return 1.0
        return max(0.0, 1.0 - beyond / self.slack) if self.slack else 0.0


@dataclass(frozen=True, config=_CHECKED)
class SoftOverlong:
    """0.0 up to `max_length - buffer`, then down to -1.0 at `max_length`.

    DAPO, arXiv 2503.14476, equation 13.
    """

    max_length: Count
    buffer: Count
    unit: Unit = "tokens"

    def __post_init__(self) -> None:
        if self.buffer > self.max_length:
            raise ValueError(f"buffer {self.buffer} is above max_length {self.max_length}")

    def __call__(self, example: Example, completion: Completion) -> float:  # noqa: ARG002
        over = _length(completion, self.unit) - (self.max_length - self.buffer)
        return -min(1.0, max(0.0, over / self.buffer))


@dataclass(frozen=True, config=_CHECKED)
class CosineLength:
    """Correctness scaled by length along a half cosine (arXiv 2502.03373, appendix C.1).

    A right answer falls from `correct_short` to `correct_long` as it nears `max_length`; a wrong
    one rises from `wrong_short` to `wrong_long`, so that a hard problem earns more thought. Takes
    the rubric's grade; None if the answer could not be judged.
    """

    max_length: Count
    correct_short: Finite = 1.0
    correct_long: Finite = 0.5
    wrong_short: Finite = -1.0
    wrong_long: Finite = -0.5
    unit: Unit = "tokens"

    def score_graded(
        self,
        example: Example,  # noqa: ARG002
        completion: Completion,
        grade: Grade,
    ) -> float | None:
        if grade.status in ("timeout", "bad_reference"):
            return None
        short, long = (
            (self.correct_short, self.correct_long)
            if grade.correct
            else (self.wrong_short, self.wrong_long)
        )
        progress = min(_length(completion, self.unit) / self.max_length, 1.0)
        return long + 0.5 * (short - long) * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True, config=_CHECKED)
class Repetition:
    """0.0 without repeated word n-grams, down to `max_penalty` where all repeat.

    As arXiv 2502.03373, appendix C.2, over words (so that it needs no tokenizer); a text without
    spaces is taken by characters. Judges the first 200,000 characters.
    """

    ngram_size: Count = 3
    max_penalty: float = Field(default=-1.0, le=0.0, allow_inf_nan=False)

    def __call__(self, example: Example, completion: Completion) -> float:  # noqa: ARG002
        text = completion.text[:MAX_TEXT_CHARS].lower()
        words: list[str] | str = text.split()
        if len(words) < self.ngram_size and len(text) > 100:
            words = text
        total = len(words) - self.ngram_size + 1
        if total <= 1:
            return 0.0
        unique = len({tuple(words[i : i + self.ngram_size]) for i in range(total)})
        # 0.0, not -0.0, where nothing repeats
        return self.max_penalty * (1.0 - unique / total) if unique < total else 0.0


@dataclass(frozen=True, config=_CHECKED)
class ReasoningSteps:
    """The share of `target` steps that the reasoning shows, at most 1.0.

    A step is a line or sentence with at least `min_words` words or numbers; a repeated step (apart
    from its step number) counts once, so that padding earns nothing. With a `<think>` block only
    the thought counts; the content of `<answer>` never does.
    """

    target: Count = 3
    min_words: Count = 3

    def __call__(self, example: Example, completion: Completion) -> float:  # noqa: ARG002
        text = completion.text[:MAX_TEXT_CHARS]
        end = text.rfind("</think>")
        if end >= 0:
            text = text[:end]
        text = text[text.find("<think>") + 7 :] if "<think>" in text else text
        text = text.partition("<answer>")[0]
        seen = set()
        for line in re.split(r"\n|(?<=[.!?;])\s", text):
            step = line.strip()[:2_000].lower()
            if (number := _STEP_NUMBER.match(step)) is not None:
                step = step[number.end() :]
            words = re.findall(r"\w+", step)
            if len(words) >= self.min_words and len(set(words)) > 1:
                seen.add(" ".join(words))
                if len(seen) >= self.target:
                    return 1.0
        return len(seen) / self.target
