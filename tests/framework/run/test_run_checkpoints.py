"""Which checkpoint a run resumes from, and what it may change. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.run.checkpoints import latest_checkpoint, step_of
from groupwise.framework.run.directory import create_run_dir
from groupwise.framework.run.resume import check_resumable, resume_run_dir
from groupwise.rewards.errors import UserError


def checkpoint(folder: Path, step: int, *, state: str | None = None, weights: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if weights:
        (path / "adapter_model.safetensors").write_bytes(b"weights")
    state = json.dumps({"global_step": step}) if state is None else state
    if state:
        (path / "trainer_state.json").write_text(state)
    return path


# what a kill left of checkpoint-20, beside a whole checkpoint-10
HALF_WRITTEN: dict[str, dict[str, Any]] = {
    "an empty folder": {"state": "", "weights": False},
    "weights, no state": {"state": ""},
    "the state torn": {"state": '{"global_step": 2'},
    "the state empty": {"state": "\n"},
    "the state of another step": {"state": '{"global_step": 10}'},
    "no weights": {"weights": False},
}


@pytest.mark.parametrize("left", HALF_WRITTEN)
def test_a_half_written_checkpoint_is_never_picked(tmp_path: Path, left: str) -> None:
    whole = checkpoint(tmp_path, 10)
    torn = checkpoint(tmp_path, 20, **HALF_WRITTEN[left])
    assert latest_checkpoint(tmp_path) == whole
    assert not torn.exists(), "it would count as one of save_total_limit"


def test_the_latest_is_the_one_of_the_highest_step(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "missing") is None
    for step in (9, 100, 20):  # neither by name nor by time: a copied run has new times
        checkpoint(tmp_path, step)
    other = tmp_path / "checkpoint-best"
    other.mkdir()
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert other.exists(), "what is not ours stays"
    with pytest.raises(ValueError, match="checkpoint-best is not named checkpoint-N"):
        step_of(other)


SETTINGS: dict[str, Any] = {
    "name": "first",
    "model": {"name": "toy"},
    "data": {"train": "toy"},
    "training": {"max_steps": 10},
}

# what is changed, and what the user reads; None: the run is resumed
CHANGES: dict[str, tuple[dict[str, Any], str | None]] = {
    "nothing": ({}, None),
    "memory": ({"training.completions_per_forward": 4, "training.max_rows": 8}, None),
    "checkpoints": ({"training.save_steps": 7, "training.save_total_limit": 5}, None),
    "trackers": ({"tracking.wandb": "offline", "tracking.tags": ["again"]}, None),
    "what stops it": ({"training.stop_on": ["truncation"]}, None),
    "more answers": ({"evaluation.num_samples": 16, "evaluation.k": [1, 16]}, None),
    "how it is counted": ({"evaluation.k": [1, 2], "evaluation.category_fields": ["kind"]}, None),
    "fewer answers": (
        {"evaluation.num_samples": 4, "evaluation.k": [1, 4]},
        "evaluation.num_samples: 8 when it began, 4 now",
    ),
    "seed": ({"seed": 7}, "seed: 42 when it began, 7 now"),
    "data": ({"data.max_prompt_length": 99}, "data.max_prompt_length: 512 when it began, 99 now"),
    "learning rate": (
        {"training.learning_rate": 1e-3},
        "training.learning_rate: 5e-06 when it began, 0.001 now",
    ),
    "steps, with a rate that depends on them": (
        {"training.max_steps": 20},
        "training.max_steps: 10 when it began, 20 now",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_is_resumed_with_what_makes_sense(tmp_path: Path, change: str) -> None:
    changes, refusal = CHANGES[change]
    config = ExperimentConfig.from_dict({**SETTINGS, "output_dir": str(tmp_path)})
    create_run_dir(config).close()
    said: list[str] = []
    changed = config.with_values(changes)
    if refusal is None:
        before = (tmp_path / "first" / "manifest.json").read_bytes()
        _, differences = check_resumable(changed)  # what a dry run shows; it writes nothing
        assert (tmp_path / "first" / "manifest.json").read_bytes() == before
        with resume_run_dir(changed, said.append) as run:
            assert said == [f"resuming with {line}" for line in differences]
            assert run.config() == changed
            assert len(said) == len(changes)
            (resumed,) = json.loads(run.manifest.read_text())["resumed"]
            assert len(resumed["changes"]) == len(changes)
        return
    for resume in (check_resumable, lambda config: resume_run_dir(config, said.append)):
        with pytest.raises(UserError) as caught:
            resume(changed)
        assert str(caught.value) == (
            f"{tmp_path / 'first'}: a run cannot be resumed with another config:\n  {refusal}\n"
            "Undo these changes, or start a new run with another --name."
        )


def test_what_decides_about_the_best_model_stays(tmp_path: Path) -> None:
    config = ExperimentConfig.from_dict({**SETTINGS, "output_dir": str(tmp_path)})
    config = config.with_values({"evaluation.every_steps": 2})
    create_run_dir(config).close()
    more = {"evaluation.num_samples": 16, "evaluation.k": [1, 16]}
    resume_run_dir(config.with_values(more), lambda _: None).close()
    with pytest.raises(UserError, match=r"evaluation\.k: \[1, 16\] when it began, \[2, 16\] now"):
        resume_run_dir(config.with_values({**more, "evaluation.k": [2, 16]}), lambda _: None)


def test_more_steps_at_a_constant_rate(tmp_path: Path) -> None:
    config = ExperimentConfig.from_dict({**SETTINGS, "output_dir": str(tmp_path)})
    config = config.with_values({"training.lr_scheduler_type": "constant"})
    create_run_dir(config).close()
    longer = config.with_values({"training.max_steps": 20})
    with resume_run_dir(longer, lambda _: None) as run:
        assert run.config().training.max_steps == 20


def test_what_a_kill_left_half_written_is_swept_away(tmp_path: Path) -> None:
    config = ExperimentConfig.from_dict({**SETTINGS, "output_dir": str(tmp_path)})
    create_run_dir(config).close()
    run = tmp_path / "first"
    gone = [run / ".final_model.4194999.tmp", run / "warm_start" / ".model.4194999.tmp"]
    stays = [run / f".final_model.{os.getpid()}.tmp", run / ".mine.tmp"]
    for folder in (*gone, *stays):
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"half")
    (run / ".manifest.json.4194999.tmp").write_text("{")
    resume_run_dir(config, lambda _: None).close()
    assert [path for path in (*gone, *stays) if path.exists()] == stays
    assert not (run / ".manifest.json.4194999.tmp").exists()


def test_a_run_that_was_moved_and_renamed(tmp_path: Path) -> None:
    config = ExperimentConfig.from_dict({**SETTINGS, "output_dir": str(tmp_path)})
    create_run_dir(config).close()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "first").rename(tmp_path / "elsewhere" / "second")
    moved = config.with_values({"output_dir": str(tmp_path / "elsewhere"), "name": "second"})
    with resume_run_dir(moved, lambda _: None) as run:
        assert run.path.name == "second"


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


Moves = Callable[[Path], dict[str, Any]]

# what becomes of the files of a run, as changes of its config; what is said; whether it is refused
INPUTS: dict[str, tuple[Moves, str, bool]] = {
    "nothing": (lambda _: {}, "", False),
    "moved": (
        lambda p: {"data.train": str((p / "rows.jsonl").rename(p / "other.jsonl"))},
        "data.train: HERE/rows.jsonl when it began, HERE/other.jsonl now",
        False,
    ),
    "copied": (
        lambda p: {"data.train": _write(p / "copy" / "rows.jsonl", "1\n")},
        "data.train: HERE/rows.jsonl when it began, HERE/copy/rows.jsonl now",
        False,
    ),
    "another file of that name": (
        lambda p: {"data.train": _write(p / "copy" / "rows.jsonl", "2\n")},
        "data.train: HERE/rows.jsonl when it began, HERE/copy/rows.jsonl now, with other content",
        True,
    ),
    "a hub name": (
        lambda _: {"data.train": "openai/gsm8k"},
        'data.train: "HERE/rows.jsonl" when it began, "openai/gsm8k" now',
        True,
    ),
    "edited": (
        lambda p: (_write(p / "rows.jsonl", "2\n"), {})[1],
        "data.train: HERE/rows.jsonl has been changed since the run began",
        False,
    ),
    "a model that moved": (
        lambda p: {"model.name": str((p / "model").rename(p / "model2"))},
        "model.name: HERE/model when it began, HERE/model2 now",
        False,
    ),
    "another model": (
        lambda p: (_write(p / "b" / "model" / "w", "?"), {"model.name": str(p / "b" / "model")})[1],
        "model.name: HERE/model when it began, HERE/b/model now, with other content",
        True,
    ),
    "a folder for a hub name": (
        lambda p: {"training.warm_start.data": _write(p / "warm.jsonl", "1")},
        'training.warm_start.data: "some/data" when it began, "HERE/warm.jsonl" now',
        True,
    ),
    "a reward that moved": (
        lambda p: {"rewards.parts.mine.use": f"{(p / 'r.py').rename(p / 'r2.py')}:f"},
        "rewards.parts.mine.use: HERE/r.py when it began, HERE/r2.py now",
        False,
    ),
}


def _run_with_inputs(folder: Path) -> ExperimentConfig:
    _write(folder / "rows.jsonl", "1\n")
    _write(folder / "model" / "weights", "w")
    _write(folder / "r.py", "f")
    return ExperimentConfig.from_dict(
        {
            "name": "first",
            "output_dir": str(folder / "runs"),
            "model": {"name": "model"},
            "data": {"train": "rows.jsonl"},
            "training": {"warm_start": {"data": "some/data"}},
            "rewards": {"import_from": str(folder), "parts": {"mine": {"use": "r.py:f"}}},
        }
    )


# A run of an earlier version kept no hashes: of these it cannot tell.
UNKNOWN = ("edited", "a folder for a hub name")


@pytest.mark.parametrize(
    ("version", "case"),
    [("this", case) for case in INPUTS]
    + [("earlier", case) for case in INPUTS if case not in UNKNOWN],
)
def test_files_may_move_and_not_change(
    version: str, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`earlier`: a run that kept its paths as they were given, and no hashes, in its folder."""
    change, said, is_refused = INPUTS[case]
    monkeypatch.chdir(tmp_path)
    config = _run_with_inputs(tmp_path)
    create_run_dir(config).close()
    folder = tmp_path / "runs" / "first"
    resolved = folder / "config.resolved.json"
    assert json.loads(resolved.read_text())["data"]["train"] == str(tmp_path / "rows.jsonl")
    if version == "earlier":
        resolved.write_text(json.dumps(config.to_dict()))
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["inputs"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        if case in ("moved", "a model that moved", "a reward that moved"):
            said = said.replace("HERE/", "", 1)  # a path that names nothing stays as it is
    changed = config.with_values(change(tmp_path))
    notices: list[str] = []
    said = said.replace("HERE", str(tmp_path))
    if is_refused:
        with pytest.raises(UserError) as caught:
            resume_run_dir(changed, notices.append)
        assert str(caught.value).splitlines()[1] == f"  {said}"
        return
    with resume_run_dir(changed, notices.append) as run:
        assert run.config() == changed.standing_alone()
    assert notices == ([f"resuming with {said}"] if said else [])


# how the run to resume is missing
MISSING: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda _: None, "there is no such run"),
    "an empty folder": (lambda p: p.mkdir(), "holds no run: config.resolved.json is missing"),
}


@pytest.mark.parametrize("case", MISSING)
def test_there_is_no_run_to_resume(tmp_path: Path, case: str) -> None:
    make, message = MISSING[case]
    make(tmp_path / "first")
    config = ExperimentConfig.from_dict({**SETTINGS, "output_dir": str(tmp_path)})
    with pytest.raises(UserError, match=message):
        resume_run_dir(config, lambda _: None)


def test_killed_before_it_had_a_config_the_name_is_free(tmp_path: Path) -> None:
    config = ExperimentConfig.from_dict({**SETTINGS, "output_dir": str(tmp_path)})
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / ".lock").write_text("99999\n")
    (folder / "config.yaml").write_text("name: first\n")
    (folder / ".manifest.json.99999.tmp").write_text("{")
    with create_run_dir(config) as run:
        assert run.config() == config
