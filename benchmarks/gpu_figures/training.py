"""Counts of a training pass: Unsloth's forward and backward, on fake tensors of real shapes.

Executed: the embedding, all layers, the last norm and their backward, through Unsloth's fused LoRA.
Modelled: the head and the loss, which Unsloth computes in tiles of 16,384 words by at most 4,096
tokens, three times (log-probabilities, again in the backward pass, gradient); the optimiser, 8-bit
Adam; checkpointing "unsloth" as one copy to the host and back for each layer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu_figures import generate, unsloth_kernels
from benchmarks.gpu_figures import model as models
from benchmarks.gpu_figures.counter import Counter, Operation, Tally
from benchmarks.gpu_figures.counts import Counts, Pass

TILE_WORDS, TILE_TOKENS = 16_384, 4096
ADAM_BYTES = 2.03  # a parameter: two bytes of state, and their scales


def count(settings: Any, cases: list[tuple[str, int, int]]) -> Counts:
    """Args: cases: checkpointing ("unsloth", "plain", "none"), rows, tokens of each."""
    counts = Counts()
    for checkpointing, rows, tokens in cases:
        with models.fake_mode():
            unsloth_kernels.SCRATCH.clear()
            model = generate.build(settings).train()
            tally = one_pass(model, checkpointing, rows, tokens)
        counts.passes.append(Pass(checkpointing, rows, tokens, tally))
    return counts


def one_pass(model: Any, checkpointing: str, rows: int, tokens: int) -> Tally:
    import torch.utils.checkpoint as checkpoints  # slow: not at start-up

    plain = checkpoints._old_CheckpointFunction  # as Unsloth's patch keeps it
    chosen = unsloth_kernels.Offloaded if checkpointing == "unsloth" else plain
    was, checkpoints.CheckpointFunction = checkpoints.CheckpointFunction, chosen
    if checkpointing == "none":
        for module in model.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = False
    counter = Counter(models.tensors(model))
    unsloth_kernels.COUNTER.append(counter)
    ids = torch.zeros(rows, tokens, dtype=torch.int64)
    try:
        with counter, torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.get_base_model().model(input_ids=ids).last_hidden_state
            hidden.backward(torch.empty_like(hidden))
    finally:
        checkpoints.CheckpointFunction = was
        unsloth_kernels.COUNTER.pop()
    return counter.fresh()


def head(settings: Any, tokens: int) -> Tally:
    """The modelled head and loss, over so many completion tokens."""
    tally = Tally()
    words, width = settings.vocab_size, settings.hidden_size
    tiles = -(-words // TILE_WORDS)
    for start in range(0, tokens, TILE_TOKENS):
        part = min(TILE_TOKENS, tokens - start)
        weight, logits = 2 * words * width // tiles, 4 * part * words // tiles
        product = Operation(
            "mm", weight + 2 * part * width, logits, 2 * part * words * width // tiles
        )
        tally.operations[product] += 3 * tiles
        tally.operations[Operation("loss", logits, 4 * part)] += 2 * tiles
    tally.peak_bytes = min(TILE_TOKENS, tokens) * (4 * TILE_WORDS + 4 * width)
    return tally


def optimiser(parameters: int, tensors: int) -> Tally:
    """8-bit Adam: reads gradients, reads and writes weights and states; one launch a tensor."""
    each = parameters // tensors
    tally = Tally()
    tally.operations[Operation("adam_8bit", each * 10, each * 6)] += tensors
    tally.peak_bytes = round(ADAM_BYTES * parameters)
    return tally


def with_peak(tally: Tally, more: int) -> Tally:
    return replace(tally, peak_bytes=tally.peak_bytes + more)
