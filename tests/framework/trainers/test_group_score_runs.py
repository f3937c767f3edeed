"""Scored groups as a user meets them: a log becomes data, and data a tuned model, by commands."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import RunCli, Toy, lines

from groupwise.framework.config import ExperimentConfig, GroupScoresConfig
from groupwise.framework.experiment.run import run
from groupwise.framework.run.directory import create_run_dir
from groupwise.framework.run.terminal import Terminal

stack = pytest.mark.stack


def offline(toy: Toy, groups: Path | str, folder: Path, **changes: Any) -> ExperimentConfig:
    settings = toy.settings()
    settings |= {
        "name": "offline",
        "output_dir": str(folder),
        "data": {"train": str(groups), "eval": str(toy.eval), "max_eval_examples": 6}
        | {"max_prompt_length": 48},
        "training": {
            "method": "group_scores",
            "max_steps": 3,
            "prompts_per_step": 2,
            "completions_per_forward": 4,
            "max_completion_length": 24,
            "learning_rate": 1e-3,
            "group_scores": {"save_steps": 2, "logging_steps": 1},
        },
        "evaluation": {"num_samples": 2, "k": [1, 2]},
    }
    return ExperimentConfig.from_dict(settings).with_values(changes)


GROUPS = [
    {
        "prompt": f"<|im_start|>user\n{a}+1=?<|im_end|>\n<|im_start|>assistant\n",
        "completions": [
            {"text": f"<answer>{a + 1}</answer>", "score": 1.25},
            {"text": f"{a}", "score": 0.0},
            {"text": f"{a + 2}", "score": 0.1, "finished": False},
        ][: 2 + a % 2],
    }
    for a in range(1, 7)
]


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    path = tmp_path / "groups.jsonl"
    path.write_text("".join(json.dumps(group) + "\n" for group in GROUPS), encoding="utf-8")
    return path


MODES: dict[str, dict[str, Any]] = {
    "kl": {"model.use_gradient_checkpointing": True},
    "advantage, 4 bits": {"training.group_scores.loss": "advantage", "model.load_in_4bit": True},
    "every weight": {"model.full_finetuning": True},
}


@stack
@pytest.mark.parametrize("mode", MODES)
def test_a_run_trains_and_compares(toy: Toy, tmp_path: Path, groups: Path, mode: str) -> None:
    config = offline(toy, groups, tmp_path / "runs", **MODES[mode])
    with create_run_dir(config) as run_dir:
        outcome = run(config, run_dir, Terminal(quiet=True))
    assert outcome.comparison is not None
    assert outcome.training is not None
    assert outcome.training.steps == 3
    found = lines(run_dir.metrics)
    assert [line["step"] for line in found] == [1, 2, 3]
    for line in found:
        assert 0 <= line["mass_on_best"] <= 1
        assert line["policy_loss"] is not None
        assert line["grad_norm"] > 0
        assert (line["clip_ratio"] is not None) == ("advantage" in mode)
    assert {path.name for path in run_dir.checkpoints.iterdir()} == {"checkpoint-2", "checkpoint-3"}
    weights = "model" if mode == "every weight" else "adapter_model"
    assert (run_dir.final_model / f"{weights}.safetensors").is_file()
    assert (run_dir.final_model / "tokenizer.json").is_file()
    effective = yaml.safe_load((run_dir.path / "config.effective.yaml").read_text("utf-8"))
    assert effective["GroupScoreArguments"]["learning_rate"] == config.training.learning_rate


@stack
def test_from_a_log_to_a_tuned_model_by_commands(toy: Toy, tmp_path: Path, cli: RunCli) -> None:
    """evaluate -> export-groups -> train, as docs/methods.md has it."""
    settings = tmp_path / "base.yaml"
    base = toy.config().with_values({"data.max_eval_examples": 8})
    settings.write_text(base.to_yaml(), encoding="utf-8")
    ended = cli("evaluate", toy.model, "--config", settings, "--data", toy.train, "--quiet")
    assert ended.code == 0, ended.err
    log = next((tmp_path / "runs").glob("*/evaluations/*/samples.jsonl"))
    ended = cli("export-groups", log.parent, "--to", "groups.jsonl", "--keep-equal", "--json")
    assert ended.code == 0, ended.err
    assert ended.json == {
        "to": "groups.jsonl",
        "groups": 8,
        "completions": 32,
        "unscored": 0,
        "too_small": 0,
        "equal": 0,
    }
    config = offline(toy, "groups.jsonl", tmp_path / "runs")
    Path("offline.yaml").write_text(config.to_yaml(), encoding="utf-8")
    ended = cli("train", "offline.yaml", "--dry-run", "--json")
    assert (ended.code, ended.json["groups"]) == (0, 8), ended.err
    ended = cli("train", "offline.yaml", "--set", f"data.eval={toy.train}", "--json")
    assert ended.code == 0, ended.err
    assert "6 of the held-out problems are answered in the training data" in ended.err
    assert ended.json["comparison"]


@stack
def test_groups_without_problems_or_chat_template(
    toy: Toy, tmp_path: Path, groups: Path, cli: RunCli
) -> None:
    """Nothing to evaluate: then a tokenizer may do without a chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(toy.model)
    tokenizer.chat_template = None
    bare = tmp_path / "bare"
    tokenizer.save_pretrained(bare)
    AutoModelForCausalLM.from_pretrained(toy.model).save_pretrained(bare)
    quiet = {"evaluation.before": False, "evaluation.after": False, "data.eval": None}
    config = offline(toy, groups, tmp_path / "runs", **quiet, **{"model.name": str(bare)})
    Path("bare.yaml").write_text(config.to_yaml(), encoding="utf-8")
    ended = cli("train", "bare.yaml", "--set", "training.max_steps=1", "--quiet")
    assert ended.code == 0, ended.err


def test_what_is_wrong_with_the_file_is_said_before_a_run_exists(
    toy: Toy, tmp_path: Path, cli: RunCli
) -> None:
    config = offline(toy, "none.jsonl", tmp_path / "runs")
    Path("offline.yaml").write_text(config.to_yaml(), encoding="utf-8")
    ended = cli("train", "offline.yaml")
    assert ended.code == 2
    assert "none.jsonl" in ended.err
    Path("none.jsonl").write_text('{"question": "1+1=?", "answer": "2"}\n')
    ended = cli("train", "offline.yaml")
    assert ended.code == 2
    assert "none.jsonl, line 1: `prompt` must be a text, or a list of messages" in ended.err
    assert not (tmp_path / "runs").exists()


@stack
def test_the_trainers_defaults_are_the_configs(tmp_path: Path) -> None:
    from groupwise.framework.trainers.group_scores import GroupScoreArguments

    args = GroupScoreArguments(str(tmp_path))
    settings = {f.name for f in fields(GroupScoresConfig)} - {"prompt_format"}  # about the data
    for name in settings:
        assert getattr(args, name) == getattr(GroupScoresConfig(), name), name


@stack
def test_a_run_goes_on_from_its_checkpoint(toy: Toy, tmp_path: Path, groups: Path) -> None:
    """With old log-probabilities of the model before training, not of the checkpoint."""
    quiet = {"evaluation.before": False, "evaluation.after": False}
    quiet["training.group_scores.loss"] = "advantage"
    config = offline(toy, groups, tmp_path / "runs", **quiet)
    with create_run_dir(config) as run_dir:
        run(config, run_dir, Terminal(quiet=True))
        whole = (run_dir.final_model / "adapter_model.safetensors").read_bytes()
        logged = lines(run_dir.metrics)
        shutil.rmtree(run_dir.final_model)
        shutil.rmtree(run_dir.checkpoints / "checkpoint-3")
        outcome = run(config, run_dir, Terminal(quiet=True))
        assert outcome.training is not None
        assert (run_dir.final_model / "adapter_model.safetensors").read_bytes() == whole
    assert [line["step"] for line in lines(run_dir.metrics)] == [1, 2, 3]
    assert lines(run_dir.metrics)[-1]["policy_loss"] == logged[-1]["policy_loss"]


@stack
@pytest.mark.long
@pytest.mark.parametrize("loss", ["kl", "advantage"])
def test_logged_samples_alone_raise_held_out_pass_at_1(tmp_path: Path, loss: str) -> None:
    """Samples of the base model, on problems to train on; then no more sampling until the end."""
    from benchmarks.methods import Bench

    bench = Bench(tmp_path, seed=0)
    comparison = bench.offline(loss).comparison
    assert comparison is not None
    first = comparison.to_json()["pairs"][0]["pass_at_k"]["1"]
    assert first["difference"]["low"] > 0.05
    assert first["p_value"] < 0.001
