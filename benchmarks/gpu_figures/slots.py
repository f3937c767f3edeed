"""Counts of the slot engine: `SlotSampler`, driven step by step, on the model of fake tensors."""

from __future__ import annotations

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
LIMIT = 1024


def count(settings: Any, cases: list[tuple[str, int, int]], group: int, prompt: int) -> Counts:
    """Counts of steps, and of the prefill of four prompts.

    Args:
        cases: name, rows, positions of each row.
        group: samples of a prompt, which share its keys.
        prompt: tokens of a prompt.
    """
    counts = Counts()
    with models.fake_mode():
        model = models.build(settings)
        model.eval()
        counts.load_bytes = models.nbytes(model)
        counts.adapter_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        leave_adapters(model)
        for name, rows, positions in cases:
            budget = int(name.split()[-1]) if name.startswith("slots, peak") else AMPLE
            first, step = one_step(model, rows, prompt, group, positions - prompt, budget)
            counts.steps[name] = Step("slots", rows, positions, *step)
            if budget != AMPLE:
                counts.prefill_peaks["slots"] = first.peak_bytes
        first, step = one_step(model, 4 * group, prompt, group)
        counts.prefills["slots"] = minus(first, plus(*step))
    counts.checked["2 layers of width 256"] = checked()
    return counts


def checked() -> tuple[int, int]:
    """Bytes of a small model: counted on fake tensors, and quantised for real."""
    sizes = {"vocab_size": 1024, "hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
    small = models.config(
        **sizes, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    with models.fake_mode():
        fake = models.nbytes(models.build(small))
    return fake, models.nbytes(models.build_real(small))


def leave_adapters(model: Any) -> None:
    """Adapters in float32 are multiplied by oneDNN on a CPU; a card has none: as if hooked."""
    for name, module in model.named_modules():
        if "lora_" in name and type(module) is torch.nn.Linear:
            module.forward = module.forward


def one_step(
    model: Any, rows: int, prompt: int, group: int, ahead: int = 0, budget: int = AMPLE
) -> tuple[Tally, tuple[Tally, Tally]]:
    """The first step with the prefill of all prompts, and a later one in two parts.

    The later one is where each row has drawn `ahead` tokens: the schedule is numbers only, and is
    taken there without steps of the model.
    """
    params = SamplingParams(max_tokens=LIMIT, temperature=1.0)
    prompts = [
        PromptTokens(i, str(i), tuple(range(3, 3 + prompt)), tuple(range(min(group, rows - start))))
        for i, start in enumerate(range(0, rows, group))
    ]
    tokenizer = make_tokenizer()
    counter = Counter(models.tensors(model))
    sampler = SlotSampler(model, tokenizer, max_rows=rows, memory_budget_bytes=budget)
    stopping = Stopping(model, tokenizer, (), params.max_tokens)
    with counter, sampler.running(prompts, params, stopping) as run:
        run.advance()
        first = counter.fresh()
        for _ in range(max(ahead - 1, 0)):
            for row in run.rows:
                row.tokens.append(0)
                row.logprobs.append(0.0)
            run.schedule.advance()
            run.schedule.make_room()
        counter.fresh()
        with split(model.get_base_model(), counter) as parts:
            run.advance()
        if len(run.rows) != rows and budget == AMPLE:
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
