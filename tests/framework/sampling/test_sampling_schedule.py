"""The schedule by itself: no block twice, no sample lost, keys where the arrays say they are."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.framework.sampling.blocks import Blocks, Side, least_blocks
from groupwise.framework.sampling.requests import PromptTokens
from groupwise.framework.sampling.schedule import FAR, Row, Schedule

pytestmark = pytest.mark.stack

Key = tuple[int, int, int]  # prompt, sample (-1: shared), position


class Pool:
    """A pool of blocks that holds names in place of keys, and moves them as the schedule says."""

    def __init__(self, blocks: int, block: int) -> None:
        self.cells: list[list[Key | None]] = [[None] * block for _ in range(blocks)]

    def move(self, moves: list[tuple[int, int]]) -> None:
        assert not {a for a, _ in moves} & {b for _, b in moves}
        for source, target in moves:
            self.cells[target] = list(self.cells[source])

    def save(self, numbers: list[int]) -> list[list[Key | None]]:
        return [list(self.cells[number]) for number in numbers]


class Simulation:
    """Samples of known lengths, drawn by the schedule; every step checks what it reads."""

    def __init__(
        self, prompts: list[tuple[int, list[int]]], rows: int, block: int, extra: int, shares: bool
    ) -> None:
        self.lengths = dict(enumerate(lengths for _, lengths in prompts))
        tokens = [
            PromptTokens(i, str(i), tuple(range(size)), tuple(range(len(lengths))))
            for i, (size, lengths) in enumerate(prompts)
        ]
        tokens.sort(key=lambda prompt: -len(prompt.ids))
        most = max(max(lengths) for lengths in self.lengths.values())
        total = least_blocks(len(tokens[0].ids), most, block, shares) + extra
        self.pool, self.block = Pool(total, block), block
        self.schedule = Schedule(
            tokens, rows, total, block, most, shares, self.pool.move, self.pool.save
        )
        self.ended: Counter[tuple[int, int]] = Counter()
        self.most_rows = self.steps = 0

    def run(self) -> None:
        schedule = self.schedule
        while True:
            schedule.compact()
            schedule.make_room()
            while schedule.may_start():
                had_keys = schedule.has_keys(schedule.head)
                row = schedule.start()
                self._fill(row, fill_prefix=not had_keys)
            if not schedule.rows:
                break
            self._step()
            self.steps += 1
            assert self.steps < 20_000

    def _fill(self, row: Row, *, fill_prefix: bool) -> None:
        prompt, size = row.prompt, len(row.prompt.ids) - 1
        if row.saved is not None:
            for number, cells in zip(row.blocks, row.saved, strict=False):
                self.pool.cells[number] = cells
            assert len(row.saved) <= len(row.blocks)
        elif row.prefix is None:
            for at in range(size):
                self._put(row.blocks[at // self.block], at, (prompt.index, row.sample_index, at))
        if row.prefix is not None and fill_prefix:
            for at in range(size):
                number = self.schedule.pool_index(row.prefix.blocks[at // self.block])
                self._put(number, at, (prompt.index, -1, at))

    def _put(self, number: int, position: int, key: Key) -> None:
        self.pool.cells[number][position % self.block] = key

    def _step(self) -> None:
        schedule = self.schedule
        self.most_rows = max(self.most_rows, len(schedule.rows))
        for place, row in enumerate(schedule.rows):
            assert row.place == place
            assert schedule.lengths[place] == row.length
            number = int(schedule.write_block[place])
            at = row.length - int(schedule.begin[number])
            assert 0 <= at < self.block
            key = (row.prompt.index, row.sample_index, row.length)
            self.pool.cells[number][at] = key
        self._check_what_is_read()
        schedule.advance()
        for row in list(schedule.rows):
            row.tokens.append(0)
        done = [
            row
            for row in schedule.rows
            if len(row.tokens) == self.lengths[row.prompt.index][row.sample_index]
        ]
        for row in reversed(done):
            schedule.end(row)
            self.ended[row.prompt.index, row.sample_index] += 1

    def _check_what_is_read(self) -> None:
        """Through the arrays alone, as the attention does: exactly each row's keys, once."""
        s = self.schedule
        seen: dict[int, list[Key | None]] = {place: [] for place in range(len(s.rows))}
        for place in seen:
            for number in s.table[place][: s.width()]:
                if number:
                    assert number < s.blocks.own.span
                    assert s.owner[number] == place
                    seen[place] += self._visible(int(number), int(s.lengths[place]) + 1)
            for number in s.shared_table[place][: s.prefix_width()]:
                if number:
                    assert number < s.blocks.shared.span
                    assert s.members[number, s.seat[place]] == place
                    end = int(s.shared_end[number])
                    first = int(s.shared_begin[number])
                    seen[place] += self.pool.cells[s.pool_index(int(number))][: end - first]
        for place, row in enumerate(s.rows):
            shared = 0 if row.prefix is None else row.first
            sample = row.sample_index
            expected = [
                (row.prompt.index, -1 if at < shared else sample, at)
                for at in range(row.length + 1)
            ]
            assert sorted(seen[place]) == sorted(expected)  # type: ignore[type-var]
        for number in range(s.blocks.own.span):  # no other row is named, and no padding is seen
            assert s.owner[number] < max(1, len(s.rows))
        assert s.begin[0] == FAR
        assert s.blocks.own.span + s.blocks.shared.span <= s.blocks.total

    def _visible(self, number: int, length: int) -> list[Key | None]:
        first = int(self.schedule.begin[number])
        return [
            cell
            for at, cell in enumerate(self.pool.cells[number])
            if first + at < length and first != FAR
        ]


@given(
    prompts=st.lists(
        st.tuples(st.integers(1, 20), st.lists(st.integers(1, 30), min_size=1, max_size=6)),
        min_size=1,
        max_size=6,
    ),
    rows=st.integers(1, 9),
    block=st.integers(1, 9),
    extra=st.integers(0, 12),
    shares=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_every_sample_ends_once_whatever_the_memory(
    prompts: list[tuple[int, list[int]]], rows: int, block: int, extra: int, shares: bool
) -> None:
    simulation = Simulation(prompts, rows, block, extra, shares)
    simulation.run()
    expected = {(i, j) for i, (_, lengths) in enumerate(prompts) for j in range(len(lengths))}
    assert dict(simulation.ended) == dict.fromkeys(expected, 1)
    blocks = simulation.schedule.blocks
    assert blocks.own.used == 0
    assert blocks.shared.used == 0


def test_short_answers_run_beside_each_other() -> None:
    """Memory for two whole samples, and 8 short ones at once; none is paused."""
    simulation = Simulation([(4, [3] * 15 + [40])], rows=16, block=4, extra=12, shares=True)
    simulation.run()
    assert simulation.most_rows >= 8
    assert simulation.schedule.pauses == 0


def test_the_youngest_is_paused() -> None:
    simulation = Simulation([(4, [40] * 4)], rows=4, block=4, extra=6, shares=True)
    simulation.run()
    assert simulation.schedule.pauses > 0
    assert sum(simulation.ended.values()) == 4
    assert simulation.steps < 3 * 40, "no token is drawn twice"


def test_holes_are_closed() -> None:
    side = Side()
    numbers = [side.take() for _ in range(40)]
    assert numbers == list(range(1, 41))
    side.give_back(numbers[:30])
    moves = side.compaction()
    assert [source for source, _ in moves] == list(range(31, 41))
    assert [target for _, target in moves] == list(range(1, 11))
    assert (side.span, side.used) == (11, 10)
    side.give_back([10])
    assert side.compaction() == []  # one hole is not worth it
    assert side.take() == 10


def test_the_sides_of_a_pool_share_what_is_free() -> None:
    blocks = Blocks(10)
    assert blocks.free == 8
    own = [blocks.own.take() for _ in range(5)]
    shared = [blocks.shared.take() for _ in range(3)]
    assert blocks.free == 0
    assert blocks.is_blocked(blocks.own)
    blocks.own.give_back(own[:2])
    assert blocks.free == 2
    assert blocks.is_blocked(blocks.shared)  # holes of the other side: to be closed first
    assert not blocks.is_blocked(blocks.own)
    assert shared == [1, 2, 3]


def test_arrays_are_integers_of_one_type() -> None:
    simulation = Simulation([(4, [3])], rows=2, block=4, extra=0, shares=True)
    schedule = simulation.schedule
    for name in ("lengths", "table", "owner", "begin", "members", "shared_table"):
        assert getattr(schedule, name).dtype == np.int64
