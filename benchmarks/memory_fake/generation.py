"""The bytes of a rollout: the slot engine with its own buffers, on fake tensors.

The engine is driven as the framework drives it: the first step with the prefill of all prompts that
it takes at once, and the last one, in which every row has its full length; the steps between are
only counted by its schedule. The optimiser's state is there, as it is from the second step on.

What a card does and a CPU does not is told to it: the room for rows as on a card, tokens drawn a
few rows at a time, and 4-bit weights written out where bitsandbytes' rule for the card says so.
"""

from __future__ import annotations

import gc
from collections import Counter as Multiset
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu_figures import model as models
from benchmarks.gpu_figures.cards import CARDS
from benchmarks.gpu_figures.products import is_fused
from benchmarks.gpu_figures.slots import AMPLE, leave_adapters
from benchmarks.gpu_figures.unsloth_kernels import DEQUANTISED
from benchmarks.memory_fake.cases import Generation, Measured
from benchmarks.memory_fake.tracker import PartCounter
from benchmarks.memory_fake.training import adam
from groupwise.evaluation.sampler import SamplingParams
from groupwise.framework.data.toy import make_tokenizer
from groupwise.framework.sampling import slots
from groupwise.framework.sampling.requests import PromptTokens
from groupwise.framework.sampling.stopping import Stopping

CARD = CARDS[0]


def measure(settings: Any, cases: Sequence[Generation]) -> list[Measured]:
    """The peak of each case by part; not in a process in which Unsloth was imported."""
    return [_measured(settings, case) for case in cases]


def _measured(settings: Any, case: Generation) -> Measured:
    with models.fake_mode():
        model = models.build(settings)
        trained = [p for p in model.parameters() if p.requires_grad]
        counter = PartCounter("activations")
        counter.hold_as("weights", models.tensors(model))
        counter.hold_as("lora", trained)
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        _optimiser = adam(trained, counter)
        for parameter in trained:
            parameter.grad = None
        model.eval()
        leave_adapters(model)
        gc.collect()
        counter.fresh()
        with as_on_a_card(counter), labelled(model, counter):
            return Measured(case, _rollout(model, counter, case))


def _rollout(model: Any, counter: PartCounter, case: Generation) -> dict[str, int]:
    params = SamplingParams(max_tokens=case.completion, temperature=1.0)
    ids = tuple(range(3, 3 + case.prompt))
    prompts = [
        PromptTokens(i, str(i), ids, tuple(range(min(case.group, case.rows - start))))
        for i, start in enumerate(range(0, case.rows, case.group))
    ]
    tokenizer = make_tokenizer()
    sampler = slots.SlotSampler(model, tokenizer, max_rows=case.rows, memory_budget_bytes=AMPLE)
    stopping = Stopping(model, tokenizer, (), params.max_tokens)
    with counter, sampler.running(prompts, params, stopping) as run:
        run.advance()
        first = counter.tally.peak_bytes, Multiset(counter.at_peak)
        for _ in range(case.completion - 2):
            for row in run.rows:
                row.tokens.append(0)
                row.logprobs.append(0.0)
            run.schedule.advance()
            run.schedule.make_room()
        if len(run.rows) != case.rows:
            raise RuntimeError(
                f"{len(run.rows)} rows are in flight, and {case.rows} were asked for"
            )
        counter.fresh()
        run.advance()
        last = counter.tally.peak_bytes, Multiset(counter.at_peak)
    return dict(max(first, last, key=lambda found: found[0])[1])


@contextmanager
def labelled(model: Any, counter: PartCounter) -> Iterator[None]:
    """Inside, what the engine and the head make belongs to a part of its own."""

    def making(part: str, plain: Any) -> Any:
        def labelled(*arguments: Any, **options: Any) -> Any:
            with counter.making(part):
                return plain(*arguments, **options)

        return labelled

    def draw(run: Any, logits: Any) -> Any:
        with counter.making("logits"):  # a few rows at a time, as on a card
            parts = [plain_draw(run, some) for some in logits.split(slots.DRAW_ROWS)]
            return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    @contextmanager
    def lean(*arguments: Any) -> Iterator[None]:
        with ExitStack() as stack:
            with counter.making("lora_16_bits"):
                stack.enter_context(plain_lean(*arguments))
            yield

    plain_draw, plain_lean = slots.Run._draw, slots.lean_layers
    head = model.get_output_embeddings()
    with (
        mock.patch.object(slots.Run, "_draw", draw),
        mock.patch.object(slots, "lean_layers", lean),
        mock.patch.object(slots.BlockCache, "fill", making("prefill", slots.BlockCache.fill)),
        mock.patch.object(slots, "BlockCache", making("kv_cache", slots.BlockCache)),
        mock.patch.object(slots.Run, "_run_prompts", making("prefill", slots.Run._run_prompts)),
        mock.patch.object(head, "forward", making("logits", head.forward)),
    ):
        yield


@contextmanager
def as_on_a_card(counter: PartCounter) -> Iterator[None]:
    """Inside, the engine takes the room that it takes on a card, and 4-bit products its buffers."""

    def room(budget: int, widths: Any, need: Any, most: Any) -> Any:
        return plain(budget, replace(widths, on_gpu=True), need, most)

    plain = slots.room_within
    with mock.patch.object(slots, "room_within", room), _Products(counter):
        yield


class _Products(TorchDispatchMode):
    """A product with a 4-bit weight holds that weight in 16 bits, where the card writes it out."""

    def __init__(self, counter: PartCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ != "gemm_4bit":
            return func(*args, **(kwargs or {}))
        shape = tuple(args[2])
        written = None
        if not is_fused(CARD, args[0].numel() // shape[1], shape):
            with self.counter.making(DEQUANTISED):
                written = torch.empty(shape, dtype=torch.bfloat16)
                self.counter.hold(written)
        made = func(*args, **(kwargs or {}))
        del written
        return made
