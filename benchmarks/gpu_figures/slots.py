"""Counts of the slot engine: `SlotSampler`, driven step by step, on the model of fake tensors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.gpu_figures import model as models
from benchmarks.gpu_figures.counter import Counter, Tally
from benchmarks.gpu_figures.counts import Counts, Step, minus, plus
from groupwise.evaluation.sampler import SamplingParams
from groupwise.framework.data.toy import make_tokenizer
from groupwise.framework.sampling.requests import PromptTokens
from groupwise.framework.sampling.slots import SlotSampler
from groupwise.framework.sampling.stopping import Stopping

AMPLE = 10**12  # bytes: the rows are given, not what fits


def count(settings: Any, cases: list[tuple[str, int, int]], group: int, prompt: int) -> Counts:
    """Counts of steps.

    Args:
        cases: name, rows, window. A prompt of `window` tokens stands for prompt and answer so far.
        group: samples of a prompt.
        prompt: tokens of a prompt that is prefilled.
    """
    counts = Counts()
    with models.fake_mode():
        model = models.build(settings)
        model.eval()
        counts.load_bytes = models.nbytes(model)
        counts.adapter_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        leave_adapters(model)
        for name, rows, window in cases:
            first, step = one_step(model, rows, window, rows)
            counts.steps[name] = Step("slots", rows, window, *step)
        prompts = 4
        first, step = one_step(model, prompts * group, prompt, group)
        counts.prefills["slots"] = minus(first, plus(*step))
        counts.prefill_peaks["slots"] = first.peak_bytes
    counts.host_microseconds["slots"] = host_microseconds()
    return counts


def leave_adapters(model: Any) -> None:
    """Adapters in float32 are multiplied by oneDNN on a CPU; a card has none: as if hooked."""
    for name, module in model.named_modules():
        if "lora_" in name and type(module) is torch.nn.Linear:
            module.forward = module.forward


def one_step(model: Any, rows: int, window: int, group: int) -> tuple[Tally, tuple[Tally, Tally]]:
    """The first step with the prefill of all prompts, and a later one in two parts."""
    params = SamplingParams(max_tokens=64, temperature=1.0)
    prompts = [
        PromptTokens(i, str(i), tuple(range(3, 3 + window)), tuple(range(min(group, rows - start))))
        for i, start in enumerate(range(0, rows, group))
    ]
    counter = Counter(models.tensors(model))
    sampler = SlotSampler(model, make_tokenizer(), max_rows=rows, memory_budget_bytes=AMPLE)
    stopping = Stopping(model, make_tokenizer(), (), params.max_tokens)
    with counter, sampler.running(prompts, params, stopping) as run:
        run.advance()
        first = counter.fresh()
        run.advance()
        counter.fresh()
        with split(model.get_base_model(), counter) as parts:
            run.advance()
        if len(run.rows) != rows:
            raise RuntimeError(f"{len(run.rows)} rows are in flight, and {rows} were asked for")
    return first, (parts["model"], plus(parts["before"], counter.fresh()))


@contextmanager
def split(base: Any, counter: Counter) -> Iterator[dict[str, Tally]]:
    """Inside, what is counted before the model's forward, and in it."""
    parts: dict[str, Tally] = {}

    def before(*_: Any) -> None:
        parts["before"] = counter.fresh()

    def after(*_: Any) -> None:
        parts["model"] = counter.fresh()

    hooks = [base.register_forward_pre_hook(before), base.register_forward_hook(after)]
    try:
        yield parts
    finally:
        for hook in hooks:
            hook.remove()


def host_microseconds() -> float:
    """Host time for an operation: a tiny real model's step, by its number of operations."""
    small = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    settings = models.config(
        **small, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2
    )
    torch.manual_seed(0)
    model = models.build_real(settings).eval()
    ids = torch.ones(16, 1, dtype=torch.int64)
    counter = Counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            with counter:
                model(input_ids=ids, use_cache=False)
            times = []
            for _ in range(20):
                start = time.perf_counter()
                model(input_ids=ids, use_cache=False)
                times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return 1e6 * min(times) / counter.tally.launches
