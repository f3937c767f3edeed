"""Which samples run, and where their keys and values are: numbers only, no tensors.

    schedule = Schedule(prompts, max_rows, blocks, block, max_tokens, shares_prompts)
    while schedule.may_start(): schedule.start()
    schedule.make_room()            # a block for each row's next token
    ...                             # a step of the model
    schedule.end(row)

Rows are admitted by the memory that is used, not by the worst case: a row takes another block when
it has filled its last one. If none is left, the youngest row is paused: its keys wait in main
memory, and it goes on, before any new sample starts, when there is room again.

The arrays say the same to the model's step: `owner` and `begin` of each block, each row's `table`
of blocks, and for shared prompts which rows sit in which `seats`. They are numpy arrays that the
step's tensors mirror, and each is named in `changed` when it has changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from groupwise.framework.sampling.blocks import RESERVE, Blocks, Side
from groupwise.framework.sampling.requests import PromptTokens

Array = np.ndarray[Any, np.dtype[np.int64]]
FAR = 1 << 40  # the first position of a block that no row sees


@dataclass(slots=True)
class Prefix:
    """The keys of a prompt that its rows share: its blocks, and the rows by seat."""

    prompt: PromptTokens
    blocks: list[int]
    seats: list[Row | None]

    @property
    def is_idle(self) -> bool:
        return not any(self.seats)


@dataclass(slots=True, eq=False)
class Row:
    """A sample that is being drawn; `place` is its number in the batch."""

    prompt: PromptTokens
    sample_index: int
    first: int  # the position of its own first key; those before it are the prefix's
    place: int = 0
    home: int = 0  # a number that stays the same while the row runs, unlike `place`
    prefix: Prefix | None = None
    seat: int = 0
    blocks: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    noise: Any = None  # (max_tokens,) uniform numbers
    saved: Any = None  # its keys, if it is paused

    @property
    def length(self) -> int:
        """Positions in the cache: all but the newest token, which is the next input."""
        return len(self.prompt.ids) - 1 + len(self.tokens)


@dataclass(slots=True)
class _Waiting:
    prompt: PromptTokens
    samples: deque[int]


def _zeros(*shape: int) -> Array:
    return np.zeros(shape, dtype=np.int64)


class Schedule:
    """The samples in flight, those that wait, and the blocks of both."""

    def __init__(
        self,
        prompts: Sequence[PromptTokens],
        max_rows: int,
        num_blocks: int,
        block: int,
        max_tokens: int,
        shares_prompts: bool,
        move: Callable[[list[tuple[int, int]]], None],
        save: Callable[[list[int]], Any],
    ) -> None:
        """The arguments are:

        block: positions of a block.
        num_blocks: at least what `blocks.least_blocks` says.
        move: copies blocks of the pool, (from, to), when they are renumbered.
        save: takes a row's blocks out of the pool; what it returns is the row's `saved`, from which
            its keys are to be filled in again when it starts the second time.
        """
        self._move, self._save = move, save
        self.max_rows, self.block, self.shares = max_rows, block, shares_prompts
        self.blocks = Blocks(num_blocks)
        self.waiting = deque(_Waiting(prompt, deque(prompt.samples)) for prompt in prompts)
        self.rows: list[Row] = []
        self._homes = list(range(max_rows))
        self.prefixes: dict[int, Prefix] = {}
        self.paused: deque[Row] = deque()
        self.pauses = 0
        self.changed: set[str] = set()
        longest = max(len(prompt.ids) for prompt in prompts)
        samples = max(len(prompt.samples) for prompt in prompts)
        seats = min(samples, max_rows) if shares_prompts else 1
        width = -(-((0 if shares_prompts else longest) + max_tokens) // block)
        prefix_width = -(-longest // block) if shares_prompts else 1
        shared = min(num_blocks, (max_rows + 2) * prefix_width) if shares_prompts else 1
        # By row: the position of its next key, and the block that this goes to; its home.
        self.lengths, self.write_block = _zeros(max_rows), _zeros(max_rows)
        self.home = _zeros(max_rows)
        # By row: its own blocks, in order; its seat, and the blocks of its prefix.
        self.table, self.seat = _zeros(max_rows, width), _zeros(max_rows)
        self.shared_table = _zeros(max_rows, prefix_width)
        # By own block: the place of its row, and its first position.
        self.owner, self.begin = _zeros(num_blocks), _zeros(num_blocks) + FAR
        # By shared block: its first position, the one behind its last, and places by seat.
        self.shared_begin, self.shared_end = _zeros(shared) + FAR, _zeros(shared)
        self.members = _zeros(shared, seats)

    def may_start(self) -> bool:
        """Whether a sample waits, and there is a place and memory to start it in."""
        if not (self.paused or self.waiting) or len(self.rows) >= self.max_rows:
            return False
        if not self.rows:
            return True
        prompt = self.head
        needed = self._start_blocks(prompt, self.paused[0] if self.paused else None)
        if self.shares and not self.has_keys(prompt):
            needed += self._prefix_blocks(prompt)
        return self.blocks.free >= needed + len(self.rows) // RESERVE

    def start(self) -> Row:
        """Starts the next sample, or a paused row; its keys are to be filled in.

        These are what the row has `saved`, else the prompt's; and the prefix's, if it is new.
        """
        row = self.paused.popleft() if self.paused else self._next_row()
        row.place, row.home = len(self.rows), self._homes.pop()
        if self.shares:
            self._sit_down(row)
        self.rows.append(row)  # before its blocks: taking one may renumber those of all rows
        for _ in range(self._start_blocks(row.prompt, row)):
            self._extend(row)
        self._show(row)
        return row

    def _next_row(self) -> Row:
        head = self.waiting[0]
        first = len(head.prompt.ids) - 1 if self.shares else 0
        row = Row(head.prompt, head.samples.popleft(), first)
        if not head.samples:
            self.waiting.popleft()
        return row

    def make_room(self) -> None:
        """Gives each row a block for its next key; pauses rows where there is none."""
        for row in [row for row in self.rows if self._is_full(row)]:
            while row.place < len(self.rows) and self.rows[row.place] is row:
                if self.blocks.free > 0:
                    self._extend(row)
                    break
                self._free_some()

    def end(self, row: Row) -> None:
        """Gives up a row's place and blocks; the last row takes the place."""
        self._give_up(row)
        self._homes.append(row.home)
        last = self.rows.pop()
        if last is not row:
            last.place = row.place
            self.rows[row.place] = last
            self._show(last)

    def advance(self) -> None:
        """After a step: each row is one position longer."""
        self.lengths[: len(self.rows)] += 1

    def compact(self, *, at_once: bool = False) -> None:
        """Closes the holes that ended rows have left, if they are worth it."""
        moves = self.blocks.own.compaction(at_once=at_once)
        if moves:
            self._renumber_own(dict(moves))
            self._move(moves)
        shared = self.blocks.shared.compaction(at_once=at_once)
        if shared:
            self._renumber_shared(dict(shared))
            self._move([(self.pool_index(a), self.pool_index(b)) for a, b in shared])

    @property
    def head(self) -> PromptTokens:
        """The prompt of the next sample to start; there is one."""
        return self.paused[0].prompt if self.paused else self.waiting[0].prompt

    def has_keys(self, prompt: PromptTokens) -> bool:
        """Whether the prompt's keys are in the pool already."""
        return prompt.index in self.prefixes

    def pool_index(self, shared_block: int) -> int:
        """Where a shared block lies: they are counted from the pool's end."""
        return self.blocks.total - 1 - shared_block

    def width(self) -> int:
        """The most own blocks of any row."""
        return max((len(row.blocks) for row in self.rows), default=1)

    def seats(self) -> int:
        """The most seats in use, up to the last one that is taken."""
        taken = (
            1 + max(i for i, row in enumerate(prefix.seats) if row)
            for prefix in self.prefixes.values()
            if not prefix.is_idle
        )
        return max(taken, default=1)

    def prefix_width(self) -> int:
        return max((len(prefix.blocks) for prefix in self.prefixes.values()), default=1)

    def _start_blocks(self, prompt: PromptTokens, row: Row | None) -> int:
        """Blocks up to the next key of a row, or of a new one."""
        tokens = 0 if row is None else len(row.tokens)
        before = 0 if self.shares else len(prompt.ids) - 1
        return (before + tokens) // self.block + 1

    def _prefix_blocks(self, prompt: PromptTokens) -> int:
        return -(-(len(prompt.ids) - 1) // self.block)

    def _is_full(self, row: Row) -> bool:
        return row.length - row.first >= len(row.blocks) * self.block

    def _extend(self, row: Row) -> None:
        number = self._take(self.blocks.own)
        at = len(row.blocks)
        row.blocks.append(number)
        self.owner[number], self.begin[number] = row.place, row.first + at * self.block
        self.table[row.place, at] = number
        self.write_block[row.place] = number
        self.changed |= {"owner", "begin", "table", "write_block"}

    def _take(self, side: Side) -> int:
        if self.blocks.free <= 0:  # only when the first row starts: idle prefixes are in its way
            self._drop(next(prefix for prefix in self.prefixes.values() if prefix.is_idle))
        if self.blocks.is_blocked(side):  # what is free are holes of the other side
            self.compact(at_once=True)
        return side.take()

    def _sit_down(self, row: Row) -> None:
        prefix = self.prefixes.get(row.prompt.index)
        if prefix is None:
            prefix = self._new_prefix(row.prompt)
        row.prefix, row.seat = prefix, prefix.seats.index(None)
        prefix.seats[row.seat] = row

    def _new_prefix(self, prompt: PromptTokens) -> Prefix:
        count = self._prefix_blocks(prompt)
        numbers = [self._take(self.blocks.shared) for _ in range(count)]
        prefix = Prefix(prompt, numbers, [None] * self.members.shape[1])
        for i, number in enumerate(numbers):
            self.shared_begin[number] = i * self.block
            self.shared_end[number] = min((i + 1) * self.block, len(prompt.ids) - 1)
        self.members[numbers] = 0
        self.changed |= {"shared_begin", "shared_end", "members"}
        self.prefixes[prompt.index] = prefix
        return prefix

    def _show(self, row: Row) -> None:
        """Writes what the arrays say of a row in its place."""
        place = row.place
        self.lengths[place], self.home[place] = row.length, row.home
        self.write_block[place] = row.blocks[-1]
        self.table[place, : len(row.blocks)] = row.blocks
        self.table[place, len(row.blocks) :] = 0
        self.owner[row.blocks] = place
        self.changed |= {"home", "write_block", "table", "owner"}
        if row.prefix is not None:
            numbers = row.prefix.blocks
            self.seat[place] = row.seat
            self.shared_table[place, : len(numbers)] = numbers
            self.shared_table[place, len(numbers) :] = 0
            self.members[numbers, row.seat] = place
            self.changed |= {"seat", "shared_table", "members"}

    def _give_up(self, row: Row) -> None:
        self.begin[row.blocks], self.owner[row.blocks] = FAR, 0
        self.blocks.own.give_back(row.blocks)
        self.changed |= {"begin", "owner"}
        # A place that is empty now may be read as padding: it sees nothing but block 0.
        last = len(self.rows) - 1
        self.table[last], self.write_block[last], self.shared_table[last] = 0, 0, 0
        self.changed |= {"table", "write_block", "shared_table"}
        prefix = row.prefix
        if prefix is not None:
            prefix.seats[row.seat] = None
            self.members[prefix.blocks, row.seat] = 0
            self.changed.add("members")
            is_next = (self.paused or self.waiting) and self.head.index == row.prompt.index
            if prefix.is_idle and not is_next:
                self._drop(prefix)

    def _drop(self, prefix: Prefix) -> None:
        self.shared_begin[prefix.blocks] = FAR
        self.shared_end[prefix.blocks] = 0
        self.changed |= {"shared_begin", "shared_end"}
        self.blocks.shared.give_back(prefix.blocks)
        del self.prefixes[prefix.prompt.index]

    def _free_some(self) -> None:
        """Gives up what is cheapest to have again: an idle prefix, else the youngest row's keys."""
        for prefix in self.prefixes.values():
            if prefix.is_idle:
                self._drop(prefix)
                return
        assert len(self.rows) > 1, "one sample always fits"
        youngest = min(reversed(self.rows), key=lambda row: len(row.tokens))
        youngest.saved = self._save(youngest.blocks)
        self.pauses += 1
        self.end(youngest)
        youngest.blocks, youngest.prefix = [], None
        self.paused.append(youngest)

    def _renumber_own(self, new: dict[int, int]) -> None:
        for row in self.rows:
            if any(number in new for number in row.blocks):
                row.blocks = [new.get(number, number) for number in row.blocks]
                self._show(row)
        for old, number in new.items():
            self.begin[number], self.begin[old] = self.begin[old], FAR
        self.changed.add("begin")

    def _renumber_shared(self, new: dict[int, int]) -> None:
        for old, number in new.items():
            for array, empty in ((self.shared_begin, FAR), (self.shared_end, 0)):
                array[number], array[old] = array[old], empty
        for prefix in self.prefixes.values():
            if any(number in new for number in prefix.blocks):
                prefix.blocks = [new.get(number, number) for number in prefix.blocks]
        for row in self.rows:
            if row.blocks:  # it may be about to get its first
                self._show(row)
        self.changed |= {"shared_begin", "shared_end"}
