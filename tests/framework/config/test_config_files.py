"""The configs that come with the project, and how batch sizes translate."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from conftest import ROOT

from groupwise.framework.config import (
    BatchShape,
    ConfigError,
    ExperimentConfig,
    list_presets,
    preset_text,
    resolve_config_path,
)
from groupwise.framework.config.batch import nearest_divisors
from groupwise.framework.config.messages import known_paths
from groupwise.framework.config.reference import REWARD_KEYS, reference_yaml
from groupwise.rewards import RewardSpec
from groupwise.rewards.errors import UserError

CONFIGS = ROOT / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_loads(path: Path) -> None:
    config = ExperimentConfig.from_yaml(path)
    assert config.name == path.stem
    assert path.read_text().startswith("# ")


def test_the_reference_is_up_to_date() -> None:
    found = (CONFIGS / "reference.yaml").read_text(encoding="utf-8")
    assert found == reference_yaml(), "run python -m groupwise.framework.config.reference"


def test_the_reference_holds_the_defaults() -> None:
    defaults = ExperimentConfig.from_dict({"model": {"name": "toy"}, "data": {"train": "toy"}})
    assert ExperimentConfig.from_yaml(CONFIGS / "reference.yaml", ["name=run"]) == defaults


def test_every_key_is_explained_and_shown() -> None:
    keys = set(re.findall(r"^ *(?:# )?(\w+):", reference_yaml(), re.M))
    sections = {"model", "data", "rewards", "training", "evaluation", "tracking"}
    sections |= {"warm_start", "group_scores"}
    for path, description in known_paths().items():
        name = path.split(".")[-1]
        assert name in keys, path
        assert description.endswith(".") or name in sections, path


def test_every_key_of_a_reward_is_explained() -> None:
    assert set(REWARD_KEYS) == {f.name for f in dataclasses.fields(RewardSpec)}


def test_presets() -> None:
    presets = list_presets()
    assert {"quickstart", "reference", "qwen3_4b_gsm8k_8gb", "qwen3_4b_gsm8k_10gb"} <= set(presets)
    assert presets["quickstart"].startswith("The whole path in two minutes")
    assert preset_text("quickstart") == (CONFIGS / "quickstart.yaml").read_text()
    for name in ("quickstart", "quickstart.yaml", str(CONFIGS / "quickstart.yaml")):
        assert resolve_config_path(name).samefile(CONFIGS / "quickstart.yaml")


def test_an_unknown_preset() -> None:
    with pytest.raises(UserError) as caught:
        resolve_config_path("quikstart")
    assert str(caught.value) == (
        "quikstart: there is no such file, and no preset of that name; did you mean quickstart?"
    )


ROWS = '{"question": "1+1?", "answer": 2}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "question,answer\n1+1?,2\n"),
        ("t.TSV", "question\tanswer\n1+1?\t2\n"),
        ("t.jsonl", ROWS),
        ("t.json", f"[{ROWS}]"),
        ("t.json", f"{ROWS}\n{ROWS}\n"),
        ("t.json", ROWS),
        ("t.parquet", "PAR1\x00"),
        ("t.xlsx", "PK\x03\x04"),
    ],
)
def test_data_in_place_of_a_config(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        ExperimentConfig.from_yaml(path)
    assert str(caught.value).startswith(
        f"{path}: that is data, where a config is expected; put it under data.train in a YAML file:"
    )
    assert f"    data: {{train: {path}}}\n" in str(caught.value)


def test_a_config_may_be_json(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"model": {"name": "toy"}, "data": {"train": "toy"}}')
    assert ExperimentConfig.from_yaml(path).data.train == "toy"


def test_a_folder_does_not_hide_a_preset_and_a_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart").mkdir()
    assert resolve_config_path("quickstart").samefile(CONFIGS / "quickstart.yaml")
    with pytest.raises(UserError, match="is a folder; name a YAML file, or a preset"):
        resolve_config_path("./quickstart/")
    Path("default").write_text("model: {name: toy}\n")
    assert resolve_config_path("default") == Path("default")


# total, wanted, what works
DIVISORS = [(32, 6, [4, 8]), (32, 8, [8, 16]), (16, 64, [16]), (7, 3, [1, 7]), (12, 5, [4, 6])]


@pytest.mark.parametrize(("total", "wanted", "works"), DIVISORS)
def test_nearest_divisors(total: int, wanted: int, works: list[int]) -> None:
    assert nearest_divisors(total, wanted) == works


def test_batch_shape_in_words() -> None:
    assert str(BatchShape(4, 8, 8)) == (
        "a step is 4 prompts x 8 completions = 32, in 4 passes of 8 "
        "(per_device_train_batch_size=8, gradient_accumulation_steps=4, steps_per_generation=4)"
    )
    assert str(BatchShape(1, 8, 8, num_iterations=2)) == (
        "a step is 1 prompt x 8 completions = 8, in 1 pass of 8; each batch of completions serves "
        "2 steps "
        "(per_device_train_batch_size=8, gradient_accumulation_steps=1, steps_per_generation=1)"
    )


def test_every_shape_up_to_16_is_whole_or_refused_with_shapes_that_work() -> None:
    base = {"model": {"name": "toy"}, "data": {"train": "toy"}}
    for prompts in range(1, 17):
        for generations in (2, 3, 8, 16):
            for forward in range(1, 17):
                shape = {
                    "prompts_per_step": prompts,
                    "num_generations": generations,
                    "completions_per_forward": forward,
                }
                total = prompts * generations
                if total % forward == 0:
                    found = ExperimentConfig.from_dict({**base, "training": shape})
                    trl = found.training.batch_shape.trl_arguments()
                    generated = trl["per_device_train_batch_size"] * trl["steps_per_generation"]
                    per_step = (
                        trl["per_device_train_batch_size"] * trl["gradient_accumulation_steps"]
                    )
                    assert generated == per_step == total
                    continue
                with pytest.raises(UserError) as caught:
                    ExperimentConfig.from_dict({**base, "training": shape})
                works = re.findall(r"\d+", str(caught.value).split(";")[1])
                assert works
                assert all(total % int(number) == 0 for number in works)


@pytest.mark.stack
@pytest.mark.parametrize("num_iterations", [1, 2])
def test_trl_takes_the_shape_as_it_is(tmp_path: Path, num_iterations: int) -> None:
    """One generation batch is one optimiser step, by TRL's own arithmetic."""
    from trl import GRPOConfig

    shape = BatchShape(4, 8, 2, num_iterations)
    args = GRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, report_to=[], bf16=False, **shape.trl_arguments()
    )
    assert args.generation_batch_size == shape.completions_per_step
    assert args.steps_per_generation == args.gradient_accumulation_steps == 16
    # Where this holds, TRL keeps the log-probabilities of the policy that sampled, so that the
    # second step on the same completions is clipped against it.
    generate_every = args.steps_per_generation * args.num_iterations
    assert (args.gradient_accumulation_steps % generate_every != 0) == (num_iterations > 1)
