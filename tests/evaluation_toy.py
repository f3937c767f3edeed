"""A model and a grader that cost nothing: answers are a function of (seed, key, index) alone.

Run as a program, it evaluates, prints a line for each batch in the log, and makes one sample for
each line on its standard input (freely once that is closed): the kill test ends it in the middle.
`python evaluation_toy.py FOLDER ORDER`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence

from groupwise.evaluation.runner import EvaluationSettings, Progress, evaluate
from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.rewards.types import Completion, Example, Grade, Score


class ToySampler:
    """Right with probability `skill` x how easy the problem is; finishes in an order of its own."""

    name = "toy"

    def __init__(self, skill: float = 0.5, order: int = 0) -> None:
        self.skill, self.order = skill, order
        self.made: list[tuple[str, int]] = []

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        jobs = [
            (i, j) for i, p in enumerate(prompts) for j in range(num_samples) if j not in p.done
        ]
        random.Random(self.order).shuffle(jobs)
        for i, j in jobs:
            key = prompts[i].key
            draw = random.Random(f"{params.seed}/{key}/{j}")
            easy = random.Random(key).random()
            answer = key if draw.random() < self.skill * 2 * easy else draw.choice(["x", "y", ""])
            length = "length" if draw.random() < 0.1 else "stop"
            self.made.append((key, j))
            tokens = tuple(range(draw.randint(3, 30)))
            yield SampledCompletion(i, j, f"I say {answer}", tokens, length)


class PacedSampler(ToySampler):
    """Makes a sample when it is told to."""

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        for sample in super().sample(prompts, num_samples, params):
            sys.stdin.readline()
            yield sample


class ToyScorer:
    """Grades `I say <answer>` against the reference; also a part that is never a round number."""

    def score_batch(
        self,
        examples: Sequence[Example],
        completions: Sequence[Completion],
        progress: float = 0.0,  # noqa: ARG002 - the protocol's
        groups: Sequence[int] | None = None,  # noqa: ARG002
    ) -> list[Score]:
        return [self.score(e, c) for e, c in zip(examples, completions, strict=True)]

    def score(self, example: Example, completion: Completion) -> Score:
        said = completion.text.removeprefix("I say ") or None
        right = said == example.answer
        status = "correct" if right else "wrong" if said else "unparseable"
        length = 1 / (1 + completion.num_tokens)
        parts = {"correctness": float(right), "short": length}
        return Score(float(right) + 0.1 * length, parts, Grade(right, status, said))


def toy_examples(count: int = 20) -> list[Example]:
    return [
        Example(
            id=f"p{i}",
            question=f"Say p{i}.",
            answer=f"p{i}",
            prompt=f"<user>Say p{i}.<assistant>",
            metadata={"level": i % 3},
        )
        for i in range(count)
    ]


def main() -> None:
    folder, order = sys.argv[1], int(sys.argv[2])

    def say(progress: Progress) -> None:
        print(progress.done, flush=True)

    evaluate(toy_examples(), PacedSampler(order=order), ToyScorer(), SETTINGS, folder, say)


SETTINGS = EvaluationSettings(
    num_samples=20, score_batch_size=4, category_fields=("level",), resamples=1000
)

if __name__ == "__main__":
    main()
