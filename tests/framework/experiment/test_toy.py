"""The name `toy` in a config: where its files are made, and that they are made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import RunCli, Toy, lines

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data import toy as module
from groupwise.framework.data.prompts import render_alike
from groupwise.framework.data.toy import toy_keys, with_toy
from groupwise.framework.experiment.toy import make_toy_in, toy_in_scratch, toy_of
from groupwise.framework.policy.folders import check_model_folder
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.terminal import Terminal

WARM_START = {"enabled": True, "data": "toy", "completion_field": "solution"}

# what the config says -> the keys that name the toy
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({"model": {"name": "me/model"}, "data": {"train": "me/rows"}}, []),
    ({"model": {"name": "toy"}, "data": {"train": "me/rows"}}, ["model.name"]),
    ({"model": {"name": "me/model"}, "data": {"train": "me/rows", "eval": "toy"}}, ["data.eval"]),
    (
        {
            "model": {"name": "toy"},
            "data": {"train": "toy", "eval": "toy"},
            "training": {"warm_start": WARM_START},
        },
        ["model.name", "data.train", "data.eval", "training.warm_start.data"],
    ),
]


@pytest.mark.parametrize(("settings", "keys"), CASES)
def test_the_toys_own_files_take_the_place_of_its_name(
    settings: dict[str, Any], keys: list[str], tmp_path: Path
) -> None:
    asked = ExperimentConfig.from_dict(settings)
    assert toy_keys(asked) == keys
    found = with_toy(asked, tmp_path)
    assert toy_keys(found) == []
    paths = {
        "model.name": (found.model.name, "model"),
        "data.train": (found.data.train, "train.jsonl"),
        "data.eval": (found.data.eval, "eval.jsonl"),
        "training.warm_start.data": (found.training.warm_start.data, "train.jsonl"),
    }
    assert [key for key, (path, name) in paths.items() if path == str(tmp_path / name)] == keys
    if not keys:
        assert found == asked


def test_problems_are_made_once_and_kept(tmp_path: Path) -> None:
    asked = ExperimentConfig.from_dict(
        {"model": {"name": "me/model"}, "data": {"train": "toy", "eval": "toy"}}
    )
    run_dir, terminal = RunDir(tmp_path), Terminal(quiet=True)
    made = make_toy_in(tmp_path / "toy", asked, terminal)
    assert len(lines(Path(made.data.train))) == 1400
    assert not (tmp_path / "toy" / "model").exists(), "nobody has asked for the model"
    Path(made.data.train).write_text("as it was made")
    assert make_toy_in(tmp_path / "toy", asked, terminal) == made == toy_of(run_dir, asked)
    assert Path(made.data.train).read_text() == "as it was made"


def test_several_seeds_share_a_toy_whose_seed_is_named(tmp_path: Path) -> None:
    def problems(name: str, seed: int, toy_seed: int | None) -> str:
        asked = ExperimentConfig.from_dict(
            {
                "seed": seed,
                "model": {"name": "me/m"},
                "data": {"train": "toy", "toy_seed": toy_seed},
            }
        )
        made = make_toy_in(tmp_path / name, asked, Terminal(quiet=True))
        with toy_in_scratch(asked) as plain:
            assert Path(plain.data.train).read_text() == Path(made.data.train).read_text()
        return Path(made.data.train).read_text()

    assert problems("a", 42, None) == problems("b", 1, 42) == problems("c", 2, 42)
    assert problems("d", 1, None) != problems("a", 42, None)


def test_what_is_made_for_a_check_is_removed() -> None:
    asked = ExperimentConfig.from_dict(CASES[-1][0])
    with toy_in_scratch(asked) as plain:
        check_model_folder(plain.model)
        assert len(lines(Path(plain.data.train))) == 1400
        assert not list(Path(plain.model.name).glob("*.safetensors"))
    assert not Path(plain.data.train).exists()
    assert not Path(plain.model.name).exists()


@pytest.mark.stack
def test_the_folder_without_weights_has_the_models_shape_and_tokenizer(
    toy: Toy, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoTokenizer

    module.make_folder_without_weights(tmp_path / "model")
    made, real = (AutoTokenizer.from_pretrained(p) for p in (tmp_path / "model", toy.model))
    assert render_alike(made, real)
    assert made.clean_up_tokenization_spaces == real.clean_up_tokenization_spaces
    shapes = [AutoConfig.from_pretrained(p).to_dict() for p in (tmp_path / "model", toy.model)]
    for shape in shapes:
        shape.pop("_name_or_path", None)
        shape.pop("transformers_version", None)  # of who wrote it
    assert shapes[0] == shapes[1]


@pytest.mark.stack
@pytest.mark.parametrize("command", ["check", "train --dry-run"])
def test_a_model_that_is_the_toy_with_data_that_are_not(
    toy: Toy, cli: RunCli, tmp_path: Path, command: str
) -> None:
    Path("mine.yaml").write_text(
        f"model: {{name: toy, max_seq_length: 96}}\n"
        f"data: {{train: {toy.train}, max_prompt_length: 48}}\n"
        "training: {max_completion_length: 24, prompts_per_step: 4}\n"
    )
    ended = cli(*command.split(), "mine.yaml", "--json")
    assert ended.code == 0, ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
