"""The nearest settings that need less, for a run in which memory ran out all the same.

    found = nearest_fit(config, architecture, "training", less=800_000_000, device="cuda")
    found.values                    # {"training.completions_per_forward": 2}

A plan that was too low by some amount is too low by about as much for the settings beside it. So
what is asked of them is not to fit by the plan, but to need less than the present ones do by it: by
what was missing, and a tenth of that phase's modelled parts. Only settings that leave the result
the same are tried, the smallest change first; a run can be resumed with these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import Architecture
from groupwise.framework.memory.estimate import plan_memory
from groupwise.framework.memory.planner import with_keys

Use = Literal["training", "rollouts", "evaluation"]
"""What was running: a forward and backward, the sampling of a step, that of an evaluation."""

_MARGIN = 0.1
_FIXED = {"context", "weights", "lora", "optimizer", "gradients", "reference"}


@dataclass(frozen=True, slots=True)
class Nearest:
    """Keys with new values, to be set together, and the bytes that they spare by the plan."""

    values: Mapping[str, Any]
    spared: int


def nearest_fit(
    config: ExperimentConfig,
    architecture: Architecture,
    use: Use,
    less: int,
    *,
    device: str = "cuda",
) -> Nearest | None:
    """The smallest change after which `use` needs `less` bytes less; None if there is none."""

    def modelled(values: Mapping[str, Any]) -> int:
        """Bytes of the parts that the settings decide about."""
        plan = plan_memory(_alone(with_keys(config, values), use), architecture, device=device)
        name = "training" if use == "training" else "generation"
        return sum(
            part.bytes
            for phase in plan.phases
            if phase.name == name
            for part in phase.parts
            if part.name not in _FIXED
        )

    now = modelled({})
    wanted = less + _MARGIN * now
    for values in _changes(config, use):
        spared = now - modelled(values)
        if spared >= wanted:
            return Nearest(values, spared)
    return None


def _changes(config: ExperimentConfig, use: Use) -> Iterator[dict[str, Any]]:
    """Values that need less and less, from the present ones on."""
    training, step = config.training, config.training.batch_shape.completions_per_step
    if use == "evaluation":
        asked = config.data.max_eval_examples or step
        rows = config.evaluation.max_rows or asked * config.evaluation.num_samples
        yield from ({"evaluation.max_rows": n} for n in _halves(rows))
    elif use == "rollouts":
        rows = min(training.max_rows or step, step)
        yield from ({"training.max_rows": n} for n in _halves(rows))
    else:
        size = training.completions_per_forward
        forwards: list[dict[str, Any]] = [
            {"training.completions_per_forward": n} for n in range(size - 1, 0, -1) if step % n == 0
        ]
        yield from forwards
        if not config.model.use_gradient_checkpointing:
            for values in ({}, *forwards):
                yield {"model.use_gradient_checkpointing": "unsloth", **values}


def _halves(rows: int) -> Iterator[int]:
    """Fewer rows: three quarters, a half, three eighths, a quarter, and so on."""
    while rows > 1:
        if rows >= 4:
            yield rows * 3 // 4
        rows //= 2
        yield rows


def _alone(config: ExperimentConfig, use: Use) -> ExperimentConfig:
    """Without the other sampling, whose plan would hide a smaller one."""
    if use == "evaluation":
        return with_keys(config, {"training.max_rows": 1})
    return with_keys(config, {"evaluation.max_rows": 1}) if use == "rollouts" else config
