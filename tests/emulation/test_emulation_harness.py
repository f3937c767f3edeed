"""The emulation itself: where it does not fit the installed Unsloth, it fails and says so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import gpu_emulation
import pytest
from conftest import ENVIRONMENT, HANG_S, ROOT


def failure_of(code: str, cwd: Path) -> str:
    """The last line that a program writes, which has to fail."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={
            **gpu_emulation.outside(),
            **ENVIRONMENT,
            "PYTHONPATH": f"{ROOT}:{Path(gpu_emulation.__file__).parent}",
        },
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    return done.stderr.splitlines()[-1]


@pytest.mark.stack
def test_a_name_that_unsloth_no_longer_has_is_said(tmp_path: Path) -> None:
    code = """
import gpu_emulation

def as_another_version(torch, real=gpu_emulation._stand_in_for_cuda):
    real(torch)
    import unsloth.kernels.rms_layernorm as moved
    del moved.fast_rms_layernorm

gpu_emulation._stand_in_for_cuda = as_another_version
gpu_emulation.install()
"""
    said = failure_of(code, tmp_path)
    assert re.fullmatch(
        r"gpu_emulation\.EmulationError: Unsloth [\d.]+ has no "
        r"unsloth\.kernels\.rms_layernorm\.fast_rms_layernorm: tests/gpu_emulation\.py was written "
        rf"for {re.escape(gpu_emulation.WRITTEN_FOR)} and has to follow",
        said,
    )


@pytest.mark.stack
def test_unsloth_on_its_cpu_backend_is_refused(tmp_path: Path) -> None:
    said = failure_of("import unsloth, gpu_emulation; gpu_emulation.install()", tmp_path)
    assert said.endswith("unsloth was imported before the emulation, as its CPU backend")


@pytest.mark.parametrize("lock", ["cpu.txt", "gpu.txt"])
def test_it_was_written_for_the_unsloth_of_the_locks(lock: str) -> None:
    """A bump of Unsloth: run `make test-emulated`, mend what moved, then change WRITTEN_FOR."""
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    assert re.findall(r"^unsloth==(\S+)", text, re.M) == [gpu_emulation.WRITTEN_FOR]
