"""Gradient checkpointing where memory needs it, by the numbers of the memory model."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import RunCli, Toy, write_yaml

from benchmarks.gpu.model import QWEN3_4B
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.policy.checkpointing import bytes_per_token, checkpointing


def test_bytes_of_a_token() -> None:
    # 2 (4 F + 8 H + 2 (q + 2 kv) + 2 q) = 2 (38912 + 20480 + 12288 + 8192) for each of 36 layers
    assert bytes_per_token(SimpleNamespace(**QWEN3_4B)) == 36 * 159_744
    without = {key: value for key, value in QWEN3_4B.items() if key != "head_dim"}
    assert bytes_per_token(SimpleNamespace(**without)) == 36 * 2 * (38912 + 20480 + 7680 + 5120)
    assert bytes_per_token(SimpleNamespace(**QWEN3_4B, num_experts=8)) is None
    assert bytes_per_token(SimpleNamespace(hidden_size=64)) is None


# rows of a forward, what is chosen
CASES = [(1, False), (4096, "unsloth")]


@pytest.mark.stack
@pytest.mark.parametrize(("rows", "use"), CASES)
def test_by_what_the_machine_has(rows: int, use: Any, tmp_path: Any) -> None:
    """A 4B model's shape with 768 tokens a row, on a machine with 24 GB."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3", **QWEN3_4B}))
    config = ExperimentConfig.from_dict(
        {
            "model": {"name": str(tmp_path), "max_seq_length": 768},
            "data": {"train": "toy", "max_prompt_length": 256},
            "training": {
                "prompts_per_step": 512,
                "num_generations": 8,
                "completions_per_forward": rows,
                "max_completion_length": 512,
            },
        }
    )
    choice = checkpointing(config, memory_bytes=24e9)
    assert choice.use == use
    gb = rows * 768 * 36 * 159_744 / 1e9
    assert f"{rows * 768:,} tokens in a forward take about {gb:.2g} GB" in choice.why
    assert "than a quarter of the 24 GB there are" in choice.why


def test_what_is_asked_for_is_done() -> None:
    for asked in ("unsloth", True, False):
        settings = {"model": {"name": "x/y", "use_gradient_checkpointing": asked}}
        config = ExperimentConfig.from_dict(settings | {"data": {"train": "toy"}})
        assert checkpointing(config).use == asked


@pytest.mark.stack
def test_said_by_the_dry_run_and_by_the_run(toy: Toy, cli: RunCli, tmp_path: Any) -> None:
    import yaml

    settings = toy.settings()
    del settings["model"]["use_gradient_checkpointing"]
    settings["evaluation"] |= {"before": False, "after": False}
    settings["training"]["warm_start"]["max_steps"] = 1
    config = write_yaml(tmp_path / "auto.yaml", settings)
    said = "gradient checkpointing off: the activations of 576 tokens in a forward take about "
    ended = cli("train", config, "--dry-run", "--json")
    assert ended.json["memory"].startswith(said)
    ended = cli("train", config)
    assert ended.code == 0, ended.err
    assert f"  {said}" in ended.err
    for folder in ("runs/tiny", "runs/tiny/warm_start"):
        text = (tmp_path / folder / "config.effective.yaml").read_text("utf-8")
        assert yaml.safe_load(text)["model"]["gradient_checkpointing"] is False
