"""Ctrl-C during `groupwise evaluate`: what is finished is in the log, and the rest can be made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, HANG_S, Toy

from groupwise.evaluation.log.records import read_samples

pytestmark = pytest.mark.stack

NUM_SAMPLES = 400
NUM_EXAMPLES = 12  # of the small run
LOOK_EVERY_S = 0.005


def evaluate(config: Path, model: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "groupwise.framework.cli", "evaluate", str(model),
         "--config", str(config),
         "--name", "eval-model", "--label", "base",
         "--num-samples", str(NUM_SAMPLES), "--k", "1,4", "--json"],
        cwd=folder, env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_real_ctrl_c_while_it_samples(tiny_yaml: Path, toy: Toy, tmp_path: Path) -> None:
    log = tmp_path / "runs" / "eval-model" / "evaluations" / "base" / "samples.jsonl"
    process = evaluate(tiny_yaml, toy.model, tmp_path)
    deadline = time.monotonic() + HANG_S
    while not (log.is_file() and log.stat().st_size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(LOOK_EVERY_S)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, err
    assert json.loads(out)["exit_code"] == 130
    assert "Traceback" not in err
    assert "what was finished is kept. The same command continues with the rest" in err
    kept = log.read_bytes()
    assert kept.endswith(b"\n")  # whole lines
    finished = [json.loads(line) for line in kept.splitlines()]
    assert 0 < len(finished) < NUM_EXAMPLES * NUM_SAMPLES, "it must have been under way"
    assert all(sample["finish_reason"] in ("stop", "length") for sample in finished)

    process = evaluate(tiny_yaml, toy.model, tmp_path)
    out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    whole = log.read_bytes()
    assert whole.startswith(kept)  # nothing was drawn again or written anew
    drawn = Counter((s.example_id, s.sample_index) for s in read_samples(log))
    assert len(drawn) == NUM_EXAMPLES * NUM_SAMPLES
    assert max(drawn.values()) == 1
    assert json.loads(out)["summary"]["num_examples"] == NUM_EXAMPLES
