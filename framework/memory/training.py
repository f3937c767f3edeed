"""What a forward and backward takes beside weights, adapter, optimiser state and gradients.

On a GPU this is Unsloth's trainer (2026.10.9): activations of one layer at a time with gradient
checkpointing, of all layers without; logits in tiles (unsloth_zoo, fused_losses). On a CPU it is
TRL's own with PEFT's layers, which keep other tensors for the backward pass, and prompts are shared
(`grpo_trainer/prefix_sharing.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import Architecture
from groupwise.framework.memory.parts import Part
from groupwise.framework.memory.tensors import Stored

_TILE_TOKENS, _TILE_WORDS = 4096, 16_384
_WITH_QK_NORMS = ("qwen3", "gemma3", "gemma3_text")
GROUP_SCORES = "group scores"


@dataclass(frozen=True, slots=True)
class Forward:
    """Of one forward: rows, their tokens, those of completions, and how many prompts it has."""

    what: str
    rows: int
    prompt: int
    completion: int
    prompts: int
    """Different prompts at most, where those that are alike are run once."""

    @property
    def tokens(self) -> int:
        return self.rows * (self.prompt + self.completion)


def forwards(config: ExperimentConfig, prompt: int) -> list[Forward]:
    """The forwards with a gradient that a run makes: of its method, and of a warm start."""
    training, found = config.training, []
    if training.method == "sft" or training.warm_start.enabled:
        rows, length = training.warm_start.batch_size, config.model.max_seq_length
        found.append(
            Forward("supervised", rows, min(prompt, length), max(0, length - prompt), rows)
        )
    if training.method == "grpo":
        rows, length = training.completions_per_forward, training.max_completion_length
        found.append(Forward("GRPO", rows, prompt, length, min(rows, training.prompts_per_step)))
    if training.method == "group_scores":
        rows, length = training.completions_per_forward, config.model.max_seq_length
        found.append(
            Forward(GROUP_SCORES, rows, min(prompt, length), max(0, length - prompt), rows)
        )
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
    head = Part("logits", logits, f"a tile of {tile:,} tokens, hidden states and their gradient")
    if forward.what == GROUP_SCORES:
        head = _whole_logits(forward, a, size)
    largest = max((linear.inputs * linear.outputs for linear in a.linears), default=0)
    largest = 0 if stored.form == "plain" else 2 * largest
    in_head = [
        Part("activations", tokens * (kept + 2 * a.hidden) * size, said),
        head,
        Part("dequantised", largest, "the largest layer, written out in 16 bits"),
    ]
    in_backward = [
        Part("activations", tokens * (kept + backward) * size, said),
        Part("dequantised", 2 * largest, "two of the largest layer, written out in 16 bits"),
    ]
    parts = max(in_head, in_backward, key=lambda parts: sum(part.bytes for part in parts))
    return [part for part in parts if part.bytes]


_CPU_LOGITS = 16 * 2**20  # elements of a tile (unsloth_zoo/cpu/ops.py)
_CPU_LOGIT_COPIES = 4  # a tile's logits, probabilities, gradient and a product


def cpu_parts(
    forward: Forward, architecture: Architecture, stored: Stored, checkpointing: object
) -> list[Part]:
    """Activations and logits of TRL's trainer on a CPU, in `stored.compute` bytes an element.

    Of a layer these stay for the backward pass: what enters it and its two norms' results, what
    enters the perceptron (4 H); queries, keys and values for each query head, and the attention's
    result (4 q); gate, its activation, the other half and their product (4 F).
    """
    a, size = architecture, stored.compute
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    layer = 4 * a.hidden + 4 * q + 4 * a.ffn
    if a.model_type in _WITH_QK_NORMS:  # what enters those
        layer += q + kv
    if a.model_type.startswith("gemma3"):  # what enters the norms behind attention and perceptron
        layer += 2 * a.hidden
    is_shared = forward.what == "GRPO" and a.served_by_slots and not a.sliding_window
    if checkpointing:
        elements = forward.tokens * (layer + a.layers * a.hidden)
        said = f"{forward.tokens:,} tokens of one layer, checkpointing"
    elif is_shared:
        tokens = forward.prompts * forward.prompt + forward.rows * (forward.completion + 1)
        # Each row has its own copy of its prompt's keys and values.
        elements = a.layers * (tokens * layer + forward.rows * forward.prompt * 2 * q)
        said = f"{tokens:,} tokens of {a.layers} layers, each prompt once"
    else:
        elements = forward.tokens * layer * a.layers
        said = f"{forward.tokens:,} tokens of {a.layers} layers"
    tile = min(max(1, _CPU_LOGITS // a.vocab), forward.rows * max(1, forward.completion))
    head = Part("logits", _CPU_LOGIT_COPIES * 4 * tile * a.vocab, f"a tile of {tile:,} tokens")
    if forward.what == GROUP_SCORES:
        head = _whole_logits(forward, a, size)
    return [Part("activations", elements * size, said), head]


def _whole_logits(forward: Forward, architecture: Architecture, size: int) -> Part:
    """Of `trainers/group_scores.py`, which has no tiles: logits, in float32 too, their gradient."""
    logits = forward.tokens * architecture.vocab * (2 * size + 4)
    return Part("logits", logits, f"{forward.tokens:,} tokens, not in tiles")
