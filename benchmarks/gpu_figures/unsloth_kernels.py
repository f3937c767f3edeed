"""Unsloth's Triton and bitsandbytes kernels as single operations of the right shapes.

For fake tensors, in the emulation of tests/gpu_emulation.py: what is in Python there runs as it is,
and where a card would start one kernel, one operation is counted with what it reads and writes. The
outputs, and what is kept for the backward pass, are those of the installed Unsloth (2026.10.9).
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._device import _device_constructors

from benchmarks.gpu_figures.counter import Counter

DEQUANTISED = "dequantised"
COUNTER: list[Counter] = []  # the one that counts now is the last


def fused(name: str, inputs: Any, outputs: Any = None) -> Any:
    return COUNTER[-1].fused(name, inputs, outputs)


def emulation() -> Any:
    """tests/gpu_emulation.py, as a module."""
    folder = str(Path(__file__).parents[2] / "tests")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("gpu_emulation")


def packed_parts(weight: Tensor, state: Any) -> list[Tensor]:
    """What a kernel reads of a 4-bit weight."""
    return [weight, state.absmax, state.state2.absmax]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, reuse_grad: bool) -> Tensor:  # type: ignore[override]
        flat = x.reshape(-1, x.shape[-1])
        with fused("rms_norm", (flat, weight)) as made:
            y = torch.empty_like(flat)
            r = torch.empty(len(flat), dtype=torch.float32)
            made += [y, r]
        ctx.save_for_backward(flat, weight, r)
        ctx.reuse_grad = reuse_grad
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:  # type: ignore[override]
        x, weight, r = ctx.saved_tensors
        with fused("rms_norm_backward", (dy, x, weight, r)) as made:
            dx = dy if ctx.reuse_grad else torch.empty_like(dy)
            made.append(dx)
        return dx, None, None


def _rms_norm(
    layer: Any, x: Tensor, gemma: bool = False, save_output: bool = False, reuse_grad: bool = False
) -> Any:
    del gemma, save_output
    return _Norm.apply(x, layer.weight, reuse_grad)


class _NormRope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:  # type: ignore[override]
        with fused("qk_norm_rope", (q, k)) as made:
            out_q, out_k = torch.empty(q.shape, dtype=q.dtype), torch.empty(k.shape, dtype=k.dtype)
            rq = torch.empty(q.shape[:-1], dtype=torch.float32)
            rk = torch.empty(k.shape[:-1], dtype=torch.float32)
            made += [out_q, out_k, rq, rk]
        ctx.save_for_backward(q, k, rq, rk, cos, sin)
        return out_q, out_k

    @staticmethod
    def backward(ctx: Any, dq: Tensor, dk: Tensor) -> Any:  # type: ignore[override]
        q, k, rq, rk, _, _ = ctx.saved_tensors
        with fused("qk_norm_rope_backward", (dq, dk, q, k, rq, rk)) as made:
            made += [torch.empty(q.shape, dtype=q.dtype), torch.empty(k.shape, dtype=k.dtype)]
        return made[0], made[1], None, None


def _qk_norm_rope(
    q_norm: Any, k_norm: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, positions: Any = None
) -> Any:
    del q_norm, k_norm, positions
    out_q, out_k = _NormRope.apply(q, k, cos, sin)
    return out_q.transpose(1, 2), out_k.transpose(1, 2)


def _decode_qk_norm_rope(
    q_norm: Any, k_norm: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, positions: Tensor
) -> Any:
    del q_norm, k_norm, cos, sin
    positions.reshape(-1).to(dtype=torch.int32).contiguous()
    with fused("qk_norm_rope", (q, k)) as made:
        made += [torch.empty(q.shape, dtype=q.dtype), torch.empty(k.shape, dtype=k.dtype)]
    return made[0].transpose(1, 2), made[1].transpose(1, 2)


class _Rope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor) -> Any:  # type: ignore[override] # noqa: ARG004
        with fused("rope", (q, k)) as made:
            made += [torch.empty_like(q), torch.empty_like(k)]
        return made[0], made[1]

    @staticmethod
    def backward(ctx: Any, dq: Tensor, dk: Tensor) -> Any:  # type: ignore[override] # noqa: ARG004
        with fused("rope_backward", (dq, dk)) as made:
            made += [torch.empty(dq.shape, dtype=dq.dtype), torch.empty(dk.shape, dtype=dk.dtype)]
        return made[0], made[1]


def _rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, positions: Any = None) -> Any:
    del cos, sin, positions
    return _Rope.apply(q, k)


def _add_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float, add: bool = True) -> Tensor:
    del eps
    with fused("add_rms_norm", (x, residual, weight) if add else (x, weight), (x, residual)):
        return x


def _swiglu(e: Tensor, g: Tensor) -> Tensor:
    with fused("swiglu", (e, g)) as made:
        made.append(torch.empty_like(e))
    out: Tensor = made[0]
    return out


def _swiglu_backward(dw: Tensor, e: Tensor, g: Tensor) -> Any:
    with fused("swiglu_backward", (dw, e, g), (dw, e, g)):
        return dw, e, g


SCRATCH: dict[str, Tensor] = {}


def _dequantize(
    weight: Tensor, state: Any = None, out: Any = None, use_global_buffer: bool = False,
    *_: Any, dtype: Any = None, **__: Any,
) -> Tensor:  # fmt: skip
    if state is None:
        return weight
    del dtype
    counter = COUNTER[-1]
    with fused("dequantize_nf4", packed_parts(weight, state)) as made, counter.making(DEQUANTISED):
        if out is None and use_global_buffer:
            out = _scratch(state.shape.numel()).view(state.shape)
        elif out is None:
            out = torch.empty(state.shape, dtype=torch.bfloat16)
        made.append(out)
        counter.buffers.add(out.untyped_storage()._cdata)
    return out.t() if weight.shape[0] == 1 else out


def _scratch(size: int) -> Tensor:
    """One buffer for all weights, as large as the largest so far."""
    known = SCRATCH.get("weight")
    if known is None or known.numel() < size:
        known = SCRATCH["weight"] = torch.empty(size, dtype=torch.bfloat16)
    return known[:size]


class Offloaded(torch.autograd.Function):
    """Checkpointing "unsloth": a layer's input waits in the host's memory.

    A model of it: Unsloth's own keeps buffers that fake tensors cannot be. One copy each way, and
    on the device the input of one layer.
    """

    @staticmethod
    def forward(ctx: Any, run: Any, preserve: bool, *args: Any) -> Any:  # type: ignore[override]
        del preserve
        with fused("offload", args[:1]), COUNTER[-1].elsewhere():
            ctx.host = torch.empty_like(args[0])
        ctx.run, ctx.others = run, args[1:]
        with torch.no_grad():
            return run(*args)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:  # type: ignore[override]
        with fused("reload", ()) as made:
            given = torch.empty_like(ctx.host)
            made.append(given)
        given.requires_grad_()
        with torch.enable_grad():
            outputs = ctx.run(given, *ctx.others)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None]
        torch.autograd.backward([o for o, _ in pairs], [g for _, g in pairs])
        return (None, None, given.grad, *(None for _ in ctx.others))


def install() -> Any:
    """Emulates the GPU path, with the kernels above; returns the emulation's module."""
    # The emulation replaces torch.empty. This table, made at its first use, must know torch's own,
    # or models made "on meta" are made in memory.
    _device_constructors()
    emulated = emulation()
    emulated.install()
    utils = "unsloth.kernels.utils"
    rope = "unsloth.kernels.qk_norm_rope"
    add_norm = "unsloth.kernels.fused_add_rms_layernorm"
    for module, name, new in (
        ("unsloth.kernels", "fast_rms_layernorm", _rms_norm),
        ("unsloth.kernels.rope_embedding", "fast_rope_embedding", _rope),
        (rope, "fast_qk_norm_rope", _qk_norm_rope),
        (rope, "decode_qk_norm_rope", _decode_qk_norm_rope),
        (add_norm, "fast_add_rms_layernorm_inference_ok", lambda *_: True),
        (add_norm, "fast_add_rms_layernorm_inference", _add_norm),
        ("unsloth.kernels.swiglu", "swiglu_fg_kernel", _swiglu),
        ("unsloth.kernels.swiglu", "swiglu_DWf_DW_dfg_kernel", _swiglu_backward),
        (utils, "fast_dequantize", _dequantize),
    ):
        emulated._replace(emulated._get(module, name), new)
    importlib.import_module(rope).QK_NORM_ROPE_ENABLED = True
    # Buffers on "cpu:0" and tensors on "cpu" are two devices to fake tensors.
    scratch: Any = emulated._get("unsloth.models.llama", "_LazyDeviceScratch")
    scratch.__getitem__ = lambda self, _: self._make(torch.device("cpu"))
    return emulated
