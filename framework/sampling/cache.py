"""Keys and values of the slot engine, and attention over them.

The two cache classes follow `transformers.Cache` where a model's forward touches it (`update`,
`get_seq_length`); they are not derived from it, because its life cycle (grow, crop, reorder) is
what they leave out.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class PromptCache:
    """Catches the keys and values of prompts as they pass through a forward without a past."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        self._layers[layer] = (keys, values)  # each (B, H, P, D)
        return keys, values

    def get_seq_length(self, _layer: int = 0) -> int:
        return 0

    def get_query_offset(self, _layer: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, _layer: int = 0) -> tuple[int, int]:
        return query_length, 0

    def stacked(self) -> Tensor:
        """All layers in one tensor, position before head: (2 * layers, B, P, H, D)."""
        pairs = [self._layers[i] for i in range(len(self._layers))]
        return torch.stack([t for pair in pairs for t in pair]).transpose(2, 3)


class SlotCache:
    """Keys and values of all slots: (2 * layers, rows, capacity, H, D), keys before values.

    Each row starts at position 0, so that a prompt's keys are copied into a slot as one piece, a
    row is moved as one piece, and a step reads no further than its longest row. One tensor holds
    all layers: a copy is one operation, however deep the model.
    """

    def __init__(self, like: Tensor, rows: int, capacity: int) -> None:
        """`like`: (2 * layers, B, P, H, D), of the type and device to use."""
        planes, _, _, heads, width = like.shape
        self.data = like.new_zeros(planes, rows, capacity, heads, width)
        self._flat = self.data.view(planes, rows * capacity, heads * width)
        self.capacity = capacity
        self._rows = 0
        self._window = 0
        self._places = torch.empty(0)

    def begin_step(self, rows: int, window: int, places: Tensor) -> None:
        """Say what the next forward reads and writes.

        Args:
            rows: how many slots, from the first, take part.
            window: how many positions are read.
            places: (rows,) int64, row * capacity + position of each new token.
        """
        self._rows, self._window, self._places = rows, window, places

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one token a row, (B, H, 1, D), and return views of the window, (B, H, W, D)."""
        return self._put(2 * layer, keys), self._put(2 * layer + 1, values)

    def _put(self, plane: int, new: Tensor) -> Tensor:
        self._flat[plane].index_copy_(0, self._places, new.reshape(self._rows, -1))
        return self.data[plane, : self._rows, : self._window].transpose(1, 2)

    def get_seq_length(self, _layer: int = 0) -> int:
        return self._window - 1

    def fill(self, rows: slice, prompt: Tensor) -> None:
        """Copy a prompt's keys and values, (2 * layers, P, H, D), into each of the slots `rows`."""
        self.data[:, rows, : prompt.shape[1]] = prompt[:, None]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of a row over another row."""
        self.data[:, target, :length] = self.data[:, source, :length]


ATTENTION = "groupwise_slots"


def register_attention() -> None:
    """Make the attention below known to transformers, under the name `ATTENTION`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, _grouped_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def _grouped_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token, without copying the keys for each query head.

    `transformers` repeats keys and values for grouped queries whenever there is a mask: at each
    step and layer it writes the whole cache G times over. With one query position a row the group
    can stand where the query positions are instead, since the mask is the same for all of them.
    query (B, H, 1, D), key and value (B, Hkv, W, D), mask (B, 1, 1, W) -> (B, 1, H, D).
    """
    batch, heads, positions, width = query.shape
    if positions > 1 or attention_mask is None:  # a prompt
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        out: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return out
    grouped = query.view(batch, key.shape[1], heads // key.shape[1], width)  # (B, Hkv, G, D)
    out_grouped = F.scaled_dot_product_attention(
        grouped, key, value, attn_mask=attention_mask, scale=scaling
    )  # (B, Hkv, G, D)
    return out_grouped.reshape(batch, 1, heads, width), None
