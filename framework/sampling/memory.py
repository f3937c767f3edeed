"""How many rows fit into a memory budget."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from groupwise.framework.sampling.schedule import RESERVE, least_blocks
from groupwise.rewards.errors import UserError

# For each word of the vocabulary: logits as the model gives them, in float32, weights, float64 sum.
_BYTES_PER_WORD = 24
DRAW_ROWS = 32  # rows whose tokens are drawn at once on a GPU
TYPICAL_LENGTH = 0.25  # of max_tokens; a guess: most answers are far shorter than they may be


def default_budget(device: torch.device) -> int:
    """Bytes: a quarter of the free main memory on a CPU, four fifths of the free GPU memory."""
    if device.type == "cuda":
        # What torch keeps in reserve may lie in pieces that no pool fits into.
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(device)
        return int(0.8 * free)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4


@dataclass(frozen=True, slots=True)
class Need:
    """What a run asks for: the longest prompt, as it is and padded, and how memory is divided."""

    prompt: int
    padded: int
    max_tokens: int
    block: int
    shares_prompts: bool

    def blocks(self, tokens: int) -> int:
        """The blocks of one sample of `tokens`, without those for padding."""
        return least_blocks(self.prompt, tokens, self.block, self.shares_prompts) - 2


@dataclass(frozen=True, slots=True)
class Room:
    """What fits into memory: rows at once, prompt tokens in one prefill, blocks of keys."""

    rows: int
    prompt_tokens: int
    blocks: int = 0


def room_within(budget: int, kv: Tensor, need: Need, config: Any, most: Room) -> Room:
    """The largest room, at most `most`, whose memory stays within `budget` bytes.

    Prefilled prompts take at most a quarter of it, unless a single prompt needs more. There are as
    many rows as would fit if each drew `TYPICAL_LENGTH` of the tokens that it may; which of them
    run is decided by the blocks that are free (`schedule.py`).

    Args:
        kv: (2 * layers, H, P, D), a prompt's keys and values: gives the bytes of a position.
        config: the model's; for its vocabulary and the width of its layers.

    Raises UserError if not even one sample fits.
    """
    planes, heads, _, width = kv.shape
    per_position = planes * heads * width * kv.element_size()
    per_block = per_position * need.block
    # The queries and results of a block's attention, of one layer at a time.
    per_block += 3 * 4 * config.num_attention_heads * width
    # Keys and values exist twice while they are stacked; activations are one layer's.
    activations = 4 * (8 * config.hidden_size + 4 * config.intermediate_size)
    per_prompt_token = 2 * per_position + activations
    prompt_tokens = max(min(most.prompt_tokens, budget // 4 // per_prompt_token), need.padded)
    left = budget - prompt_tokens * per_prompt_token - 2 * per_block
    # On a GPU a few rows are drawn at a time: of the others there are only the logits.
    in_draw = config.vocab_size * _BYTES_PER_WORD
    per_row = config.vocab_size * 2 * kv.element_size() if kv.is_cuda else in_draw
    if kv.is_cuda:
        left -= min(DRAW_ROWS, most.rows) * in_draw
    whole = need.blocks(need.max_tokens)
    if left < per_row + whole * per_block:
        needed = budget - left + per_row + whole * per_block
        raise UserError(
            f"sampling: one sample of up to {need.prompt + need.max_tokens} tokens needs "
            f"{_mib(needed)}, and {_mib(budget)} are allowed. Lower max_tokens, or raise the "
            "memory budget."
        )
    typical = need.blocks(max(1, int(TYPICAL_LENGTH * need.max_tokens)))
    rows = max(1, min(most.rows, left // (per_row + typical * per_block)))
    blocks = min((left - rows * per_row) // per_block, rows * whole + rows // RESERVE)
    return Room(rows, prompt_tokens, max(blocks, whole) + 2)


def rows_at_full_length(budget: int, positions: int, config: Any) -> int:
    """Rows of `positions` each whose keys, in 16 bits, and logits take at most `budget` bytes."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys = 2 * config.num_hidden_layers * heads * width * 2
    row: int = keys * positions + config.vocab_size * _BYTES_PER_WORD
    return max(1, budget // row)


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
