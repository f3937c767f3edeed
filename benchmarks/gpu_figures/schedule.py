"""Rows in flight over one rollout, in steps, for answers of random lengths.

Lengths are log-normal, cut at the limit, with a mean of 35 % of it: short answers are the rule, and
a few run into the limit. They are drawn once, from a fixed seed, and are the same for all engines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIGMA = 0.8
MEAN = 0.35  # of the limit
BLOCK = 64  # positions that a slot grows by


@dataclass(frozen=True)
class Rollout:
    """What is to be sampled: `prompts` of `prompt` tokens, `group` answers each, at most `limit`."""

    prompts: int
    group: int
    prompt: int = 256
    limit: int = 1024
    seed: int = 0

    @property
    def lengths(self) -> list[int]:
        noise = np.random.default_rng(self.seed).standard_normal(self.prompts * self.group)
        low, high = 0.0, 12.0
        for _ in range(60):  # the location whose cut lengths have the mean
            middle = (low + high) / 2
            made = np.clip(np.exp(middle + SIGMA * noise), 1, self.limit)
            low, high = (middle, high) if made.mean() < MEAN * self.limit else (low, middle)
        return [int(n) for n in np.round(made)]


@dataclass(frozen=True)
class Schedule:
    """How a rollout went."""

    steps: int
    tokens: int  # of answers
    row_steps: int  # rows that were computed, summed over steps
    position_steps: int  # positions that these rows had, summed over steps and rows
    window_steps: int  # positions of the longest row, summed over steps
    prefills: int  # calls that run prompts
    prompts_run: int  # prompts in them
    most_rows: int
    put_back: int = 0  # rows that had to make room and ran again

    @property
    def rows(self) -> float:
        return self.row_steps / self.steps

    @property
    def window(self) -> float:
        return self.window_steps / self.steps


def batches(rollout: Rollout, rows: int) -> Schedule:
    """`generate`: each batch runs until its longest answer ends, and each row runs its prompt."""
    lengths = rollout.lengths
    steps = position_steps = row_steps = window_steps = prefills = 0
    for start in range(0, len(lengths), rows):
        batch = lengths[start : start + rows]
        longest = max(batch)
        steps += longest
        row_steps += longest * len(batch)
        windows = longest * rollout.prompt + longest * (longest + 1) // 2
        window_steps += windows
        position_steps += windows * len(batch)
        prefills += 1
    return Schedule(
        steps, sum(lengths), row_steps, position_steps, window_steps, prefills, len(lengths),
        min(rows, len(lengths)),
    )  # fmt: skip


def slots(rollout: Rollout, positions: int, by_use: bool, most_rows: int = 256) -> Schedule:
    """Slots within `positions` of keys and values.

    Args:
        by_use: slots grow in blocks and a group shares its prompt's keys; when there is no more
            room the youngest row is put back. Else a slot is as long as prompt and limit.
    """
    waiting = [(i // rollout.group, n) for i, n in enumerate(rollout.lengths)][::-1]
    running: list[list[int]] = []  # prompt, length, done
    steps = tokens = row_steps = position_steps = window_steps = put_back = most = 0
    seen: set[int] = set()
    whole = rollout.prompt + rollout.limit

    def used(rows: list[list[int]]) -> int:
        if not by_use:
            return whole * len(rows)
        own = sum(-(-(done + 1) // BLOCK) * BLOCK for _, _, done in rows)
        return own + rollout.prompt * len({prompt for prompt, _, _ in rows})

    while waiting or running:
        while waiting and len(running) < most_rows:
            prompt, length = waiting[-1]
            # A block in hand for each row: admitting what must be put back at once is no use.
            spare = BLOCK * len(running) if by_use else 0
            if used([*running, [prompt, length, 0]]) + spare > positions and running:
                break
            waiting.pop()
            running.append([prompt, length, 0])
            seen.add(prompt)
        while used(running) > positions and len(running) > 1:
            prompt, length, _ = running.pop()
            waiting.append((prompt, length))
            put_back += 1
        steps += 1
        most = max(most, len(running))
        row_steps += len(running)
        position_steps += sum(rollout.prompt + done for _, _, done in running)
        window_steps += rollout.prompt + max(done for _, _, done in running)
        for row in running:
            row[2] += 1
        tokens += sum(row[1] for row in running if row[2] == row[1])
        running = [row for row in running if row[2] < row[1]]
    return Schedule(
        steps, tokens, row_steps, position_steps, window_steps, -(-len(seen) // 8), len(seen),
        most, put_back,
    )  # fmt: skip
