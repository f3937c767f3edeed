"""The tables of docs/memory.md and benchmarks/results are those of the memory model as it is."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT


def test_the_tables_are_of_this_model() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory_table", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
