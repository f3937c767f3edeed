"""Bytes of the tensors that a run keeps: weights, adapter, optimiser state, gradients.

    weight_bytes(architecture, stored)    # Stored says in which form

Exact: a test compares them with the tensors of loaded models. Sources: bitsandbytes 0.50
(functional.py, quantize_4bit and quantize_blockwise; nn/modules.py, Linear8bitLt; optim/
optimizer.py), torch 2.13 (optim), PEFT 0.21.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from groupwise.evaluation.text import printable
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from groupwise.framework.config import ModelConfig
    from groupwise.framework.memory.architecture import Architecture

Form = Literal["4bit", "8bit", "plain"]


@dataclass(frozen=True, slots=True)
class Stored:
    """In which form a model lies in memory; sizes in bytes of an element.

    `size`: of weights that are not quantised; `norms`: of the norms' weights; `trained`: of trained
    weights, and so of their gradients; `compute`: of what layers give to each other, and of keys
    and values.
    """

    form: Form
    size: int
    norms: int
    trained: int
    compute: int


def stored_as(architecture: Architecture, model: ModelConfig, *, on_gpu: bool) -> Stored:
    """How `policy.load` has it: read off Unsloth's loaders (2026.10.9), by a test.

    Adapters are float32 in any case. In a full fine-tuning the norms are, on a card, and all
    weights where the card computes in float16. `dtype: auto` is 16 bits, but on a CPU without them.
    A checkpoint that is quantised keeps its form, whatever the config asks for.

    Raises:
        UserError: the checkpoint is quantised otherwise than by bitsandbytes, such as with GPTQ.
    """
    own = architecture.quantised
    if own not in (None, "4bit", "8bit"):
        raise UserError(
            f"model.name: {printable(model.name)}: its weights are quantised with "
            f"{printable(own, limit=40)}; a plan knows 4 and 8 bits of bitsandbytes. Name the same "
            "model in 16 bits (model.load_in_4bit: true quantises it)"
        )
    has_16_bits = on_gpu or model.dtype == "bfloat16" or _cpu_has_bfloat16()
    compute = 2 if has_16_bits and model.dtype != "float32" else 4
    if model.full_finetuning:
        size = 4 if model.dtype == "float16" and on_gpu else compute
        return Stored("plain", size, 4 if on_gpu else size, size, compute)
    form: Form = "4bit" if model.load_in_4bit else "8bit" if model.load_in_8bit else "plain"
    if own is not None:
        form = "4bit" if own == "4bit" else "8bit"
    return Stored(form, compute, compute, 4, compute)


@cache
def _cpu_has_bfloat16() -> bool:
    """As Unsloth's CPU backend asks (unsloth_zoo/cpu/runtime.py), of Linux."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(flags & {"amx_bf16", "avx512_bf16", "bf16"})


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
    norms = architecture.norms
    plain = architecture.parameters - architecture.linear_parameters - norms
    rest = plain * stored.size + norms * stored.norms
    if stored.form == "plain":
        return rest + architecture.linear_parameters * stored.size
    quantised = 0
    for linear in architecture.linears:
        nf4 = nf4_bytes(linear.inputs * linear.outputs)
        int8 = int8_bytes(linear.inputs, linear.outputs)
        quantised += linear.count * (nf4 if stored.form == "4bit" else int8)
    kept = architecture.kept_in_16_bits or 0
    share = 1 - kept / max(1, architecture.linear_parameters)
    return round(quantised * share) + kept * stored.size + rest


def trained_tensors(
    architecture: Architecture, model: ModelConfig
) -> Iterator[tuple[int, int, int]]:
    """Rows and columns of each kind of trained tensor, and how many of it there are.

    Of what is neither a layer nor an embedding only the sum is known; of an earlier adapter too,
    whose tensors are taken to be as many as an adapter's on all layers.
    """
    a = architecture
    if model.full_finetuning:
        for linear in a.linears:
            yield linear.outputs, linear.inputs, linear.count
        yield a.vocab, a.hidden, 2 if a.head else 1
        for rest in (a.norms, a.biases):
            yield 1, rest // (8 * a.layers), 8 * a.layers
        yield 1, a.tower + a.other, 1
    elif a.adapter is not None:
        count = max(1, 2 * sum(linear.count for linear in a.linears))
        yield 1, a.adapter // count, count
    else:
        for linear in a.adapted(model.target_modules):
            yield model.lora_r, linear.inputs, linear.count
            yield linear.outputs, model.lora_r, linear.count


def trained_parameters(architecture: Architecture, model: ModelConfig) -> int:
    """Parameters that get a gradient."""
    if model.full_finetuning:
        return architecture.parameters
    if architecture.adapter is not None:
        return architecture.adapter
    return architecture.lora_parameters(model.lora_r, model.target_modules)


_SMALLEST_IN_8_BITS = 4096  # elements: smaller tensors keep their state in 32 bits
_BLOCK = 256  # elements that share the two scales of their states
_CODES = 2 * 4 * 256  # the values of the two codes, once


def optimizer_bytes(
    architecture: Architecture, model: ModelConfig, optim: str, stored: Stored
) -> int:
    """State of the optimiser, as it is after the first step."""
    if optim == "sgd":
        return 0
    total = _CODES if "8bit" in optim else 0
    for rows, columns, count in trained_tensors(architecture, model):
        elements = rows * columns
        if optim == "adafactor":  # a row and a column in place of a matrix; no first moment
            total += count * 4 * (rows + columns if rows > 1 else columns)
        elif "8bit" in optim and elements >= _SMALLEST_IN_8_BITS:
            total += count * (2 * elements + 8 * -(-elements // _BLOCK))
        else:
            # torch's own Adam has its state in the type of the weights.
            total += count * elements * 2 * (stored.trained if "torch" in optim else 4)
    return total
