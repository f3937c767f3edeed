"""How many rows at once are fastest on this machine: a short measurement, and advice from it.

    found = measure_rows(model, tokenizer, prompts, params, max_rows=None, at_once=1024)
    print(found.advice("evaluation.max_rows"))

No run uses this by itself: the number of rows may change rounding, and answers must not depend on
timings. The result is for a person to write into the config.

Left out: the engines `generate` and `vllm`, and the optimiser's memory, which a training holds
beside the slots.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

import torch

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.sampling.memory import most_rows
from groupwise.framework.sampling.requests import PromptTokens, encode_prompts
from groupwise.framework.sampling.slots import Run, SlotSampler
from groupwise.framework.sampling.stopping import Stopping
from groupwise.framework.sampling.support import base_model

CANDIDATES = (16, 32, 64, 128, 256)
WORTH_SAYING = 1.1  # times as fast; less than that is noise, and not worth a line in a config
_AS_FAST = 0.97
_FEWEST_STEPS = 3
_PAST_THE_BEST = 0.8  # of the best rate so far: more rows will not be faster again


@dataclass(frozen=True, slots=True)
class RowsTried:
    """A number of rows, and the tokens per second of all of them together."""

    rows: int
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class RowsMeasured:
    """What was tried, fewest rows first; `now` is what the setting `max_rows` gives here."""

    max_rows: int | None
    now: RowsTried
    tried: tuple[RowsTried, ...]

    @property
    def best(self) -> RowsTried:
        """The fewest rows that are about as fast as any; `now` unless the gain is worth saying."""
        fastest = max(tried.tokens_per_second for tried in self.tried)
        best = next(t for t in self.tried if t.tokens_per_second >= _AS_FAST * fastest)
        worth_it = best.tokens_per_second >= WORTH_SAYING * self.now.tokens_per_second
        return best if worth_it else self.now

    def advice(self, setting: str) -> str:
        """One line for the user, `setting` being the config's key."""
        here = "null" if self.max_rows is None else str(self.max_rows)
        if self.max_rows != self.now.rows:
            here += f" ({self.now.rows} rows here)"
        if self.best == self.now:
            return f"{setting}: {here} is as fast as any that was tried"
        times = self.best.tokens_per_second / self.now.tokens_per_second
        return (
            f"{setting}: {self.best.rows} is {times:.1f} times as fast as {here}: "
            f"{self.best.tokens_per_second:,.0f} tokens a second against "
            f"{self.now.tokens_per_second:,.0f}; the answers are the same up to rounding"
        )


def measure_rows(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    params: SamplingParams,
    *,
    at_once: int,
    max_rows: int | None = None,
    memory_budget_bytes: int | None = None,
    seconds: float = 5.0,
) -> RowsMeasured:
    """Tokens per second of the slot engine with several numbers of rows.

    All rows start with the longest of `prompts` and half an answer: the cache is as large as in a
    run, and as full as on average in one.

    Args:
        at_once: samples that the caller will ask for in one call; more rows than that would idle.
        max_rows: the setting to compare with.
        memory_budget_bytes: as for `make_sampler`; what does not fit is not tried.
        seconds: about how long it takes in all; a step of a large model may take longer.

    Raises UserError for a model that `slots` does not serve, and if not even one sample fits.
    """
    encoded = encode_prompts(prompts, 1, params, model, tokenizer)
    longest = max(encoded, key=lambda p: len(p.ids))
    half = params.max_tokens // 2
    ids = longest.ids + tuple(islice(cycle(longest.ids), half))
    params = replace(params, max_tokens=params.max_tokens - half)
    device = base_model(model).device
    now = min(most_rows(max_rows, on_gpu=device.type != "cpu"), at_once)
    candidates = sorted({now, *(min(rows, at_once) for rows in CANDIDATES)})
    tried: dict[int, RowsTried] = {}
    for rows in candidates:
        sampler = SlotSampler(
            model, tokenizer, max_rows=rows, memory_budget_bytes=memory_budget_bytes
        )
        stopping = Stopping(model, tokenizer, params.stop, params.max_tokens)
        # More samples than can be finished: slots are refilled, as they are in a run.
        endless = PromptTokens(0, longest.key, ids, tuple(range(1000 * rows)))
        with sampler.running([endless], params, stopping) as run:
            found = _measure(run, seconds / len(candidates))
        tried[found.rows] = found
        memory_is_full = found.rows < rows
        slower = found.tokens_per_second < _PAST_THE_BEST * max(
            t.tokens_per_second for t in tried.values()
        )
        if memory_is_full or (slower and found.rows >= now):
            break
    now = min(now, max(tried))
    return RowsMeasured(max_rows, tried[now], tuple(tried.values()))


def _measure(run: Run, seconds: float) -> RowsTried:
    """The median step: other work on the machine makes some steps slow, and none fast."""
    run.advance()  # fills the slots, and is slower than those that follow
    run.take_finished()
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while len(rates) < _FEWEST_STEPS or time.perf_counter() < end:
        start = time.perf_counter()
        if not run.advance():
            break
        if run.device.type == "cuda":
            torch.cuda.synchronize(run.device)
        stepped = len(run.rows) + len(run.take_finished())
        rates.append(stepped / (time.perf_counter() - start))
    return RowsTried(run.max_rows, statistics.median(rates))
