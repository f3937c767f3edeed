"""Which blocks of a memory pool are in use: numbers only, no tensors.

A block holds the keys and values of a fixed number of positions. Blocks of single rows are taken
from the front of the pool, blocks that rows share from its back, so that each kind lies together
and is read as one piece. The scheme is vLLM's (Kwon et al., "Efficient memory management for large
language model serving with PagedAttention", https://arxiv.org/abs/2309.06180), without its block
tables in the attention kernel.
"""

from __future__ import annotations

import heapq

BLOCK = 64  # positions of a block, where results may depend on the batch
# Positions of one attention call where they may not. Torch's attention multiplies with MKL, whose
# rounding depends on the number of columns, masked ones too, and on the alignment of its buffers:
# so each call has this many columns, whatever the window. The buffer of a thread holds
# G * (CHUNK + D + 2) floats; with 126 that is a multiple of 64 bytes for heads of 16, 32, 64, …, so
# all threads' are aligned alike.
CHUNK = 126

LEAST_HOLES = 2  # fewer are not worth a compaction
RESERVE = 2  # rows in flight for each block that is kept free when a new row starts
HOLES = 16  # used blocks for each hole that is left: a hole is read at each step, and moved once


class Side:
    """One kind of blocks, numbered from 0; the lowest free number is taken first.

    Number 0 is never given out: it is the place of rows and blocks that are only padding.
    """

    def __init__(self) -> None:
        self.span = 1  # numbers below are, or were, in use
        self._free: list[int] = []  # a heap; all below `span`

    @property
    def used(self) -> int:
        return self.span - 1 - len(self._free)

    def take(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        self.span += 1
        return self.span - 1

    def would_grow(self) -> bool:
        return not self._free

    def give_back(self, numbers: list[int]) -> None:
        for number in numbers:
            heapq.heappush(self._free, number)

    def compaction(self, *, at_once: bool = False) -> list[tuple[int, int]]:
        """Moves (from, to) that close the holes, if there are more than one for `HOLES` blocks.

        The caller copies the blocks and renumbers them. With `at_once`, whatever the holes.
        """
        if not self._free:
            return []
        worth_it = len(self._free) > max(LEAST_HOLES, self.used // HOLES)
        if not (worth_it or at_once):
            return []
        end = 1 + self.used
        free = set(self._free)
        sources = [number for number in range(end, self.span) if number not in free]
        targets = sorted(number for number in free if number < end)
        self.span, self._free = end, []
        return list(zip(sources, targets, strict=True))


class Blocks:
    """A pool of `total` blocks: `own` ones of a row, and `shared` ones."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.own, self.shared = Side(), Side()

    @property
    def free(self) -> int:
        """How many more can be taken; holes count where the other side does not need them."""
        return self.total - 2 - self.own.used - self.shared.used

    def is_blocked(self, side: Side) -> bool:
        """Whether `side` can take no more before the other one is compacted."""
        return side.would_grow() and self.own.span + self.shared.span >= self.total


def least_blocks(longest: int, max_tokens: int, block: int, shares_prompts: bool) -> int:
    """The blocks of one whole sample behind a prompt of `longest` tokens, padding included."""
    if shares_prompts:
        return 2 + -(-(longest - 1) // block) + -(-max_tokens // block)
    return 2 + -(-(longest + max_tokens - 1) // block)
