"""Which model of which run is exported, and where it goes; before anything is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.export.adapter import write_adapter
from groupwise.framework.export.place import check_place
from groupwise.framework.export.source import Source, source_of
from groupwise.framework.run.directory import RunDir, create_run_dir
from groupwise.framework.run.out_of_memory import amount
from groupwise.rewards.errors import UserError


def model_folder(folder: Path, name: str = "config.json", **settings: str) -> Path:
    """What says that a folder holds a model; nothing is loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(settings))
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A finished run with an adapter, a best model and two checkpoints, one of them torn."""
    base = model_folder(tmp_path / "base", dtype="float16")
    (tmp_path / "train.jsonl").write_text('{"question": "1+1", "answer": "2"}\n')
    config = ExperimentConfig.from_dict(
        {
            "name": "r",
            "output_dir": str(tmp_path / "runs"),
            "model": {"name": str(base)},
            "data": {"train": str(tmp_path / "train.jsonl")},
        }
    )
    with create_run_dir(config) as made:
        for name in ("final_model", "best_model", "checkpoints/checkpoint-2", "warm_start/model"):
            folder = model_folder(made.path / name, "adapter_config.json")
            (folder / "adapter_model.safetensors").write_bytes(b"")
        model_folder(made.checkpoints / "checkpoint-4", "adapter_config.json")
    state = json.dumps({"global_step": 2})
    (made.checkpoints / "checkpoint-2" / "trainer_state.json").write_text(state)
    return made


LABELS = {
    ".": ("final_model", "tuned"),
    "final_model": ("final_model", "tuned"),
    "best_model": ("best_model", "best_model"),
    "checkpoints/checkpoint-2": ("checkpoints/checkpoint-2", "checkpoint-2"),
    "warm_start/model": ("warm_start/model", "warm_start"),
}


@pytest.mark.parametrize("path", LABELS)
def test_a_model_of_a_run(path: str, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, label = LABELS[path]
    monkeypatch.chdir(run.path)
    for given in (run.path / path, Path(path)):
        found = source_of(given)
        assert found.folder.resolve() == run.path / folder
        assert (found.label, found.is_adapter) == (label, True)
        assert found.run_dir.path.resolve() == run.path
        assert Path(str(found.config.model.adapter)).resolve() == run.path / folder
        assert found.config.model.name == found.base.name


def test_all_weights(run: RunDir) -> None:
    shutil.rmtree(run.final_model)
    model_folder(run.final_model)
    found = source_of(run.path)
    assert not found.is_adapter
    assert found.config.model.name == str(run.final_model)
    assert found.base.name.endswith("base")


def test_what_others_call_the_base(run: RunDir) -> None:
    found = source_of(run.path)
    assert found.public_base is None
    assert found.dtype_16bit == "float16"
    named = Source(found.run_dir, found.config, found.folder, found.label, found.base, "o/n")
    assert named.public_base == "o/n"


def test_an_adapter_on_a_base_of_this_machine(run: RunDir, tmp_path: Path) -> None:
    (said,) = write_adapter(source_of(run.path), tmp_path)
    assert "say --base OWNER/NAME" in said
    model_folder(run.merged_base)
    (said,) = write_adapter(source_of(run.path), tmp_path)
    assert "others can use --format merged" in said


def _no_final_model(run: RunDir) -> Path:
    shutil.rmtree(run.final_model)
    return run.path


def _no_base(run: RunDir) -> Path:
    shutil.rmtree(run.path.parents[1] / "base")
    return run.path


REFUSED: dict[str, tuple[Callable[[RunDir], Path], str]] = {
    "no run": (lambda run: run.path.with_name("s"), r"there is no such run"),
    "not finished": (
        _no_final_model,
        r"did not finish\. Continue it: groupwise train .* --resume; or export .*checkpoints",
    ),
    "a torn checkpoint": (
        lambda run: run.checkpoints / "checkpoint-4",
        r"is no whole checkpoint",
    ),
    "no model of it": (lambda run: run.path / "checkpoints", r"checkpoints is not a model folder"),
    "a model of no run": (lambda run: run.path.parents[1] / "base", r"a model that belongs to no"),
    "nothing": (lambda run: run.path.parent, r"holds no run"),
    "a file": (lambda run: run.config_yaml, r"there is no such run \(it is a file\)"),
    "base moved away": (_no_base, r"model\.name: no such folder: .*base"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_of_a_run(name: str, run: RunDir) -> None:
    path, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        source_of(path(run))


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "deeper", 1000)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in (tmp_path, Path(), Path("/"), tmp_path / "link"):
        with pytest.raises(UserError, match=r"is there already; name another folder with --to"):
            check_place(taken, 1000)


def test_a_place_where_nothing_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"new: .*/file is a file; name a folder elsewhere"):
        check_place(tmp_path / "file" / "new", 1000)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(UserError, match=r"new: .* cannot be written to; name a folder elsewhere"):
        check_place(tmp_path / "new", 1000)


@pytest.mark.parametrize("state", ["unchecked", "failed"])
def test_what_is_beside_is_replaced_if_it_is_an_export(tmp_path: Path, state: str) -> None:
    there = tmp_path / f"new-{state}"
    there.mkdir()
    with pytest.raises(UserError, match=rf"new-{state}: is there already"):
        check_place(tmp_path / "new", 1000)
    (there / "export.json").write_text("{}")
    check_place(tmp_path / "new", 1000)


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        check_place(tmp_path / "new", 10**18)
    free, said = amount(shutil.disk_usage(tmp_path).free), str(caught.value)
    assert "the export needs 1,050,000,000.0 GB of disk space" in said
    assert f"{tmp_path} has {free[:2]}" in said
