"""From SFT to GRPO by merging: the same answers before, a new adapter after, loadable by anyone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCli, Toy, lines, write_yaml
from policy_toys import answers_of, change_weights, plain_answers

from groupwise.framework.config import ExperimentConfig, ModelConfig
from groupwise.framework.policy import load
from groupwise.framework.policy.folders import base_of_adapter
from groupwise.framework.policy.merge import merged, requantised
from groupwise.rewards.errors import UserError

stack = pytest.mark.stack

Earlier = tuple[Path, dict[str, Any]]
"""The folder of an adapter, and what the model answers with it."""


@pytest.fixture(scope="module")
def earlier(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    """An adapter of rank 8 that changes the answers, as a supervised run leaves one."""
    folder = tmp_path_factory.mktemp("earlier") / "final_model"
    policy = load(toy.model_config(), seed=0)
    fresh = answers_of(policy)["answers"]
    change_weights(policy)
    policy.save(folder)
    answers = answers_of(policy)
    assert answers["answers"] != fresh
    return folder, answers


def merging(toy: Toy, adapter: Path, **settings: Any) -> ModelConfig:
    return toy.model_config(adapter=str(adapter), adapter_mode="merge", **settings)


@stack
def test_a_new_adapter_stands_on_what_was_merged(
    toy: Toy, earlier: Earlier, tmp_path: Path
) -> None:
    adapter, before = earlier
    base = tmp_path / "merged_base"
    config = merged(merging(toy, adapter, lora_r=4), base)
    assert (config.name, config.adapter, config.adapter_mode) == (str(base), None, "continue")
    assert not (base / "adapter_config.json").exists()

    policy = load(config, seed=0)
    (lora,) = policy.model.peft_config.values()
    assert lora.r == 4, "a new adapter, and not the earlier one of rank 8"
    untrained = answers_of(policy)
    assert untrained["answers"] == before["answers"]
    for ours, theirs in zip(untrained["logits"], before["logits"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)

    change_weights(policy)
    tuned = answers_of(policy)
    assert tuned["answers"] != before["answers"]
    policy.save(tmp_path / "tuned")
    assert base_of_adapter(tmp_path / "tuned") == str(base), "it says on which base it stands"
    plain = plain_answers(base, tmp_path / "tuned", cwd=tmp_path)["tuned"]
    assert plain["answers"] == tuned["answers"]


@stack
def test_merged_in_4_bits_and_with_every_weight(toy: Toy, earlier: Earlier, tmp_path: Path) -> None:
    adapter, before = earlier
    base = tmp_path / "merged_base"
    quantised = merging(toy, adapter, load_in_4bit=True)
    policy = load(merged(quantised, base), seed=0)
    assert any("Linear4bit" in type(module).__name__ for module in policy.model.modules())
    for ours, theirs in zip(answers_of(policy)["logits"], before["logits"], strict=True):
        assert ours != pytest.approx(theirs, abs=1e-3), "rounded anew, as the note says"
    assert "rounded to 4 bits again" in str(requantised(quantised))
    assert requantised(merging(toy, adapter)) is None

    kept = (base / "model.safetensors").stat().st_mtime_ns
    full = load(merged(merging(toy, adapter, full_finetuning=True), base), seed=0)
    assert (base / "model.safetensors").stat().st_mtime_ns == kept, "merged once"
    assert not full.is_adapter
    assert answers_of(full)["answers"] == before["answers"]


def _other_base(toy: Toy, folder: Path) -> dict[str, Any]:
    shutil.copytree(toy.model, folder)
    return {"name": str(folder)}


def _quantised_base(toy: Toy, _: Path) -> dict[str, Any]:
    return {"name": f"someone/{toy.model.name}-unsloth-bnb-4bit"}


REFUSED = {
    "another base": (_other_base, r"^model\.name: .*other, but the adapter .* was trained on .*"),
    "quantised": (_quantised_base, r"^model\.name: .*-bnb-4bit is quantised already.*continue$"),
}


@stack
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_merged(name: str, toy: Toy, earlier: Earlier, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    config = replace(merging(toy, earlier[0]), **change(toy, tmp_path / "other"))
    with pytest.raises(UserError, match=message):
        merged(config, tmp_path / "merged_base")
    assert not (tmp_path / "merged_base").exists()


def test_loading_does_not_merge_in_silence(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"adapter_mode: merge makes a base model of its own"):
        load(merging(toy, tmp_path))


CONTRADICTIONS = [
    ({"adapter_mode": "merge"}, r"model\.adapter_mode: merge, but model\.adapter is null"),
    (
        {"adapter": "a", "full_finetuning": True, "load_in_4bit": False},
        r"model\.full_finetuning: true, and model\.adapter is 'a'.*adapter_mode: merge",
    ),
]


@pytest.mark.parametrize(("model", "message"), CONTRADICTIONS)
def test_contradictions(model: dict[str, Any], message: str) -> None:
    settings = {"model": {"name": "toy"} | model, "data": {"train": "toy"}}
    with pytest.raises(UserError, match=message):
        ExperimentConfig.from_dict(settings)


@stack
def test_sft_then_grpo_on_the_merged_model(toy: Toy, cli: RunCli, tmp_path: Path) -> None:
    """Two runs by the command line; the second is evaluated again after it was moved."""
    settings = toy.settings()
    settings["training"] |= {"method": "sft"}
    settings["evaluation"] |= {"before": False}
    ended = cli("train", write_yaml(tmp_path / "sft.yaml", settings), "--name", "sft")
    assert ended.code == 0, ended.err

    settings["training"] |= {"method": "grpo", "max_steps": 2, "learning_rate": 1e-2}
    settings["training"]["warm_start"] = {"enabled": False}
    settings["model"] |= {"adapter": "runs/sft/final_model", "adapter_mode": "merge"}
    settings["evaluation"] |= {"before": True}
    ended = cli(
        "train", write_yaml(tmp_path / "grpo.yaml", settings), "--name", "grpo", "--json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    run = tmp_path / "runs" / "grpo"
    assert "Merge the earlier adapter" in ended.err
    assert base_of_adapter(run / "final_model") == str(run / "merged_base")

    def answers(folder: Path, label: str) -> list[str]:
        rows = lines(folder / "evaluations" / label / "samples.jsonl")
        rows.sort(key=lambda row: (row["example_id"], row["sample_index"]))
        return [row["completion"] for row in rows]

    # What GRPO began with is what the supervised run ended with.
    assert answers(run, "base") == answers(tmp_path / "runs" / "sft", "tuned")
    assert answers(run, "tuned") != answers(run, "base")

    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    run.rename(moved)
    ended = cli("evaluate", moved)
    assert ended.code == 0, ended.err
    assert answers(moved, "tuned-eval") == answers(moved, "tuned")
