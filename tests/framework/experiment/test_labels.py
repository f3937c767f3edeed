"""The labels of evaluations that a user starts, and when one is free, resumed or refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from evaluation_toy import ToySampler, ToyScorer, toy_examples
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.evaluation.log.writer import JsonlWriter
from groupwise.evaluation.runner import EvaluationSettings, evaluate
from groupwise.evaluation.sampler import SamplingParams
from groupwise.framework.config import DataConfig
from groupwise.framework.experiment.labels import (
    data_label,
    folder_name,
    free_evaluation,
    model_label,
)
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError

MODELS = {
    "Qwen/Qwen3-4B": "Qwen3-4B",
    "unsloth/Llama-3.2-1B-Instruct-bnb-4bit": "Llama-3.2-1B-Instruct-bnb-4bit",
    "toy/model": "toy-model",
    "runs/r/final_model": "r-final_model",
    "runs/r/checkpoints/checkpoint-40": "r-checkpoints-checkpoint-40",
    "runs/r/best_model/": "r-best_model",
    "models/my model (v2)": "my-model-v2",
    "models/Prüfung": "Prufung",
    "models/模型": "model",
}


@pytest.mark.parametrize("target", MODELS)
def test_a_model_is_named(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_label(target) == MODELS[target], "as a name, where there is no such folder"
    Path(target).mkdir(parents=True)
    assert model_label(target) == MODELS[target]
    assert model_label(str(Path(target).resolve())) == MODELS[target]


def test_a_model_is_named_from_within_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "r" / "model")
    assert model_label(".") == "r-model"


DATA: list[tuple[dict[str, Any], str]] = [
    ({"eval": "exam.jsonl"}, "exam"),
    ({"eval": "/a/b/exam.v2.jsonl"}, "exam.v2"),
    ({"eval": "my exam.csv"}, "my-exam"),
    ({"eval": "openai/gsm8k"}, "gsm8k-test"),
    ({"eval": "toy"}, "toy"),
    ({"eval": None}, "train-held-out"),
    ({"eval": "试题.jsonl"}, "data"),
]


@pytest.mark.parametrize(("data", "label"), DATA)
def test_data_are_named(data: dict[str, Any], label: str) -> None:
    assert data_label(DataConfig(train="train.jsonl", eval_split="test", **data)) == label


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=200))
def test_a_label_names_a_folder_on_every_file_system(text: str) -> None:
    name = folder_name(text)
    RunDir(Path("runs/r")).evaluation(name)  # the contract's own rule
    assert 0 < len(name) <= 70
    assert not name.endswith(".")
    assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name)


@pytest.mark.parametrize("text", ["CON", "nul.jsonl", "com1", "..", ".hidden", "-x", ""])
def test_a_label_is_no_reserved_name(text: str) -> None:
    name = folder_name(text)
    assert name[0].isalnum()
    assert name.upper().split(".")[0] not in ("CON", "NUL", "COM1", "")


# --- free, resumed or refused -----------------------------------------------------------------

SMALL = EvaluationSettings(num_samples=2, ks=(1,), resamples=100, model="m")


def placed(
    folder: Path, count: int = 4, label: str = "m-exam", *, is_given: bool = False, **changes: Any
) -> str:
    asked = dataclasses.replace(SMALL, **changes)
    terminal = Terminal(quiet=True)
    examples = toy_examples(count)
    run_dir = RunDir(folder)
    name = free_evaluation(run_dir, label, examples, asked, terminal, is_given=is_given)
    evaluate(examples, ToySampler(), ToyScorer(), asked, run_dir.evaluation(name))
    return name


def test_other_models_and_other_problems_get_numbers_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert placed(tmp_path) == "m-exam"
    assert placed(tmp_path) == "m-exam", "the same again is resumed"
    assert capsys.readouterr().err == ""
    assert placed(tmp_path, 5) == "m-exam-2"
    said = "evaluations/m-exam is of another model or other problems; this one is m-exam-2"
    assert said in capsys.readouterr().err
    assert placed(tmp_path, model="retrained") == "m-exam-3"
    assert placed(tmp_path, 5) == "m-exam-2", "each finds its own again"
    assert placed(tmp_path, num_samples=3) == "m-exam", "more samples continue it"


def test_an_evaluation_that_is_being_written_is_refused(tmp_path: Path) -> None:
    placed(tmp_path)
    with (
        JsonlWriter(RunDir(tmp_path).evaluation("m-exam") / "samples.jsonl", lock="refuse"),
        pytest.raises(UserError, match="another process is writing this log"),
    ):
        placed(tmp_path)
    assert placed(tmp_path) == "m-exam"


OTHER_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"num_samples": 1}, "num_samples: 2 in the log, 1 now"),
    ({"params": SamplingParams(temperature=0.5)}, "params.temperature: 1.0 in the log, 0.5 now"),
    ({"params": SamplingParams(seed=3)}, "params.seed: 0 in the log, 3 now"),
    ({"identity": {"rewards": "new"}}, 'identity.rewards: nothing in the log, "new" now'),
    ({"model": "n", "is_given": True}, 'model: "m" in the log, "n" now'),
    ({"count": 5, "is_given": True}, "problems: "),
]


@pytest.mark.parametrize(("changes", "said"), OTHER_SETTINGS)
def test_other_settings_are_refused_with_the_way_out(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    placed(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UserError) as refused:
        placed(tmp_path, **changes)
    assert said in str(refused.value)
    assert "To keep both: --label m-exam-2." in str(refused.value)
    assert str(refused.value).endswith(f"groupwise table {tmp_path}/evaluations/m-exam")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert placed(tmp_path, label="m-exam-2", **{**changes, "is_given": True}) == "m-exam-2"
