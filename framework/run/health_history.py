"""The numbers of a run so far, averaged over windows of steps for the health checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groupwise.framework.config import TrainingConfig

Metrics = Mapping[str, float | None]
"""A line of `metrics.jsonl`."""

EARLY = 10  # steps: the window of "at first", and of "now" in slow changes
START = 3  # steps: "at first", where ten can already be too late
RECENT = 5  # steps: "now", where it has to be quick


@dataclass(frozen=True, slots=True)
class RewardPart:
    """A reward as the checks see it: its weight, and whether it is the correctness reward."""

    weight: float
    is_correctness: bool


class History:
    """The numbers so far, and the config and rewards of the run."""

    def __init__(self, config: TrainingConfig, parts: Mapping[str, RewardPart]) -> None:
        self.config, self.parts = config, parts
        self.steps: list[Metrics] = []
        self.is_over = False  # the last step is the last one of the run

    def mean(self, key: str, last: int, *, upto: int = 0) -> float | None:
        """Mean over `last` steps, which end `upto` steps ago; None if over half of them lack it.

        Some steps lack numbers: one without any advantage makes no forward pass, so no entropy.
        """
        end = len(self.steps) - upto
        values = [step.get(key) for step in self.steps[max(0, end - last) : end]]
        known = [value for value in values if value is not None]
        is_enough = len(values) == last and 2 * len(known) >= last
        return sum(known) / len(known) if is_enough else None

    def mean_or_all(self, key: str, last: int) -> float | None:
        """As `mean`; at the end of a run that has fewer steps, over all of them."""
        return self.mean(key, min(last, len(self.steps)) if self.is_over else last)

    def first(self, key: str, count: int) -> float | None:
        """Mean over the first `count` steps."""
        return self.mean(key, count, upto=len(self.steps) - count)

    def all(self, key: str, last: int, holds: Callable[[float], bool]) -> bool:
        """Whether `holds` is true in each of the `last` steps; False if there are fewer steps."""
        recent = self.steps[-last:]
        values = [step.get(key) for step in recent]
        return len(recent) == last and all(v is not None and holds(v) for v in values)

    @property
    def noise(self) -> float:
        """Four standard errors of a share (0 to 1) that is averaged over EARLY steps."""
        completions = EARLY * self.config.prompts_per_step * self.config.num_generations
        return 4 * 0.5 / math.sqrt(completions)
