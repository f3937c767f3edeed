"""The precision of a training: what the machine has, and float32 where that was asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy

from groupwise.framework.trainers.common import half_precision, machine_arguments

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(("has_bfloat16", "name"), [(True, "bfloat16"), (False, "float16")])
def test_older_gpus_train_in_float16(has_bfloat16: bool, name: str) -> None:
    """T4 and RTX 20: transformers refuses bfloat16 there."""
    import torch

    dtype = half_precision(has_bfloat16=has_bfloat16)
    assert dtype == getattr(torch, name)
    flags = machine_arguments(dtype, "adamw_8bit")
    assert (flags["bf16"], flags["fp16"]) == (has_bfloat16, not has_bfloat16)
    flags = machine_arguments(torch.float32, "adamw_8bit")
    assert (flags["bf16"], flags["fp16"]) == (False, False)


def test_what_one_training_leaves_behind_does_not_reach_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """transformers reads the environment that Unsloth's trainers write."""
    import torch
    from transformers import TrainingArguments

    from groupwise.framework.policy.unsloth import plain_precision

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.delenv("UNSLOTH_MIXED_PRECISION", raising=False)
    flags = machine_arguments(torch.float32, "adamw_torch")
    assert TrainingArguments(str(tmp_path), **flags).mixed_precision == "bf16"
    with plain_precision(torch.float32):
        assert TrainingArguments(str(tmp_path), **flags).mixed_precision == "no"
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert "UNSLOTH_MIXED_PRECISION" not in os.environ


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_reward_learns_in_float32_over_a_model_in_16_bits(toy: Toy, name: str) -> None:
    """float16 gradients cannot be unscaled, and bfloat16 weights lose Adam's small steps."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from groupwise.framework.trainers.reward_model import pairwise_accuracy, with_adapter

    dtype = getattr(torch, name)
    base: Any = AutoModelForSequenceClassification.from_pretrained(
        toy.model, num_labels=1, dtype=dtype
    )
    base.config.pad_token_id = 0
    model = with_adapter(base, 4)
    trained = {n: p.dtype for n, p in model.named_parameters() if p.requires_grad}
    assert any("score" in n for n in trained)
    assert any("lora_" in n for n in trained)
    assert set(trained.values()) == {torch.float32}
    assert model.dtype == dtype
    rows = [
        {"chosen_ids": [5, 6, 7], "rejected_ids": [5, 8]},
        {"chosen_ids": [9], "rejected_ids": [4]},
    ]
    assert pairwise_accuracy(model, rows, 2) in (0.0, 0.25, 0.5, 0.75, 1.0)
