"""Bytes of the tensors that a run keeps: weights, adapter, optimiser state, gradients.

    weight_bytes(architecture, stored)    # Stored says in which form

Exact: a test compares them with the tensors of loaded models. Sources: bitsandbytes 0.50
(functional.py, quantize_4bit and quantize_blockwise; nn/modules.py, Linear8bitLt; optim/
optimizer.py), torch 2.13 (optim), PEFT 0.21.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from groupwise.framework.config import ModelConfig
    from groupwise.framework.memory.architecture import Architecture

Form = Literal["4bit", "8bit", "plain"]


@dataclass(frozen=True, slots=True)
class Stored:
    """In which form a model's weights lie in memory: `size` bytes for each that is not quantised.

    `compute` is the size of an element that layers give to each other.
    """

    form: Form
    size: int
    compute: int


_NF4_BLOCK, _NF4_NESTED = 64, 256
# Of each 4-bit layer: the 16 values of NF4, the 256 of the nested code, an offset; float32.
_NF4_TABLES = 4 * (16 + 256 + 1)


def nf4_bytes(parameters: int) -> int:
    """Of one layer with double quantisation: nibbles, a byte a block, a float for 256 blocks."""
    blocks = -(-parameters // _NF4_BLOCK)
    return -(-parameters // 2) + blocks + 4 * -(-blocks // _NF4_NESTED) + _NF4_TABLES


def int8_bytes(inputs: int, outputs: int) -> int:
    """Of one layer: a byte a weight, and a float32 scale for each output."""
    return inputs * outputs + 4 * outputs


def weight_bytes(architecture: Architecture, stored: Stored) -> int:
    """All of the base model."""
    rest = architecture.parameters - architecture.linear_parameters
    if stored.form == "plain":
        return architecture.parameters * stored.size
    kept = architecture.kept_in_16_bits or 0
    quantised = 0
    for linear in architecture.linears:
        each = linear.inputs * linear.outputs
        one = (
            nf4_bytes(each) if stored.form == "4bit" else int8_bytes(linear.inputs, linear.outputs)
        )
        quantised += one * linear.count
    share = 1 - kept / max(1, architecture.linear_parameters)
    return round(quantised * share) + (rest + kept) * stored.size


def trained_tensors(architecture: Architecture, model: ModelConfig) -> Iterator[tuple[int, int]]:
    """Elements of each kind of trained tensor, and how many of it there are.

    Of a full fine-tuning the matrices are told from the rest, which is small.
    """
    if model.full_finetuning:
        for linear in architecture.linears:
            yield linear.inputs * linear.outputs, linear.count
        yield architecture.embedding, 1
        if architecture.head:
            yield architecture.head, 1
        if architecture.tower:
            yield architecture.tower, 1
        if architecture.other:
            yield architecture.other, 1
        small = architecture.norms + architecture.biases
        yield max(1, small // (4 * architecture.layers)), 4 * architecture.layers
        return
    if architecture.adapter is not None:
        # Only their sum is known: they are as large as those of a usual adapter.
        count = 2 * sum(linear.count for linear in architecture.linears)
        yield architecture.adapter // count, count
        return
    for linear in architecture.adapted(model.target_modules):
        yield model.lora_r * linear.inputs, linear.count
        yield model.lora_r * linear.outputs, linear.count


def trained_parameters(architecture: Architecture, model: ModelConfig) -> int:
    """Parameters that get a gradient."""
    if model.full_finetuning:
        return architecture.parameters
    if architecture.adapter is not None:
        return architecture.adapter
    return architecture.lora_parameters(model.lora_r, model.target_modules)


_SMALLEST_IN_8_BITS = 4096  # elements: smaller tensors keep their state in 32 bits
_BLOCK = 256  # elements that share the two scales of their states


def optimizer_bytes(architecture: Architecture, model: ModelConfig, optim: str) -> int:
    """State of the optimiser, as it is after the first step."""
    if optim == "sgd":
        return 0
    total = 0
    for elements, count in trained_tensors(architecture, model):
        if optim == "adafactor":
            total += count * _adafactor(elements)
        elif "8bit" in optim and elements >= _SMALLEST_IN_8_BITS:
            total += count * (2 * elements + 8 * -(-elements // _BLOCK))
        else:
            total += count * 8 * elements
    return total


def _adafactor(elements: int) -> int:
    """A row and a column of float32 in place of a matrix, which is taken as square."""
    return 4 * 2 * math.isqrt(elements)
