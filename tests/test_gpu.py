"""What only a card shows; and the same checks on Unsloth's GPU code in emulation, everywhere.

The checks are plain functions of `benchmarks/gpu/checks.py`: a bare CUDA machine has no pytest.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_emulation
import pytest
from conftest import EMULATES_GPU, ENVIRONMENT, HANG_S, ROOT, Toy

from benchmarks.gpu import checks

pytestmark = pytest.mark.stack


@pytest.mark.gpu
@pytest.mark.skipif(
    shutil.which("nvidia-smi") is None and not EMULATES_GPU, reason="needs an NVIDIA GPU"
)
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_on_a_card(check: Callable[[Any, Path], None], toy: Toy, tmp_path: Path) -> None:
    """In one process, one after the other: Unsloth's patches outlive the model they were for."""
    check(toy, tmp_path)


def test_in_emulation(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, gpu_emulation.__file__, "-m", "benchmarks.gpu.checks"],
        cwd=tmp_path,
        env={**gpu_emulation.outside(), **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == [check.__name__ for check in checks.CHECKS]
    wrong = {name: error for name, error in found.items() if error}
    assert not wrong, done.stderr[-4000:]
