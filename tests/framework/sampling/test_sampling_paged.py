"""The paged pool under a real model: shared prompts, rows put back, buckets, one wait a step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from conftest import EMULATES_GPU, for_slots
from sampling_toys import FAMILIES, make_model, make_tokenizer
from torch.utils._python_dispatch import TorchDispatchMode

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.sampling import attention as kernels
from groupwise.framework.sampling import make_sampler
from groupwise.framework.sampling.buffers import bucketed
from groupwise.framework.sampling.requests import encode_prompts
from groupwise.framework.sampling.slots import Options, SlotSampler
from groupwise.framework.sampling.stopping import Stopping

pytestmark = pytest.mark.stack

# Lengths from 1 token to more than a sliding window, so that blocks begin and end everywhere.
PROMPTS = [Prompt(key=f"p{i}", text="7" * i + f"{i}=") for i in (0, 1, 2, 5, 11, 20)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture
def shared_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: float32 by other kernels, with blocks of any size, and prompts shared."""
    monkeypatch.setattr(kernels, "has_onednn", lambda: False)


def drawn(
    model: Any, tokenizer: Any, params: SamplingParams, prompts: list[Prompt], k: int, **how: Any
) -> dict[tuple[int, int], Any]:
    sampler = SlotSampler(model, tokenizer, **how)
    return {(c.prompt_index, c.sample_index): c for c in sampler.sample(prompts, k, params)}


@pytest.mark.usefixtures("shared_prompts")
@pytest.mark.parametrize("family", for_slots(FAMILIES))
def test_shared_prompts_give_the_same_answers(family: str, tokenizer: Any) -> None:
    """Each family, with blocks of 4 and little memory; token for token, and nearly the bits."""
    model = make_model(family)
    params = SamplingParams(seed=3, max_tokens=14, logprobs=True)
    expected = {
        (c.prompt_index, c.sample_index): c
        for c in make_sampler(model, tokenizer, "generate").sample(PROMPTS, 4, params)
    }
    for options in (Options(block=4), Options(block=16, buckets=True)):
        found = drawn(model, tokenizer, params, PROMPTS, 4, options=options, max_rows=9)
        assert {at: c.token_ids for at, c in found.items()} == {
            at: c.token_ids for at, c in expected.items()
        }
        for at, one in found.items():
            assert one.logprobs == pytest.approx(expected[at].logprobs, abs=1e-4)


def test_rows_that_are_put_back_are_drawn_again_to_the_bit() -> None:
    """Answers of full length, where memory is for a third of them: the worst case."""
    model, tokenizer = make_model("qwen3", eos_token_id=None), make_tokenizer()
    tokenizer.eos_token = None
    params = SamplingParams(seed=3, max_tokens=300, logprobs=True)
    how: dict[str, Any] = {"max_rows": 24, "memory_budget_bytes": 2_600_000}
    expected = drawn(model, tokenizer, params, PROMPTS[-1:], 24)
    assert drawn(model, tokenizer, params, PROMPTS[-1:], 24, **how) == expected
    encoded = encode_prompts(PROMPTS[-1:], 24, params, model, tokenizer)
    stopping = Stopping(model, tokenizer, (), params.max_tokens)
    with SlotSampler(model, tokenizer, **how).running(encoded, params, stopping) as run:
        while run.advance():
            run.take_finished()
        assert run.schedule.put_back > 0


class Waits(TorchDispatchMode):
    """Counts operations whose result the host has to wait for, on a GPU."""

    OPERATIONS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if any(name.startswith(operation) for operation in self.OPERATIONS):
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.usefixtures("shared_prompts")
@pytest.mark.parametrize("family", for_slots(["qwen3", "gemma3"]))
def test_the_host_waits_once_a_step(
    family: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(family)
    params = SamplingParams(seed=3, max_tokens=20, logprobs=True)
    sampler = SlotSampler(model, tokenizer, options=Options(block=4))
    encoded = encode_prompts(PROMPTS, 4, params, model, tokenizer)
    reads: Counter[str] = Counter()
    for name in ("tolist", "item", "cpu", "numpy", "__bool__", "__int__", "__float__"):
        original = getattr(torch.Tensor, name)

        def counted(self: Any, *args: Any, _name: str = name, _as: Any = original) -> Any:
            reads[_name] += 1
            return _as(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    with sampler.running(encoded, params, Stopping(model, tokenizer, (), 20)) as run:
        run.advance()  # the first fills the slots
        for _ in range(4):
            reads.clear()
            with Waits() as waits:
                run._step()
            # Of the rotary tables for CPU tensors (policy/unsloth.py), after a load by Unsloth.
            tables = reads.pop("__int__", 0) if EMULATES_GPU else 0
            assert dict(reads) == {"tolist": 1}
            assert waits.seen.total() == tables


def test_buckets_are_few_and_near() -> None:
    sizes = {bucketed(count) for count in range(1, 257)}
    assert len(sizes) <= 28
    for count in range(1, 257):
        assert count <= bucketed(count) <= count + count // 3 + 1
