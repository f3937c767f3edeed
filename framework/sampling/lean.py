"""LoRA layers and norms in as few kernels as they can be, for as long as sampling takes.

A step with few rows is bound by the launching of kernels, not by their work. PEFT's LoRA layer
copies, casts, scales and adds around three products; transformers' RMS norm is eight operations.
Both are one to three here, with the adapter in the type that the hidden states have (which is what
Unsloth's own decoding does). Results are the same up to the rounding of that type.

Unsloth's fused MLP is taken off meanwhile: it writes 4-bit weights out in 16 bits at each call,
where bitsandbytes' layer multiplies few rows by the packed ones.

Not for float32 on a CPU, where rounding is not to depend on the batch (`cpu.py`, `lora.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Norms whose forward is `weight * normalised`: Gemma's have `1 + weight`.
_NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Phi3RMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")


@contextmanager
def lean_layers(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Inside, LoRA layers and norms compute in `dtype`, that of the hidden states."""
    replaced = []
    fused = [module for module in model.modules() if _is_fused_mlp(module)]
    forwards = [module.forward for module in fused]
    try:
        for module in fused:
            del module.forward  # transformers' own is behind it
        for layer in model.modules():
            if "forward" in vars(layer):  # a hook of another library, or merged already
                continue
            adapter = _only_adapter(layer)
            if adapter is not None:
                layer.forward = _lora_forward(layer, adapter, dtype)
            elif type(layer).__name__ in _NORMS:
                layer.forward = _norm_forward(layer)
            else:
                continue
            replaced.append(layer)
        yield
    finally:
        for layer in replaced:
            del layer.forward  # the class's own is behind it
        for module, forward in zip(fused, forwards, strict=True):
            module.forward = forward


def _is_fused_mlp(module: Any) -> bool:
    """Whether Unsloth 2026.10.9 has put its LoRA MLP on it (models/llama.py, patch_peft_model)."""
    forward = getattr(vars(module).get("forward"), "__func__", None)
    return getattr(forward, "__module__", None) == "unsloth.kernels.fast_lora"


def _only_adapter(layer: Any) -> str | None:
    """The one active adapter of a LoRA layer over a linear one; None if it is anything else."""
    home, name = type(layer).__module__, type(layer).__name__
    is_lora = home.startswith("peft.tuners.lora") and name in (
        "Linear",
        "Linear4bit",
        "Linear8bitLt",
    )
    if not is_lora or layer.disable_adapters or layer.merged:
        return None
    active = [adapter for adapter in layer.active_adapters if adapter in layer.lora_A]
    if len(active) != 1 or active[0] in layer.lora_variant or layer.lora_bias[active[0]]:
        return None  # DoRA and its like have forwards of their own
    return str(active[0])


def _lora_forward(layer: Any, adapter: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    base = layer.base_layer
    down = layer.lora_A[adapter].weight.to(dtype).t()  # (in, r)
    up = (layer.lora_B[adapter].weight * layer.scaling[adapter]).to(dtype).t()  # (r, out)
    plain = layer.forward

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if x.dtype != dtype or args or kwargs or torch.is_grad_enabled():
            out: Tensor = plain(x, *args, **kwargs)
            return out
        out = base(x)
        if out.dtype != dtype:
            return torch.add(out, (x @ down @ up).to(out.dtype))
        out.view(-1, out.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]) @ down, up)
        return out

    return forward


def _norm_forward(norm: Any) -> Callable[[Tensor], Tensor]:
    plain, weight, epsilon = norm.forward, norm.weight, norm.variance_epsilon

    def forward(x: Tensor) -> Tensor:
        if x.dtype != weight.dtype or torch.is_grad_enabled():
            out: Tensor = plain(x)
            return out
        return F.rms_norm(x, weight.shape, weight, epsilon)

    return forward
