"""Keys and values of the slot engine: those of prompts as they are run, and the pool of blocks.

The two cache classes have the methods of `transformers.Cache` that a model's forward calls (such as
`update` and `get_seq_length`). They are not derived from it: growing, cropping and reordering are
left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class PromptCache:
    """Collects the keys and values of prompts in a forward without a past."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object
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
        """All layers in one tensor, keys before values: (2 * layers, B, H, P, D)."""
        pairs = [self._layers[i] for i in range(len(self._layers))]
        return torch.stack([t for pair in pairs for t in pair])


class BlockCache:
    """Keys and values in blocks of positions: (2 * layers, blocks, H, block, D).

    One tensor holds all layers, so that filling and moving are one operation, however deep the
    model. A step writes one position a row and reads whole blocks (`attention.py`).
    """

    def __init__(self, like: Tensor, blocks: int, block: int) -> None:
        """`like`: (2 * layers, H, P, D), of the type and device to use."""
        planes, heads, _, width = like.shape
        # Zeros, because a column that no row sees is multiplied by 0, and may not be NaN.
        self.data = like.new_zeros(planes, blocks, heads, block, width)
        self._flat = self.data.view(planes, blocks * heads * block, width)
        self._heads = torch.arange(heads, device=like.device)
        self._places = torch.empty(0)

    @property
    def block(self) -> int:
        return self.data.shape[3]

    def begin_step(self, blocks: Tensor, positions: Tensor) -> None:
        """Say where the next forward writes: block (B,) and position in it (B,) of each row."""
        heads = len(self._heads)
        places = (blocks[:, None] * heads + self._heads) * self.block + positions[:, None]
        self._places = places.view(-1)  # (B * H,)

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Write one position a row, (B, H, 1, D); return the layer's blocks, (N, H, block, D)."""
        return self._put(2 * layer, keys), self._put(2 * layer + 1, values)

    def _put(self, plane: int, new: Tensor) -> Tensor:
        self._flat[plane].index_copy_(0, self._places, new.reshape(-1, new.shape[-1]))
        return self.data[plane]

    def get_seq_length(self, _layer: int = 0) -> int:
        return 1  # more than 0: a step and not a prompt

    def fill(self, blocks: list[list[int]], prompt: Tensor) -> None:
        """Copy a prompt's keys and values, (2 * layers, H, P, D), into each list of blocks."""
        count = -(-prompt.shape[2] // self.block)
        if not count:
            return
        padded = F.pad(prompt, (0, 0, 0, count * self.block - prompt.shape[2]))
        planes, heads, _, width = prompt.shape
        cut = padded.view(planes, heads, count, self.block, width).transpose(1, 2)
        numbers = torch.tensor([numbers[:count] for numbers in blocks], device=prompt.device)
        self.data[:, numbers] = cut[:, None].to(self.data.dtype)

    def save(self, blocks: list[int]) -> Tensor:
        """A copy of blocks in main memory: (2 * layers, len(blocks), H, block, D)."""
        return self.data[:, blocks].to("cpu")

    def restore(self, blocks: list[int], saved: Tensor) -> None:
        """Copy what `save` returned into the first of `blocks`."""
        self.data[:, blocks[: saved.shape[1]]] = saved.to(self.data.device)

    def move(self, moves: list[tuple[int, int]]) -> None:
        """Copy blocks, (from, to), two at a time, to need little memory; no target is a source."""
        for at in range(0, len(moves), 2):
            sources, targets = zip(*moves[at : at + 2], strict=True)
            self.data[:, list(targets)] = self.data[:, list(sources)]
