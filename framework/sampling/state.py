"""Puts a model into the state for sampling, and back. The only place that does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def sampling_mode(model: Any, tokenizer: Any = None) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module, config and tokenizer is as it was.

    Restores `training` of each module (they may differ: frozen parts, adapters), `use_cache`,
    `gradient_checkpointing` and `padding_side`. Gradient checkpointing needs no switch of its own:
    it is off in evaluation mode. Random number generators are not touched by any engine.

    Gradients are *not* switched off here: that state belongs to the thread, not to the model, and
    would leak to the consumer of a generator. Engines use `torch.no_grad` around each forward, and
    never `torch.inference_mode`: a tensor that a module keeps from it (a rotary table, say) could
    never be used in training again.
    """
    training = [(module, module.training) for module in model.modules()]
    flags = [
        (module, module.gradient_checkpointing)
        for module, _ in training
        if isinstance(getattr(module, "gradient_checkpointing", None), bool)
    ]
    configs = {id(m.config): m.config for m, _ in training if hasattr(m, "config")}
    caches = [(c, c.use_cache) for c in configs.values() if hasattr(c, "use_cache")]
    repacking = _layers_that_would_repack(model)
    padding_side = getattr(tokenizer, "padding_side", None)
    model.eval()
    for layer, _ in repacking:
        layer.support_avx512bf16_for_cpu = False
    try:
        yield
    finally:
        for layer, supported in repacking:
            layer.support_avx512bf16_for_cpu = supported
        for module, was in training:
            module.training = was
        for module, flag in flags:
            module.gradient_checkpointing = flag
        for config, use_cache in caches:
            config.use_cache = use_cache
        if padding_side is not None and tokenizer.padding_side != padding_side:
            tokenizer.padding_side = padding_side


def _layers_that_would_repack(model: Any) -> list[tuple[Any, Any]]:
    """4-bit layers that bitsandbytes 0.50 would rewrite at their first forward in evaluation mode.

    On a CPU with AVX512-BF16 it rounds the scales to bf16 and switches to a path without gradients,
    permanently: a layer that has been sampled from once can no longer be trained through. Unsloth's
    CPU loader disables this too. May go when bitsandbytes unpacks in training mode.
    """
    return [
        (module, supported)
        for module in model.modules()
        if (supported := getattr(module, "support_avx512bf16_for_cpu", False))
    ]
