"""What leads up to vLLM and comes after it; vLLM itself needs a GPU, and no test here runs it.

`Engine` stands for the one object that cannot exist here, the engine: it says which calls it got.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sampling_toys import make_model, make_tokenizer

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.policy.unsloth import add_reference, drop_reference, restore_reference
from groupwise.framework.sampling import make_sampler, vllm
from groupwise.framework.sampling.vllm import why_not_vllm

pytestmark = pytest.mark.stack


class Engine:
    """Answers every prompt with token 7; sleeps if it was made for that."""

    def __init__(self, *, sleeps: bool) -> None:
        config = SimpleNamespace(model_config=SimpleNamespace(enable_sleep_mode=sleeps))
        self.llm_engine = SimpleNamespace(vllm_config=config)
        self.calls: list[str] = []

    def sleep(self, level: int) -> None:
        self.calls.append(f"sleep {level}")

    def generate(self, prompts: list[Any], **_: Any) -> list[Any]:
        self.calls.append(f"{len(prompts)} prompts")
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=[7])]) for _ in prompts]


def tuned(*, sleeps: bool = False) -> Any:
    """A model with a trained adapter, as Unsloth's loader makes it with fast_inference."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(make_model("qwen3"), LoraConfig(r=4, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(0.1)
    model.vllm_engine = engine = Engine(sleeps=sleeps)
    model.fast_generate, model.handed_over = engine.generate, []

    def load_lora(folder: str, **_: Any) -> str:
        # What Unsloth 2026.10.9 takes: unsloth_zoo/vllm_utils.py, _build_lora_request.
        found = {
            key.replace(".default", ""): weight
            for key, weight in model.state_dict().items()
            if ".lora_A." in key or ".lora_B." in key
        }
        model.handed_over.append((folder, found))
        return "request"

    model.load_lora = load_lora
    return model


def draw(model: Any, monkeypatch: pytest.MonkeyPatch, params: SamplingParams) -> list[str]:
    monkeypatch.setattr(vllm, "_vllm_params", lambda *_: None)  # a class of vLLM's
    sampler = make_sampler(model, make_tokenizer(), "vllm")
    return [sample.text for sample in sampler.sample([Prompt("a", "1+1=")], 2, params)]


def test_a_model_is_served_with_its_reference_beside_it_and_after_it() -> None:
    """The KL's frozen copy is not active: the engine answers as the model does."""
    model = tuned()
    assert why_not_vllm(model) is None
    add_reference(model)
    assert sorted(model.peft_config) == ["default", "ref"]
    assert why_not_vllm(model) is None
    model.set_adapter("ref")
    assert why_not_vllm(model) == "load_lora knows the adapter 'default', and active is ['ref']"
    model.set_adapter("default")
    drop_reference(model)
    assert why_not_vllm(model) is None


def test_the_engine_gets_the_trained_adapter_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    params = SamplingParams(max_tokens=1)
    plain, beside = tuned(), tuned()
    add_reference(beside)
    for model in (plain, beside):
        draw(model, monkeypatch, params)
    ((_, expected),), ((_, found),) = plain.handed_over, beside.handed_over
    assert found.keys() == expected.keys()
    assert all(weight.equal(expected[key]) for key, weight in found.items())
    assert any(".ref." in key for key in beside.state_dict()), "only while it is handed over"


@pytest.mark.parametrize("sleeps", [True, False])
def test_it_sleeps_after_a_sample_and_has_one_folder(
    sleeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tuned(sleeps=sleeps)
    answer = make_tokenizer().decode([7])
    for _ in range(2):
        assert draw(model, monkeypatch, SamplingParams(max_tokens=1)) == [answer, answer]
    after = ["sleep 1"] if sleeps else []
    assert model.vllm_engine.calls == 2 * ["2 prompts", *after]
    (folder,) = {folder for folder, _ in model.handed_over}
    parent = Path(folder).parent
    assert parent.is_dir()


def test_a_reference_that_was_put_away_comes_back_as_it_was() -> None:
    model = tuned()
    add_reference(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if ".ref." in n}
    away = drop_reference(model)
    assert not [n for n, _ in model.named_parameters() if ".ref." in n]
    for name, weight in model.named_parameters():
        if ".default." in name:
            weight.data += 1  # trained meanwhile
    restore_reference(model, away)
    after = {n: p for n, p in model.named_parameters() if ".ref." in n}
    assert after.keys() == before.keys()
    assert all(p.equal(before[n]) and not p.requires_grad for n, p in after.items())
    assert model.active_adapters == ["default"]
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(".default." in n for n in trained)
