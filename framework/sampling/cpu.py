"""Matrix products of a step by oneDNN, from weights laid out for it once a call.

On a CPU torch multiplies float32 matrices by MKL, which leaves AVX-512 unused on processors that
are not Intel's; oneDNN, which torch brings too, uses it on all. Measured in docs/sampling.md: 2.3
times at 64 rows, up to 3 at 8.

Left out: 4-bit layers (their weights would be held in full, which they are there to avoid),
bfloat16 (torch takes oneDNN for it already), and layers too small to gain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Operations of a product below which the call of oneDNN costs what its sums save.
WORTH_PACKING = 4e6


@contextmanager
def packed_linears(model: Any, rows: int, budget_bytes: int) -> Iterator[int]:
    """Inside, large linear layers multiply by oneDNN; yields the bytes of the copies it made.

    The copies are of the weights as they are on entry, and are gone on exit: a step of training
    between two calls is seen by the second. Where gradients or autocast are on, a layer computes
    as it does outside, from its own weight.

    Args:
        rows: how many tokens a step has at most; tells which layers are worth it.
        budget_bytes: what the copies may take; layers that do not fit stay as they are.
    """
    packed: list[Any] = []
    taken = 0
    try:
        for layer in _worth_packing(model, rows):
            size = layer.weight.numel() * layer.weight.element_size()
            if taken + size > budget_bytes:
                continue
            layer.forward = _packed_forward(layer, rows)
            packed.append(layer)
            taken += size
        yield taken
    finally:
        for layer in packed:
            del layer.forward  # the class's own is behind it


def _worth_packing(model: Any, rows: int) -> Iterator[Any]:
    if not (torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return
    for layer in model.modules():
        if (
            type(layer) is torch.nn.Linear
            and "forward" not in vars(layer)  # a hook of another library
            and layer.weight.device.type == "cpu"
            and layer.weight.dtype == torch.float32
            and 2.0 * rows * layer.weight.numel() >= WORTH_PACKING
        ):
            yield layer


def _packed_forward(layer: Any, rows: int) -> Callable[[Tensor], Tensor]:
    """`layer.forward` by oneDNN: (..., in) -> (..., out)."""
    # What torch's own compiler emits for a frozen linear layer on a CPU.
    multiply = torch.ops.mkldnn._linear_pointwise.default
    weight, bias = layer.weight, layer.bias
    copy = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)

    def forward(x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return F.linear(x, weight, bias)
        out: Tensor = multiply(x, copy, bias, "none", [], "")
        return out

    return forward


# Operations of the step's largest matrix product below which waking a second thread takes longer
# than it saves (docs/sampling.md has the measurement).
WORTH_A_THREAD = 40e6


class Threads:
    """One thread inside the `with` block where the model is tiny; no change where it is not.

    By a rule and not by a stopwatch: another number of threads may round differently, and the same
    run should give the same answers twice.
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
