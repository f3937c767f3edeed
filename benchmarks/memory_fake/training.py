"""The bytes of a training step: Unsloth's GPU code, forward and backward, on fake tensors.

Run are Unsloth's layers with their fused LoRA, its checkpointing, its tiled log-probabilities and
loss, and bitsandbytes' 8-bit Adam. The second pass is the one reported: by then the optimiser has
its state, there are gradients to add to, and Unsloth knows which layer is the last, whose input it
leaves on the card.
"""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_figures import generate, unsloth_kernels
from benchmarks.gpu_figures import model as models
from benchmarks.memory_fake import head
from benchmarks.memory_fake.cases import Measured, Training
from benchmarks.memory_fake.checkpointing import checkpointed, host_bytes
from benchmarks.memory_fake.tracker import PartCounter


def measure(settings: Any, cases: Sequence[Training]) -> list[Measured]:
    """The peak of each case by part; to be called once in a process, with nothing else in it."""
    generate.patched()  # Qwen3's classes
    importlib.import_module("unsloth.models.llama").FastLlamaModel.pre_patch()
    return [_measured(settings, case) for case in cases]


def _measured(settings: Any, case: Training) -> Measured:
    with models.fake_mode():
        unsloth_kernels.SCRATCH.clear()
        model = generate.build(settings).train()
        trained = [p for p in model.parameters() if p.requires_grad]
        counter = PartCounter("activations")
        counter.hold_as("weights", models.tensors(model))
        counter.hold_as("lora", trained)
        unsloth_kernels.COUNTER.append(counter)
        try:
            with checkpointed(model, case.checkpointing, counter):
                one_pass(model, counter, case)
                counter.hold_as("gradients", [p.grad for p in trained if p.grad is not None])
                _optimiser = adam(trained, counter)
                gc.collect()
                counter.fresh()
                one_pass(model, counter, case)
                return Measured(case, dict(counter.at_peak), host_bytes())
        finally:
            unsloth_kernels.COUNTER.pop()


def one_pass(model: Any, counter: PartCounter, case: Training) -> None:
    """Forward, loss and backward of the completions of one forward, all of full length."""
    tokens = case.prompt + case.completion
    ids = torch.zeros(case.per_forward, tokens, dtype=torch.int64)
    with counter:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            os.environ["UNSLOTH_RETURN_HIDDEN_STATES"] = "1"  # as its trainer does
            hidden = model(input_ids=ids, use_cache=False).logits
            os.environ["UNSLOTH_RETURN_HIDDEN_STATES"] = "0"
            with head.as_on_a_small_card(), counter.making("logits"):
                weight = model.get_output_embeddings().weight
                loss = head.loss(hidden, weight, case.completion)
        del hidden
        loss.backward()


def adam(trained: list[Tensor], counter: PartCounter) -> Any:
    """bitsandbytes' AdamW in 8 bits, after its first step."""
    from bitsandbytes.optim import AdamW8bit  # slow: not at start-up

    with counter, counter.making("optimizer"):
        optimiser = AdamW8bit(trained)
        optimiser.step()
    return optimiser
