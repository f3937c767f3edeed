"""What a function in TRL's form is given besides the data: the trainer's state, and two logs.

    call = RewardCall(trainer_state, len(completions))
    function(completions=..., trainer_state=call.trainer_state, log_metric=call.log_metric)
    call.metrics, call.extra

The rubric makes one for each reward and batch. What becomes of the logs is decided by who asks for
the scores: training writes `metrics.jsonl` and `rollouts.jsonl`, an evaluation `samples.jsonl`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from groupwise.rewards.user.returned import ReturnedError, described, number_of


@dataclass(frozen=True)
class TrainerState:
    """A stand-in for the state of TRL's trainer where no trainer runs.

    It says how far the training counts as done, as the schedules of weights do: 0 of `max_steps`,
    or, in evaluations and in `groupwise check`, all of them.
    """

    global_step: int
    max_steps: int

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"trainer_state has no {name!r} where no trainer runs; it has global_step and max_steps"
        )


@dataclass
class RewardCall:
    """One call of a reward: the state it is given, and what it logs.

    `metrics` has every value by name, `extra` the values by column, in the completions' order.
    """

    trainer_state: Any
    count: int  # of the completions
    metrics: dict[str, list[float]] = field(default_factory=dict)
    extra: dict[str, list[Any]] = field(default_factory=dict)

    def log_metric(self, name: str, value: float) -> None:
        """Logs a number of the batch; the mean of a step's values is what is kept."""
        try:
            number = number_of(value)
        except ReturnedError:
            number = None
        if number is None:
            raise ReturnedError(f"log_metric({name!r}, …) was given {described(value)}, no number")
        self.metrics.setdefault(str(name), []).append(number)

    def log_extra(self, column: str, values: Iterable[Any]) -> None:
        """Logs a value for each completion of the batch, in one call or in several."""
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise ReturnedError(
                f"log_extra({column!r}, …) was given {described(values)}; a list is expected, "
                "with one value for each completion"
            )
        self.extra.setdefault(str(column), []).extend(values)

    def check_extra(self) -> None:
        """Raises ReturnedError unless every column has a value for each completion."""
        for column, values in self.extra.items():
            if len(values) != self.count:
                raise ReturnedError(
                    f"log_extra({column!r}, …) was given {len(values)} values for {self.count} "
                    "completions"
                )
