"""Memory that runs out for real, under a limit of the kernel; the rest is made as advised."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import EMULATES_GPU, Toy, assert_golden, lines, write_yaml
from forked_runs import ForkedRun, ForkedRuns

pytestmark = [
    pytest.mark.stack,
    pytest.mark.long,
    pytest.mark.skipif(EMULATES_GPU, reason="the emulation takes memory of its own"),
]

MOST_TRIES = 5
# Bytes of address space beyond what the imports have taken.
FOR_TRAINING, FOR_EVALUATION = 1_500_000_000, 700_000_000
# At this temperature no answer ends by itself: all have full length.
ANSWERS = {"temperature": 20.0, "max_completion_length": 256}


@pytest.fixture(scope="module")
def runs() -> Iterator[ForkedRuns]:
    with ForkedRuns() as runs:
        yield runs


def config_of(toy: Toy, folder: Path, **changes: dict[str, Any]) -> Path:
    settings = toy.settings()
    settings["model"]["max_seq_length"] = 512
    settings["training"]["warm_start"]["enabled"] = False
    for section, values in changes.items():
        settings[section] |= values
    return write_yaml(folder / "tiny.yaml", settings)


def what_is_said(run: ForkedRun) -> str:
    assert run.wait() == 2, run.err
    return run.err[run.err.index("groupwise: out of memory") :]


def without_sizes(text: str) -> str:
    """Without what depends on which allocation came to be the one too many."""
    head, _reason, *rest = text.splitlines(keepends=True)
    return head.split(": ")[1] + "\n" + re.sub(r"[\d.,]+ [GM]B", "SIZE", "".join(rest))


def test_a_training_is_resumed_with_the_advised_setting(
    toy: Toy, runs: ForkedRuns, tmp_path: Path
) -> None:
    config = config_of(
        toy,
        tmp_path,
        training={
            **ANSWERS,
            "prompts_per_step": 8,
            "num_generations": 16,
            "completions_per_forward": 128,
            "max_rows": 64,
            "max_steps": 1,
        },
        evaluation={"before": False, "after": False},
    )
    command = ["train", str(config)]
    said = []
    for _ in range(MOST_TRIES):
        run = runs.start(*command, cwd=tmp_path, more_memory=FOR_TRAINING)
        if run.wait() == 0:
            break
        said.append(what_is_said(run))
        command = shlex.split(said[-1].splitlines()[-1].removeprefix("Continue with: groupwise "))
    assert said, "there was memory enough"
    assert run.wait() == 0, run.err
    assert "note: resuming with training.completions_per_forward: " in run.err
    assert [line["step"] for line in lines(tmp_path / "runs" / "tiny" / "metrics.jsonl")] == [1]
    assert_golden("out_of_memory_training.txt", without_sizes(said[0]))


def test_an_evaluation_goes_on_with_the_advised_setting(
    toy: Toy, runs: ForkedRuns, tmp_path: Path
) -> None:
    config = config_of(
        toy,
        tmp_path,
        evaluation={**ANSWERS, "num_samples": 32, "k": [1], "max_rows": 384},
    )
    command = ["evaluate", str(toy.model), "--config", str(config), "--label", "tried"]
    said = []
    for _ in range(MOST_TRIES):
        run = runs.start(*command, cwd=tmp_path, more_memory=FOR_EVALUATION)
        if run.wait() == 0:
            break
        said.append(what_is_said(run))
        *_, option, value = said[-1].split()
        command += [option, value]
    assert said, "there was memory enough"
    assert run.wait() == 0, run.err
    (log,) = tmp_path.glob("runs/*/evaluations/tried/samples.jsonl")
    assert len(lines(log)) == 12 * 32
    assert_golden("out_of_memory_evaluation.txt", without_sizes(said[0]))
