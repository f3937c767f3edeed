"""LoRA adapters folded into the weights for as long as sampling takes.

A LoRA layer is three matrix products and an addition, and with few rows the two small products cost
as much as the large one; with W + s B A there is one product. Only for float32 weights, where the
result is the same up to rounding: in bf16 small updates would be lost in the sum, and NF4 cannot
hold it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from groupwise.framework.sampling.cpu import one_thread


@contextmanager
def merged_adapters(model: Any, most_bytes: int) -> Iterator[int]:
    """Inside, mergeable LoRA layers act as plain linear layers; yields the bytes that this takes.

    The original weights are restored afterwards, to the bit. If the merged copies would take more
    than `most_bytes`, nothing is merged and 0 is yielded.
    """
    layers = _mergeable(model)
    size = sum(layer.base_layer.weight.nbytes for layer, _ in layers)
    if size > most_bytes:
        layers, size = [], 0
    before = [layer.base_layer.weight.data for layer, _ in layers]
    try:
        # One thread: MKL's products may round by their number, which is chosen by the batch size.
        with torch.no_grad(), one_thread():
            for (layer, adapter), weight in zip(layers, before, strict=True):
                layer.base_layer.weight.data = weight + layer.get_delta_weight(adapter)
                layer.forward = layer.base_layer.__call__  # which may be packed later
        yield size
    finally:
        for (layer, _), weight in zip(layers, before, strict=True):
            layer.base_layer.weight.data = weight
            vars(layer).pop("forward", None)  # the class's own is behind it


def _mergeable(model: Any) -> list[tuple[Any, str]]:
    """LoRA layers over float32 linear ones, each with the name of its one active adapter."""
    if not hasattr(model, "peft_config"):
        return []
    from peft.tuners.lora import Linear as LoraLinear  # slow: not at start-up

    embeddings = model.get_input_embeddings().weight  # an output layer may be tied to them
    found = []
    for layer in model.modules():
        if type(layer) is not LoraLinear or type(layer.base_layer) is not torch.nn.Linear:
            continue
        active = [name for name in layer.active_adapters if name in layer.lora_A]
        weight = layer.base_layer.weight
        if (
            len(active) == 1
            and weight.dtype == torch.float32
            and weight is not embeddings
            and not layer.disable_adapters
            and not layer.merged
            and "forward" not in vars(layer)  # a hook of another library
            and active[0] not in layer.lora_variant  # DoRA and its like have forwards of their own
            and not layer.lora_bias[active[0]]
        ):
            found.append((layer, active[0]))
    return found
