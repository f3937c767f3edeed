"""Gradient checkpointing only if memory requires it: `use_gradient_checkpointing: auto`.

    choice = checkpointing(config)     # choice.use is "unsloth" or False; choice.why says so

Without checkpointing, every layer's activations are kept for the backward pass, and need not be
computed twice. Their size is estimated from what a Qwen or Llama layer keeps for each token (in
elements: 4 F + 8 H + 2 (q + 2 kv) + 2 q, for feed-forward, hidden and attention widths), times
layers, times tokens of a forward. They may take a quarter of the memory; the rest is for weights,
optimiser and sampling.

Left out: other architectures (mixtures of experts, vision towers). If the widths are not known,
checkpointing stays on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Literal

from groupwise.framework.config import ExperimentConfig

SHARE = 0.25  # of the memory, for activations; a margin, because the estimate is not complete


@dataclass(frozen=True, slots=True)
class Checkpointing:
    """The resolved `use_gradient_checkpointing`, and why, in a sentence with the numbers."""

    use: Literal["unsloth", True, False]
    why: str

    def __str__(self) -> str:
        name = {"unsloth": "unsloth", True: "on", False: "off"}[self.use]
        return f"gradient checkpointing {name}: {self.why}"


def checkpointing(
    config: ExperimentConfig, memory_bytes: float | None = None, shape: Any = None
) -> Checkpointing:
    """The choice for this config and model; of the model, only its config is read.

    `memory_bytes`: of the GPU, or of the machine if there is none; None looks it up. `shape` has
    the widths of the model's config, for `bytes_per_token`; None reads that.
    """
    asked = config.model.use_gradient_checkpointing
    if asked != "auto":
        return Checkpointing(asked, "as model.use_gradient_checkpointing says")
    shape = _shape(config) if shape is None else shape
    per_token = None if shape is None else bytes_per_token(shape)
    if per_token is None:
        return Checkpointing("unsloth", "the shape of this model is not known")
    tokens = _tokens_of_a_forward(config)
    in_32_bits = 2 if config.model.dtype == "float32" else 1
    needed = tokens * per_token * in_32_bits / 1e9  # GB of 1e9 bytes
    memory = (_memory_bytes() if memory_bytes is None else memory_bytes) / 1e9
    fits = needed <= SHARE * memory
    return Checkpointing(
        False if fits else "unsloth",
        f"the activations of {tokens:,} tokens in a forward take about {needed:.2g} GB, "
        f"{'less' if fits else 'more'} than a quarter of the {memory:.0f} GB there are",
    )


def with_checkpointing(config: ExperimentConfig, choice: Checkpointing) -> ExperimentConfig:
    """The config with `auto` replaced by the choice."""
    return replace(config, model=replace(config.model, use_gradient_checkpointing=choice.use))


def bytes_per_token(shape: Any) -> int | None:
    """Bytes that all layers keep for each token of a forward, in 16 bits (in 32: twice that).

    `shape` is a model's config of transformers. None if it lacks a width or has experts.
    """
    try:
        hidden, wide = int(shape.hidden_size), int(shape.intermediate_size)
        heads = int(shape.num_attention_heads)
        layers = int(shape.num_hidden_layers)
    except (AttributeError, TypeError):
        return None
    if getattr(shape, "num_experts", None) or getattr(shape, "num_local_experts", None):
        return None
    width = int(getattr(shape, "head_dim", None) or hidden // heads)
    q, kv = heads * width, int(getattr(shape, "num_key_value_heads", None) or heads) * width
    return 2 * layers * (4 * wide + 8 * hidden + 2 * (q + 2 * kv) + 2 * q)


def _tokens_of_a_forward(config: ExperimentConfig) -> int:
    """The largest number of tokens in a forward, padding included."""
    training = config.training
    rows = training.completions_per_forward
    length = config.data.max_prompt_length + training.max_completion_length
    if training.method == "sft":
        rows, length = training.warm_start.batch_size, config.model.max_seq_length
    return rows * length


def _shape(config: ExperimentConfig) -> Any:
    """The model's config of transformers; None if it cannot be read."""
    from transformers import AutoConfig  # slow: not at start-up

    try:
        found = AutoConfig.from_pretrained(
            config.model.name, trust_remote_code=config.model.trust_remote_code
        )
    except (OSError, ValueError):  # loading the model will report what is wrong
        return None
    return getattr(found, "text_config", None) or found


def _memory_bytes() -> float:
    """All memory of the GPU, or of this machine if there is none."""
    import torch  # slow: not at start-up

    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
