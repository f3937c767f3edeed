"""The schedule's arrays as tensors at fixed addresses, and the step that the model sees of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groupwise.framework.sampling.attention import Step, least
from groupwise.framework.sampling.schedule import Schedule

_EACH_STEP = ("inputs", "lengths", "uniform")
_ARRAYS = (
    "write_block",
    "owner",
    "begin",
    "table",
    "seat",
    "home",
    "shared_table",
    "shared_begin",
    "shared_end",
    "members",
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each buffer a step reads. Equal sizes are the same kernels in the same order."""

    rows: int
    own: int
    width: int
    shared: int
    seats: int
    prefix_width: int


def exact(count: int) -> int:
    return count


def bucketed(count: int) -> int:
    """The next of 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, …: at most a third more, and few in number."""
    unit = 1 << max(0, count.bit_length() - 3)
    return count + -count % unit


class Buffers:
    """On a CPU the tensors are the arrays; on a GPU they are copied, without waiting."""

    def __init__(
        self,
        schedule: Schedule,
        config: Any,
        cache_data: Tensor,
        *,
        is_steady: bool,
        mirrors: bool = False,
    ) -> None:
        """The arguments are:

        config: the model's.
        cache_data: (2 * layers, blocks, H, block, D).
        mirrors: copy the arrays on a CPU too, as on a GPU.
        """
        self.schedule, self.is_steady = schedule, is_steady
        device = cache_data.device
        self.is_mirrored = mirrors or device.type != "cpu"
        rows = schedule.max_rows
        self.inputs = np.zeros(rows, dtype=np.int64)
        self.uniform = np.zeros(rows, dtype=np.float64)
        arrays = {name: getattr(schedule, name) for name in (*_ARRAYS, "lengths")}
        arrays |= {"inputs": self.inputs, "uniform": self.uniform}
        self._host = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self._device, self._staged = dict(self._host), dict(self._host)
        if self.is_mirrored:
            pinned = device.type == "cuda"  # what is not pinned is copied with a wait
            self._staged = {
                name: host.pin_memory() if pinned else host.clone()
                for name, host in self._host.items()
            }
            self._device = {name: host.to(device, copy=True) for name, host in self._host.items()}
        self._columns = torch.arange(schedule.block, device=device)
        self._dtype = cache_data.dtype  # kernels take masks in the queries' own type
        self._group = config.num_attention_heads // cache_data.shape[2]
        self._sliding_window: int = getattr(config, "sliding_window", None) or 0

    def sizes(self, bucket: Callable[[int], int]) -> Sizes:
        schedule = self.schedule
        total = schedule.blocks.total
        return Sizes(
            rows=min(bucket(len(schedule.rows)), schedule.max_rows),
            own=min(bucket(schedule.blocks.own.span), total),
            width=min(bucket(schedule.width()), schedule.table.shape[1]),
            shared=min(bucket(schedule.blocks.shared.span), len(schedule.members)),
            seats=min(bucket(schedule.seats()), schedule.members.shape[1]),
            prefix_width=min(bucket(schedule.prefix_width()), schedule.shared_table.shape[1]),
        )

    def upload(self) -> None:
        """Brings the tensors up to date; the last step must have been waited for."""
        changed = {*self.schedule.changed, *_EACH_STEP}
        self.schedule.changed.clear()
        if self.is_mirrored:
            for name in changed:
                staged = self._staged[name].copy_(self._host[name])
                self._device[name].copy_(staged, non_blocking=True)

    def __getitem__(self, name: str) -> Tensor:
        return self._device[name]

    def step(self, sizes: Sizes, *, full: bool, sliding: bool) -> Step:
        """The attention of the next step; masks for the kinds of layers that there are."""
        kinds = [kind for kind, wanted in ((False, full), (True, sliding)) if wanted]
        own = sizes.own
        owner, start = self["owner"][:own], self["begin"][:own, None]  # (S,), (S, 1)
        newest = self["lengths"][owner][:, None]  # (S, 1)
        positions = start + self._columns  # (S, block)
        masks: dict[bool, Tensor] = {}
        for kind in kinds:
            outside = positions > newest
            if kind:
                outside |= positions <= newest - self._sliding_window
            masks[kind] = self._mask(outside)
        table = self["table"][: sizes.rows, : sizes.width]
        if not self.schedule.shares:
            return Step(owner, table, masks, self.is_steady)
        members, shared_masks = self._shared(sizes, kinds)
        # Shared blocks lie in the pool from its end: the first number is the last one read.
        blocks = sizes.shared - 1 - self["shared_table"][: sizes.rows, : sizes.prefix_width]
        seats = self["seat"][: sizes.rows, None]
        return Step(owner, table, masks, self.is_steady, members, blocks, seats, shared_masks)

    def _shared(self, sizes: Sizes, kinds: list[bool]) -> tuple[Tensor, dict[bool, Tensor]]:
        members = self["members"][: sizes.shared, : sizes.seats].flip(0)  # (P, K)
        start = self["shared_begin"][: sizes.shared].flip(0)[:, None]
        positions = start + self._columns  # (P, block)
        outside = positions >= self["shared_end"][: sizes.shared].flip(0)[:, None]
        masks: dict[bool, Tensor] = {}
        for kind in kinds:
            if not kind:
                masks[kind] = self._mask(outside)
                continue
            newest = self["lengths"][members]  # (P, K)
            far = positions[:, None] <= newest[:, :, None] - self._sliding_window  # (P, K, block)
            mask = self._mask(outside[:, None] | far)  # (P, K, block) as (P * K, 1, 1, block)
            masks[kind] = (
                mask.view(*far.shape).repeat_interleave(self._group, dim=1).unsqueeze(1)
            )  # (P, 1, K * G, block)
        return members, masks

    def _mask(self, outside: Tensor) -> Tensor:
        """(…, block) as added to scores: 0, or `least` where `outside`."""
        mask = torch.zeros(outside.shape, dtype=self._dtype, device=outside.device)
        mask.masked_fill_(outside, least(self._dtype))
        return mask.view(-1, 1, 1, outside.shape[-1])
