"""The slot engine beside `generate`: when it is used, when it gives way, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sampling_toys import make_model, make_tokenizer

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.sampling import CheckedSampler, make_sampler
from groupwise.framework.sampling import attention as kernels
from groupwise.framework.sampling.generate import GenerateSampler
from groupwise.framework.sampling.self_check import check_engine
from groupwise.rewards.errors import UserError

pytestmark = pytest.mark.stack

PROMPTS = [Prompt(key=f"p{i}", text="7" * (3 * i) + f"{i}=") for i in range(12)]
PARAMS = SamplingParams(max_tokens=6)


def checked(model: Any) -> CheckedSampler:
    sampler = make_sampler(model, make_tokenizer())
    assert isinstance(sampler, CheckedSampler)
    return sampler


def said_by(sampler: CheckedSampler) -> list[str]:
    said: list[str] = []
    check_engine(sampler, PROMPTS, PARAMS.max_tokens, said.append)
    return said


def test_it_agrees_and_says_by_how_much() -> None:
    sampler = checked(make_model("qwen3"))
    assert sampler.found is None
    assert said_by(sampler) == []
    assert sampler.name == "slots"
    found = sampler.found
    assert found is not None
    assert found.tokens >= 20
    assert found.largest < 1e-5
    described = sampler.described()
    assert described["engine"] == "slots"
    assert described["self_check"]["agrees"] is True
    assert described["reason"].startswith("slots: it agrees with generate: over ")


def test_a_model_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("qwen3")
    calls = []
    real = GenerateSampler.sample

    def counted(self: Any, *arguments: Any) -> Any:
        calls.append(self)
        return real(self, *arguments)

    monkeypatch.setattr(GenerateSampler, "sample", counted)
    for _ in range(2):
        list(checked(model).sample(PROMPTS, 1, PARAMS))
    assert len(calls) == 1


@pytest.mark.parametrize("wrong_by", [0.05, 3.0])
def test_wrong_numbers_give_way_to_generate(
    wrong_by: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention that is a little off: the log-sums of blocks, which only the slots add up."""
    real = kernels.Step.attend

    def off(self: Any, *arguments: Any, **options: Any) -> torch.Tensor:
        return real(self, *arguments, **options) * (1 + wrong_by)

    monkeypatch.setattr(kernels.Step, "attend", off)
    sampler = checked(make_model("qwen3"))
    (said,) = said_by(sampler)
    assert said.startswith(
        "sampling with generate, which is slower, in place of slots: it disagrees"
    )
    assert sampler.name == "generate"
    assert sampler.described()["self_check"]["agrees"] is False
    assert len(list(sampler.sample(PROMPTS[:2], 2, PARAMS))) == 4


def test_an_engine_that_fails_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(kernels.Step, "attend", fails)
    sampler = checked(make_model("qwen3"))
    (said,) = said_by(sampler)
    assert said.endswith("it failed on this model: RuntimeError: no kernel image is available")
    assert sampler.name == "generate"


def test_memory_that_runs_out_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA driver error: out of memory")

    monkeypatch.setattr(kernels.Step, "attend", short)
    sampler = checked(make_model("qwen3"))
    with pytest.raises(RuntimeError, match="out of memory"):
        said_by(sampler)
    assert sampler.found is None


def test_where_generate_fails_slots_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise TypeError("decoding got an unexpected keyword")

    monkeypatch.setattr(GenerateSampler, "sample", fails)
    sampler = checked(make_model("qwen3"))
    (said,) = said_by(sampler)
    assert said == (
        "sampling with slots: it was not compared, because generate failed: "
        "TypeError: decoding got an unexpected keyword"
    )
    assert sampler.name == "slots"


def test_prompts_that_leave_room_for_few_tokens_are_checked_with_few() -> None:
    sampler = checked(make_model("qwen3"))
    long = [Prompt("long", "x" * 509)]  # of 512 positions
    assert sampler.check(long, max_tokens=3).agrees
    with pytest.raises(UserError, match="'long'"):
        checked(make_model("qwen3")).check(long, max_tokens=8)
