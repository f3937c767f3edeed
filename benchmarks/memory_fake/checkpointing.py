"""Unsloth's checkpointing on fake tensors: its own function, with buffers that can be fake.

It keeps a layer's input in main memory and brings it back through one or two buffers on the card.
Its buffers are made for numbers of cards, and a CPU's tensors have none: here they have the key
None. The function itself, which decides what is moved and when, is run as it is.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.memory_fake.tracker import PartCounter

UNSLOTHS = "unsloth_zoo.gradient_checkpointing"


@contextmanager
def checkpointed(model: Any, kind: str | bool, counter: PartCounter) -> Iterator[None]:
    """Inside, training keeps what `model.use_gradient_checkpointing` of this `kind` keeps."""
    import torch.utils.checkpoint as checkpoints  # slow: not at start-up

    switched = [m for m in model.modules() if hasattr(m, "gradient_checkpointing")]
    for module in switched:
        module.gradient_checkpointing = bool(kind)
    was = checkpoints.CheckpointFunction
    unsloths = importlib.import_module(UNSLOTHS)
    checkpoints.CheckpointFunction = checkpoints._old_CheckpointFunction
    plain = unsloths._new_host_buffer

    def host_buffer(*arguments: Any) -> Any:
        with counter.elsewhere():
            return plain(*arguments)

    try:
        if kind == "unsloth":
            checkpoints.CheckpointFunction = unsloths.UnslothCheckpointFunction
            unsloths._new_host_buffer = host_buffer
            _begin(unsloths, counter)
        yield
    finally:
        checkpoints.CheckpointFunction = was
        unsloths._new_host_buffer = plain
        unsloths.CPU_BUFFERS = []


def host_bytes() -> int:
    """Main memory in which the inputs of layers wait."""
    return sum(buffer.nbytes for buffer in importlib.import_module(UNSLOTHS).CPU_BUFFERS)


def _begin(unsloths: Any, counter: PartCounter) -> None:
    """What `initialize_unsloth_gradient_checkpointing` sets up for a card."""

    def buffer() -> dict[None, torch.Tensor]:
        return {None: torch.empty(unsloths.INITIAL_GPU_BUFFER_SIZE, dtype=torch.bfloat16)}

    with counter, counter.making("activations"):
        unsloths.GPU_BUFFERS, unsloths.GPU_BUFFERS_B = buffer(), buffer()
    unsloths.EXTRA_STREAMS, unsloths.NEXT_BUFFER_SLOT = {None: torch.cuda.Stream()}, {None: 0}
    unsloths.BUFFER_EVENTS_A = {None: torch.cuda.Event()}
    unsloths.BUFFER_EVENTS_B = {None: torch.cuda.Event()}
    unsloths.CPU_BUFFERS = []
    unsloths._reset_cpu_slots()
    unsloths.USE_DOUBLE_BUFFER, unsloths.BACKWARD_PASS, unsloths.FIRST_PASS = False, True, True
    unsloths.LAST_GC_INDEX = unsloths.CURRENT_GC_INDEX = 0
