"""What a forward and backward takes beside weights, adapter, optimiser state and gradients.

On a GPU this is Unsloth's trainer (2026.10.9): activations of one layer at a time with gradient
checkpointing, of all layers without; logits in tiles (unsloth_zoo, fused_losses). On a CPU it is
TRL's own with PEFT's layers (`cpu_training.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import Architecture
from groupwise.framework.memory.parts import Part
from groupwise.framework.memory.tensors import Stored

_TILE_TOKENS, _TILE_WORDS = 4096, 16_384


@dataclass(frozen=True, slots=True)
class Forward:
    """Of one forward: rows, their tokens, those of completions, and how many prompts it has."""

    what: str
    rows: int
    prompt: int
    completion: int

    @property
    def tokens(self) -> int:
        return self.rows * (self.prompt + self.completion)


def forwards(config: ExperimentConfig, prompt: int) -> list[Forward]:
    """The forwards with a gradient that a run makes: of its method, and of a warm start."""
    training, found = config.training, []
    if training.method == "sft" or training.warm_start.enabled:
        rows, length = training.warm_start.batch_size, config.model.max_seq_length
        found.append(Forward("supervised", rows, min(prompt, length), max(0, length - prompt)))
    if training.method == "grpo":
        rows, length = training.completions_per_forward, training.max_completion_length
        found.append(Forward("GRPO", rows, prompt, length))
    if training.method == "group_scores":
        rows, length = training.completions_per_forward, config.model.max_seq_length
        found.append(Forward("group scores", rows, min(prompt, length), max(0, length - prompt)))
    return found


def gpu_parts(
    forward: Forward, architecture: Architecture, stored: Stored, checkpointing: object
) -> list[Part]:
    """Activations, logits and the largest layer written out, of Unsloth's trainer."""
    a, size = architecture, stored.compute
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    layer = size * (4 * a.ffn + 8 * a.hidden + 2 * (q + 2 * kv) + 2 * q)
    if checkpointing:
        # One layer, recomputed; its gradients; what enters the others is on the host or here.
        kept = 0 if checkpointing == "unsloth" else a.layers * a.hidden * size
        activations = forward.tokens * (layer + 12 * a.hidden + kept)
        said = f"{forward.tokens:,} tokens of one layer, checkpointing"
    else:
        activations = forward.tokens * layer * a.layers
        said = f"{forward.tokens:,} tokens of {a.layers} layers, without checkpointing"
    tile = min(_TILE_TOKENS, forward.rows * max(1, forward.completion))
    logits = tile * (min(_TILE_WORDS, a.vocab) * 4 + 4 * a.hidden)
    parts = [
        Part("activations", activations, said),
        Part("logits", logits, f"a tile of {tile:,} tokens"),
    ]
    if stored.form != "plain":
        largest = max(linear.inputs * linear.outputs for linear in a.linears)
        parts.append(Part("dequantised", 2 * largest, "the largest layer, written out in 16 bits"))
    return parts
