"""What a training came to, whatever trained it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training run came to: optimiser steps made, seconds, and the last logged metrics.

    `was_stopped`: somebody asked it to stop before the last step; a checkpoint is written.
    """

    steps: int
    seconds: float
    metrics: Mapping[str, float | None]
    was_stopped: bool = False
