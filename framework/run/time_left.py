"""How long a run will still take: a range, from what its steps and evaluations took so far.

    clock = RunClock(Evaluations(every_steps=50, each=400, last=1600))
    clock.begin()
    clock.end_step(1, 250)    # after each step; `evaluated` after each evaluation
    str(clock.left)           # "1.4-1.7 h", once there is something to go by

Steps: rounds to come, times the seconds of one. A round is what completions are sampled once for
(`training.num_iterations` steps); the first of a session is left out: it compiles and verifies. The
later half of the rounds is cut into up to eight blocks; the range is from the quickest block to the
slowest, and wider by `FEW_ROUNDS` / sqrt(rounds) at either end. So the scatter of single rounds
averages out, and what lasts (answers that get longer, another program beside it) widens the range.

Evaluations: the seconds a token of the latest one, for answers as long as its own and as long as
training's now; before any, those of training's completions. They may differ as rounds do.

The end is that of the last evaluation; saving and the report take seconds more. Left out: changes
that no step has shown yet, and stops by `training.stop_on` and by the user.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groupwise.evaluation import Summary

LEAST_ROUNDS = 3  # beside the first
BLOCKS = 8
FEW_ROUNDS, LEAST_SPREAD = 0.3, 0.05  # benchmarks/time_left.py counts how often they are enough
_EVALUATION_SPREAD = 1.25  # a factor, either way; that of the rounds where it is more
_ROLLOUT_SPREAD = 2.0  # the same before any evaluation: rollouts come in other batches


@dataclass(frozen=True, slots=True)
class SecondsLeft:
    """Seconds to the end of a run; `is_at_most` where early stopping may end it before."""

    low: float
    high: float
    is_at_most: bool = False

    def __str__(self) -> str:
        return duration_range(self.low, self.high) + (" at most" if self.is_at_most else "")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation that was made: its samples, their tokens in all, seconds."""

    samples: int
    tokens: float
    seconds: float

    @classmethod
    def of(cls, summary: Summary, seconds: float) -> Evaluated:
        """`seconds`: of this session; of sampling alone where an earlier one has made the most."""
        samples = summary.num_samples
        tokens = summary.mean_num_tokens * samples
        return cls(samples, tokens, max(seconds, summary.seconds))


@dataclass(frozen=True, slots=True)
class Evaluations:
    """The evaluations of a run: of `each` samples every `every_steps`, of `last` after training.

    None of the former follows the last step. `may_stop`: whether they can end the run early.
    """

    every_steps: int | None = None
    each: int = 0
    last: int = 0
    may_stop: bool = False

    def to_come(self, step: int, num_steps: int) -> int:
        """Samples to be drawn after `step` and its evaluation."""
        every = self.every_steps or num_steps
        times = (num_steps - 1) // every - min(step, num_steps - 1) // every
        return times * self.each + self.last


class RunClock:
    """Keeps the seconds of rounds and evaluations; `left` is what they say of the rest."""

    def __init__(
        self,
        evaluations: Evaluations,
        steps_a_round: int = 1,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.evaluations, self.steps_a_round, self._now = evaluations, steps_a_round, now
        self.rounds: list[float] = []  # seconds without evaluations; the session's first left out
        self.latest: Evaluated | None = None
        self.left: SecondsLeft | None = None
        self.numbers: Mapping[str, float | None] = {}  # of a step, as in `metrics.jsonl`
        self.begin()

    def begin(self) -> None:
        """Training begins, or resumes."""
        self._started, self._evaluating, self._is_first = self._now(), 0.0, True

    def evaluated(self, made: Evaluated, seconds: float) -> None:
        """An evaluation before or in training, which took `seconds` of this session."""
        self.latest = made
        self._evaluating += seconds

    def end_step(self, step: int, num_steps: int) -> None:
        """After a step, its evaluation included."""
        if step % self.steps_a_round == 0:
            now = self._now()
            if not self._is_first:
                self.rounds.append(now - self._started - self._evaluating)
            self._started, self._evaluating, self._is_first = now, 0.0, False
        if len(self.rounds) >= LEAST_ROUNDS:
            more = (num_steps - step) / self.steps_a_round
            samples = self.evaluations.to_come(step, num_steps)
            low, high = seconds_a_round(self.rounds)
            least, most = self.seconds_a_sample()
            may_stop = self.evaluations.may_stop and step < num_steps
            self.left = SecondsLeft(
                more * low + samples * least, more * high + samples * most, may_stop
            )

    def seconds_a_sample(self) -> tuple[float, float]:
        """Of an evaluation, the least and the most; at least one round has been made."""
        low, high = seconds_a_round(self.rounds)
        spread = math.sqrt(high / low)  # of a round, either way
        length = self.numbers.get("completion_length/mean") or 0.0
        tokens = self.numbers.get("completion_tokens") or 0.0
        made = tokens / length if length else 0.0  # completions of the step
        if self.latest is None or not self.latest.tokens * self.latest.seconds > 0:  # NaN, too
            spread = max(spread, _ROLLOUT_SPREAD)
            names = ("rollout_seconds", "reward_seconds")
            seconds = sum(self.numbers.get(name) or 0.0 for name in names) / max(1.0, made)
            return seconds / spread, seconds * spread
        own = self.latest.tokens / self.latest.samples
        a_token = self.latest.seconds / self.latest.tokens
        shorter, longer = sorted((own, length or own))
        spread = max(spread, _EVALUATION_SPREAD)
        return a_token * shorter / spread, a_token * longer * spread


def seconds_a_round(rounds: Sequence[float]) -> tuple[float, float]:
    """The least and the most that a round to come takes on average; at least one round is given."""
    later = rounds[-max(LEAST_ROUNDS, len(rounds) // 2) :]
    size, count = len(later), min(BLOCKS, len(later))
    blocks = [fmean(later[i * size // count : (i + 1) * size // count]) for i in range(count)]
    spread = 1 + max(LEAST_SPREAD, FEW_ROUNDS / math.sqrt(len(rounds)))
    return min(blocks) / spread, max(blocks) * spread


# From so many seconds on, in this unit: its seconds and name.
_UNITS = ((2 * 86400, 86400, "days"), (5400, 3600, "h"), (90, 60, "min"), (0, 1, "s"))


def duration_range(low: float, high: float) -> str:
    """Two durations in the unit of the longer one: "1.4-1.7 h", "11-13 min", "40 s"."""
    unit, name = next((unit, name) for least, unit, name in _UNITS if high >= least)
    digits = 1 if unit > 1 and high < 10 * unit else 0
    first, last = (f"{seconds / unit:.{digits}f}" for seconds in (low, high))
    return f"{first} {name}" if first == last else f"{first}-{last} {name}"
