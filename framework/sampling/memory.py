"""How many rows fit into a memory budget."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from groupwise.framework.sampling.cache import CHUNK
from groupwise.rewards.errors import UserError

# For each word of the vocabulary: logits as the model gives them, in float32, weights, float64 sum.
_BYTES_PER_WORD = 24


def default_budget(device: torch.device) -> int:
    """Bytes: a quarter of the free main memory on a CPU, four fifths of the free GPU memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(0.8 * (free + cached))
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4


@dataclass(frozen=True, slots=True)
class Room:
    """What fits into memory: slots at once, and prompt tokens in one prefill."""

    rows: int
    prompt_tokens: int


def room_within(
    budget: int, kv: Tensor, capacity: int, longest: int, config: Any, most: Room
) -> Room:
    """The largest room, at most `most`, whose memory stays within `budget` bytes.

    Prefilled prompts take at most a quarter of it, unless a single prompt needs more.

    Args:
        kv: (2 * layers, P, H, D), a prompt's keys and values: gives the bytes of a position.
        capacity: positions of a slot, rounded up as they are allocated.
        longest: positions of the longest prompt's prefill, padding included.
        config: the model's; for its vocabulary and the width of its layers.

    Raises UserError if not even one slot fits.
    """
    planes, _, heads, width = kv.shape
    per_position = planes * heads * width * kv.element_size()
    per_row = per_position * capacity + config.vocab_size * _BYTES_PER_WORD
    # Capped attention copies a chunk of one layer's keys, then of its values.
    per_row += 2 * CHUNK * heads * width * kv.element_size()
    # Keys and values exist twice while they are stacked; activations are one layer's.
    activations = 4 * (8 * config.hidden_size + 4 * config.intermediate_size)
    per_prompt_token = 2 * per_position + activations
    prompt_tokens = max(min(most.prompt_tokens, budget // 4 // per_prompt_token), longest)
    left = budget - prompt_tokens * per_prompt_token
    if left < per_row:
        needed = per_row + longest * per_prompt_token
        raise UserError(
            f"sampling: one sample of up to {capacity} tokens needs {_mib(needed)}, and "
            f"{_mib(budget)} are allowed. Lower max_tokens, or raise the memory budget."
        )
    return Room(rows=min(most.rows, left // per_row), prompt_tokens=prompt_tokens)


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
