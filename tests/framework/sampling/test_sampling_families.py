"""Greedy answers are, token for token, those of `model.generate`, in every family we serve."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import for_slots
from sampling_toys import FAMILIES, make_model, make_tokenizer

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.sampling import make_sampler
from groupwise.framework.sampling.support import FAMILIES as SERVED

pytestmark = pytest.mark.stack

MAX_TOKENS = 24
TEXTS = ["1 + 1 =", "What is 17 times 3? Think.", "x", "a longer prompt than the others, by far"]


def reference(model: Any, tokenizer: Any, padded: bool) -> list[list[int]]:
    """`model.generate` itself, one prompt at a time or all in one left-padded batch."""
    batches = [TEXTS] if padded else [[text] for text in TEXTS]
    answers: list[list[int]] = []
    for texts in batches:
        inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            out = model.generate(**inputs, do_sample=False, max_new_tokens=MAX_TOKENS)
        for row in out[:, inputs["input_ids"].shape[1] :].tolist():
            answers.append(row[: row.index(1) + 1] if 1 in row else row)
    return answers


def greedy(model: Any, tokenizer: Any, engine: Any, **options: Any) -> list[list[int]]:
    sampler = make_sampler(model, tokenizer, engine, **options)
    assert sampler.name == engine
    prompts = [Prompt(key=f"p{i}", text=text) for i, text in enumerate(TEXTS)]
    params = SamplingParams(temperature=0.0, max_tokens=MAX_TOKENS)
    made = {c.prompt_index: c for c in sampler.sample(prompts, 1, params)}
    for c in made.values():
        assert c.finish_reason == ("stop" if c.token_ids[-1] == 1 else "length")
    return [list(made[i].token_ids) for i in range(len(TEXTS))]


@pytest.mark.parametrize("family", for_slots(FAMILIES))
def test_greedy_equals_generate(family: str) -> None:
    model, tokenizer = make_model(family), make_tokenizer()
    expected = reference(model, tokenizer, padded=False)
    assert len({tuple(a) for a in expected}) >= 3  # the answers depend on the prompts
    assert reference(model, tokenizer, padded=True) == expected
    assert greedy(model, tokenizer, "slots") == expected
    assert greedy(model, tokenizer, "slots", max_rows=3) == expected
    assert greedy(model, tokenizer, "generate") == expected


def test_every_served_family_is_tested() -> None:
    assert {make_model(f).config.model_type for f in FAMILIES} == set(SERVED)
