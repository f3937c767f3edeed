"""What is counted, in one place: everything that the tables are made from."""

from __future__ import annotations

from collections import Counter as Multiset
from dataclasses import dataclass, field

from benchmarks.gpu_figures.counter import Operation, Tally


@dataclass
class Step:
    """One step of an engine: `rows` rows that each have `window` positions."""

    engine: str
    rows: int
    window: int
    model: Tally  # the forward
    rest: Tally  # drawing, bookkeeping, and the loop around

    @property
    def whole(self) -> Tally:
        return plus(self.model, self.rest)

    @property
    def held_bytes(self) -> int:
        """The most that lived during the step."""
        return max(self.model.peak_bytes, self.rest.peak_bytes)


@dataclass
class Pass:
    """A forward and backward of `rows` completions of `tokens` tokens each, prompt included."""

    checkpointing: str
    rows: int
    tokens: int
    tally: Tally


@dataclass
class Counts:
    """Everything counted. `--part` makes one of these for its own part; they are merged."""

    steps: dict[str, Step] = field(default_factory=dict)
    prefills: dict[str, Tally] = field(default_factory=dict)  # by name: of so many prompts at once
    prefill_peaks: dict[str, int] = field(default_factory=dict)
    passes: list[Pass] = field(default_factory=list)
    load_bytes: int = 0
    adapter_parameters: int = 0
    checked: dict[str, tuple[int, int]] = field(default_factory=dict)  # counted, real bytes

    def merge(self, other: Counts) -> None:
        self.steps |= other.steps
        self.prefills |= other.prefills
        self.prefill_peaks |= other.prefill_peaks
        self.passes += other.passes
        self.load_bytes = other.load_bytes or self.load_bytes
        self.adapter_parameters = other.adapter_parameters or self.adapter_parameters
        self.checked |= other.checked


def plus(*tallies: Tally) -> Tally:
    operations: Multiset[Operation] = Multiset()
    for tally in tallies:
        operations.update(tally.operations)
    return Tally(
        operations,
        sum(t.host_reads for t in tallies),
        max(t.peak_bytes for t in tallies),
    )


def minus(whole: Tally, part: Tally) -> Tally:
    return Tally(
        whole.operations - part.operations, whole.host_reads - part.host_reads, whole.peak_bytes
    )


def scaled(tally: Tally, factor: float) -> Tally:
    """For a number of passes that is not whole, launches are rounded."""
    made = {op: round(n * factor) for op, n in tally.operations.items()}
    return Tally(Multiset(made), round(tally.host_reads * factor), tally.peak_bytes)
