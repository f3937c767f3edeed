"""Puts a model into the state for sampling, and back. The only place that does.

    with sampling_mode(model, tokenizer), fast_decoding():
        model.generate(...)

Unsloth's `generate` on a GPU changes more than a forward does, and keeps its KV cache on the
layers; that is put back here too. Unsloth is looked up among the imported modules, never imported:
a plain model is sampled without it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

# What `for_inference` and `for_training` of Unsloth 2026.10.9 (models/llama.py, vision.py) set on
# modules. `gradient_checkpointing` is False, True or "unsloth", which training depends on.
_MODULE_FLAGS = ("training", "gradient_checkpointing", "_flag_for_generation")


@contextmanager
def sampling_mode(model: Any, tokenizer: Any = None) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module, config and tokenizer is as it was.

    Restores `training` of each module (they may differ: frozen parts, adapters), its gradient
    checkpointing, `use_cache` and `padding_side`, and frees what Unsloth's `generate` left on the
    layers. Gradient checkpointing needs no switch of its own: it is off in evaluation mode. Random
    number generators are not touched by any engine.

    Gradients are *not* switched off here: that state belongs to the thread, not to the model, and
    would leak to the consumer of a generator. Engines use `torch.no_grad` around each forward, and
    never `torch.inference_mode`: a tensor that a module keeps from it (a rotary table, say) could
    never be used in training again.
    """
    modules = list(model.modules())
    tokenizers = [tokenizer, *(vars(m).get("_saved_temp_tokenizer") for m in modules)]
    kept = [
        *_values(modules, _MODULE_FLAGS),
        *_values(_configs_of(modules), ("use_cache",)),
        *_values([t for t in tokenizers if t is not None], ("padding_side",)),
    ]
    repacking = _layers_that_would_repack(modules)
    model.eval()
    for layer, _ in repacking:
        layer.support_avx512bf16_for_cpu = False
    try:
        yield
    finally:
        for layer, supported in repacking:
            layer.support_avx512bf16_for_cpu = supported
        _release(model)
        for attributes, name, value in kept:
            if value is _ABSENT:
                attributes.pop(name, None)
            elif attributes.get(name, _ABSENT) is not value:
                attributes[name] = value


_ABSENT = object()


def _values(
    owners: Iterable[Any], names: Iterable[str]
) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """The attributes of each owner, once; those that it only inherits are absent."""
    names = tuple(names)
    for owner in {id(owner): owner for owner in owners}.values():
        # Not getattr: PEFT's wrappers pass reads on, and a value read there must not be written.
        attributes = vars(owner)
        for name in names:
            yield attributes, name, attributes.get(name, _ABSENT)


def _configs_of(modules: Iterable[Any]) -> list[Any]:
    """The configs of a model's modules, those inside them too (text and vision)."""
    found: dict[int, Any] = {}
    left = [vars(module).get("config") for module in modules]
    while left:
        config = left.pop()
        if id(config) in found or not hasattr(config, "model_type"):
            continue
        found[id(config)] = config
        left += vars(config).values()
    return list(found.values())


def fast_decoding() -> AbstractContextManager[Any]:
    """Unsloth's decoding with CUDA graphs; does nothing where Unsloth's GPU code is not loaded.

    Unsloth 2026.10.9 turns it on only inside the `generate` of a trainer of its own, whose scope
    this enters. May go when it is on by default.
    """
    graphs = _decode_graphs()
    return nullcontext() if graphs is None else graphs.rl_generation()


def _release(model: Any) -> None:
    """Frees the KV cache, the captured graphs and the cast adapter that `generate` leaves behind.

    Unsloth 2026.10.9 frees them only if the model was in training mode when `generate` was called.
    May go when it frees them itself.
    """
    graphs = _decode_graphs()
    if graphs is None:
        return
    graphs.release_for_training(model)
    for parameter in model.parameters():
        vars(parameter).pop("_fast_lora", None)


def _decode_graphs() -> Any:
    return sys.modules.get("unsloth.models._decode_graphs")


def _layers_that_would_repack(modules: Iterable[Any]) -> list[tuple[Any, Any]]:
    """4-bit layers that bitsandbytes 0.50 would rewrite at their first forward in evaluation mode.

    On a CPU with AVX512-BF16 it rounds the scales to bf16 and switches to a path without gradients,
    permanently: a layer that has been sampled from once can no longer be trained through. Unsloth's
    CPU loader disables this too. May go when bitsandbytes unpacks in training mode.
    """
    return [
        (module, supported)
        for module in modules
        if (supported := getattr(module, "support_avx512bf16_for_cpu", False))
    ]
