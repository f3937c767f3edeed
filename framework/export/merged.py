"""The tuned model as one plain model in 16 bits: an adapter merged into its base, or all weights.

An adapter is merged into the weights that it was trained on. Where these were quantised, they are
what the quantised weights stand for, and not the 16-bit weights that they were made from: the
adapter never saw those (docs/decisions/export.md has both measured). Each sum is made in float32
and rounded once. On the CPU, because the card may not hold the model in 16 bits.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from groupwise.framework.export.precision import QUANTISED, Precision, quantisation
from groupwise.framework.export.source import Source
from groupwise.framework.policy.loading import named_model, unusable_as_user_error
from groupwise.framework.policy.unsloth import load_unsloth


def write_merged(source: Source, precision: Precision, folder: Path) -> float:
    """Writes the weights to `folder`, in 16 bits.

    Returns the share of the adapter's change that is in them: less than 1 where the steps of the
    16-bit type are larger than the change, which is then lost in rounding; 1 without an adapter.
    """
    load_unsloth()  # before transformers, which it patches
    import torch  # slow, both: not at start-up
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, source.dtype_16bit)
    with unusable_as_user_error(named_model(source.config.model)):
        if source.is_adapter:
            model, share = _merge(source, precision, dtype)
        else:
            model, share = (
                AutoModelForCausalLM.from_pretrained(
                    str(source.folder),
                    dtype=dtype,
                    device_map={"": "cpu"},
                    trust_remote_code=source.config.model.trust_remote_code,
                ),
                1.0,
            )
    model.save_pretrained(str(folder))
    return share


def _merge(source: Source, precision: Precision, dtype: Any) -> tuple[Any, float]:
    """The base model with the adapter in its weights, and the share of the change that is there."""
    import torch  # slow, as the others are: not at start-up
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForCausalLM
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    model = source.config.model
    base = AutoModelForCausalLM.from_pretrained(
        model.name,
        # What is dequantised has the type of the loading: not yet rounded.
        dtype="auto" if precision.bits == 16 else torch.float32,
        quantization_config=quantisation(replace(precision, dtype="float32")),
        device_map={"": "cpu"},
        trust_remote_code=model.trust_remote_code,
    )
    tuned = PeftModel.from_pretrained(base, str(source.folder))
    inner = tuned.base_model.model
    along = length = 0.0
    for name, layer in list(inner.named_modules()):
        is_adapted = isinstance(layer, LoraLayer)
        linear = layer.get_base_layer() if is_adapted else layer
        is_quantised = type(linear).__name__ in QUANTISED.values()
        if name.endswith("base_layer") or not (is_quantised or (is_adapted and _is_linear(linear))):
            continue
        before = dequantize_bnb_weight(linear.weight, getattr(linear, "state", None)).float()
        change = _change(layer, before) if is_adapted else torch.zeros(())
        after = (before + change).to(dtype)
        along += float(((after.float() - before) * change).sum())
        length += float((change * change).sum())
        inner.set_submodule(name, _linear(after, linear.bias))
    merged = tuned.merge_and_unload(safe_merge=True)  # the rest: an adapted embedding, say
    if precision.bits < 16:
        _forget_quantisation(merged)
    return merged.to(dtype), along / length if length else 1.0


def _forget_quantisation(model: Any) -> None:
    """Takes the marks of a quantised model off one whose layers are plain by now.

    transformers 5.17 would undo its loading in `save_pretrained`, and cannot undo bitsandbytes'.
    """
    model.hf_quantizer.remove_quantization_config(model)
    model._weight_conversions = [
        conversion
        for conversion in getattr(model, "_weight_conversions", None) or []
        if not any(
            "bitsandbytes" in type(o).__module__ for o in getattr(conversion, "operations", ())
        )
    ]


def _change(layer: Any, before: Any) -> Any:
    """What the adapters of a layer add to its weights, (out, in) in float32."""
    after = before
    for name in layer.active_adapters:
        variant = layer.lora_variant.get(name)  # DoRA and the like
        if variant is None:
            after = after + layer.get_delta_weight(name).float()
        else:
            after = variant.merge_safe(layer, name, after)
    return after - before


def _is_linear(layer: Any) -> bool:
    return type(layer).__name__ == "Linear"


def _linear(weight: Any, bias: Any) -> Any:
    """A plain linear layer of these weights, (out, in)."""
    import torch  # slow: not at start-up

    with torch.device("meta"):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    layer.bias = bias
    return layer
