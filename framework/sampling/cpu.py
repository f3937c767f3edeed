"""Sampling on a CPU: batch-invariant matrix products from prepacked weights; number of threads.

On a CPU torch multiplies float32 matrices with MKL, which does not use AVX-512 on processors other
than Intel's, and whose rounding of a row depends on the number of rows. oneDNN, which comes with
torch, sums a row's products in one order, whatever the number of rows, for inputs up to `SPLIT`
wide; wider ones are split there (docs/decisions/sampling.md).

Left out: 4-bit layers (unpacked copies would take the memory that 4 bits save) and bfloat16 (torch
uses oneDNN for it already). There a row may round differently in another batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SPLIT = 1024  # inputs; beyond, oneDNN may cut the sum by the number of rows and of threads
_LAYOUT_ROWS = 64  # what the packing is chosen for: one number, because others may sum otherwise
_GRAIN = 32768  # elements of a thread's share at least (at::internal::GRAIN_SIZE)
_GROUP = 64  # a multiple of what torch's vectorised loops take at once, on any processor

# Operations of the step's largest matrix product below which waking a second thread takes longer
# than it saves (docs/sampling.md has the measurement).
WORTH_A_THREAD = 40e6


def has_onednn() -> bool:
    """Whether this torch can multiply by prepacked weights."""
    return bool(torch._C._has_mkldnn) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@contextmanager
def prepacked_linears(model: Any, budget_bytes: int) -> Iterator[int]:
    """Inside, float32 linear layers on a CPU multiply by oneDNN; yields the bytes of the copies.

    The copies are made of the weights on entry and freed on exit, so that each call uses the
    current weights. With gradients or autocast on, a layer uses its own weight, as outside.
    Activation functions are made batch-invariant, too.

    Args:
        budget_bytes: memory for the copies. Layers that do not fit stay as they are, with a
            warning: then a row's last bits depend on the number of rows.
    """
    replaced: list[Any] = []
    taken = left_out = 0
    try:
        for layer in _prepackable(model):
            size = _prepacked_bytes(layer.weight)
            if taken + size > budget_bytes:
                left_out += size
                continue
            layer.forward = _prepacked_forward(layer)
            replaced.append(layer)
            taken += size
        if left_out:
            warnings.warn(
                f"sampling: {left_out / 2**20:.1f} MiB of prepacked weights do not fit into the "
                f"{budget_bytes / 2**20:.1f} MiB they may take (a quarter of the memory budget): "
                "sampling is slower, and an answer may depend on the batch size, by rounding.",
                stacklevel=2,
            )
        if taken:
            for activation in _activations(model):
                activation.forward = _even_forward(activation)
                replaced.append(activation)
        yield taken
    finally:
        for layer in replaced:
            del layer.forward  # the class's own is behind it


def _prepackable(model: Any) -> Iterator[Any]:
    if not has_onednn():
        return
    for layer in model.modules():
        if (
            type(layer) is torch.nn.Linear
            and "forward" not in vars(layer)  # a hook of another library
            and layer.weight.device.type == "cpu"
            and layer.weight.dtype == torch.float32
        ):
            yield layer


def _prepacked_bytes(weight: Tensor) -> int:
    """An upper bound of the copies' size: blocks of 64 outputs by 16 inputs, padded at the end."""
    outputs, inputs = weight.shape
    return 4 * (outputs + -outputs % 64) * (inputs + -inputs % 16)


def _prepacked_forward(layer: Any) -> Callable[[Tensor], Tensor]:
    """`layer.forward` by oneDNN: (..., in) -> (..., out)."""
    # What torch's own compiler emits for a frozen linear layer on a CPU.
    multiply = torch.ops.mkldnn._linear_pointwise.default
    reorder = torch.ops.mkldnn._reorder_linear_weight
    weight, bias = layer.weight, layer.bias
    whole = weight.detach()
    copies = [
        reorder(whole[:, at : at + SPLIT].contiguous(), _LAYOUT_ROWS)
        for at in range(0, whole.shape[1], SPLIT)
    ]

    def forward(x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return F.linear(x, weight, bias)
        if len(copies) == 1:
            out: Tensor = multiply(x, copies[0], bias, "none", [], "")
            return out
        out = multiply(x[..., :SPLIT], copies[0], bias, "none", [], "")
        for i, copy in enumerate(copies[1:], start=1):
            part = x[..., i * SPLIT : (i + 1) * SPLIT]
            out += multiply(part, copy, None, "none", [], "")
        return out

    return forward


def _activations(model: Any) -> Iterator[Any]:
    for module in model.modules():
        home = type(module).__module__
        known = home in ("torch.nn.modules.activation", "transformers.activations")
        if known and "forward" not in vars(module):
            yield module


def _even_forward(activation: Any) -> Callable[[Tensor], Tensor]:
    """`activation.forward`, elementwise, with each element computed by the same instructions.

    Torch's loops compute the remainder of a thread's share with scalar instructions, which may
    round differently from the vectorised ones: shares are padded to whole groups.
    """
    plain = activation.forward

    def forward(x: Tensor) -> Tensor:
        count, shape = x.numel(), x.shape
        missing = _even_count(count, torch.get_num_threads()) - count
        if missing:
            x = F.pad(x.reshape(-1), (0, missing))
        out: Tensor = plain(x)
        return out[:count].view(shape) if missing else out

    return forward


@lru_cache(maxsize=4096)
def _even_count(count: int, threads: int) -> int:
    """The least number of elements from `count` on of which each thread gets whole groups.

    Torch cuts into a share for each thread (GELU), or into so many as have `_GRAIN` elements.
    """
    even = count + -count % (_GROUP * threads)
    while even % (_GROUP * max(1, min(threads, -(-even // _GRAIN)))):
        even += _GROUP * threads
    return even


class Threads:
    """A context manager that uses one thread if the model is tiny, and changes nothing otherwise.

    Decided by a rule and not by timing: in float32 the number of threads changes no bit (tested),
    but in bf16 and 4 bits it may, and the same run should give the same answers twice.
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
