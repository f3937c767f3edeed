"""Keys and values of the slot engine, and attention over them.

The two cache classes have the methods of `transformers.Cache` that a model's forward calls (such as
`update` and `get_seq_length`). They are not derived from it: growing, cropping and reordering are
left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from groupwise.framework.sampling.cpu import has_onednn


class PromptCache:
    """Collects the keys and values of prompts in a forward without a past."""

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
CAPPED_ATTENTION = "groupwise_slots_capped"  # in place of eager attention: it may cap scores

# Positions of one attention call. Torch's attention multiplies with MKL, whose rounding depends on
# the number of columns, masked ones too, and on the alignment of its buffers: so each call has this
# many columns, whatever the window. The buffer of a thread holds G * (CHUNK + D + 2) floats; with
# 126 that is a multiple of 64 bytes for heads of 16, 32, 64, …, so all threads' are aligned alike.
CHUNK = 126
PROMPT_STEP = 16  # prompts are run together if their lengths, rounded up to this, are equal


def is_steady(tensor: Tensor) -> bool:
    """Whether results can be the same to the bit in any batch: for float32 on a CPU."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and has_onednn()


def round_up(count: int, unit: int) -> int:
    return count + -count % unit


def register_attention() -> None:
    """Register the attentions below with transformers, under their names."""
    from transformers import AttentionInterface, AttentionMaskInterface  # slow: not at start-up
    from transformers.masking_utils import eager_mask, sdpa_mask  # slow: not at start-up

    AttentionInterface.register(ATTENTION, _grouped_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    AttentionInterface.register(CAPPED_ATTENTION, _capped_attention)
    AttentionMaskInterface.register(CAPPED_ATTENTION, eager_mask)


@contextmanager
def slot_attention(config: Any, steady: bool) -> Iterator[None]:
    """Use the engine's attention in place of sdpa, and in place of eager where it is `steady`."""
    was = config._attn_implementation
    register_attention()
    if was == "sdpa":
        config._attn_implementation = ATTENTION
    elif was == "eager" and steady:
        config._attn_implementation = CAPPED_ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = was


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
    step and layer it writes the whole cache G times over. With one query position per row, the
    query heads of a group can take the dimension of the positions, since all share one mask.
    query (B, H, 1, D), key and value (B, Hkv, W, D), mask (B, 1, 1, W) -> (B, 1, H, D).
    """
    batch, heads, positions, width = query.shape
    if positions > 1:  # a prompt
        # Slow: not at start-up.
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        out: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return out
    grouped = query.view(batch, key.shape[1], heads // key.shape[1], width)  # (B, Hkv, G, D)
    if is_steady(query):
        out_grouped = _in_chunks(_flash, grouped, key, value, attention_mask, scaling)
    else:
        out_grouped = F.scaled_dot_product_attention(
            grouped, key, value, attn_mask=attention_mask, scale=scaling
        )  # (B, Hkv, G, D)
    return out_grouped.reshape(batch, 1, heads, width), None


def _capped_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    """The same in place of eager attention, with scores capped at `softcap` if it is given."""
    batch, heads, positions, width = query.shape
    if positions > 1:  # a prompt: the family's own
        eager = sys.modules[type(module).__module__].eager_attention_forward
        if softcap is not None:
            kwargs["softcap"] = softcap
        outs = []
        for i in range(batch):  # one by one: a batched product rounds by the size of the batch
            row = slice(i, i + 1)
            mask = attention_mask
            if mask is not None and len(mask) > 1:
                mask = mask[row]
            outs.append(
                eager(module, query[row], key[row], value[row], mask, scaling=scaling, **kwargs)[0]
            )
        return torch.cat(outs), None
    grouped = query.view(batch, key.shape[1], heads // key.shape[1], width)  # (B, Hkv, G, D)
    part = partial(_capped, softcap=softcap)
    out_grouped = _in_chunks(part, grouped, key, value, attention_mask, scaling)
    return out_grouped.reshape(batch, 1, heads, width), None


# Attention over one chunk: query, key, value, mask, scale -> output and log of the weights' sum.
_Part = Callable[[Tensor, Tensor, Tensor, Tensor, float | None], tuple[Tensor, Tensor]]


def _in_chunks(
    part: _Part,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float | None,
) -> Tensor:
    """Attention summed chunk by chunk: (B, H, G, D); a chunk that a row does not see adds 0.

    query (B, H, G, D), key and value (B, H, W, D), mask (B, 1, 1, W): True or 0 where visible.
    """
    group, window = query.shape[2], key.shape[2]
    mask = _additive(mask, query.new_zeros(1, 1, 1, window))
    if missing := -window % CHUNK:  # never in the slots' cache
        key, value = F.pad(key, (0, 0, 0, missing)), F.pad(value, (0, 0, 0, missing))
        mask = F.pad(mask, (0, missing), value=torch.finfo(mask.dtype).min)
    if part is not _flash or query.shape[3] % 16:
        query = F.pad(query, (0, 0, 0, -group % 8))  # buffers of whole 64 bytes, see CHUNK
    out, top = part(query, key[:, :, :CHUNK], value[:, :, :CHUNK], mask[..., :CHUNK], scale)
    if window <= CHUNK:
        return out[:, :, :group]
    total = torch.ones_like(top)  # (B, H, G, 1), of the weights, those of the `top` chunk being 1
    for start in range(CHUNK, window, CHUNK):
        at = slice(start, start + CHUNK)
        new, log_sum = part(query, key[:, :, at], value[:, :, at], mask[..., at], scale)
        highest = torch.maximum(top, log_sum)
        kept, added = (top - highest).exp_(), (log_sum - highest).exp_()
        out, total, top = out * kept + new * added, total * kept + added, highest
    return (out / total)[:, :, :group]


def _additive(mask: Tensor | None, zeros: Tensor) -> Tensor:
    """The mask as added to scores: 0 or the least number (-inf gives NaN if a chunk is masked)."""
    if mask is None:
        return zeros
    if mask.dtype == torch.bool:
        return zeros.masked_fill(~mask, torch.finfo(zeros.dtype).min)
    return mask  # ours, or that of eager attention: both have the least number


def _flash(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None
) -> tuple[Tensor, Tensor]:
    # What scaled_dot_product_attention calls on a CPU, without returning the second result.
    out, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, False, attn_mask=mask, scale=scale
    )
    return out, log_sum[..., None]


def _capped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    scale: float | None,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    scores = torch.matmul(query, key.transpose(2, 3)) * (scale or 1.0)  # (B, H, G, CHUNK)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores + mask
    top = scores.amax(dim=-1, keepdim=True)
    weights = (scores - top).exp()
    total = weights.sum(dim=-1, keepdim=True)
    return torch.matmul(weights, value) / total, top + total.log()
