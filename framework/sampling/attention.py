"""Attention of the slot engine: over blocks of keys and values, whatever row they belong to.

One new token a row attends to the row's blocks. A step computes attention for each block by itself
and then adds up what belongs to a row, weighted by the sums of the softmax ("split-K", as in Dao et
al., Flash-Decoding, https://pytorch.org/blog/flash-decoding/). So the pool is read where it lies,
without a copy for each row, and no further than it is in use. Blocks of a shared prompt are read
once for all of its rows (Juravsky et al., "Hydragen", https://arxiv.org/abs/2402.05099).

In float32 on a CPU, where results must not depend on the batch, rows share nothing, and a row's
blocks are added one after the other.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from groupwise.framework.sampling.blocks import BLOCK, CHUNK
from groupwise.framework.sampling.cpu import has_onednn

ATTENTION = "groupwise_slots"
CAPPED_ATTENTION = "groupwise_slots_capped"  # in place of eager attention: it may cap scores

PROMPT_STEP = 16  # prompts are run together if their lengths, rounded up to this, are equal


def least(dtype: torch.dtype) -> float:
    """What is added to the score of a column that a row does not see.

    Not the least number of bfloat16 and float32: kernels of a GPU multiply scores by log2(e), and
    a row that sees nothing would then have no log-sum, which they give as 0.
    """
    return max(torch.finfo(dtype).min, -1e30)


def is_steady(tensor: Tensor) -> bool:
    """Whether results can be the same to the bit in any batch: for float32 on a CPU."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and has_onednn()


def round_up(count: int, unit: int) -> int:
    return count + -count % unit


@dataclass(frozen=True, slots=True)
class Step:
    """What the attention of one step reads, beside keys and values.

    S own and P shared blocks are read, of B rows; at most K rows share a block. Masks are added to
    the scores; they come by whether the layer has a sliding window.
    """

    owner: Tensor  # (S,) each block's row
    table: Tensor  # (B, M) each row's blocks, 0 where it has no more
    masks: dict[bool, Tensor]  # (S, 1, 1, block)
    is_steady: bool
    members: Tensor | None = None  # (P, K) each shared block's rows, in the order of the pool
    shared_table: Tensor | None = None  # (B, N) each row's shared blocks
    seats: Tensor | None = None  # (B, 1) each row's seat in them
    shared_masks: dict[bool, Tensor] | None = None  # (P, 1, 1 or K * G, block)

    def attend(
        self,
        part: _Part,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        scale: float | None,
        *,
        is_sliding: bool,
    ) -> Tensor:
        """query (B, H, G, D), keys and values (blocks, H, block, D) -> (B, H, G, D)."""
        own = len(self.owner)
        mask = self.masks[is_sliding]
        outs, tops = _apply(part, query[self.owner], keys[:own], values[:own], mask, scale)
        if self.is_steady:
            return _added_in_order((outs[at], tops[at]) for at in self.table.unbind(dim=1))
        outs, tops = outs[self.table], tops[self.table]  # (B, M, H, G, D or 1)
        if self.members is not None and self.shared_masks is not None:
            shared, seats = self.members.shape
            group = query.shape[2]
            asked = query[self.members].transpose(1, 2).flatten(2, 3)  # (P, H, K * G, D)
            mask = self.shared_masks[is_sliding]
            out, top = _apply(part, asked, keys[-shared:], values[-shared:], mask, scale)
            places = self.shared_table, slice(None), self.seats
            out, top = (
                t.view(shared, query.shape[1], seats, group, -1)[places] for t in (out, top)
            )  # (B, N, H, G, D or 1)
            outs, tops = torch.cat([outs, out], dim=1), torch.cat([tops, top], dim=1)
        weights = tops.float().softmax(dim=1)
        return (outs * weights).sum(dim=1).to(query.dtype)


def register_attention() -> None:
    """Register the attentions below with transformers, under their names."""
    from transformers import AttentionInterface, AttentionMaskInterface  # slow: not at start-up
    from transformers.masking_utils import eager_mask, sdpa_mask  # slow: not at start-up

    AttentionInterface.register(ATTENTION, _grouped_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    AttentionInterface.register(CAPPED_ATTENTION, _capped_attention)
    AttentionMaskInterface.register(CAPPED_ATTENTION, eager_mask)


def can_replace_attention(config: Any) -> bool:
    """Whether the engine's attention computes what the one of `config` does."""
    caps = getattr(config, "attn_logit_softcapping", None)  # of the others, only eager caps here
    flash = () if caps else ("flash_attention_2", "flash_attention_3")
    return config._attn_implementation in ("sdpa", "eager", *flash)


@contextmanager
def slot_attention(config: Any) -> Iterator[None]:
    """Use the engine's attention in place of the model's."""
    was = config._attn_implementation
    register_attention()
    config._attn_implementation = CAPPED_ATTENTION if was == "eager" else ATTENTION
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
    slots: Step | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token a row, without copying the keys for each query head.

    `transformers` repeats keys and values for grouped queries whenever there is a mask: at each
    step and layer it writes the whole cache G times over. With one query position per row, the
    query heads of a group can take the dimension of the positions, since all share one mask.
    query (B, H, 1, D) -> (B, 1, H, D); key and value are blocks with `slots`, else (B, Hkv, W, D)
    with a mask (B, 1, 1, W).
    """
    if query.shape[2] > 1:  # a prompt
        # Slow: not at start-up.
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        out: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return out
    is_cpu = query.device.type == "cpu"
    part = _flash if is_cpu else fused_part(query.device, query.dtype, query.shape[-1])
    is_sliding = bool(kwargs.get("sliding_window"))
    return _of_one_token(part, query, key, value, attention_mask, scaling, slots, is_sliding), None


def _capped_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    slots: Step | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    """The same in place of eager attention, with scores capped at `softcap` if it is given."""
    batch, _, positions, _ = query.shape
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
    part = partial(_weighted, softcap=softcap)
    is_sliding = bool(kwargs.get("sliding_window"))
    return _of_one_token(part, query, key, value, attention_mask, scaling, slots, is_sliding), None


def _of_one_token(
    part: _Part,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float | None,
    slots: Step | None,
    is_sliding: bool,
) -> Tensor:
    """query (B, H, 1, D) -> (B, 1, H, D), over blocks or over a window of each row."""
    batch, heads, _, width = query.shape
    grouped = query.view(batch, key.shape[1], heads // key.shape[1], width)  # (B, Hkv, G, D)
    if slots is not None:
        attended = slots.attend(part, grouped, key, value, scale, is_sliding=is_sliding)
    else:
        attended = _in_chunks(part, grouped, key, value, mask, scale)
    return attended.reshape(batch, 1, heads, width)


# Attention over one block: query, key, value, mask, scale -> output and log of the weights' sum.
_Part = Callable[[Tensor, Tensor, Tensor, Tensor, float | None], tuple[Tensor, Tensor]]


def _apply(
    part: _Part, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None
) -> tuple[Tensor, Tensor]:
    """`part`, with the queries padded to buffers of whole 64 bytes, see CHUNK."""
    group = query.shape[2]
    if is_steady(query) and (part is not _flash or query.shape[3] % 16):
        query = F.pad(query, (0, 0, 0, -group % 8))
    out, top = part(query, key, value, mask, scale)
    return out[:, :, :group], top[:, :, :group]


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
    window = key.shape[2]
    mask = _additive(mask, query.new_zeros(1, 1, 1, window))
    if missing := -window % CHUNK:
        key, value = F.pad(key, (0, 0, 0, missing)), F.pad(value, (0, 0, 0, missing))
        mask = F.pad(mask, (0, missing), value=least(mask.dtype))
    chunks = (slice(start, start + CHUNK) for start in range(0, window, CHUNK))
    return _added_in_order(
        _apply(part, query, key[:, :, at], value[:, :, at], mask[..., at], scale) for at in chunks
    )


def _added_in_order(parts: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Results of blocks, (B, H, G, D) and log-sums (B, H, G, 1), added one after the other.

    A block that a row does not see adds exactly 0 to it.
    """
    parts = iter(parts)
    out, top = next(parts)
    total = None  # (B, H, G, 1), of the weights, those of the `top` block being 1
    for new, log_sum in parts:
        total = torch.ones_like(top) if total is None else total
        highest = torch.maximum(top, log_sum)
        kept, added = (top - highest).exp_(), (log_sum - highest).exp_()
        out, total, top = out * kept + new * added, total * kept + added, highest
    return out if total is None else out / total


def _additive(mask: Tensor | None, zeros: Tensor) -> Tensor:
    """The mask as added to scores: 0 or the least number (-inf gives NaN if a chunk is masked)."""
    if mask is None:
        return zeros
    if mask.dtype == torch.bool:
        return zeros.masked_fill(~mask, least(zeros.dtype))
    return mask  # that of eager attention


def _flash(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None
) -> tuple[Tensor, Tensor]:
    # What scaled_dot_product_attention calls on a CPU, without returning the second result.
    out, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, False, attn_mask=mask, scale=scale
    )
    return out, log_sum[..., None]


def _efficient(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None
) -> tuple[Tensor, Tensor]:
    """What scaled_dot_product_attention calls on a GPU with a mask, with the log-sums it keeps."""
    heads, asked = query.shape[1:3]
    bias = mask.expand(-1, heads, asked, -1)
    out, log_sum, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, True, scale=scale
    )
    return out, log_sum[:, :, :asked, None]  # the kernel pads them to whole blocks of queries


@lru_cache(maxsize=16)
def fused_part(device: torch.device, dtype: torch.dtype, width: int) -> _Part:
    """One kernel if this torch and card have it and it computes the same, else `_weighted`.

    The operation is one that torch keeps to itself; the check takes milliseconds, once.
    """
    by_products: _Part = partial(_weighted, softcap=None)
    generator = torch.Generator(device).manual_seed(0)
    query, key, value = (
        torch.randn(3, 2, size, width, dtype=dtype, device=device, generator=generator)
        for size in (4, BLOCK, BLOCK)
    )
    mask = torch.zeros(3, 1, 1, BLOCK, dtype=dtype, device=device)
    mask[0, ..., BLOCK // 2 :] = mask[1] = least(dtype)  # half of it masked, and all
    try:
        fused = _efficient(query, key, value, mask, 0.1)
    except RuntimeError as error:  # not a memory error: these tensors are tiny
        warnings.warn(
            f"sampling: attention by products, in place of one kernel: {error}", stacklevel=2
        )
        return by_products
    pairs = zip(fused, by_products(query, key, value, mask, 0.1), strict=True)
    agrees = all(torch.allclose(a.float(), b.float(), atol=0.02, rtol=0.02) for a, b in pairs)
    agrees = agrees and bool((fused[1][1] < -1e4).all())  # what is not seen weighs nothing
    return _efficient if agrees else by_products


def _weighted(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    scale: float | None,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    """The same by matrix products, the softmax in float32; scores may be capped at `softcap`."""
    # Scaled first: 16 bits hold the product of scaled numbers better.
    scores = torch.matmul(query * (scale or 1.0), key.transpose(2, 3)).float()  # (B, H, G, block)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores + mask
    top = scores.amax(dim=-1, keepdim=True)
    weights = (scores - top).exp()
    total = weights.sum(dim=-1, keepdim=True)
    out = torch.matmul((weights / total).to(value.dtype), value)  # (B, H, G, D)
    return out, top + total.log()
