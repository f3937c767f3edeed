"""The peak of a process: what it has had, and not what the process that started it has had."""

from __future__ import annotations

import subprocess
import sys

PEAKS = """
from groupwise.framework.run.metrics import peak_memory_gb
before = peak_memory_gb()
held = bytearray(b"x") * 200_000_000
del held
print(before, peak_memory_gb())
"""
PARENT = f"""
import subprocess, sys
held = bytearray(b"x") * 600_000_000
subprocess.run([sys.executable, "-c", {PEAKS!r}], check=True)
"""


def test_it_is_the_processs_own() -> None:
    ended = subprocess.run([sys.executable, "-c", PARENT], check=True, capture_output=True)
    before, after = map(float, ended.stdout.split())
    assert before < 0.3
    assert 0.19 < after - before < 0.25
