"""Bytes that live, by part: the counter of `gpu_figures`, and what each storage was made for.

A storage belongs to the part that is current when it is made (`PartCounter.part`); what the model
holds from the start is told to `hold_as`. At the peak the bytes of all parts are kept.
"""

from __future__ import annotations

from collections import Counter as Multiset
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor

from benchmarks.gpu_figures.counter import Counter, Tally


class PartCounter(Counter):
    """Counts what lives by part, beside what `Counter` counts."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part
        self.by_part: Multiset[str] = Multiset()
        self.at_peak: Multiset[str] = Multiset()
        self._parts: dict[int, str] = {}

    @contextmanager
    def making(self, part: str) -> Iterator[None]:
        """Inside, what is made belongs to `part`."""
        was, self.part = self.part, part
        try:
            yield
        finally:
            self.part = was

    def hold_as(self, part: str, tensors: Iterable[Tensor]) -> None:
        """What lives already belongs to `part`, also if it was counted as something else."""
        for tensor in tensors:
            key = tensor.untyped_storage()._cdata
            if key in self._parts:
                self.by_part[self._parts[key]] -= self._sizes[key]
                self.by_part[part] += self._sizes[key]
                self._parts[key] = part
            with self.making(part):
                self.hold(tensor)

    def hold(self, tensor: Tensor) -> None:
        key, before, peak = tensor.untyped_storage()._cdata, self.live, self.tally.peak_bytes
        super().hold(tensor)
        part = self._parts.setdefault(key, self.part)
        self.by_part[part] += self.live - before
        if self.tally.peak_bytes > peak:
            self.at_peak = Multiset(self.by_part)

    def _free(self, key: int) -> None:
        self.by_part[self._parts.pop(key)] -= self._sizes[key]
        super()._free(key)

    def fresh(self) -> Tally:
        self.at_peak = Multiset(self.by_part)
        return super().fresh()
