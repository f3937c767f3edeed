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
from groupwise.framework.run.resume import resume_run_dir
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
        with resume_run_dir(changed, said.append) as run:
            assert run.config() == changed
            assert len(said) == len(changes)
            (resumed,) = json.loads(run.manifest.read_text())["resumed"]
            assert len(resumed["changes"]) == len(changes)
        return
    with pytest.raises(UserError) as caught:
        resume_run_dir(changed, said.append)
    assert str(caught.value) == (
        f"{tmp_path / 'first'}: a run cannot be resumed with another config:\n  {refusal}\n"
        "Undo these changes, or start a new run with another --name."
    )


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
