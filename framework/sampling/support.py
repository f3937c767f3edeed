"""Which models the slot engine serves, and the form in which each family takes its masks."""

from __future__ import annotations

from typing import Any

# model_type -> whether its forward takes one mask for each kind of layer, as a dict.
# tests/framework/sampling/test_sampling_families.py compares each with `model.generate`.
FAMILIES: dict[str, bool] = {
    "llama": False,
    "mistral": False,
    "phi3": False,
    "gemma": False,
    "qwen2": True,
    "qwen3": True,
    "gemma2": True,
    "gemma3_text": True,
}


# These two rescale all rows by the longest one in the batch.
ROPE_OF_THE_LONGEST = ("dynamic", "longrope")


def base_model(model: Any) -> Any:
    """The causal language model inside a PEFT model; adapters stay active in its layers."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def why_not_slots(model: Any) -> str | None:
    """Why the slot engine cannot serve this model; None if it can."""
    # They import torch: not at start-up, nor where a plan asks for FAMILIES.
    from groupwise.framework.sampling.attention import can_replace_attention
    from groupwise.framework.sampling.forwards import COMPILED, forward_of

    base = base_model(model)
    config = base.config
    if config.model_type not in FAMILIES:
        return f"it has not been tested with the {config.model_type!r} family"
    for adapter in getattr(model, "peft_config", {}).values():
        if getattr(adapter, "is_prompt_learning", False):
            return f"it cannot carry the virtual tokens of {adapter.peft_type}"
    layers = base.get_decoder().layers
    for part in (base, base.get_decoder(), layers[0], layers[0].self_attn):
        home = forward_of(part).__module__
        if not home.startswith(("transformers.", COMPILED)):
            return f"the forward of {type(part).__name__} was replaced by {home}"
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention", "sliding_attention"}:
        return f"it does not know layers of kind {sorted(kinds)}"
    if getattr(config, "use_bidirectional_attention", False):
        return "the model attends in both directions"
    devices = set((getattr(base, "hf_device_map", None) or {}).values())
    if len(devices) > 1:
        return f"the model is spread over {sorted(map(str, devices))}"
    if not can_replace_attention(config):
        return f"attention {config._attn_implementation!r} takes no mask for each row"
    return _why_not_rope(config)


def _why_not_rope(config: Any) -> str | None:
    rope = getattr(config, "rope_parameters", None) or {}
    nested = [r for r in rope.values() if isinstance(r, dict)] or [rope]
    for kind in (r.get("rope_type", "default") for r in nested):
        if kind in ROPE_OF_THE_LONGEST:
            return f"rotary embedding of type {kind!r} would let one row change another"
    return None


def mask_kinds(config: Any) -> tuple[bool, bool]:
    """Whether any layer attends to everything, and whether any has a sliding window."""
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return "full_attention" in kinds, "sliding_attention" in kinds
    sliding = getattr(config, "sliding_window", None) is not None
    return not sliding, sliding
