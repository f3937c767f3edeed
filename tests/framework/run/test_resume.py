"""A run that is stopped, killed or out of disk, and resumed, ends as one that never was.

"As" means to the bit: weights, numbers, rollouts, samples, summaries; times and memory apart.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy, lines, write_yaml
from forked_runs import ForkedRun, ForkedRuns

from groupwise.framework.run.stop import StopRequest
from groupwise.framework.run.terminal import Terminal

stack = pytest.mark.stack

# What depends on the clock or on the machine, by its name in any of the files.
OF_THE_CLOCK = re.compile(r"seconds|per_second|memory/|^created$|^path$|^run$|^source$")
SAVE_STEPS = 2

# What is trained, and what of the tiny run is changed for it.
MODES: dict[str, dict[str, Any]] = {
    "LoRA, with KL": {},
    "every weight, with KL": {
        "model": {"full_finetuning": True},
        "training": {"warm_start": {"max_steps": 3}},
        "evaluation": {"after": False, "before": False},
    },
    "dynamic sampling": {
        "training": {"resample_rounds": 2, "beta": 0.0, "warm_start": {"enabled": False}},
        "evaluation": {"after": False, "before": False},
    },
    "two iterations": {
        "training": {"num_iterations": 2, "beta": 0.0, "warm_start": {"enabled": False}},
        "evaluation": {"after": False, "before": False},
    },
}
SMALL: dict[str, Any] = {
    "training": {"max_steps": 6, "save_steps": SAVE_STEPS, "lr_scheduler_type": "constant"},
    "evaluation": {"num_samples": 2, "k": [1, 2]},
}


@pytest.fixture(scope="module")
def runs() -> Iterator[ForkedRuns]:
    with ForkedRuns() as forked:
        yield forked


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` in place, section by section."""
    out = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if nested else value
    return out


def config_for(toy: Toy, folder: Path, *changes: dict[str, Any]) -> Path:
    settings = toy.settings()
    for change in (SMALL, *changes):
        settings = merged(settings, change)
    folder.mkdir(parents=True, exist_ok=True)
    return write_yaml(folder / "tiny.yaml", settings)


def train(runs: ForkedRuns, config: Path, *options: str | Path, **limits: Any) -> ForkedRun:
    return runs.start("train", config, *options, cwd=config.parent, **limits)


def steps_in(folder: Path) -> int:
    return lines_in(folder / "metrics.jsonl")


def lines_in(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def result_of(folder: Path) -> dict[str, Any]:
    """All that a run came to, by file, without what depends on the clock."""
    found: dict[str, Any] = {}
    for file in sorted((folder / "final_model").glob("*.safetensors")):
        found[file.name] = file.read_bytes()
    for file in sorted(folder.rglob("*.jsonl")):
        if "toy" in file.parts or "wandb" in file.parts:
            continue
        rows = [_timeless(row) for row in lines(file)]
        if file.name == "samples.jsonl":  # the order in which they were finished
            rows.sort(key=lambda row: (row.get("example_id", ""), row.get("sample_index", 0)))
        found[str(file.relative_to(folder))] = rows
    for name in ("comparison.json", "evaluations/*/summary.json"):
        for file in sorted(folder.glob(name)):
            found[str(file.relative_to(folder))] = _timeless(json.loads(file.read_text()))
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not OF_THE_CLOCK.search(k)}
        return {key: _timeless(inner) for key, inner in kept.items()}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def assert_same(folder: Path, uninterrupted: Path) -> None:
    """Names the file, and the first line of it, that is not the same."""
    ours, theirs = result_of(folder), result_of(uninterrupted)
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        if isinstance(value, list):
            for number, (mine, other) in enumerate(zip(value, theirs[name], strict=True)):
                assert mine == other, f"{name}, line {number + 1}"
        assert value == theirs[name], name


@pytest.fixture(scope="module")
def uninterrupted(
    toy: Toy, runs: ForkedRuns, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The run of a mode that nothing stopped; made once."""
    made: dict[str, Path] = {}

    def run(mode: str) -> Path:
        if mode not in made:
            config = config_for(toy, tmp_path_factory.mktemp("uninterrupted"), MODES[mode])
            whole = train(runs, config)
            assert whole.wait() == 0, whole.err
            made[mode] = config.parent / "runs" / "tiny"
        return made[mode]

    return run


@stack
@pytest.mark.parametrize("mode", MODES)
def test_killed_in_training_it_ends_as_if_it_had_not_been(
    mode: str, toy: Toy, runs: ForkedRuns, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    config, folder = config_for(toy, tmp_path, MODES[mode]), tmp_path / "runs" / "tiny"
    killed = train(runs, config)
    killed.until(lambda: steps_in(folder) > SAVE_STEPS)
    killed.signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (folder / "final_model").exists()
    resumed = train(runs, config, "--resume")
    assert resumed.wait() == 0, resumed.err
    assert_same(folder, uninterrupted(mode))


@stack
def test_the_same_seed_gives_the_same_weights(
    toy: Toy, runs: ForkedRuns, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    mode = "two iterations"
    again = train(runs, config_for(toy, tmp_path, MODES[mode]))
    assert again.wait() == 0, again.err
    assert_same(tmp_path / "runs" / "tiny", uninterrupted(mode))


@stack
def test_ctrl_c_once_leaves_a_checkpoint_and_says_how_to_resume(
    toy: Toy, runs: ForkedRuns, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    # A run stands by itself, though its config has paths from where it was started.
    relative = {key: os.path.relpath(path, tmp_path) for key, path in
                (("train", toy.train), ("eval", toy.eval), ("model", toy.model))}  # fmt: skip
    paths = {"model": {"name": relative.pop("model")}, "data": relative}
    config, folder = config_for(toy, tmp_path, paths), tmp_path / "runs" / "tiny"
    stopped = train(runs, config, "--set", "training.max_rows=7")
    stopped.until(lambda: steps_in(folder) >= SAVE_STEPS)
    stopped.signal(signal.SIGINT)
    assert stopped.wait() == 130, stopped.err
    steps = steps_in(folder)
    assert (folder / "checkpoints" / f"checkpoint-{steps}").is_dir()
    assert not (folder / "final_model").exists()
    assert "stopping after this step, with a checkpoint; Ctrl-C again stops at once" in stopped.err
    assert "Train (GRPO)         stopped after" in stopped.err
    assert stopped.err.endswith(
        f"groupwise: stopped after step {steps}, with a checkpoint. Continue with: groupwise train "
        "runs/tiny --resume\n"
    )
    # It may be moved and renamed in between, and resumed without its config, from another folder.
    moved = tmp_path / "moved" / "my other run (2)"
    moved.parent.mkdir()
    shutil.move(folder, moved)
    config.unlink()
    resumed = runs.start("train", "--resume", moved, cwd=moved.parent)
    assert resumed.wait() == 0, resumed.err
    assert_same(moved, uninterrupted("LoRA, with KL"))
    assert json.loads((moved / "config.resolved.json").read_text())["training"]["max_rows"] == 7


@stack
def test_ctrl_c_while_the_screen_is_being_written_to_is_said_at_the_end_of_the_step() -> None:
    from transformers import TrainerControl, TrainerState

    from groupwise.framework.trainers.callbacks import StopAfterStep

    class Screen(io.RawIOBase):
        """Ctrl-C is pressed while the first thing is being written."""

        def __init__(self) -> None:
            self.shown = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            if not self.shown:
                self.shown = bytes(data)
                os.kill(os.getpid(), signal.SIGINT)
                return len(data)
            self.shown += bytes(data)
            return len(data)

    screen = Screen()
    stream = io.TextIOWrapper(io.BufferedWriter(screen), line_buffering=True)
    terminal = Terminal(stream)
    request = StopRequest(terminal.notice)
    state, control = TrainerState(global_step=1), TrainerControl()
    with request.listening():
        terminal.line("step 1")  # the buffer refuses what the handler says: it is being written
        assert request.is_asked
        StopAfterStep(request).on_step_end(None, state, control)
        StopAfterStep(request).on_log(None, state, control)  # said once
    assert control.should_training_stop
    assert control.should_save
    assert screen.shown.decode() == (
        "step 1\n  note: stopping after this step, with a checkpoint; Ctrl-C again stops at once\n"
    )


@stack
def test_ctrl_c_twice_stops_at_once(toy: Toy, runs: ForkedRuns, tmp_path: Path) -> None:
    long_steps = {"prompts_per_step": 16, "num_generations": 4, "completions_per_forward": 1}
    config = config_for(
        toy,
        tmp_path,
        {"training": {**long_steps, "warm_start": {"max_steps": 1}}},
        {"evaluation": {"before": False}},
    )
    folder = tmp_path / "runs" / "tiny"
    stopped = train(runs, config)
    rollouts = folder / "rollouts.jsonl"
    stopped.until(lambda: lines_in(rollouts) > 16 * 4)  # the 64 passes of step 2 lie ahead
    stopped.signal(signal.SIGINT)
    stopped.until(lambda: "Ctrl-C again" in stopped.err)
    stopped.signal(signal.SIGINT)
    assert stopped.wait() == 130, stopped.err
    assert stopped.err.endswith(
        "groupwise: stopped; what was finished is kept. "
        "Continue with: groupwise train runs/tiny --resume\n"
    )
    assert steps_in(folder) == 1, "the step in flight was given up"
    assert not list((folder / "checkpoints").glob("checkpoint-*"))


@stack
def test_a_full_disk_leaves_the_last_checkpoint_and_a_clear_message(
    toy: Toy, runs: ForkedRuns, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    config, folder = config_for(toy, tmp_path), tmp_path / "runs" / "tiny"
    killed = train(runs, config)
    killed.until(lambda: steps_in(folder) > SAVE_STEPS)
    killed.signal(signal.SIGKILL)
    killed.wait()
    checkpoints = folder / "checkpoints"
    (last,) = checkpoints.glob("checkpoint-*")
    weights = (last / "adapter_model.safetensors").stat().st_size
    for limit in (weights - 1000, weights + 1000):  # at the weights, at the optimiser's state
        full = train(runs, config, "--resume", largest_file=limit)
        assert full.wait() == 2, full.err
        assert re.search(
            rf"^groupwise: \S+/checkpoint-4: cannot be written \(.+\)\. Is the disk full\? Free "
            rf"some space and run the same command with --resume: what is finished is kept, "
            rf"{last.name} too\.$",
            full.err,
            re.M,
        ), full.err
        assert "Traceback" not in full.err
        assert list(checkpoints.iterdir()) == [last]
    resumed = train(runs, config, "--resume")
    assert resumed.wait() == 0, resumed.err
    assert_same(folder, uninterrupted("LoRA, with KL"))


@stack
def test_a_run_that_is_done_trains_no_further(
    toy: Toy, runs: ForkedRuns, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    """Killed between the last checkpoint and the final model, and again when all is done."""
    whole, folder = uninterrupted("LoRA, with KL"), tmp_path / "runs" / "tiny"
    config = config_for(toy, tmp_path)
    shutil.copytree(whole, folder)
    for lost in ("final_model", "evaluations/tuned"):
        shutil.rmtree(folder / lost)
    for _ in range(2):
        resumed = train(runs, config, "--resume")
        assert resumed.wait() == 0, resumed.err
        assert_same(folder, whole)

    # More answers may be asked for, of both models; those that exist stay.
    logs = [folder / "evaluations" / label / "samples.jsonl" for label in ("base", "tuned")]
    before = [log.read_bytes() for log in logs]
    more = ("--set", "evaluation.num_samples=3", "--set", "evaluation.k=[1,3]")
    resumed = runs.start("train", folder, "--resume", *more, cwd=folder)
    assert resumed.wait() == 0, resumed.err
    for log, samples in zip(logs, before, strict=True):
        assert log.read_bytes().startswith(samples)
        drawn = {(s["example_id"], s["sample_index"]) for s in lines(log)}
        assert len(drawn) == lines_in(log) == lines_in(whole / log.relative_to(folder)) // 2 * 3
    assert "pass@3" in resumed.out


# -- killed again and again, over the whole of a run ------------------------------------------

# How often it is killed in each stage, and what there is to see when a stage has begun. The
# stage "final save" begins with the last step's numbers.
KILLS = {
    "setting up": 2,
    "toy": 3,
    "warm start": 4,
    "base": 4,
    "training": 7,
    "final save": 2,
    "tuned": 3,
}
STEPS = 12


def has_begun(stage: str, folder: Path) -> bool:
    def any_of(pattern: str) -> bool:
        return any(folder.glob(pattern))

    def samples(label: str) -> bool:
        log = folder / "evaluations" / label / "samples.jsonl"
        return log.is_file() and log.stat().st_size > 0

    return {
        "setting up": lambda: folder.exists(),
        "toy": lambda: any_of(".toy.*") or any_of("toy"),
        "warm start": lambda: any_of("warm_start/metrics.jsonl"),
        "base": lambda: samples("base"),
        "training": lambda: any_of("rollouts.jsonl"),
        "final save": lambda: steps_in(folder) >= STEPS,
        "tuned": lambda: samples("tuned"),
    }[stage]()


@stack
@pytest.mark.long
@pytest.mark.timeout(2 * 3600)
def test_killed_at_25_random_moments_it_ends_as_if_it_had_not_been(
    toy: Toy, runs: ForkedRuns, tmp_path: Path
) -> None:
    problems = {"train": "toy", "eval": None}
    changes = {
        "model": {"name": "toy"},
        "data": {**problems, "max_eval_examples": 64},
        "training": {"max_steps": STEPS},
        "evaluation": {"num_samples": 8},
    }
    config = config_for(toy, tmp_path / "whole", changes)
    whole = train(runs, config)
    assert whole.wait() == 0, whole.err

    config = config_for(toy, tmp_path / "killed", changes)
    folder = config.parent / "runs" / "tiny"
    moments = random.Random(11)
    assert sum(KILLS.values()) == 25
    hits = dict.fromkeys(KILLS, 0)
    for stage, count in KILLS.items():
        for _ in range(count):
            can_resume = (folder / "config.resolved.json").is_file()
            run = train(runs, config, *(["--resume"] if can_resume else []))
            before = steps_in(folder)
            more = moments.randint(0, 2) if stage == "training" else 0
            run.until(
                lambda stage=stage, wanted=before + more: (
                    has_begun(stage, folder) and steps_in(folder) >= min(wanted, STEPS)
                )
            )
            if run.ends_within(moments.uniform(0, 0.4)):
                assert run.wait() == 0, run.err
                continue  # it was faster: nothing left to kill in this stage
            run.signal(signal.SIGKILL)
            assert run.wait() == -signal.SIGKILL
            hits[stage] += 1
    assert sum(hits.values()) >= 20, hits
    resumed = train(runs, config, "--resume")
    assert resumed.wait() == 0, resumed.err
    assert_same(folder, config.parents[1] / "whole" / "runs" / "tiny")
    assert len(list((folder / "checkpoints").iterdir())) == 2
