"""The paged pool under a real model: shared prompts, paused rows, buckets, one wait a step."""

from __future__ import annotations

import gc
import math
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import EMULATES_GPU, for_slots
from sampling_toys import FAMILIES, counted_reads, make_model, make_tokenizer
from torch.utils._python_dispatch import TorchDispatchMode

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.sampling import attention as kernels
from groupwise.framework.sampling import graphs, make_sampler
from groupwise.framework.sampling.buffers import bucketed
from groupwise.framework.sampling.requests import encode_prompts
from groupwise.framework.sampling.slots import Options, SlotSampler
from groupwise.framework.sampling.stopping import Stopping
from groupwise.rewards.errors import UserError

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


def test_paused_rows_go_on_to_the_bit() -> None:
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
        assert run.schedule.pauses > 0


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
def test_the_host_waits_once_a_step(family: str, tokenizer: Any) -> None:
    model = make_model(family)
    params = SamplingParams(seed=3, max_tokens=20, logprobs=True)
    sampler = SlotSampler(model, tokenizer, options=Options(block=4))
    encoded = encode_prompts(PROMPTS, 4, params, model, tokenizer)
    with sampler.running(encoded, params, Stopping(model, tokenizer, (), 20)) as run:
        run.advance()  # the first fills the slots
        for _ in range(4):
            with counted_reads() as reads, Waits() as waits:
                run._step()
            # Of the rotary tables for CPU tensors (policy/unsloth.py), after a load by Unsloth.
            tables = reads.pop("__int__", 0) if EMULATES_GPU else 0
            assert dict(reads) == {"tolist": 1}
            assert waits.seen.total() == tables


def as_on_a_gpu(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention whose scores are multiplied by log2(e), as torch's kernel for GPUs does.

    A score that overflows is not in the softmax; a row of nothing else has output and log-sum 0.
    """
    query, key, value, mask, scale = arguments
    scores = (query @ key.transpose(2, 3) * scale + mask) * math.log2(math.e)
    top = scores.amax(dim=-1, keepdim=True)
    weights = torch.where(scores.isinf(), 0.0, torch.exp2(scores - top.clamp(min=-3e38)))
    total = weights.sum(dim=-1, keepdim=True)
    out = weights @ value / total.clamp(min=1e-30)
    log_sum = (top + total.log2()) / math.log2(math.e)
    return out, torch.where(total == 0, 0.0, log_sum)


@pytest.mark.usefixtures("shared_prompts")
@pytest.mark.parametrize("family", ["qwen3", "mistral_sliding"])
def test_a_block_that_a_row_does_not_see_weighs_nothing(
    family: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the numbers of a GPU's kernel, rows refilled, and blocks that are only padding."""
    model = make_model(family)
    params = SamplingParams(seed=1, max_tokens=60, logprobs=True)
    how: dict[str, Any] = {"options": Options(block=8), "max_rows": 6}
    expected = drawn(model, tokenizer, params, PROMPTS, 4, **how)
    monkeypatch.setattr(kernels, "_flash", as_on_a_gpu)
    found = drawn(model, tokenizer, params, PROMPTS, 4, **how)
    assert {at: c.token_ids for at, c in found.items()} == {
        at: c.token_ids for at, c in expected.items()
    }
    for at, one in found.items():
        assert one.logprobs == pytest.approx(expected[at].logprobs, abs=1e-4)


def test_arrays_that_are_copied_give_the_same_answers(tokenizer: Any) -> None:
    """As on a GPU: a step sees the copies, and only what has changed is copied."""
    model = make_model("qwen3")
    params = SamplingParams(seed=3, max_tokens=14, logprobs=True, repetition_penalty=1.2)
    expected = drawn(model, tokenizer, params, PROMPTS, 4, max_rows=5)
    how: dict[str, Any] = {"options": Options(mirrors=True), "max_rows": 5}
    assert drawn(model, tokenizer, params, PROMPTS, 4, **how) == expected


@pytest.mark.usefixtures("shared_prompts")
def test_captured_steps_give_the_same_answers(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is captured reads the buffers again and nothing else, as a CUDA graph does."""
    model = make_model("qwen3")
    params = SamplingParams(seed=3, max_tokens=40, logprobs=True)
    expected = drawn(model, tokenizer, params, PROMPTS, 4, options=Options(buckets=True))
    captured = []

    def capture(run: Callable[[], None]) -> Callable[[], None]:
        captured.append(run)
        return run

    monkeypatch.setattr(graphs, "cuda_capture", lambda: capture)
    made = drawn(model, tokenizer, params, PROMPTS, 4, options=Options(cuda_graphs=True))
    assert made == expected
    assert 0 < len(captured) <= graphs.MOST_GRAPHS


def test_nothing_of_a_run_outlives_it(tokenizer: Any) -> None:
    """Without the garbage collector: a pool of gigabytes is not to wait for it."""
    model = make_model("qwen3")
    params = SamplingParams(max_tokens=6)
    sampler = SlotSampler(model, tokenizer)
    encoded = encode_prompts(PROMPTS, 2, params, model, tokenizer)
    gc.collect()
    gc.disable()
    try:
        with sampler.running(encoded, params, Stopping(model, tokenizer, (), 6)) as run:
            pool = weakref.ref(run.cache.data)
            while run.advance():
                run.take_finished()
        assert pool() is None
    finally:
        gc.enable()


def test_buckets_are_few_and_near() -> None:
    sizes = {bucketed(count) for count in range(1, 257)}
    assert len(sizes) <= 28
    for count in range(1, 257):
        assert count <= bucketed(count) <= count + count // 3 + 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_kernel_of_a_gpu_takes_what_a_step_gives(dtype: torch.dtype) -> None:
    """Shapes alone, on no device: numbers are compared on a card, before it is used there."""
    query = torch.empty(5, 2, 24, 128, dtype=dtype, device="meta")
    keys = torch.empty(5, 2, 64, 128, dtype=dtype, device="meta")
    mask = torch.empty(5, 1, 1, 64, dtype=dtype, device="meta")
    for part in (kernels._efficient, lambda *a: kernels._weighted(*a, softcap=None)):
        out, top = part(query, keys, keys, mask, 0.1)
        assert out.shape == query.shape
        assert out.dtype == dtype
        assert top.shape == (5, 2, 24, 1)
        assert top.dtype == torch.float32


def test_both_ways_of_attention_compute_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (torch.randn(5, 2, size, 16, generator=generator) for size in (3, 64, 64))
    mask = torch.zeros(5, 1, 1, 64)
    mask[:, :, :, 40:] = torch.finfo(torch.float32).min
    by_flash = kernels._flash(query, keys, values, mask, 0.25)
    by_products = kernels._weighted(query, keys, values, mask, 0.25, softcap=None)
    for one, other in zip(by_flash, by_products, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_model_that_would_use_flash_attention_is_served(tokenizer: Any) -> None:
    """The package is not here: the engine's attention takes its place, for prompts too."""
    model = make_model("qwen3")
    params = SamplingParams(seed=3, max_tokens=14)
    expected = drawn(model, tokenizer, params, PROMPTS, 2)
    model.config._attn_implementation = "flash_attention_2"
    assert drawn(model, tokenizer, params, PROMPTS, 2) == expected
    assert model.config._attn_implementation == "flash_attention_2"
    capped = make_model("gemma2")
    capped.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UserError, match="flash_attention_2"):
        SlotSampler(capped, tokenizer)
