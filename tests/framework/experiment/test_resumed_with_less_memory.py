"""Memory that really runs out, under a limit of the kernel's; and the run resumed as it is said."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import EMULATES_GPU, Toy, assert_golden, lines, write_yaml
from forked_runs import ForkedRuns

pytestmark = [
    pytest.mark.stack,
    pytest.mark.long,
    pytest.mark.skipif(EMULATES_GPU, reason="the emulation has memory of its own"),
]

MOST_TRIES = 5
# A temperature at which no answer ends by itself: all have full length.
ANSWERS = {"temperature": 20.0, "max_completion_length": 256}
NO_EVALUATION = {"before": False, "after": False}
# what is too large; bytes of address space beyond the imports
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "training": (
        {
            "training": {"prompts_per_step": 8, "num_generations": 16, "max_steps": 1,
                         "completions_per_forward": 128, "max_rows": 64, "save_steps": 1} | ANSWERS,
            "evaluation": NO_EVALUATION,
        },
        1_500_000_000,
    ),
    "evaluation": (
        {
            "training": {"max_steps": 1},
            "evaluation": {"num_samples": 32, "k": [1], "max_rows": 384, "after": False} | ANSWERS,
        },
        800_000_000,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs() -> Iterator[ForkedRuns]:
    with ForkedRuns() as runs:
        yield runs


@pytest.mark.parametrize("case", CASES)
def test_the_advised_setting_resumes_the_run(
    case: str, toy: Toy, runs: ForkedRuns, tmp_path: Path
) -> None:
    changes, memory = CASES[case]
    settings = toy.settings()
    settings["model"]["max_seq_length"] = 512
    settings["training"]["warm_start"]["enabled"] = False
    for section, values in changes.items():
        settings[section] |= values
    command = ["train", str(write_yaml(tmp_path / "tiny.yaml", settings))]
    said: list[str] = []
    for _ in range(MOST_TRIES):
        run = runs.start(*command, cwd=tmp_path, more_memory=memory)
        if run.wait() == 0:
            break
        said.append(run.err[run.err.index("groupwise: out of memory") :])
        command = shlex.split(said[-1].splitlines()[-1].removeprefix("Continue with: groupwise "))
    assert said, "there was memory enough"
    assert run.wait() == 0, run.err
    metrics = lines(tmp_path / "runs" / "tiny" / "metrics.jsonl")
    assert [line["step"] for line in metrics] == list(
        range(1, settings["training"]["max_steps"] + 1)
    )
    key = command[-1].split("=")[0]
    assert f"resuming with {key}: " in run.err
    assert_golden(
        f"out_of_memory_{case}.txt", re.sub(r"[\d.,]+(?= [GM]B)|\d+(?= bytes)", "N", said[0])
    )
