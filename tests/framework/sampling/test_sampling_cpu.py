"""Linear layers by oneDNN: the same products, live weights, gradients, and nothing left behind."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from sampling_toys import make_model, make_tokenizer

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.sampling import make_sampler
from groupwise.framework.sampling.cpu import prepacked_linears

pytestmark = pytest.mark.stack

PLENTY = 1 << 30
PROMPTS = [Prompt(key=f"p{i}", text=f"{i} + {i * i} =" + " ?" * (i % 5)) for i in range(16)]


def wide(family: str = "qwen3", **changes: Any) -> Any:
    """A toy whose layers are not all tiny."""
    return make_model(
        family, **{"hidden_size": 256, "intermediate_size": 512, "vocab_size": 512, **changes}
    )


def packed(model: Any) -> list[str]:
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


@pytest.mark.parametrize("shape", [(1, 256), (3, 1, 256), (64, 1, 256), (2, 33, 256)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_the_same_but_for_rounding(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(256, 512, bias=bias)
    x = torch.randn(shape)
    with torch.no_grad():
        expected = layer(x)
        with prepacked_linears(layer, PLENTY) as taken:
            assert taken >= 256 * 512 * 4
            found = layer(x)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_every_float32_layer_within_the_budget_and_nothing_stays() -> None:
    model = wide()
    linears = [name for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    activations = [name for name, _ in model.named_modules() if name.endswith("act_fn")]
    assert activations
    size = sum(model.get_submodule(name).weight.numel() * 4 for name in linears)
    with prepacked_linears(model, PLENTY) as taken:
        assert set(packed(model)) == {*linears, *activations}
        assert size <= taken <= 1.1 * size  # the layout has no gaps worth mentioning
    assert packed(model) == []
    with ExitStack() as stack:
        with pytest.warns(UserWarning, match="do not fit into .* MiB"):
            taken = stack.enter_context(prepacked_linears(model, size // 2))
        assert 0 < taken <= size // 2
        assert 0 < len(packed(model)) < len(linears)
    with prepacked_linears(model.bfloat16(), PLENTY) as taken:
        assert (taken, packed(model)) == (0, [])


def test_a_forward_that_is_not_torchs_is_left_alone() -> None:
    layer = torch.nn.Linear(256, 512)
    hooked = layer.forward
    layer.forward = lambda x: hooked(x) + 1
    before = layer(torch.ones(2, 256))
    with prepacked_linears(layer, PLENTY) as taken:
        assert taken == 0
    assert torch.equal(layer(torch.ones(2, 256)), before)


def test_gradients_and_autocast_take_the_layers_own_weight() -> None:
    layer, x = torch.nn.Linear(256, 512), torch.randn(4, 256)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    with prepacked_linears(layer, PLENTY):
        assert "forward" in vars(layer)
        layer(x).sum().backward()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
    assert torch.equal(layer.weight.grad, expected)


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma2", "phi3"])
def test_greedy_answers_are_those_of_generate(family: str) -> None:
    model, tokenizer = wide(family), make_tokenizer()
    params = SamplingParams(temperature=0.0, max_tokens=16)
    sampler = make_sampler(model, tokenizer, "slots")
    made = list(sampler.sample(PROMPTS, 16, params))
    for i, prompt in enumerate(PROMPTS):
        inputs = tokenizer(prompt.text, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            out = model.generate(**inputs, do_sample=False, max_new_tokens=16)
        expected = tuple(out[0, inputs["input_ids"].shape[1] :].tolist())
        assert {c.token_ids for c in made if c.prompt_index == i} == {expected}


def test_256_answers_do_not_depend_on_the_batch() -> None:
    model, tokenizer = wide(), make_tokenizer()
    params = SamplingParams(seed=5, max_tokens=24, logprobs=True)

    def answers(rows: int) -> dict[tuple[int, int], tuple[Any, ...]]:
        sampler = make_sampler(model, tokenizer, "slots", max_rows=rows)
        made = sampler.sample(PROMPTS, 16, params)
        return {(c.prompt_index, c.sample_index): (c.token_ids, c.logprobs) for c in made}

    expected = answers(1)
    assert len(set(expected.values())) > 200
    assert answers(8) == expected
    assert answers(64) == expected


def test_a_step_of_training_between_calls_is_seen() -> None:
    model, tokenizer = wide(), make_tokenizer()
    sampler = make_sampler(model, tokenizer, "slots")
    params = SamplingParams(temperature=0.0, max_tokens=12)

    def answers(engine: Any) -> list[tuple[int, ...]]:
        made = engine.sample(PROMPTS, 4, params)
        return [t for _, t in sorted(((c.prompt_index, c.sample_index), c.token_ids) for c in made)]

    before = answers(sampler)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.mul_(-1.0)  # in place, as an optimiser does it
    after = answers(sampler)
    assert after != before
    assert after == answers(make_sampler(model, tokenizer, "generate"))
