"""What a config may say and seldom means: GRPO at SFT's learning rate is said, and only that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCli, Toy, write_yaml

from groupwise.framework.config import ExperimentConfig, list_presets, notices, resolve_config_path

LARGE = {"name": "someone/some-4b-model"}
WARM = {"enabled": True, "completion_field": "solution"}

# model, training; the notice, or "" for none
RATES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "usual": (LARGE, {"learning_rate": 5e-6}, ""),
    "high, and still GRPO's": (LARGE, {"learning_rate": 5e-5}, ""),
    "SFT's range": (
        LARGE,
        {"learning_rate": 2e-4},
        "training.learning_rate: 0.0002 is a rate for SFT (LoRA: 0.0001 and more); GRPO at SFT's "
        "rate soon writes noise. 5e-6 is usual",
    ),
    "every weight": (
        LARGE | {"full_finetuning": True, "load_in_4bit": False},
        {"learning_rate": 2e-5},
        "training.learning_rate: 2e-05 is a rate for SFT (all weights: 1e-05 and more); GRPO at "
        "SFT's rate soon writes noise. 1e-6 is usual",
    ),
    "every weight, low": (
        LARGE | {"full_finetuning": True, "load_in_4bit": False},
        {"learning_rate": 1e-6},
        "",
    ),
    "the warm start's own": (
        LARGE,
        {"learning_rate": 2e-5, "warm_start": WARM | {"learning_rate": 2e-5}},
        "training.learning_rate: 2e-05 is the same as training.warm_start.learning_rate, which is "
        "SFT's; GRPO at SFT's rate soon writes noise. 5e-6 is usual",
    ),
    "no warm start, by the same number": (
        LARGE,
        {"learning_rate": 2e-5, "warm_start": {"learning_rate": 2e-5}},
        "",
    ),
    "supervised": (LARGE, {"learning_rate": 2e-4, "method": "sft", "warm_start": WARM}, ""),
    "the toy": ({"name": "toy"}, {"learning_rate": 1e-3}, ""),
}


@pytest.mark.parametrize("name", RATES)
def test_rates(name: str) -> None:
    model, training, expected = RATES[name]
    settings = {"model": model, "data": {"train": "toy"}, "training": training}
    assert list(notices(ExperimentConfig.from_dict(settings))) == [expected] * bool(expected)


def test_no_preset_has_any() -> None:
    for name in list_presets():
        config = ExperimentConfig.from_yaml(resolve_config_path(name))
        assert list(notices(config)) == [], name


@pytest.mark.stack
def test_said_before_a_run_and_by_the_dry_run(toy: Toy, cli: RunCli, tmp_path: Path) -> None:
    """With a folder of weights as large as a real model's, which no dry run opens."""
    settings = toy.settings()
    ended = cli("train", write_yaml(tmp_path / "small.yaml", settings), "--dry-run", "--json")
    assert ended.json["notices"] == []

    folder = tmp_path / "large"
    shutil.copytree(toy.model, folder)
    (folder / "model-00002.safetensors").touch()
    os.truncate(folder / "model-00002.safetensors", 200_000_000)  # sparse: takes no space
    settings["model"]["name"] = str(folder)
    large = write_yaml(tmp_path / "large.yaml", settings)
    said = "training.learning_rate: 0.001 is the same as training.warm_start.learning_rate"
    ended = cli("train", large, "--dry-run")
    assert f"note: {said}" in ended.out
    ended = cli("check", large)
    assert f"note: {said}" in ended.out
    ended = cli("train", large)
    assert ended.code == 0, ended.err  # transformers reads model.safetensors alone
    assert ended.err.count(f"note: {said}") == 1
