"""Completions whose worth is known, made from an example's reference answer.

    Writer(tokenize, "answer tags", max_tokens=512).write("reference", examples, answers)

How rewards score them is judged in `parts` and `prove`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from groupwise.rewards.math.grade import Correctness
from groupwise.rewards.math.reference import read_reference
from groupwise.rewards.math.wanted import Case
from groupwise.rewards.options import options_of
from groupwise.rewards.style import opens_thought
from groupwise.rewards.types import Completion, Example

BARE = "the answer alone"
TEMPLATES: dict[str, str] = {
    BARE: "{answer}",
    "think and answer tags": "<think>\n{thought}\n</think>\n<answer>\n{answer}\n</answer>",
    "think and answer tags around a box": (
        "<think>\n{thought}\n</think>\n<answer>\n\\boxed{{{answer}}}\n</answer>"
    ),
    "tags without line breaks": "<think>{thought}</think><answer>{answer}</answer>",
    "answer tags": "<answer>{answer}</answer>",
    "a box": "\\boxed{{{answer}}}",
    "a thought and a box": "<think>\n{thought}\n</think>\n\\boxed{{{answer}}}",
    "a thought and the answer": "<think>\n{thought}\n</think>\n{answer}",
}
"""How an answer may be wrapped; the first one that the rewards value most is taken: bare, unless a
reward asks for a form."""

Probe = Literal["reference", "wrong", "empty", "bare", "strange"]
PROBES: tuple[Probe, ...] = ("reference", "wrong", "empty", "bare", "strange")
"""The probes: the reference answer in its wrapping, another example's answer in that wrapping, an
empty text, the reference answer without wrapping, a long text in another script that is cut off."""


_TRIED_ANSWERS = 6  # of other examples, before a wrong answer counts as unknown
_MAX_THOUGHT = 1_000
_NOTES = re.compile(r"<<[^<>\n]*>>")  # GSM8K's calculator notes
_TAGS = ("<think", "</think", "<answer", "</answer", "\\boxed")
_STRANGE = {False: "Так что мы думаем дальше и дальше. ", True: "So we go on and on with it. "}

Tokenize = Callable[[Sequence[str]], list[tuple[int, ...]]]
"""Texts to token ids; the rewards that count tokens need it."""


def final_answer(example: Example, grader: Correctness | None) -> str:
    """The final answer of a reference: `72` of a solution that ends with `#### 72`.

    Without a grader prose stays as it is: the other rewards compare with the whole of it.
    """
    # Its text alone matters here, as it stands in the data
    reference = read_reference(example.answer, "text" if grader is None else grader.mode)
    return reference.text if reference is not None else example.answer.strip()


def wrong_answers(
    finals: Sequence[str], grader: Correctness, examples: Sequence[Example] = ()
) -> list[str | None]:
    """For each final answer another one of the data that grades as wrong; None: none was found.

    `examples` have the options of a multiple choice: an option's text is no wrong answer to its
    letter.
    """
    options = [options_of(e.metadata) for e in examples] if examples else [()] * len(finals)
    different = list(dict.fromkeys(finals))
    place = {answer: index for index, answer in enumerate(different)}
    if len(different) == 1:
        different.append("I do not know")
    found: list[str | None] = [None] * len(finals)
    waiting = list(range(len(finals)))
    for step in range(1, min(_TRIED_ANSWERS + 1, len(different))):
        tried = [different[(place[finals[i]] + step) % len(different)] for i in waiting]
        cases = [
            Case(f"<answer>{answer}</answer>", finals[i], True, options[i])
            for i, answer in zip(waiting, tried, strict=True)
        ]
        # The rubric's own extraction may not know tags; here only the answers are compared
        grades = replace(grader, extract=("answer_tag",)).grade_cases(cases)
        for i, answer, grade in zip(waiting, tried, grades, strict=True):
            if not grade.correct:
                found[i] = answer
        waiting = [i for i in waiting if found[i] is None]
        if not waiting:
            break
    return found


def spread(total: int, most: int) -> list[int]:
    """At most `most` indices, evenly over `total`."""
    count = min(total, most)
    return [i * total // count for i in range(count)]


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes completions whose worth is known."""

    tokenize: Tokenize
    template: str
    max_tokens: int

    def write(
        self, probe: Probe, examples: Sequence[Example], answers: Sequence[str]
    ) -> list[Completion]:
        """A completion for each example, which holds the answer as the probe asks."""
        if probe == "strange":
            return [self._strange(example) for example in examples]
        if probe == "empty":
            return [Completion("")] * len(examples)
        name = BARE if probe == "bare" else self.template
        texts = [wrap(e, answer, name) for e, answer in zip(examples, answers, strict=True)]
        return [
            Completion(text, len(ids), token_ids=ids)
            for text, ids in zip(texts, self.tokenize(texts), strict=True)
        ]

    def lengths(self, examples: Sequence[Example], answers: Sequence[str]) -> list[int]:
        """Tokens of each reference, with the solution that leads to it, as the model may write it.

        Where no form is asked for, that is the reference as it is.
        """
        if self.template == BARE:
            texts = [_NOTES.sub("", example.answer) for example in examples]
        else:
            texts = [wrap(e, a, self.template) for e, a in zip(examples, answers, strict=True)]
        return [len(ids) for ids in self.tokenize(texts)]

    def _strange(self, example: Example) -> Completion:
        text = _STRANGE[bool(re.search(r"[А-я]", example.question))]
        text *= max(1, min(self.max_tokens, 2_000) // 5)
        ids = self.tokenize([text])[0][: self.max_tokens]
        return Completion(text, self.max_tokens, "length", ids)


def wrap(example: Example, answer: str, template: str) -> str:
    """An answer as one of TEMPLATES has it; a `<think>` that the prompt opened is not repeated."""
    worked = _NOTES.sub("", example.answer.rpartition("####")[0]).strip()
    thought = (worked or example.question.strip())[:_MAX_THOUGHT]
    if not thought or any(tag in thought for tag in _TAGS):
        thought = "I will think about this step by step."
    text = TEMPLATES[template].format(thought=thought, answer=answer)
    return text.removeprefix("<think>") if opens_thought(example.prompt) else text


def by_words(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """A stand-in for a tokenizer: as many ids as there are words."""
    return [tuple(range(len(text.split()))) for text in texts]
