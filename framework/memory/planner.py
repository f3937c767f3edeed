"""A run beside an amount of memory: what it needs at least, and how many rows at once fit.

    found = fit(config, Planner(architecture, total), memory)
    found.verdict, found.high, found.decides.name

The engines `slots` and `generate` sample as many rows at once as memory allows: fewer are slower,
and no fault. So what sampling needs is one row of full length; more are what it takes where they
fit. What fits, fits at the upper end of the interval. Left out: vLLM, which takes a share of the
card that the config names, and fails by itself where that is too little; of its keys and values
those of one answer are counted, in all phases.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import Architecture
from groupwise.framework.memory.estimate import plan_memory
from groupwise.framework.memory.parts import MemoryPlan, Phase
from groupwise.framework.policy.checkpointing import checkpointing, with_checkpointing
from groupwise.framework.sampling.memory import MOST_ROWS_GPU

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SectionT = TypeVar("SectionT", bound="DataclassInstance")
Verdict = Literal["fits", "tight", "too large"]
"""tight: it fits at the lower end of the interval, and not at the upper one."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A run beside `memory` bytes.

    `least` has one row at once where the engine adapts; `plan` as many as are asked for and fit,
    at most `rows`, which is None where all fit, or where the engine does not adapt.
    """

    plan: MemoryPlan
    least: MemoryPlan
    memory: int
    rows: int | None

    @property
    def verdict(self) -> Verdict:
        if self.high <= self.memory:
            return "fits"
        return "tight" if self.low <= self.memory else "too large"

    @property
    def low(self) -> int:
        """Bytes that the run needs at least, the lower end of the interval."""
        return max(phase.low for phase in self.least.phases)

    @property
    def high(self) -> int:
        return upper_end(self.least)

    @property
    def decides(self) -> Phase:
        """The phase that needs most; sampling with one row at once."""
        return max(self.least.phases, key=lambda phase: phase.high)


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans of one model on one device: a GPU with `total` bytes, or a CPU."""

    architecture: Architecture
    total: int
    device: str = "cuda"
    prompt_tokens: int | None = None

    def plan(self, config: ExperimentConfig, rows: int | None = None) -> MemoryPlan:
        """The plan of the config, gradient checkpointing decided for this memory.

        `rows`: most that are sampled at once, by engines that adapt; None: what is asked for.
        """
        choice = checkpointing(config, self.total, _shape(self.architecture))
        return plan_memory(
            with_checkpointing(config, choice),
            self.architecture,
            prompt_tokens=self.prompt_tokens,
            device=self.device,
            rows=rows,
        )

    def needed(self, config: ExperimentConfig) -> int:
        """Bytes at the upper end of the interval, with as few rows at once as it takes."""
        return upper_end(self.plan(config, rows=1))


def _shape(architecture: Architecture) -> SimpleNamespace:
    """The widths under the names of a model's config."""
    return SimpleNamespace(
        hidden_size=architecture.hidden,
        intermediate_size=architecture.ffn,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.kv_heads,
        num_hidden_layers=architecture.layers,
        head_dim=architecture.head_dim,
        num_experts=architecture.other,
    )


def fit(config: ExperimentConfig, planner: Planner, memory: int) -> Fit:
    """The config's needs beside `memory` bytes."""
    plan, least = planner.plan(config), planner.plan(config, rows=1)

    def samples(plan: MemoryPlan) -> bool:
        """Whether each phase fits that would need less with fewer rows."""
        pairs = zip(plan.phases, least.phases, strict=True)
        return all(phase.high <= memory or phase == other for phase, other in pairs)

    if config.model.fast_inference:
        return Fit(least, least, memory, None)
    if samples(plan) or plan == least:  # all rows fit, or the engine does not adapt
        return Fit(plan, least, memory, None)

    def fits(rows: int) -> bool:
        return samples(planner.plan(config, rows))

    most = max(rows_asked(config), config.evaluation.max_rows or MOST_ROWS_GPU)
    rows = most_that_fit(most, fits) or 1
    return Fit(planner.plan(config, rows), least, memory, rows)


def rows_asked(config: ExperimentConfig) -> int:
    """Completions of a training step that are to be sampled at once."""
    training = config.training
    step = training.batch_shape.completions_per_step
    return min(training.max_rows or step, step)


def most_that_fit(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits, if all smaller ones do; 0 if not even 1 does."""
    return bisect.bisect_left(range(1, most + 1), True, key=lambda n: not fits(n))


def upper_end(plan: MemoryPlan) -> int:
    """Bytes at the upper end of the interval, of the phase that needs most."""
    return max(phase.high for phase in plan.phases)


def with_keys(config: ExperimentConfig, values: Mapping[str, Any]) -> ExperimentConfig:
    """The config with other values, as `with_values`, in a tenth of a millisecond."""
    nested: dict[str, Any] = {}
    for path, value in values.items():
        *sections, key = path.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    return _replaced(config, nested)


def _replaced(section: SectionT, values: Mapping[str, Any]) -> SectionT:
    changed = {
        key: _replaced(getattr(section, key), value) if isinstance(value, dict) else value
        for key, value in values.items()
    }
    return replace(section, **changed)
