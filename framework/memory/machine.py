"""Main memory and disk that a run needs beside what is on the card."""

from __future__ import annotations

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import Architecture
from groupwise.framework.memory.parts import Part
from groupwise.framework.memory.tensors import (
    Stored,
    optimizer_bytes,
    trained_parameters,
    weight_bytes,
)
from groupwise.framework.memory.training import Forward

PROCESS = 700_000_000  # resident after the imports of a training, with a torch for the CPU
_SHARD = 5_000_000_000  # files of a checkpoint are rarely larger
_LINE = 6  # bytes of a token in a log: four of text, as a rule, and its share of other fields
_TOKENIZER = 33_000_000  # tokenizer.json of Gemma 3; Qwen's is a third


def host_parts(
    config: ExperimentConfig,
    architecture: Architecture,
    stored: Stored,
    longest: Forward | None,
    checkpointing: object,
) -> tuple[Part, ...]:
    """Of a run on a card. A checkpoint's files are mapped: they are in memory only while free."""
    plain = 2 * architecture.parameters
    parts = [
        Part("process", PROCESS, "Python and the libraries; those of CUDA come on top"),
        Part("loading", min(plain, _SHARD), "one file of the checkpoint at a time"),
    ]
    if longest is not None and checkpointing == "unsloth":
        size = architecture.layers * longest.tokens * architecture.hidden * stored.compute
        parts.append(
            Part("offloaded_activations", size, f"{longest.tokens:,} tokens of each layer, pinned")
        )
    if config.training.optim.startswith("paged"):
        size = optimizer_bytes(architecture, config.model, config.training.optim, stored)
        parts.append(Part("paged_optimizer", size, "moves here when the card is full"))
    return tuple(parts)


def disk_parts(
    config: ExperimentConfig, architecture: Architecture, stored: Stored
) -> tuple[Part, ...]:
    """Checkpoints at most, one more while it is written; the final model; logs; the download."""
    training, model = config.training, config.model
    saved = stored.trained * trained_parameters(architecture, model)
    state = optimizer_bytes(architecture, model, training.optim, stored)
    kept = training.save_total_limit + 1
    parts = [
        Part(
            "checkpoints",
            kept * (saved + state + _TOKENIZER) if training.method != "sft" else 0,
            f"{training.save_total_limit}, and one that is being written",
        ),
        Part("final_model", saved + _TOKENIZER, "weights" if model.full_finetuning else "adapter"),
    ]
    if config.evaluation.every_steps:
        parts.append(Part("best_model", saved + _TOKENIZER, "of the evaluations in between"))
    if model.adapter and model.adapter_mode == "merge":
        parts.append(Part("merged_base", 2 * architecture.parameters, "16 bits"))
    if training.method == "grpo" and training.max_steps is not None:
        tokens = training.max_steps * training.batch_shape.completions_per_step
        tokens *= training.max_completion_length
        parts.append(Part("logs", tokens * _LINE, f"{tokens:,} tokens at most"))
    if not architecture.on_this_machine:
        form = architecture.quantised
        size = 2 * architecture.parameters if form is None else weight_bytes(architecture, stored)
        parts.append(Part("hub_download", size, "the checkpoint, in the hub's cache"))
    return tuple(parts)
