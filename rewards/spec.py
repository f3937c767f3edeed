"""A reward as written in a config: its name, weight, parameters, gate, clip, schedule.

    read_spec("format", {"weight": 0.25, "requires": "correctness"})   # RewardSpec
    read_spec("format", 0.25)                                          # a bare weight

What it leaves out: whether the reward exists and takes the parameters (`rubric.build_rubric`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from itertools import pairwise
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError, field_validator
from pydantic.dataclasses import dataclass

from groupwise.rewards.errors import UserError
from groupwise.rewards.user.forms import Given
from groupwise.rewards.validation import explain, nearest

OnError = Literal["stop", "skip"]
Aggregation = Literal["sum", "normalize_then_sum"]


@dataclass(frozen=True, config={"extra": "forbid"})
class RewardSpec:
    """One part of a rubric.

    `use`: a reward of `rubric.REWARDS`, `module:function` or `path/to/file.py:function`; defaults
    to the part's key. `weight`: what its value is multiplied with. `params`: its parameters.
    `requires`: parts that must hold for this one to count: a name, or names with the least raw
    value that each must reach (1.0 if only named); if one does not, this part adds 0.
    `clip`: (low, high) for the raw value before weighting. `schedule`: ((progress, factor), …), a
    line through these points that multiplies the weight as training goes from 0 to 1.
    `completions`: how a function of the user gets completions; None takes its annotation, else
    chat messages where the prompts are such.
    """

    use: str | None = None
    weight: float = 1.0
    params: Mapping[str, Any] = field(default_factory=dict)
    requires: Mapping[str, float] = field(default_factory=dict)
    clip: tuple[float, float] | None = None
    schedule: tuple[tuple[float, float], ...] = ()
    completions: Given | None = None

    @field_validator("weight")
    @classmethod
    def _finite_weight(cls, weight: float) -> float:
        if not math.isfinite(weight):
            raise ValueError(f"weight must be a finite number, not {weight}")
        return weight

    @field_validator("requires", mode="before")
    @classmethod
    def _requires(cls, requires: Any) -> Any:
        if isinstance(requires, str):
            return {requires: 1.0}
        if isinstance(requires, Sequence):
            return dict.fromkeys(requires, 1.0)
        return requires

    @field_validator("clip")
    @classmethod
    def _ordered_clip(cls, clip: tuple[float, float] | None) -> tuple[float, float] | None:
        if clip is not None and not clip[0] <= clip[1]:
            raise ValueError(f"clip must be (low, high), not {clip}")
        return clip

    @field_validator("schedule")
    @classmethod
    def _rising_schedule(
        cls, points: tuple[tuple[float, float], ...]
    ) -> tuple[tuple[float, float], ...]:
        times = [time for time, _ in points]
        if any(not 0 <= time <= 1 for time in times) or times != sorted(set(times)):
            raise ValueError(f"schedule needs rising progress values from 0 to 1, not {times}")
        if any(not math.isfinite(factor) for _, factor in points):
            raise ValueError("schedule factors must be finite")
        return points

    def weight_at(self, progress: float) -> float:
        """The weight at a share of the training, 0.0 to 1.0."""
        if not self.schedule:
            return self.weight
        points = self.schedule
        if progress <= points[0][0]:
            return self.weight * points[0][1]
        for (t0, f0), (t1, f1) in pairwise(points):
            if progress <= t1:
                return self.weight * (f0 + (f1 - f0) * (progress - t0) / (t1 - t0))
        return self.weight * points[-1][1]


_adapter: TypeAdapter[RewardSpec] = TypeAdapter(RewardSpec)


def read_spec(name: str, raw: RewardSpec | Mapping[str, Any] | float | None) -> RewardSpec:
    """A spec from what a config holds: a mapping, a bare weight, or nothing at all.

    Raises:
        UserError: with the path, the value, and the nearest known key.
    """
    if isinstance(raw, RewardSpec):
        return raw
    if raw is None:
        raw = {}
    elif isinstance(raw, (int, float)) and not isinstance(raw, bool):
        raw = {"weight": raw}
    try:
        return _adapter.validate_python(dict(raw) if isinstance(raw, Mapping) else raw)
    except ValidationError as error:
        known = nearest(list(RewardSpec.__dataclass_fields__))
        found = explain(error, raw, ("rewards", "parts", name), hint=known)
        raise UserError("\n".join(f"{path}: {text}" for path, text in found.items())) from None
