"""The memory of a run as numbers: parts, the phases that they add up in, and the plan of them all.

No torch here: a plan is shown, compared and tested without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PhaseName = Literal["loading", "generation", "training"]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a peak, such as `weights`, in bytes; `what` explains it with its numbers."""

    name: str
    bytes: int
    what: str = ""


@dataclass(frozen=True, slots=True)
class Phase:
    """What is in memory at the peak of a phase; the peak lies between `low` and `high`.

    Of generation: `use` is the sampling that needs most, `rows` the answers that it has at once.
    """

    name: PhaseName
    parts: tuple[Part, ...]
    low: int
    high: int
    use: str = ""
    rows: int = 0

    @property
    def expected(self) -> int:
        """Bytes of all parts."""
        return sum(part.bytes for part in self.parts)

    @property
    def largest(self) -> Part:
        """What dominates."""
        return max(self.parts, key=lambda part: part.bytes)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """`phases` are of the card (without one, of this process); `host` and `disk` beside them."""

    phases: tuple[Phase, ...]
    host: tuple[Part, ...]
    disk: tuple[Part, ...]

    @property
    def peak(self) -> Phase:
        """The phase that needs most."""
        return max(self.phases, key=lambda phase: phase.expected)
