"""Trackers for real, without an account: what they hold afterwards, and that none stops a run."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import FinishedRun, RunCli, lines, run_python

from groupwise.framework.run.tracking import Tracker

BLOCK, HEADER = 32768, 7


def wandb_records(path: Path) -> Iterator[bytes]:
    """The records of a `.wandb` file: LevelDB's log format behind seven bytes of its own.

    Each record is in one piece (type 1) or in several (2 first, 3 middle, 4 last), with a header of
    checksum, length and type; none crosses a block of 32 KiB. W&B 0.31 ships no reader in Python.
    """
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):
            yield parts
            parts = b""


def wandb_file(run: Path) -> Path:
    (found,) = run.glob("wandb/offline-run-*/run-*.wandb")
    return found


@pytest.mark.stack
def test_wandb_offline_holds_every_number(finished_run: FinishedRun) -> None:
    from wandb.proto import wandb_internal_pb2

    config: dict[str, Any] = {}
    history: dict[int, dict[str, Any]] = {}
    for raw in wandb_records(wandb_file(finished_run.folder)):
        record = wandb_internal_pb2.Record.FromString(raw)
        if record.run.run_id:
            assert record.run.project == "groupwise"
            assert record.run.display_name == "tiny"
            assert list(record.run.tags) == ["test"]
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.history.item:
            row = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            history[row["_step"]] = row
    logged = lines(finished_run.folder / "metrics.jsonl")
    assert len(logged) == 3
    for line in logged:
        row = history[line["step"]]
        for name, value in line.items():
            if value is not None and name != "step":
                assert row[name] == pytest.approx(value), name
    assert {"reward/mean", "reward/std", "kl_divergence", "policy_loss"} <= set(history[1])
    resolved = json.loads((finished_run.folder / "config.resolved.json").read_text())
    assert config["training"] == resolved["training"]


@pytest.mark.stack
def test_wandb_without_an_account_does_not_stop_a_run(
    cli: RunCli, tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked to be online, with no key: said once, and the run continues."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    ended = cli(
        *("train", tiny_yaml, "--set", "tracking.wandb=online", "--quiet"),
        *("--set", "training.warm_start.enabled=false", "--set", "evaluation.before=false"),
        *("--set", "evaluation.after=false", "--set", "training.max_steps=2"),
    )
    assert ended.code == 0, ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith("  note: wandb is off for this run: ")
    assert len(lines(tmp_path / "runs" / "tiny" / "metrics.jsonl")) == 2


@pytest.mark.stack
def test_a_resumed_run_is_the_same_run_there(toy_settings: Any, tmp_path: Path) -> None:
    """Offline it shows as far as the run id, which two folders share: `wandb sync` joins them."""
    config = toy_settings.with_values({"tracking.wandb": "offline"})
    said: list[str] = []
    for session in ((1, 2), (2, 3)):
        tracker = Tracker(config, tmp_path, said.append)
        for step in session:
            tracker.log({"reward/mean": step / 10}, step)
        tracker.finish()
    assert not said
    kept = json.loads((tmp_path / "tracking.json").read_text())["wandb"]
    files = list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert {file.name for file in files} == {f"run-{kept}.wandb"}
    other = Tracker(config, tmp_path / "other", said.append)
    other.finish()
    assert json.loads((tmp_path / "other" / "tracking.json").read_text())["wandb"] != kept


class Breaks:
    """A tracker that takes one step and then has had enough."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def log(self, _numbers: Mapping[str, float], step: int) -> None:
        if self.taken:
            raise OSError("disk quota exceeded")
        self.taken.append(step)

    def finish(self) -> None:
        raise AssertionError("it is left alone once it has raised")


def test_a_tracker_that_raises_is_reported_once(toy_settings: Any, tmp_path: Path) -> None:
    said: list[str] = []
    tracker = Tracker(toy_settings, tmp_path, said.append)
    broken, whole = Breaks(), Steps()
    tracker._modules |= {"broken": broken, "whole": whole}
    for step in (1, 2, 3):
        tracker.log({"reward/mean": 0.5}, step)
    tracker.finish()
    assert said == ["broken is off for this run: OSError: disk quota exceeded"]
    assert broken.taken == [1]
    assert whole.taken == [1, 2, 3, "finished"]


class Steps:
    def __init__(self) -> None:
        self.taken: list[Any] = []

    def log(self, _numbers: Mapping[str, float], step: int) -> None:
        self.taken.append(step)

    def finish(self) -> None:
        self.taken.append("finished")


@pytest.fixture
def toy_settings() -> Any:
    from groupwise.framework.config import ExperimentConfig

    return ExperimentConfig.from_dict({"model": {"name": "toy"}, "data": {"train": "toy"}})


# In a process of its own: trackio fixes its folder when it is imported.
TRACKIO = """
import sys
from pathlib import Path
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.run.tracking import Tracker

config = ExperimentConfig.from_dict({
    "name": "tracked", "model": {"name": "toy"}, "data": {"train": "toy"},
    "tracking": {"trackio": True, "project": "sums"},
})
said = []
for session in ((1, 2), (3,)):  # resumed: the same run
    tracker = Tracker(config, Path(sys.argv[1]), said.append)
    for step in session:
        tracker.log({"reward/mean": step / 10}, step)
    tracker.finish()
assert not said, said
"""


@pytest.mark.stack
def test_trackio_holds_every_number(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    run_python(TRACKIO, tmp_path, cwd=tmp_path)
    (database,) = (tmp_path / "trackio").glob("sums*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT step, metrics FROM metrics ORDER BY step").fetchall()
        names = connection.execute("SELECT DISTINCT run_name FROM metrics").fetchall()
    assert len(names) == 1
    assert [(step, json.loads(text)["reward/mean"]) for step, text in rows] == [
        (1, 0.1),
        (2, 0.2),
        (3, 0.3),
    ]
