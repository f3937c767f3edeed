"""Two processes share a run: they train what one trains, keep it once, and stop together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import EMULATES_GPU, ENVIRONMENT, HANG_S, ROOT, RunCli, Toy, lines, write_yaml
from forked_runs import ForkedRun, ForkedRuns

pytestmark = pytest.mark.stack

PROMPTS, GENERATIONS, STEPS = 3, 4, 8  # time enough to stop a run on a busy machine
ALIKE = 3  # steps; then the rounding of two sums in place of one is seen in small numbers
QUIET = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def settings(toy: Toy) -> dict[str, Any]:
    """A step of 3 x 4 completions: six for each of two processes, so that a group is split.

    The rewards are normalised within a group, which has to be whole for that.
    """
    made = toy.settings()
    made["training"] |= {
        "prompts_per_step": PROMPTS,
        "num_generations": GENERATIONS,
        "completions_per_forward": 3,
        "max_steps": STEPS,
        "save_steps": 10,
    }
    made["rewards"] = {
        "parts": {
            "correctness": 1.0,
            "format": 0.5,
            "length": {"weight": 0.3, "params": {"max_length": 8}},
        },
        "aggregation": "normalize_then_sum",
    }
    made["evaluation"] |= {"num_samples": 2, "k": [1, 2]}
    return made


@dataclass(frozen=True)
class Runs:
    """The same run by two processes of `accelerate launch`, and by one; what the launcher said."""

    two: Path
    one: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[ForkedRuns, ForkedRuns]]:
    """Two processes that start runs at once, for one rank each."""
    if EMULATES_GPU:
        pytest.skip("a process for each card, and the emulation has one card")
    with ExitStack() as stack:
        yield stack.enter_context(ForkedRuns()), stack.enter_context(ForkedRuns())


@pytest.fixture(scope="module")
def runs(
    toy: Toy, servers: tuple[ForkedRuns, ForkedRuns], tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    folder = tmp_path_factory.mktemp("several")
    config = write_yaml(folder / "run.yaml", settings(toy))
    train = ["train", str(config), "--output-dir", "runs", "--name"]
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launched = subprocess.run(
        [sys.executable, *launch, "-m", "groupwise.framework.cli", *train, "two"],
        cwd=folder,
        env={**os.environ, **QUIET},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr[-4000:]
    alone = servers[0].start(*train, "one", cwd=folder, environment=QUIET)
    assert alone.wait() == 0, alone.err
    return Runs(folder / "runs" / "two", folder / "runs" / "one", launched.stdout, launched.stderr)


@pytest.mark.long
def test_two_processes_train_what_one_trains(runs: Runs) -> None:
    for log in ("warm_start/metrics.jsonl", "metrics.jsonl"):
        one, two = lines(runs.one / log), lines(runs.two / log)
        assert [line["step"] for line in two] == [line["step"] for line in one]
        for a, b in zip(one, two, strict=True):
            for name in ("policy_loss", "grad_norm", "learning_rate"):
                assert b[name] == pytest.approx(a[name], abs=2e-6, rel=1e-4), (log, a["step"], name)
    assert weights_differ(runs.one / "final_model", runs.two / "final_model") < 1e-5


def weights_differ(a: Path, b: Path) -> float:
    """The largest difference of two adapters, as a share of the largest weight."""
    from safetensors.torch import load_file

    ours, theirs = (load_file(path / "adapter_model.safetensors") for path in (a, b))
    assert ours.keys() == theirs.keys()
    largest = max(float(weight.abs().max()) for weight in ours.values())
    return max(float((ours[key] - theirs[key]).abs().max()) for key in ours) / largest


@pytest.mark.long
def test_the_completions_of_all_processes_are_kept_once(runs: Runs) -> None:
    one, two = lines(runs.one / "rollouts.jsonl"), lines(runs.two / "rollouts.jsonl")
    assert len(two) == STEPS * PROMPTS * GENERATIONS
    seen = Counter((line["step"], line["example_id"], line["sample_index"]) for line in two)
    assert set(seen.values()) == {1}
    told = ("step", "example_id", "sample_index", "completion", "parts", "status", "seed")
    assert [[line[key] for key in told] for line in two] == [
        [line[key] for key in told] for line in one
    ]
    for name in ("score", "advantage"):
        ours, theirs = [line[name] for line in one], [line[name] for line in two]
        assert theirs == pytest.approx(ours, abs=1e-5), name
    groups = defaultdict(list)
    for line in two:
        groups[line["step"], line["example_id"]].append(line["advantage"])
    assert len(groups) == STEPS * PROMPTS
    for advantages in groups.values():
        assert sum(advantages) == pytest.approx(0, abs=1e-4)
    assert max(max(advantages) for advantages in groups.values()) > 0.5


@pytest.mark.long
def test_the_numbers_of_a_step_are_of_all_processes(runs: Runs) -> None:
    of_this_machine = ("seconds", "per_second", "memory/", "skipped_forwards")
    one, two = lines(runs.one / "metrics.jsonl"), lines(runs.two / "metrics.jsonl")
    for a, b in zip(one[:ALIKE], two[:ALIKE], strict=True):
        assert a.keys() == b.keys()
        for name in a:
            if not any(part in name for part in of_this_machine):
                # TRL's entropy is a mean over the passes, whose rows are others.
                tolerance = 0.02 if name == "entropy" else 1e-4
                assert b[name] == pytest.approx(a[name], abs=tolerance), name


@pytest.mark.long
def test_the_run_is_kept_once_and_one_process_speaks(runs: Runs) -> None:
    def files(run: Path) -> set[str]:
        found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
        return {name for name in found if "rng_state" not in name}

    assert files(runs.two) == files(runs.one)
    states = sorted(path.name for path in runs.two.rglob("rng_state*"))
    assert states == ["rng_state_0.pth", "rng_state_1.pth"]
    assert runs.err.count("Train (GRPO)         done in") == 1
    assert (
        "a step is 3 prompts x 4 completions = 12, in 2 passes of 3 on each of 2 processes"
        in runs.err
    )
    assert runs.out.count("tuned model:") == 1
    for label in ("base", "tuned"):
        samples = [
            [(line["example_id"], line["completion"]) for line in lines(log)]
            for log in (
                run / "evaluations" / label / "samples.jsonl" for run in (runs.one, runs.two)
            )
        ]
        assert len(samples[0]) == 24
        assert sorted(samples[0]) == sorted(samples[1])


def start_both(
    servers: tuple[ForkedRuns, ForkedRuns], *arguments: str, cwd: Path
) -> list[ForkedRun]:
    """The command in two processes, as a launcher would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    return [
        server.start(
            *arguments,
            cwd=cwd / str(rank),
            environment={
                **QUIET,
                **shared,
                "MASTER_PORT": str(port),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
            },
        )
        for rank, server in enumerate(servers)
    ]


def test_both_stop_when_one_is_asked_and_go_on_as_if_never_stopped(
    runs: Runs, servers: tuple[ForkedRuns, ForkedRuns], tmp_path: Path
) -> None:
    command = ["train", str(runs.two.parents[1] / "run.yaml"), "--output-dir", str(tmp_path)]
    both = start_both(servers, *command, cwd=tmp_path)
    run = tmp_path / "tiny"
    rollouts = run / "rollouts.jsonl"
    both[1].until(lambda: rollouts.is_file() and rollouts.stat().st_size > 0)
    both[1].signal(signal.SIGINT)
    assert [process.wait() for process in both] == [130, 130], both[1].err
    assert "groupwise: stopped after step" in both[0].err
    assert both[1].err == ""
    stopped_after = len(lines(run / "metrics.jsonl"))
    assert 0 < stopped_after < STEPS
    assert (run / "checkpoints" / f"checkpoint-{stopped_after}").is_dir()

    both = start_both(servers, *command, "--resume", cwd=tmp_path)
    assert [process.wait() for process in both] == [0, 0], both[0].err + both[1].err
    assert [line["step"] for line in lines(run / "metrics.jsonl")] == list(range(1, STEPS + 1))
    assert [line["completion"] for line in lines(rollouts)] == [
        line["completion"] for line in lines(runs.two / "rollouts.jsonl")
    ]
    assert weights_differ(runs.two / "final_model", run / "final_model") < 1e-5


@pytest.mark.long
def test_both_end_when_the_health_of_the_run_ends_it(
    toy: Toy, servers: tuple[ForkedRuns, ForkedRuns], tmp_path: Path
) -> None:
    made = settings(toy)
    made["training"] |= {"max_completion_length": 6, "max_steps": 40, "stop_on": ["truncation"]}
    config = write_yaml(tmp_path / "run.yaml", made)
    both = start_both(
        servers,
        "train",
        str(config),
        "--output-dir",
        str(tmp_path),
        "--name",
        "ended",
        cwd=tmp_path,
    )
    assert [process.wait() for process in both] == [0, 0], both[0].err + both[1].err
    run = tmp_path / "ended"
    assert len(lines(run / "metrics.jsonl")) == 5  # as soon as truncation is a finding
    assert both[0].err.count("the training ends here, on truncation") == 1
    assert [line["name"] for line in lines(run / "health.jsonl")].count("truncation") == 1
    assert (run / "evaluations" / "tuned" / "summary.json").is_file()
    assert both[1].err == ""


@pytest.mark.parametrize("loss", ["kl", "advantage"])
def test_scored_groups_are_shared_too(
    toy: Toy, servers: tuple[ForkedRuns, ForkedRuns], tmp_path: Path, loss: str
) -> None:
    groups = [
        {
            "prompt": f"{i}+{i + 1}=",
            "completions": [
                {"text": text, "score": score}
                for text, score in ((str(2 * i + 1), 1.0), (str(2 * i), 0.0), (str(i), 0.2))
            ],
        }
        for i in range(12)
    ]
    data = tmp_path / "groups.jsonl"
    data.write_text("".join(json.dumps(group) + "\n" for group in groups))
    made = toy.settings() | {
        "data": {"train": str(data), "max_prompt_length": 48},
        "evaluation": {"before": False, "after": False},
        "training": {
            "method": "group_scores",
            "max_steps": 4,
            "prompts_per_step": 4,
            "max_completion_length": 24,
            "learning_rate": 1e-3,
            "group_scores": {"logging_steps": 1, "loss": loss},
        },
    }
    config = write_yaml(tmp_path / "run.yaml", made)
    command = ["train", str(config), "--output-dir", str(tmp_path), "--name"]
    alone = servers[0].start(*command, "one", cwd=tmp_path, environment=QUIET)
    assert alone.wait() == 0, alone.err
    both = start_both(servers, *command, "two", cwd=tmp_path)
    assert [process.wait() for process in both] == [0, 0], both[0].err + both[1].err
    one, two = (lines(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        for name in ("step", "policy_loss", "grad_norm", "mass_on_best"):
            assert b[name] == pytest.approx(a[name], abs=1e-5, rel=1e-4), (a["step"], name)
    assert weights_differ(tmp_path / "one" / "final_model", tmp_path / "two" / "final_model") < 1e-4


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "completions": (
        {"training.prompts_per_step": 5, "training.completions_per_forward": 5},
        "training.prompts_per_step: 5 x num_generations 4 = 20 completions cannot be shared "
        "equally by 3 processes; 3 or 6 work",
    ),
    "the warm start": (
        {"training.completions_per_forward": 2},  # the batches of 16 are the toy's
        "training.warm_start.batch_size: 16 cannot be shared equally by 3 processes; 15 or 18 work",
    ),
    "dynamic sampling": (
        {"training.resample_rounds": 2, "training.completions_per_forward": 2},
        "training.resample_rounds: 2 works in one process, and there are 3; set it to 0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_shared_is_refused_before_a_run_is_made(
    toy: Toy, cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for key, value in {"WORLD_SIZE": "3", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(key, value)
    values, message = REFUSED[name]
    config = write_yaml(tmp_path / "run.yaml", settings(toy))
    changes = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    ended = cli("train", config, *changes)
    assert (ended.code, ended.err.strip()) == (2, f"groupwise: {message}")
    assert not (tmp_path / "runs").exists()


def test_other_commands_are_for_one_process(cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(key, value)
    ended = cli("configs")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.strip() == (
        "[1] groupwise: 2 processes were launched, and only `train` shares its work among them; "
        "start this command without a launcher"
    )


WAITING = """
import datetime, os, time
import torch.distributed as dist
from groupwise.framework.run import processes

# What gradients are summed with gives up after a second: a long evaluation is not to. Set once both
# are here: on a busy machine one may take longer than that to arrive.
dist.init_process_group("gloo")
dist.distributed_c10d._set_pg_timeout(datetime.timedelta(seconds=1))
made = processes.from_main(lambda: time.sleep(3) or os.getpid())
assert processes.gathered(processes.index()) == [0, 1]
assert (made == os.getpid()) == processes.is_main()
processes.from_main(lambda: os._exit(7))  # the main process dies: the other ends too
"""


def test_the_others_wait_for_the_main_process_as_long_as_it_lives(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WAITING],
            cwd=tmp_path,
            env={
                **os.environ,
                **QUIET,
                **shared,
                "WORLD_SIZE": "2",
                "LOCAL_WORLD_SIZE": "2",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=HANG_S)[1] for process in started]
    assert [process.returncode for process in started] == [7, 1], errors
    assert "Traceback" not in errors[1]
