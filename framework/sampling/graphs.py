"""A step of the model captured once and replayed: CUDA graphs.

A step with few rows is hundreds of small kernels, and the host is slower at launching them than the
GPU at running them. All tensors of a step have fixed addresses (`buffers.py`), and sizes come in
buckets, so a few captures serve a whole run. Drawing stays outside.

Not yet run on a GPU; off unless asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from groupwise.framework.sampling.buffers import Sizes

_WARM_UP = 2  # steps before a capture: lazily made handles and workspaces must exist
MOST_GRAPHS = 32


class GraphedForward:
    """`forward`, captured once for each of the sizes that it is called with."""

    def __init__(self, forward: Callable[[Sizes], Tensor]) -> None:
        self.forward = forward
        self.replays = 0
        self._seen: dict[Sizes, int] = {}
        self._graphs: dict[Sizes, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, sizes: Sizes) -> Tensor:
        found = self._graphs.get(sizes)
        if found is not None:
            graph, logits = found
            graph.replay()
            self.replays += 1
            return logits
        seen = self._seen[sizes] = self._seen.get(sizes, 0) + 1
        if seen <= _WARM_UP or len(self._graphs) >= MOST_GRAPHS:
            return self.forward(sizes)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = self.forward(sizes)
        self._graphs[sizes] = graph, logits
        graph.replay()  # a capture runs nothing
        return logits
