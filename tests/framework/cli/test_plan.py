"""`groupwise plan` as a user meets it, and `train`, which refuses what cannot fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCli, processor_seconds, write_yaml

from groupwise.evaluation.text import printable
from groupwise.framework.cli.main import main
from groupwise.framework.config import ExperimentConfig, preset_text
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.check import check_memory
from groupwise.framework.memory.tensors import stored_as
from groupwise.framework.run.machine import Memory, card

pytestmark = pytest.mark.usefixtures("folder")
PRESET = "qwen3_4b_gsm8k_8gb"
COMMENTED = """\
# Mine: what it is for.
model: {name: unsloth/Qwen3-4B}   # the model
data:
  train: rows.jsonl               # beside this file
rewards:
  parts: {correctness: 1.0}
training:
  completions_per_forward: 8      # as many as go
  max_completion_length: 512
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the config above and its data in it, on a machine without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "mine.yaml").write_text(COMMENTED)
    (tmp_path / "rows.jsonl").write_text('{"question": "1+1", "answer": "2"}\n')
    return tmp_path


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["plan", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_preset_on_the_card_that_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = plan(capsys, PRESET, "--vram", "8")
    assert (code, found["verdict"], found["changes"]) == (0, "fits", [])
    assert found["card"] == {"name": "a card of 8 GB", "total": 8 * 10**9, "free": 8 * 10**9}
    assert list(found["phases"]) == ["loading", "generation", "training"]
    assert found["spare"] == 8 * 10**9 - found["needed"]["high"]


def test_without_a_card_the_common_ones(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = plan(capsys, PRESET)
    assert code == 0
    assert list(found["cards"]) == ["6", "8", "10", "12", "16", "24"]
    assert found["cards"]["24"] == "fits"


def test_what_does_not_fit_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = plan(capsys, PRESET, "--vram", "2.5GB")
    assert (code, found["verdict"], found["fits_with_changes"]) == (2, "too large", False)


# arguments, and what is said
BAD = {
    "no memory": ([PRESET, "--vram", "0"], "--vram 0: give the card's memory in GB, such as 8"),
    "less than none": ([PRESET, "--vram", "-3"], "--vram -3: give the card's memory"),
    "no number": ([PRESET, "--vram", "abc"], "--vram abc: give the card's memory"),
    "nan": ([PRESET, "--vram", "nan"], "--vram nan: give the card's memory"),
    "bytes": ([PRESET, "--vram", "8e9"], "--vram 8e9: give the card's memory"),
    "no config": (["missing.yaml"], "missing.yaml: there is no such file"),
    "data": (["rows.jsonl"], "that is data, where a config is expected"),
    "no run": (["."], ".: is a folder; name a YAML file, or a preset"),
    "an unknown model": (
        ["mine.yaml", "--set", "model.name=someone/new-model"],
        "model.name: the architecture of someone/new-model is not known here",
    ),
    "no card to fit": (["mine.yaml", "--fit", "new.yaml"], "--fit: there is no card here"),
    "a file that is there": (
        ["mine.yaml", "--vram", "8", "--fit", "rows.jsonl"],
        "rows.jsonl: is there already",
    ),
    "a folder": (["mine.yaml", "--vram", "8", "--fit", "."], ".: is a folder"),
    "no file to write": (
        ["mine.yaml", "--vram", "8", "--fit", "rows.jsonl/new.yaml"],
        "rows.jsonl/new.yaml: cannot be written",
    ),
    "standard output": (["mine.yaml", "--vram", "8", "--fit", "-"], "--fit -: name the file"),
    "a wrong key": (["mine.yaml", "--set", "training.max_step=1"], "did you mean"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(folder: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    arguments, expected = BAD[case]
    before = sorted(folder.iterdir())
    assert main(["plan", *arguments]) == 2
    assert expected in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_the_config_that_fits_keeps_all_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "mine.yaml", "--vram", "4.5", "--fit", "sub/fits.yaml"]) == 0
    assert "sub/fits.yaml: written." in capsys.readouterr().err
    text = (folder / "sub/fits.yaml").read_text()
    config = ExperimentConfig.from_yaml("sub/fits.yaml")
    forward = config.training.completions_per_forward
    assert text.startswith("# Fits a card of 4.5 GB, as `groupwise plan` predicts")
    moved = f"train: {folder / 'rows.jsonl'}"
    expected = COMMENTED.replace("train: rows.jsonl", moved)
    expected = expected.replace("forward: 8 ", f"forward: {forward} ")
    assert text.partition("\n\n")[2].replace('"', "") == expected.replace('"', "")
    assert forward < 8
    code, again = plan(capsys, "sub/fits.yaml", "--vram", "4.5")
    assert (code, again["verdict"], again["changes"]) == (0, "fits", [])
    assert main(["plan", "mine.yaml", "--vram", "4.5", "--fit", "sub/fits.yaml"]) == 2


def test_what_fits_already_is_written_as_it_is(folder: Path) -> None:
    assert main(["plan", PRESET, "--vram", "8", "--fit", "same.yaml"]) == 0
    assert (folder / "same.yaml").read_text() == preset_text(PRESET)


def test_overrides_are_in_the_config_that_fits() -> None:
    sets = ["--set", "seed=7", "--set", "rewards.parts.correctness.weight=0.5"]
    assert main(["plan", "mine.yaml", "--vram", "24", "--fit", "new.yaml", *sets]) == 0
    config = ExperimentConfig.from_yaml("new.yaml")
    assert (config.seed, config.rewards.parts["correctness"].weight) == (7, 0.5)
    assert config.name == "new"


def test_the_config_of_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ExperimentConfig.from_yaml("mine.yaml").standing_alone()
    (folder / "run").mkdir()
    (folder / "run/config.resolved.json").write_text(json.dumps(config.to_dict()))
    assert plan(capsys, "run", "--vram", "24")[0] == 0
    assert main(["plan", "run", "--vram", "4.5", "--fit", "less.yaml"]) == 0
    less = ExperimentConfig.from_yaml("less.yaml")
    assert less.training.completions_per_forward < 8
    assert less.data.train == str(folder / "rows.jsonl")


def test_memory_that_is_used_up_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def used_up(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("groupwise.framework.cli.plan.read_architecture", used_up)
    assert main(["plan", PRESET, "--vram", "8"]) == 2
    assert "this machine's memory is used up" in capsys.readouterr().err


# --- train -----------------------------------------------------------------------------------

HUGE = {
    "model": {"name": "unsloth/Qwen3-8B", "load_in_4bit": False, "max_seq_length": 200_000},
    "data": {"train": "rows.jsonl", "eval": "rows.jsonl"},
    "training": {"max_completion_length": 100_000, "completions_per_forward": 64},
}


def test_train_refuses_what_cannot_fit(folder: Path, cli: RunCli) -> None:
    ended = cli("train", write_yaml(folder / "huge.yaml", HUGE), "--quiet")
    assert ended.code == 2
    assert "Does not fit this machine: training needs at least " in ended.err
    assert "--force starts all the same" in ended.err
    assert not (folder / "runs").exists()


def test_a_model_that_is_not_known_is_not_refused() -> None:
    config = ExperimentConfig.from_dict({**HUGE, "model": {"name": "someone/new"}}, [
        "model.max_seq_length=200000"
    ])  # fmt: skip
    assert check_memory(config) is None


SHAPE = {
    **{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 300},
    **{"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 512},
}


def quantised(folder: Path, quantisation: dict[str, Any]) -> ExperimentConfig:
    """The config above, with a model whose config.json has this `quantization_config`."""
    (folder / "model").mkdir()
    content = json.dumps({**SHAPE, "quantization_config": quantisation})
    (folder / "model/config.json").write_text(content)
    return ExperimentConfig.from_yaml("mine.yaml", ["model.name=model"])


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "compressed-tensors", "mxfp4", "\x1b[7m"])
def test_other_quantisations_are_named_by_plan_and_not_refused_by_train(
    method: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = quantised(folder, {"quant_method": method, "bits": 4})
    assert main(["plan", "mine.yaml", "--vram", "8", "--set", "model.name=model"]) == 2
    told = capsys.readouterr().err
    assert f"quantised with {printable(method)}; a plan knows 4 and 8 bits" in told
    assert "Name the same model in 16 bits" in told
    assert check_memory(config) is None


@pytest.mark.parametrize(("bits", "asked"), [(4, "8"), (8, "4")])
def test_a_quantised_checkpoint_keeps_its_form(bits: int, asked: str, folder: Path) -> None:
    config = quantised(folder, {"quant_method": "bitsandbytes", f"load_in_{bits}bit": True})
    model = replace(config.model, load_in_4bit=asked == "4", load_in_8bit=asked == "8")
    assert stored_as(read_architecture(model), model, on_gpu=True).form == f"{bits}bit"


SMI = """#!/bin/sh
echo "0, GPU-aaaa, NVIDIA GeForce RTX 3070, 8192, 7000"
echo "1, GPU-bbbb, NVIDIA GeForce RTX 4060, 8188, 7500"
echo "2, GPU-cccc, Broken, [N/A], [N/A]"
"""


@pytest.fixture
def two_cards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi as it answers on a machine with two cards that work."""
    tool = folder / "nvidia-smi"
    tool.write_text(SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


MIB = 2**20
FIRST = Memory("NVIDIA GeForce RTX 3070", 8192 * MIB, 7000 * MIB)
SECOND = Memory("NVIDIA GeForce RTX 4060", 8188 * MIB, 7500 * MIB)


@pytest.mark.usefixtures("two_cards")
@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        *((None, SECOND), ("0", FIRST), ("1", SECOND), ("0,1", SECOND), ("GPU-aa", FIRST)),
        *(("", None), ("-1", None), ("7", None), ("2", None)),
    ],
)
def test_the_card_that_a_run_would_use(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: Memory | None
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert card() == expected


@pytest.mark.usefixtures("two_cards")
def test_a_run_is_held_against_the_free_memory_of_the_card() -> None:
    def check(*overrides: str) -> Any:
        return check_memory(ExperimentConfig.from_yaml("mine.yaml", overrides))

    fits = check("data.train=rows.jsonl")
    assert fits.fits
    assert str(fits).endswith("of the 7.9 GB of NVIDIA GeForce RTX 4060")
    refused = check("model.load_in_4bit=false")
    assert refused.cannot_fit
    assert "model.load_in_4bit: true   (now false; changes the result" in refused.remedy()


@pytest.mark.usefixtures("two_cards")
def test_the_card_found_is_planned_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = plan(capsys, "mine.yaml")
    assert (code, found["card"]["name"], found["cards"]) == (0, "NVIDIA GeForce RTX 4060", {})


# Runs the command; prints its processor time, its exit code, and heavy modules.
TIMED = """
import sys, time
from groupwise.framework.cli import main
code = main(sys.argv[1:])
heavy = [name for name in ("torch", "transformers", "datasets", "numpy") if name in sys.modules]
print(f"\\n{time.process_time()} {code} {','.join(heavy)}")
"""


@pytest.mark.timing
@pytest.mark.parametrize("size", ["8", "3"])  # with nothing to change, and with all that there is
def test_a_plan_takes_less_than_two_seconds(tmp_path: Path, size: str) -> None:
    asked = ("plan", PRESET, "--vram", size)
    seconds, (_, heavy) = processor_seconds(TIMED, *asked, cwd=tmp_path, limit=2.0)
    assert heavy == ""
    assert seconds < 2.0
