"""The time of a run: what is left of it while it runs, and what it will take before it begins.

    clock = run_clock(config, len(problems.held_out))
    keep_speed_of(clock, config, terminal.notice)          # at its end, or where it is stopped
    planned_time(config, read_architecture(config.model))  # None: nothing comparable was measured

A plan takes the speed of an earlier run of the same model, precision and engines on this machine,
for as many completions a step and samples an evaluation as the config asks for. With another limit
of their length, they may be as long as they were, or longer in proportion to the limit. Left out:
what comes before the first step but the evaluation, and prompts of another length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.experiment.evaluate import num_steps
from groupwise.framework.memory.architecture import Architecture, read_architecture
from groupwise.framework.run.speeds import Speed, device_name, find_speed, keep_speed
from groupwise.framework.run.time_left import (
    Evaluations,
    RunClock,
    SecondsLeft,
    seconds_a_round,
)
from groupwise.rewards.errors import UserError

ENOUGH_ROUNDS = 20
"""Of a run, for its speed to be kept."""


def run_clock(config: ExperimentConfig, held_out: int) -> RunClock:
    """A clock for a run that evaluates on so many problems."""
    return RunClock(
        evaluations_of(config, held_out),
        config.training.num_iterations if config.training.method == "grpo" else 1,
    )


def evaluations_of(config: ExperimentConfig, held_out: int) -> Evaluations:
    """The evaluations of a config, in samples, beside the one before training."""
    asked = config.evaluation
    subset = held_out if asked.every_examples is None else min(held_out, asked.every_examples)
    return Evaluations(
        every_steps=asked.every_steps if config.training.method == "grpo" else None,
        each=subset * asked.num_samples,
        last=held_out * asked.num_samples if asked.after else 0,
        may_stop=asked.every_steps is not None and asked.patience is not None,
    )


def keep_speed_of(clock: RunClock, config: ExperimentConfig, notify: Callable[[str], None]) -> None:
    """Keeps what the rounds of a GRPO training took, for plans on this machine."""
    tokens = clock.numbers.get("completion_length/mean")
    if len(clock.rounds) < ENOUGH_ROUNDS or not tokens:
        return
    try:
        architecture = read_architecture(config.model)
    except UserError:  # trained from a name whose config is not here, or of a family not known
        return
    keep_speed(
        Speed(
            speed_key(config, architecture),
            day=date.today().isoformat(),
            round=seconds_a_round(clock.rounds),
            sample=clock.seconds_a_sample(),
            completions=config.training.batch_shape.completions_per_step,
            tokens=tokens,
            length=config.training.max_completion_length,
            evaluation_length=config.eval_max_completion_length,
        ),
        notify,
    )


def speed_key(config: ExperimentConfig, architecture: Architecture) -> dict[str, Any]:
    """What a speed depends on, beside the amount of work."""
    model, training = config.model, config.training
    return {
        "device": device_name(),
        "model": {
            name: getattr(architecture, name)
            for name in ("model_type", "layers", "hidden", "ffn", "vocab", "parameters")
        },
        "precision": [model.load_in_4bit, model.load_in_8bit, model.dtype, model.full_finetuning],
        "checkpointing": str(model.use_gradient_checkpointing),
        "engines": [training.sampler, config.evaluation.sampler],
        "num_iterations": training.num_iterations,
        "completions_per_forward": training.completions_per_forward,
    }


@dataclass(frozen=True, slots=True)
class PlannedTime:
    """What training and evaluations of a run will take, and the speed that it follows from."""

    seconds: SecondsLeft
    speed: Speed

    def __str__(self) -> str:
        return (
            f"about {self.seconds} on this machine, evaluations included, as measured on "
            f"{self.speed.day} with steps of {self.speed.completions} completions of "
            f"{self.speed.tokens:.0f} tokens"
        )


def planned_time(
    config: ExperimentConfig,
    architecture: Architecture,
    *,
    problems: int | None = None,
    held_out: int | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> PlannedTime | None:
    """What a GRPO run will take here; None where nothing comparable was measured.

    `problems`, `held_out`: those to train and to evaluate on. Without the former the steps have to
    be in the config (`training.max_steps`), without the latter `data.max_eval_examples`.
    """
    training, asked = config.training, config.evaluation
    steps = num_steps(training, problems)
    held_out = config.data.max_eval_examples if held_out is None else held_out
    evaluates = asked.before or asked.after or asked.every_steps
    if training.method != "grpo" or steps is None or (evaluates and held_out is None):
        return None
    speed = find_speed(speed_key(config, architecture), notify)
    if speed is None:
        return None
    evaluations = evaluations_of(config, held_out or 0)
    samples = evaluations.to_come(0, steps)
    samples += (held_out or 0) * asked.num_samples if asked.before else 0
    rounds = math.ceil(steps / training.num_iterations)
    work = rounds * training.batch_shape.completions_per_step / speed.completions
    longer = training.max_completion_length / speed.length
    longer_evaluated = config.eval_max_completion_length / speed.evaluation_length
    low, high = (
        work * speed.round[end] * bound(1.0, longer)
        + samples * speed.sample[end] * bound(1.0, longer_evaluated)
        for end, bound in ((0, min), (1, max))
    )
    return PlannedTime(SecondsLeft(low, high, evaluations.may_stop), speed)
