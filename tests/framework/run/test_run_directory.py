"""A run's folder: made whole or not at all, never reused, locked while in use."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest
from conftest import HANG_S

import groupwise.framework.run.directory as run_dir
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.run.directory import create_run_dir, open_run_dir
from groupwise.rewards.errors import UserError

TEXT = "# mine\nmodel: {name: toy}\ndata: {train: toy}\n"


def config(tmp_path: Path, name: str = "first") -> ExperimentConfig:
    return ExperimentConfig.from_dict(
        {
            "name": name,
            "output_dir": str(tmp_path / "runs"),
            "model": {"name": "toy"},
            "data": {"train": "toy"},
        }
    )


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_what_is_in_a_new_run(tmp_path: Path) -> None:
    asked = config(tmp_path)
    with create_run_dir(asked, TEXT) as run:
        assert run.path == tmp_path / "runs" / "first"
        made = [".lock", ".session", "config.resolved.json", "config.yaml", "manifest.json"]
        assert files(run.path) == made
        assert run.config_yaml.read_text() == TEXT
        assert run.config() == asked
        assert run.is_locked
    assert not run.is_locked
    assert run.evaluation("step-50") == run.path / "evaluations" / "step-50"
    assert open_run_dir(run.path).config() == asked


def test_the_manifest(tmp_path: Path) -> None:
    with create_run_dir(config(tmp_path)) as run:
        manifest = json.loads(run.manifest.read_text(encoding="utf-8"))
    assert (manifest["name"], manifest["seed"]) == ("first", 42)
    assert manifest["versions"]["pydantic"].startswith("2.")
    assert manifest["hardware"]["cpu_cores"] == os.cpu_count()
    assert set(manifest) == {
        "name",
        "seed",
        "created",
        "command",
        "python",
        "platform",
        "versions",
        "hardware",
        "git",
        "inputs",
    }


def test_without_the_users_text_the_whole_config_is_written(tmp_path: Path) -> None:
    asked = config(tmp_path)
    with create_run_dir(asked) as run:
        assert ExperimentConfig.from_yaml(run.config_yaml) == asked


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    create_run_dir(config(tmp_path)).close()
    with pytest.raises(UserError) as caught:
        create_run_dir(config(tmp_path))
    folder = tmp_path / "runs" / "first"
    assert str(caught.value) == (
        f"{folder}: holds a run already; continue it with --resume, choose another place with "
        "--name first-2 or --output-dir, or remove the folder"
    )


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").touch()
    with pytest.raises(UserError, match="is not empty, and holds no run"):
        create_run_dir(config(tmp_path))
    assert files(folder) == ["thesis.tex"]


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    create_run_dir(config(tmp_path)).close()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").touch()
    with pytest.raises(UserError, match="is a file, where the run's folder is to be made"):
        create_run_dir(config(tmp_path))
    (tmp_path / "elsewhere").touch()
    asked = config(tmp_path).with_values({"output_dir": str(tmp_path / "elsewhere")})
    with pytest.raises(
        UserError, match=r"cannot be made: .*choose another place with --output-dir"
    ):
        create_run_dir(asked)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be made: Permission denied"):
        create_run_dir(config(tmp_path))


@pytest.mark.parametrize("folder_was_there", [True, False])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder_was_there: bool
) -> None:
    def full(path: Path, _value: object) -> None:
        raise UserError(f"{path.name}: the disk is full")

    monkeypatch.setattr(run_dir, "write_json", full)
    folder = tmp_path / "runs" / "first"
    if folder_was_there:
        folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"manifest.json: the disk is full"):
        create_run_dir(config(tmp_path), TEXT)
    assert files(folder) == []
    assert folder.exists() == folder_was_there


def hold(folder: str, ready: multiprocessing.synchronize.Event) -> None:
    run = open_run_dir(Path(folder))
    run.lock()
    ready.set()
    multiprocessing.Event().wait()  # until it is killed


def test_a_run_in_use_is_refused_until_its_process_is_gone(tmp_path: Path) -> None:
    run = create_run_dir(config(tmp_path))
    run.close()
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(str(run.path), ready))
    other.start()
    assert ready.wait(HANG_S)
    with pytest.raises(UserError) as caught:
        run.lock()
    assert str(caught.value) == (
        f"{run.path}: is in use by process {other.pid}; wait until it ends, or stop it"
    )
    with pytest.raises(UserError, match=f"holds a run that is in use by process {other.pid}"):
        create_run_dir(config(tmp_path))
    other.kill()
    other.join()
    run.lock()
    assert run.is_locked
    run.close()


def test_a_loser_of_a_race_leaves_the_winner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes find the folder free at the same moment."""
    real = run_dir.check_run_dir

    def check_then_be_overtaken(asked: ExperimentConfig) -> Path:
        path = real(asked)
        monkeypatch.setattr(run_dir, "check_run_dir", real)
        winners.append(create_run_dir(asked))
        return path

    winners: list[run_dir.RunDir] = []
    monkeypatch.setattr(run_dir, "check_run_dir", check_then_be_overtaken)
    with pytest.raises(UserError, match="is in use by process"):
        create_run_dir(config(tmp_path))
    assert json.loads(winners[0].manifest.read_text())["name"] == "first"
    winners[0].close()


def test_folders_that_hold_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such run"):
        open_run_dir(tmp_path / "none")
    with pytest.raises(UserError, match=r"holds no run: config.resolved.json is missing"):
        open_run_dir(tmp_path)


def test_a_label_cannot_leave_the_run(tmp_path: Path) -> None:
    for label in ("../other", "a/b", "", ".hidden"):
        with pytest.raises(UserError, match="must be letters"):
            run_dir.RunDir(tmp_path).evaluation(label)
