"""Dynamic sampling: other problems replace zero-variance groups, the most learnable ones first.

A group whose completions are all right or all wrong has advantages of zero and no gradient. DAPO
(https://arxiv.org/abs/2503.14476, "dynamic sampling") draws other prompts in its place until the
batch is full; here in a bounded number of rounds. Replacements are drawn at random, weighted by the
expected variance of their rewards, p (1 - p) ("learnability", https://arxiv.org/abs/2502.12272). A
problem that was never solved is still drawn, but rarely.

Left out: a curriculum for the problems that a step begins with; TRL shuffles those.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from groupwise.rewards.types import Example


@dataclass(slots=True)
class _Seen:
    """A problem's completions in the step that drew it last."""

    step: int
    correct: int = 0
    count: int = 0


class ProblemPool:
    """The problems of a training set, with the current estimate of how hard each is."""

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        self._examples, self._seed = list(examples), seed
        self._place = {example.id: i for i, example in enumerate(self._examples)}
        self._seen: dict[str, _Seen] = {}
        self._weights = np.full(len(self._examples), learnability(0, 0))

    def record(self, step: int, example_id: str, correct: bool | None) -> None:
        """Counts one completion; counts of an earlier step are dropped: the policy has changed.

        A completion that was not graded (`correct` is None) is ignored.
        """
        if correct is None or example_id not in self._place:
            return
        seen = self._seen.get(example_id)
        if seen is None or seen.step != step:
            seen = self._seen[example_id] = _Seen(step)
        seen.correct += correct
        seen.count += 1
        self._weights[self._place[example_id]] = learnability(seen.correct, seen.count)

    def draw(self, count: int, key: Sequence[int], besides: Collection[str]) -> list[Example]:
        """Up to `count` different problems whose ids are not in `besides`.

        `key`: integers that seed the draw, such as step and round.
        """
        weights = self._weights.copy()
        weights[[self._place[name] for name in besides]] = 0.0
        count = min(count, int(np.count_nonzero(weights)))
        if not count:
            return []
        generator = np.random.default_rng([self._seed, *key])
        chosen = generator.choice(
            len(weights), size=count, replace=False, p=weights / weights.sum()
        )
        return [self._examples[i] for i in chosen]


def learnability(correct: int, count: int) -> float:
    """The expected variance p (1 - p) of a problem that `correct` of `count` answers solved.

    Its mean over the posterior Beta(1 + correct, 1 + count - correct): 1/6 for a new problem.
    """
    a, b = 1 + correct, 1 + count - correct
    return a * b / ((a + b) * (a + b + 1))
