"""How many CPU threads a step is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# Operations of the step's largest matrix product below which waking a second thread takes longer
# than it saves (docs/sampling.md has the measurement).
WORTH_A_THREAD = 40e6


class Threads:
    """One thread inside the `with` block where the model is tiny; no change where it is not.

    By a rule and not by a stopwatch. In float32 the number of threads changes no bit (tested); in
    bf16 and 4 bits it may, and the same run should give the same answers twice.
    """

    def __init__(self, device: torch.device, config: Any, rows: int) -> None:
        largest = 2.0 * rows * config.hidden_size * config.intermediate_size
        self.single = device.type == "cpu" and largest < WORTH_A_THREAD
        self._was = 0

    def __enter__(self) -> None:
        if self.single:
            self._was = torch.get_num_threads()
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        if self.single:
            torch.set_num_threads(self._was)


@contextmanager
def one_thread() -> Iterator[None]:
    was = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(was)
