"""A step of the model captured once and replayed: CUDA graphs.

A step with few rows is hundreds of small kernels, and the host is slower at launching them than the
GPU at running them. All tensors of a step have fixed addresses (`buffers.py`), and sizes come in
buckets, so a few captures serve a run. Drawing stays outside.

Not yet run on a GPU; off unless asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from groupwise.framework.sampling.buffers import Sizes

_WARM_UP = 2  # steps before a capture: lazily made handles and workspaces must exist
MOST_GRAPHS = 16

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Records what a function does, and returns what does it again."""


class Graphs:
    """The captured steps of one run, by their sizes."""

    def __init__(self, capture: Capture | None = None) -> None:
        self._capture = capture or cuda_capture()
        self._seen: dict[Sizes, int] = {}
        self._replays: dict[Sizes, Callable[[], None]] = {}
        self._logits: Tensor | None = None  # one for all: (rows, V)

    def __call__(self, forward: Callable[[Sizes], Tensor], sizes: Sizes, most_rows: int) -> Tensor:
        """`forward(sizes)`, the logits of a step, (rows, V); valid until the next call."""
        replay = self._replays.get(sizes)
        if replay is None:
            seen = self._seen[sizes] = self._seen.get(sizes, 0) + 1
            if seen <= _WARM_UP or len(self._replays) >= MOST_GRAPHS:
                return forward(sizes)
            replay = self._replays[sizes] = self._captured(forward, sizes, most_rows)
        replay()
        assert self._logits is not None
        return self._logits[: sizes.rows]

    def _captured(
        self, forward: Callable[[Sizes], Tensor], sizes: Sizes, most_rows: int
    ) -> Callable[[], None]:
        if self._logits is None:
            like = forward(sizes)
            self._logits = like.new_zeros(most_rows, like.shape[1])
        logits = self._logits[: sizes.rows]

        # Copied inside, so that the graphs can use one piece of memory for their own logits.
        def run() -> None:
            logits.copy_(forward(sizes))

        return self._capture(run)


def cuda_capture() -> Capture:
    """Captures as CUDA graphs that share their memory: one runs after the other."""
    pool = torch.cuda.graph_pool_handle()

    def capture(run: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            run()
        return graph.replay

    return capture
