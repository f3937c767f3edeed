"""The effective config is kept beside the requested one, as the libraries had it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import FinishedRun, Toy
from grpo_toys import trainer_for

pytestmark = pytest.mark.stack


def effective(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "config.effective.yaml").read_text("utf-8"))
    return found


def test_a_run_keeps_its_effective_config(finished_run: FinishedRun) -> None:
    found = effective(finished_run.folder)
    asked = json.loads((finished_run.folder / "config.resolved.json").read_text("utf-8"))
    training = asked["training"]
    assert found["num_steps"] == training["max_steps"] == 3
    assert found["sampler"]["engine"] == "slots"
    assert found["sampler"]["self_check"]["agrees"] is True
    assert found["rewards"] == {"correctness": 1.0, "format": 0.25, "language": 0.1}
    model = found["model"]
    assert model["base"] == asked["model"]["name"]
    assert (model["weights"], model["compute_dtype"]) == ("torch.float32", "torch.float32")
    assert model["adapter"]["r"] == asked["model"]["lora_r"]
    assert model["trained_parameters"] > 0

    # What was derived, and what could not be had on this machine
    library = found["GRPOConfig"]
    assert library["per_device_train_batch_size"] == training["completions_per_forward"] == 8
    assert library["gradient_accumulation_steps"] == 2
    assert training["epsilon_high"] is None
    assert library["epsilon_high"] == training["epsilon"]
    assert training["optim"] == "adamw_8bit"
    assert found["changed"]["optim"] == {"asked": "adamw_8bit", "in_force": "adamw_torch_fused"}
    for name in ("learning_rate", "beta", "loss_type", "temperature", "max_grad_norm"):
        assert library[name] == training[name], name


def test_the_warm_start_keeps_its_own(finished_run: FinishedRun) -> None:
    found = effective(finished_run.folder / "warm_start")
    assert found["num_steps"] == 12
    assert found["SFTConfig"]["learning_rate"] == 1e-3
    assert found["SFTConfig"]["lr_scheduler_type"] == "linear"
    assert found["demonstrations"] == 1400


def test_an_earlier_adapter_keeps_its_rank_and_it_is_seen(
    finished_run: FinishedRun, toy: Toy, tmp_path: Path
) -> None:
    from groupwise.framework.policy import load

    config = toy.config(
        model__adapter=str(finished_run.folder / "final_model"),
        model__lora_r=32,
        model__use_gradient_checkpointing=True,
        training__max_steps=1,
    )
    trainer_for(config, load(config.model, config.seed), tmp_path).train()
    model = effective(tmp_path)["model"]
    assert model["adapter"]["r"] == 8, "the earlier one's, not the 32 that a new one would have"
    assert model["gradient_checkpointing"] is True
