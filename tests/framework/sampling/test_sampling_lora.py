"""LoRA adapters are part of the weights while sampling, and nothing of that is left afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sampling_toys import make_model, make_tokenizer

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.sampling import make_sampler
from groupwise.framework.sampling.lora import merged_adapters

pytestmark = pytest.mark.stack

PLENTY = 2**30


def lora(model: Any, **changes: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    settings = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **changes}
    tuned = get_peft_model(model, LoraConfig(**settings))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    return tuned


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(4, 24)[None]).logits


def test_the_same_up_to_rounding_and_put_back_to_the_bit() -> None:
    model = lora(make_model("qwen3"))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    expected = logits(model)
    base = model.get_base_model()
    with merged_adapters(model, PLENTY) as size:
        assert size == sum(
            weight.nbytes for name, weight in before.items() if name.endswith("base_layer.weight")
        )
        merged = logits(model)
        calls: list[str] = []
        for name, module in base.named_modules():
            if "lora_A" in name:
                module.register_forward_hook(lambda *_: calls.append("lora_A"))
        logits(model)
        assert calls == []
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(logits(model), expected)
    assert calls
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_an_interrupt_puts_everything_back() -> None:
    model, tokenizer = lora(make_model("qwen3")), make_tokenizer()
    expected = logits(model)
    drawn = make_sampler(model, tokenizer, "slots").sample(
        [Prompt("a", "1 + 1 =")], 8, SamplingParams(max_tokens=24, seed=1)
    )
    next(drawn)
    assert not torch.equal(logits(model), expected)  # merged, which rounds differently
    drawn.close()
    assert torch.equal(logits(model), expected)


def test_trained_weights_count_at_the_next_call() -> None:
    model, tokenizer = lora(make_model("qwen3")), make_tokenizer()
    sampler = make_sampler(model, tokenizer, "slots")
    params = SamplingParams(temperature=0.0, max_tokens=24)

    def answer() -> tuple[int, ...]:
        return next(iter(sampler.sample([Prompt("a", "1 + 1 =")], 1, params))).token_ids

    before = answer()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    assert answer() != before


LEFT_ALONE: dict[str, Callable[[], Any]] = {
    "bfloat16 would swallow small updates": lambda: lora(make_model("qwen3").bfloat16()),
    "DoRA has a forward of its own": lambda: lora(make_model("qwen3"), use_dora=True),
    "no adapter": lambda: make_model("qwen3"),
}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_left_alone(case: str) -> None:
    model = LEFT_ALONE[case]()
    with merged_adapters(model, PLENTY) as size:
        assert size == 0


def test_no_more_memory_than_asked() -> None:
    model = lora(make_model("qwen3"))
    with merged_adapters(model, 1000) as size:
        assert size == 0


def test_embeddings_that_are_tied_to_the_output_stay() -> None:
    model = lora(
        make_model("qwen3", tie_word_embeddings=True), target_modules=["q_proj", "lm_head"]
    )
    embeddings = model.get_input_embeddings().weight.clone()
    with merged_adapters(model, PLENTY) as size:
        assert size > 0
        assert torch.equal(model.get_input_embeddings().weight, embeddings)
