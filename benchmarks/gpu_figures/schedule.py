"""Rows in flight over one rollout, in steps, for answers of random lengths.

Lengths are log-normal, cut at the limit, with a mean of 35 % of it: short answers are the rule, and
a few run into the limit. They are drawn once, from a fixed seed, and are the same for all engines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from groupwise.framework.sampling.blocks import BLOCK
from groupwise.framework.sampling.memory import TYPICAL_LENGTH, Need
from groupwise.framework.sampling.requests import PromptTokens
from groupwise.framework.sampling.schedule import Schedule as EngineSchedule

SIGMA = 0.8
MEAN = 0.35  # of the limit


@dataclass(frozen=True)
class Rollout:
    """What is to be sampled: `prompts` of `prompt` tokens, `group` answers each, up to `limit`."""

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
    pauses: int = 0  # of rows that had to make room

    @property
    def rows(self) -> float:
        return self.row_steps / self.steps

    @property
    def window(self) -> float:
        return self.window_steps / self.steps

    @property
    def positions(self) -> float:
        """Positions of a row, in the mean."""
        return self.position_steps / self.row_steps


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


def slots(rollout: Rollout, positions: int, most_rows: int = 256) -> Schedule:
    """The slot engine's own schedule, within `positions` of keys and values.

    Rows at most: as many as would fit if each drew the typical length (`memory.py`).
    """
    lengths = rollout.lengths
    ids, samples = tuple(range(rollout.prompt)), tuple(range(rollout.group))
    prompts = [PromptTokens(i, str(i), ids, samples) for i in range(rollout.prompts)]
    need = Need(rollout.prompt, rollout.prompt - 1, rollout.limit, BLOCK, shares_prompts=True)
    typical = need.blocks(int(TYPICAL_LENGTH * rollout.limit))
    blocks = positions // BLOCK
    rows = min(most_rows, blocks // typical, len(lengths))
    plan = EngineSchedule(
        prompts,
        rows,
        blocks,
        BLOCK,
        rollout.limit,
        shares_prompts=True,
        move=lambda _: None,
        save=lambda _: None,
    )
    steps = row_steps = position_steps = window_steps = most = 0
    while True:
        plan.compact()
        plan.make_room()
        while plan.may_start():
            plan.start()
        if not plan.rows:
            break
        steps += 1
        most = max(most, len(plan.rows))
        row_steps += len(plan.rows)
        position_steps += sum(row.length + 1 for row in plan.rows)
        window_steps += max(row.length + 1 for row in plan.rows)
        plan.advance()
        ended = []
        for row in plan.rows:
            row.tokens.append(0)
            if len(row.tokens) == lengths[row.prompt.index * rollout.group + row.sample_index]:
                ended.append(row)
        for row in reversed(ended):
            plan.end(row)
    return Schedule(
        steps, sum(lengths), row_steps, position_steps, window_steps, 1, rollout.prompts, most,
        plan.pauses,
    )  # fmt: skip
