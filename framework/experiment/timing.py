"""The time of a run: what is left of it.

clock = run_clock(config, len(problems.held_out), base)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.run.time_left import Evaluated, Evaluations, RunClock

if TYPE_CHECKING:
    from groupwise.evaluation import Summary


def run_clock(config: ExperimentConfig, held_out: int, base: Summary | None) -> RunClock:
    """A clock for the training of a run, and the evaluations in and after it.

    `held_out`: problems of the evaluations; `base`: the one made before training.
    """
    return RunClock(
        evaluations_of(config, held_out, Evaluated.of(base) if base else None),
        config.training.num_iterations if config.training.method == "grpo" else 1,
    )


def evaluations_of(
    config: ExperimentConfig, held_out: int, past: Evaluated | None = None
) -> Evaluations:
    """The evaluations of a config, in samples, beside the one before training."""
    asked = config.evaluation
    subset = held_out if asked.every_examples is None else min(held_out, asked.every_examples)
    return Evaluations(
        every_steps=asked.every_steps if config.training.method == "grpo" else None,
        each=subset * asked.num_samples,
        last=held_out * asked.num_samples if asked.after else 0,
        past=past,
        may_stop=asked.every_steps is not None and asked.patience is not None,
    )
