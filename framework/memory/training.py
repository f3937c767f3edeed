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
_WITH_QK_NORMS = ("qwen3", "gemma3", "gemma3_text")


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
    """Activations, logits and layers written out, of Unsloth's trainer.

    The larger of two moments, which are never one: the head after the forward, and the backward of
    the last layer. Counted on fake tensors: `benchmarks/memory_fake`.
    """
    a, size, tokens = architecture, stored.compute, forward.tokens
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    # Queries, keys and values as they are rotated, results; with norms, what goes into those, too.
    attention = (3 if a.model_type in _WITH_QK_NORMS else 2) * (q + kv)
    if checkpointing:
        # "unsloth": the embedding's output, two buffers, the last layer's input. Else all inputs.
        kept = (4 if checkpointing == "unsloth" else a.layers) * a.hidden
        backward = 3 * a.ffn + attention + 5 * a.hidden
        said = f"{tokens:,} tokens of one layer, checkpointing"
    else:
        kept = a.layers * (2 * a.ffn + attention + 4 * a.hidden)
        backward = a.ffn + 2 * a.hidden
        said = f"{tokens:,} tokens of {a.layers} layers, without checkpointing"
    scored = forward.rows * max(1, forward.completion)
    tile = min(_TILE_TOKENS, scored)
    logits = tile * 4 * (min(_TILE_WORDS, a.vocab) + a.hidden) + scored * 2 * a.hidden * size
    largest = max(linear.inputs * linear.outputs for linear in a.linears)
    largest = 0 if stored.form == "plain" else 2 * largest
    in_head = [
        Part("activations", tokens * (kept + 2 * a.hidden) * size, said),
        Part("logits", logits, f"a tile of {tile:,} tokens, hidden states and their gradient"),
        Part("dequantised", largest, "the largest layer, written out in 16 bits"),
    ]
    in_backward = [
        Part("activations", tokens * (kept + backward) * size, said),
        Part("dequantised", 2 * largest, "two of the largest layer, written out in 16 bits"),
    ]
    parts = max(in_head, in_backward, key=lambda parts: sum(part.bytes for part in parts))
    return [part for part in parts if part.bytes]
