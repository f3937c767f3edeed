"""An evaluation that is killed again and again ends as one that never was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

from conftest import ROOT
from evaluation_toy import SETTINGS, ToySampler, ToyScorer, toy_examples

from groupwise.evaluation.log.records import read_samples
from groupwise.evaluation.runner import evaluate
from groupwise.evaluation.summary import SUMMARY

TOTAL = len(toy_examples()) * SETTINGS.num_samples
BATCH = SETTINGS.score_batch_size
KILLS = 25


def start(folder: Path, order: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "evaluation_toy.py"), str(folder), str(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def finished(log: Path) -> list[tuple[str, int]]:
    return [(r.example_id, r.sample_index) for r in read_samples(log)] if log.exists() else []


def test_killed_at_25_random_moments_it_ends_with_the_same_summary_to_the_byte(
    tmp_path: Path,
) -> None:
    evaluate(toy_examples(), ToySampler(), ToyScorer(), SETTINGS, tmp_path / "whole")
    log = tmp_path / "killed" / "samples.jsonl"
    moments = random.Random(5)
    before: list[tuple[str, int]] = []
    for session in range(KILLS):
        process = start(log.parent, order=session)  # samples finish in another order each time
        assert process.stdin is not None
        assert process.stdout is not None
        # It may make this many samples; it is killed when the log has some of them, while it
        # draws, scores, writes or waits. A session of 0 is killed as soon as it is under way.
        allowed = moments.randint(0, 20)
        process.stdin.write("\n" * allowed)
        process.stdin.flush()
        enough = len(before) + moments.randint(0, allowed // BATCH) * BATCH
        for line in process.stdout:
            if int(line) >= enough:
                break
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()
        after = finished(log)
        assert after[: len(before)] == before, "a finished sample was lost"
        assert len(after) >= enough, "a sample was reported and is not there"
        before = after
        if session % 3 == 0:  # a kill in the middle of a write
            with log.open("ab") as torn:
                torn.write(b'{"schema":1,"example_id":"p1","sample_in')

    assert len(before) < TOTAL, "the last session must have something left to do"
    process = start(log.parent, order=99)
    process.communicate()
    assert process.returncode == 0

    assert max(Counter(finished(log)).values()) == 1, "a sample was made twice"
    assert len(finished(log)) == TOTAL
    assert (log.parent / SUMMARY).read_bytes() == (tmp_path / "whole" / SUMMARY).read_bytes()
