"""What a product with a 4-bit weight is on a card: one fused kernel, or dequantising and a product.

transformers' and PEFT's layers call bitsandbytes' `gemm_4bit`, which decides by the card, the shape
and the number of rows. Its rule is read from the installed library's source: its module for CUDA
does not import into a torch without CUDA. Unsloth's own decoding dequantises into one buffer for
all weights, except on cards where it hands up to 16 rows to `gemm_4bit` (utils.py, T4 in fp16).
"""

from __future__ import annotations

import ast
import functools
from collections import Counter as Multiset
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_figures.cards import Card
from benchmarks.gpu_figures.counter import Operation, Tally
from benchmarks.gpu_figures.model import BLOCK, SCALES

RULE = "_gemm_4bit_use_custom_cuda"
MOST_ROWS = 1536  # _gemm_4bit_custom_max_m of the same file
UNSLOTH_ROWS = 16  # _BNB_GEMM_4BIT_MAX_ROWS of unsloth/kernels/utils.py
UNSLOTH_ARCHS = {(7, 5)}  # _BNB_GEMM_4BIT_ARCHS


def packed_bytes(weights: int) -> int:
    """Half a byte each, a byte for each 64, four bytes for each 64 x 256."""
    blocks = -(-weights // BLOCK)
    return weights // 2 + blocks + 4 * -(-blocks // SCALES)


@functools.cache
def _rule(card: Card) -> Any:
    spec = find_spec("bitsandbytes")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "backends" / "cuda" / "ops.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == RULE:
            node.decorator_list = []
            module = ast.Module([node], [])
            names: dict[str, Any] = {
                "torch": torch,
                "_GEMM_4BIT_CUSTOM_FLOOR_M": 4,
                "_gpu_dispatch_props": lambda _: (card.processors, *card.capability),
            }
            exec(compile(module, str(source), "exec"), names)
            return names[RULE]
    raise RuntimeError(f"{source} has no {RULE}: bitsandbytes' rule has moved")


def is_fused(card: Card, rows: int, shape: tuple[int, int]) -> bool:
    """Whether bitsandbytes multiplies without dequantising into memory."""
    dtype = torch.float16 if card.capability < (8, 0) else torch.bfloat16
    return rows <= MOST_ROWS and bool(_rule(card)(0, dtype, rows, *shape))


def on_card(tally: Tally, card: Card, decode_rows: int | None = None) -> Tally:
    """The tally with each 4-bit product as what `card` runs.

    Args:
        decode_rows: rows of a step of Unsloth's own decoding; None elsewhere.
    """
    made: Multiset[Operation] = Multiset()
    hands_over = (
        decode_rows is not None and decode_rows <= UNSLOTH_ROWS and card.capability in UNSLOTH_ARCHS
    )
    for op, count in tally.operations.items():
        if op.name == "gemm_4bit":
            for part in _gemm_4bit(card, op):
                made[part] += count
        elif hands_over and op.name == "dequantize_nf4":
            continue
        elif hands_over and op.buffered:
            weights = op.buffered // 2
            read = op.read - op.buffered + packed_bytes(weights)
            made[replace(op, name="gemm_4bit", read=read, buffered=0)] += count
        else:
            made[op] += count
    return Tally(made, tally.host_reads, tally.peak_bytes)


def _gemm_4bit(card: Card, op: Operation) -> list[Operation]:
    weights = op.shape[0] * op.shape[1]
    packed = packed_bytes(weights)
    if is_fused(card, op.rows, op.shape):
        return [replace(op, read=op.read + packed)]
    scales = -(-weights // BLOCK)
    return [
        Operation("dequantize_scales", scales + scales // SCALES * 4, 4 * scales),
        Operation("add", 4 * scales, 4 * scales),
        Operation("dequantize_nf4", weights // 2 + 4 * scales, 2 * weights, buffered=2 * weights),
        Operation("mm", op.read + 2 * weights, op.written, op.flops, buffered=2 * weights),
    ]
