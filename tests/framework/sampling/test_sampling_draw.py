"""The sampling rules are those of transformers; draws follow the distribution and the key."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from groupwise.evaluation.sampler import SamplingParams
from groupwise.framework.sampling.draw import check_params, draw, token_logprobs
from groupwise.framework.sampling.randomness import sample_key, uniforms
from groupwise.rewards.errors import UserError

pytestmark = pytest.mark.stack

RULES: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"top_k": 5},
    {"top_p": 0.6},
    {"min_p": 0.2},
    {"temperature": 1.4, "top_k": 40, "top_p": 0.8, "min_p": 0.02},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 1.3, "temperature": 0.6, "top_k": 20, "top_p": 0.95},
]


def upstream(logits: torch.Tensor, ids: torch.Tensor, rules: dict[str, Any]) -> torch.Tensor:
    """Probabilities after transformers' own processors, in the order that generate uses."""
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    table = {
        "repetition_penalty": RepetitionPenaltyLogitsProcessor,
        "temperature": TemperatureLogitsWarper,
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
    }
    processors = LogitsProcessorList([table[r](rules[r]) for r in table if r in rules])
    return processors(ids, logits.clone()).softmax(dim=-1)


def seen_mask(ids: torch.Tensor, vocabulary: int) -> torch.Tensor:
    return torch.zeros(len(ids), vocabulary, dtype=torch.bool).scatter_(1, ids, True)


@pytest.mark.parametrize("vocabulary", [100, 5000, 8192])
@pytest.mark.parametrize("rules", RULES, ids=str)
def test_draws_follow_upstreams_distribution(rules: dict[str, Any], vocabulary: int) -> None:
    """Every uniform number i/n once: each token's count is its share of n, to one draw."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, vocabulary, generator=generator) * 3
    ids = torch.randint(vocabulary, (1, 30), generator=generator)
    expected = upstream(logits, ids, rules)[0]
    n = 4000
    uniform = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    tokens, _ = draw(
        logits.expand(n, -1),
        uniform,
        SamplingParams(**rules),
        seen_mask(ids, vocabulary).expand(n, -1),
    )
    counts = torch.bincount(tokens, minlength=vocabulary)
    assert (counts - expected * n).abs().max() <= 1.01
    assert not counts[expected == 0].any()


def test_small_and_large_vocabularies_draw_alike() -> None:
    """Padding the vocabulary with impossible tokens changes the way of drawing, not the draw."""
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(500, 300, generator=generator)
    uniform = torch.rand(500, dtype=torch.float64, generator=generator)
    padded = torch.cat([logits, torch.full((500, 7001), float("-inf"))], dim=1)
    small, _ = draw(logits, uniform, SamplingParams())
    large, _ = draw(padded, uniform, SamplingParams())
    assert torch.equal(small, large)


def test_nucleus_wider_than_the_first_look() -> None:
    logits = torch.zeros(2, 6000)  # 95 % of a flat distribution is 5,700 tokens: all tie
    uniform = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    tokens, _ = draw(logits, uniform, SamplingParams(top_p=0.95))
    assert tokens.tolist() == [0, 5999]


def test_greedy_and_extreme_uniforms() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0, float("-inf")]] * 2)
    uniform = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert draw(logits, uniform, SamplingParams(temperature=0))[0].tolist() == [1, 1]
    assert draw(logits, uniform, SamplingParams())[0].tolist() == [0, 2]


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_logprobs_are_before_the_filters(temperature: float) -> None:
    logits = torch.randn(8, 50, generator=torch.Generator().manual_seed(3))
    params = SamplingParams(temperature=temperature, top_k=3, logprobs=True)
    tokens, logprobs = draw(logits, uniforms(range(8), 1)[:, 0], params)
    assert logprobs is not None
    whole = (logits / (temperature or 1.0)).log_softmax(dim=-1)
    assert torch.allclose(logprobs, whole.gather(1, tokens[:, None])[:, 0])
    assert torch.allclose(logprobs, token_logprobs(logits, tokens, temperature))


def splitmix64(state: int) -> int:
    """The published algorithm, in plain integers."""
    mask = (1 << 64) - 1
    z = state & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_uniforms_are_splitmix64() -> None:
    keys = [0, 1, -1, 2**63 - 1, -(2**63), sample_key(7, "a", 3)]
    got = uniforms(keys, 5)
    gamma = 0x9E3779B97F4A7C15
    for i, key in enumerate(keys):
        for t in range(5):
            assert got[i, t].item() == (splitmix64(key + (t + 1) * gamma) >> 11) * 2.0**-53
    # The reference implementation's first output for seed 0.
    assert splitmix64(gamma) == 0xE220A8397B1DCDAF


def test_sample_keys_differ_and_stay() -> None:
    names = [(s, k, i) for s in range(3) for k in ("a", "b", "a1") for i in range(12)]
    assert len({sample_key(*name) for name in names}) == len(names)
    assert sample_key(0, "example", 0) == 8756940518930901821  # logs are resumed by it


def test_uniforms_are_uniform() -> None:
    values = uniforms([sample_key(0, "x", i) for i in range(200)], 100).flatten()
    assert abs(values.mean().item() - 0.5) < 4 / math.sqrt(12 * len(values))
    counts = torch.histc(values.float(), bins=20, min=0, max=1)
    chi_square = ((counts - 1000) ** 2 / 1000).sum().item()
    assert chi_square < 45  # 19 degrees of freedom: p < 0.001


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"min_p": 1.0}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ("",)}, "stop"),
    ],
)
def test_impossible_rules_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        check_params(SamplingParams(**change))
