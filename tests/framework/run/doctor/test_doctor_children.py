"""Probes in processes of their own: whatever a child does, its parent says how it ended."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path

import pytest

from groupwise.framework.run.doctor.children import Ended, run_child

HANGS = "import select; select.select([], [], [])"

# what the child does, and what its parent says
ENDS = {
    "import os; os.abort()": "crashed (SIGABRT)",
    "import ctypes; ctypes.string_at(0)": "crashed (SIGSEGV)",
    "import os; os._exit(3)": "ended with exit code 3",
    "import os; os._exit(0)": "ended with exit code 0",
    "raise SystemExit(5)": "SystemExit: 5",
    "raise OSError('libcudart.so.13: cannot\\n open')": "OSError: libcudart.so.13: cannot open",
    "import nothing_of_that_name": "ModuleNotFoundError: No module named 'nothing_of_that_name'",
    "print('\\ud800'.encode('utf-8', 'surrogatepass').decode('latin-1')); 1 / 0": "ZeroDivision",
    HANGS: "did not end within 0.5 s",
}


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Ended:
    (folder / "a_probe.py").write_text(
        f"def probe(report):\n    report.step('first')\n    report.fact(a=1)\n"
        f"    report.step('second')\n    {body}\n"
    )
    monkeypatch.syspath_prepend(folder)
    return run_child("a_probe", limit_s=0.5 if body == HANGS else 60)


@pytest.mark.parametrize("body", ENDS)
def test_how_a_child_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    ended = run(tmp_path, monkeypatch, body)
    assert ended.facts == {"a": 1}
    assert ended.error is not None
    assert ended.error.step == "second"
    assert ENDS[body] in ended.error.message


def test_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(tmp_path, monkeypatch, "print('noise'); report.fact(b=[2, 'x'])")
    assert (ended.facts, ended.error) == ({"a": 1, "b": [2, "x"]}, None)
    assert set(ended.seconds) == {"start", "first", "second"}


def test_the_cause_of_an_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "exec('try:\\n 1/0\\nexcept Exception as e: raise ImportError(\"Unsloth: no\") from e')"
    error = run(tmp_path, monkeypatch, body).error
    assert error is not None
    assert error.message == "ImportError: Unsloth: no <- ZeroDivisionError: division by zero"
    assert "Traceback" in error.printed


def test_its_own_children_end_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = (
        "import subprocess, sys; report.fact(pid=subprocess.Popen("
        f"[sys.executable, '-c', '{HANGS}']).pid)"
    )
    ended = run(tmp_path, monkeypatch, body)
    assert ended.error is None
    with suppress(ProcessLookupError):  # it is gone already
        grandchild = os.pidfd_open(ended.facts["pid"])
        assert select.select([grandchild], [], [], 60)[0], "it still runs"
        os.close(grandchild)


def test_no_descriptor_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = descriptors()
    run(tmp_path, monkeypatch, "1 / 0")
    assert descriptors() == before
