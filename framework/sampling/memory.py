"""How many rows fit into a memory budget. Arithmetic only: a plan of a run's memory uses it too."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groupwise.framework.sampling.blocks import RESERVE, least_blocks
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PREFILL_TOKENS = 2048  # padded tokens in one run of prompts
PREFILL_PROMPTS = 16
MOST_ROWS_CPU = 128
MOST_ROWS_GPU = 256
# For each word of the vocabulary: logits as the model gives them, in float32, weights, float64 sum.
_BYTES_PER_WORD = 24
DRAW_ROWS = 32  # rows whose tokens are drawn at once on a GPU
TYPICAL_LENGTH = 0.25  # of max_tokens; a guess: most answers are far shorter than they may be


def default_budget(device: torch.device) -> int:
    """Bytes: a quarter of the free main memory on a CPU, four fifths of the free GPU memory."""
    if device.type == "cuda":
        import torch  # slow: not at start-up

        # What torch keeps in reserve may lie in pieces that no pool fits into.
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(device)
        return int(0.8 * free)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4


def most_rows(max_rows: int | None, *, on_gpu: bool) -> int:
    """The number of slots that a setting of `max_rows` allows; None: the device's default."""
    return max_rows or (MOST_ROWS_GPU if on_gpu else MOST_ROWS_CPU)


@dataclass(frozen=True, slots=True)
class Widths:
    """Of a model: the widths that memory goes by. `planes`: keys and values of each layer."""

    planes: int
    kv_heads: int
    head_dim: int
    element_size: int
    heads: int
    hidden: int
    ffn: int
    vocab: int
    on_gpu: bool

    @classmethod
    def of(cls, kv: Tensor, config: Any) -> Widths:
        """Of a prompt's keys and values, (planes, H, P, D), and the model's config."""
        planes, kv_heads, _, head_dim = kv.shape
        return cls(
            planes=planes,
            kv_heads=kv_heads,
            head_dim=head_dim,
            element_size=kv.element_size(),
            heads=config.num_attention_heads,
            hidden=config.hidden_size,
            ffn=config.intermediate_size,
            vocab=config.vocab_size,
            on_gpu=kv.is_cuda,
        )

    @property
    def position(self) -> int:
        """Bytes of the keys and values of one position."""
        return self.planes * self.kv_heads * self.head_dim * self.element_size

    @property
    def prompt_token(self) -> int:
        """Bytes of a prompt's token while it is run: activations are one layer's."""
        # Keys and values exist twice while they are stacked.
        return 2 * self.position + 4 * (8 * self.hidden + 4 * self.ffn)

    def block(self, positions: int) -> int:
        """Bytes of a block, with the queries and results of its attention, a layer at a time."""
        return self.position * positions + 3 * 4 * self.heads * self.head_dim

    @property
    def row(self) -> int:
        """Bytes of a row's logits; on a CPU with what drawing its token takes."""
        return self.vocab * 2 * self.element_size if self.on_gpu else self.draw

    @property
    def draw(self) -> int:
        """Bytes that drawing one row's token takes."""
        return self.vocab * _BYTES_PER_WORD


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


def room_within(budget: int, widths: Widths, need: Need, most: Room) -> Room:
    """The largest room, at most `most`, whose memory stays within `budget` bytes.

    Prefilled prompts take at most a quarter of it, unless a single prompt needs more. There are as
    many rows as would fit if each drew `TYPICAL_LENGTH` of the tokens that it may; which of them
    run is decided by the blocks that are free (`schedule.py`).

    Raises UserError if not even one sample fits.
    """
    per_block = widths.block(need.block)
    prompt_tokens = min(most.prompt_tokens, budget // 4 // widths.prompt_token)
    prompt_tokens = max(prompt_tokens, need.padded)
    left = budget - prompt_tokens * widths.prompt_token - 2 * per_block
    if widths.on_gpu:  # a few rows are drawn at a time: of the others there are only the logits
        left -= min(DRAW_ROWS, most.rows) * widths.draw
    whole = need.blocks(need.max_tokens)
    if left < widths.row + whole * per_block:
        needed = budget - left + widths.row + whole * per_block
        raise UserError(
            f"sampling: one sample of up to {need.prompt + need.max_tokens} tokens needs "
            f"{_mib(needed)}, and {_mib(budget)} are allowed. Lower max_tokens, or raise the "
            "memory budget."
        )
    typical = need.blocks(max(1, int(TYPICAL_LENGTH * need.max_tokens)))
    rows = max(1, min(most.rows, left // (widths.row + typical * per_block)))
    blocks = min((left - rows * widths.row) // per_block, rows * whole + rows // RESERVE)
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
