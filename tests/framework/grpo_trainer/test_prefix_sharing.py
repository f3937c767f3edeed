"""Running each prompt once gives what running every whole row gives: values and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import on_the_cpu_backend
from sampling_toys import FAMILIES, make_model

from groupwise.framework.grpo_trainer.prefix_sharing import (
    can_share_prompts,
    completion_log_probs,
    unique_prompts,
)

pytestmark = pytest.mark.stack

FULL_ATTENTION = [name for name in FAMILIES if name not in ("gemma2", "gemma2_eager", "gemma3")]
FULL_ATTENTION = [name for name in FULL_ATTENTION if "sliding" not in name]
TEMPERATURE = 0.7
PROMPT_OF = [0, 1, 0, 2, 1, 0, 3]  # groups of unlike size, not side by side
PROMPT_LENGTHS, COMPLETION_LENGTHS = [5, 9, 1, 9], [6, 1, 4, 6, 3, 5, 2]


def tuned(family: str, **changes: Any) -> Any:
    """A LoRA model in training mode, with TRL's fused head."""
    from peft import LoraConfig, get_peft_model
    from trl.trainer.utils import add_fused_lm_head
    from unsloth_zoo.cpu.ops import patch_trl_fused_lm_head

    patch_trl_fused_lm_head()  # without a GPU, TRL 1.15 fails where triton is installed
    base = make_model(family)
    add_fused_lm_head(base, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    settings = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **changes}
    torch.manual_seed(1)
    model = get_peft_model(base, LoraConfig(**settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    return model.train()


def batch() -> tuple[torch.Tensor, torch.Tensor, int]:
    """Ids and mask (7, 9 + 6): prompts padded on the left, completions on the right."""
    torch.manual_seed(2)
    longest, completion = max(PROMPT_LENGTHS), max(COMPLETION_LENGTHS)
    ids = torch.zeros(len(PROMPT_OF), longest + completion, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    prompts = [torch.randint(4, 90, (n,)) for n in PROMPT_LENGTHS]
    for row, (which, length) in enumerate(zip(PROMPT_OF, COMPLETION_LENGTHS, strict=True)):
        prompt = prompts[which]
        ids[row, longest - len(prompt) : longest] = prompt
        ids[row, longest : longest + length] = torch.randint(4, 90, (length,))
        mask[row, longest - len(prompt) : longest + length] = 1
    return ids, mask, completion


def whole_rows(model: Any, ids: torch.Tensor, mask: torch.Tensor, length: int) -> Any:
    """As TRL's `_get_per_token_logps_and_entropies` does it."""
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-length] = -100
    output = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    return output.log_probs[:, -length:], output.entropy[:, -length:]


def gradients(model: Any, log_probs: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    weights = torch.linspace(-1, 1, log_probs.numel()).view_as(log_probs)
    (log_probs * weights).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@on_the_cpu_backend("prompts are shared with TRL's trainer and transformers' forwards only")
@pytest.mark.parametrize("family", FULL_ATTENTION)
def test_values_and_gradients_are_those_of_whole_rows(family: str) -> None:
    model = tuned(family)
    assert can_share_prompts(model)
    ids, mask, length = batch()
    shared, entropy = completion_log_probs(model, ids, mask, length)
    ours = gradients(model, shared)
    expected, expected_entropy = whole_rows(model, ids, mask, length)
    theirs = gradients(model, expected)
    assert shared[mask[:, -length:] == 1].lt(0).all()
    torch.testing.assert_close(shared, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropy, expected_entropy, rtol=1e-4, atol=1e-5)
    assert ours.keys() == theirs.keys()
    assert any("k_proj" in name or "qkv_proj" in name for name in ours)
    for name, gradient in theirs.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


def test_each_prompt_runs_once() -> None:
    model = tuned("qwen3")
    ids, mask, length = batch()
    seen: list[tuple[int, int]] = []
    embeddings = model.get_input_embeddings()
    embeddings.register_forward_hook(lambda _m, inputs, _o: seen.append(tuple(inputs[0].shape)))
    completion_log_probs(model, ids, mask, length)
    assert seen == [(4, 8), (7, 7)]


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("mistral_sliding", {}),
        ("gemma3", {}),
        ("qwen3", {"lora_dropout": 0.1}),
    ],
)
def test_refused_where_it_would_differ(family: str, changes: dict[str, Any]) -> None:
    assert not can_share_prompts(tuned(family, **changes))


def test_refused_under_gradient_checkpointing() -> None:
    model = tuned("qwen3")
    model.gradient_checkpointing_enable()
    assert not can_share_prompts(model)


def test_prompts_that_differ_in_padding_alone_are_two() -> None:
    ids = torch.tensor([[0, 5], [0, 5], [0, 5]])
    mask = torch.tensor([[0, 1], [1, 1], [0, 1]])
    first, prompt_of = unique_prompts(ids, mask)
    assert sorted(first.tolist()) == [0, 1]
    assert first[prompt_of].tolist() == [0, 1, 0]
