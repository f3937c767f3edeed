"""`groupwise` in processes of its own that start at once: for tests that kill and resume it.

Importing the stack takes seconds. So one process imports it, and forks for each run: the child is a
process like any other, with `main()` of the command line in it, and can be killed. Nothing is
shared but what was imported.

    with ForkedRuns() as runs:
        run = runs.start("train", config, cwd=folder)
        run.until(lambda: log.exists())
        run.signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL

`ForkedRuns(emulated=True)`: in each of them Unsloth is as on a GPU (gpu_emulation.py).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TextIO

import gpu_emulation

DEADLINE_S = 1800.0  # for whatever is waited for; as HANG_S of conftest.py
_LOOK_EVERY_S = 0.002


class ForkedRun:
    """A run that was started; `wait` for its exit code, which is minus the signal that ended it."""

    def __init__(self, replies: TextIO, pid: int, out: Path, err: Path) -> None:
        self._replies, self.pid, self._out, self._err = replies, pid, out, err
        self._code: int | None = None

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")

    def signal(self, number: int) -> None:
        assert self._code is None, f"it has ended already, with {self._code}:\n{self.err}"
        os.kill(self.pid, number)

    def ends_within(self, seconds: float) -> bool:
        """Waits so long at most; whether it has ended by then."""
        if self._code is None and select.select([self._replies], [], [], seconds)[0]:
            self._code = int(self._replies.readline())
        return self._code is not None

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits until `holds()`; fails if the run ends before, or at the deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert not self.ends_within(_LOOK_EVERY_S), f"ended with {self._code}:\n{self.err}"
            assert time.monotonic() < deadline, f"waited {DEADLINE_S} s in vain:\n{self.err}"

    def wait(self) -> int:
        assert self.ends_within(DEADLINE_S), f"not done after {DEADLINE_S} s:\n{self.err}"
        assert self._code is not None
        return self._code


class ForkedRuns:
    """Starts runs, one at a time: one that has not ended is killed when the next is started."""

    def __init__(self, emulated: bool = bool(os.environ.get(gpu_emulation.VARIABLE))) -> None:
        reading, writing = os.pipe()  # libraries greet on the standard output
        emulation = [gpu_emulation.__file__] if emulated else []
        self._server = subprocess.Popen(
            [sys.executable, *emulation, __file__, str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[writing],
            env=gpu_emulation.outside(),
            text=True,
        )
        os.close(writing)
        self._replies = os.fdopen(reading, encoding="utf-8")
        self._count = 0
        self._last: ForkedRun | None = None

    def start(
        self,
        *arguments: str | Path,
        cwd: Path,
        largest_file: int | None = None,
        more_memory: int | None = None,
        environment: Mapping[str, str] | None = None,
        typed: str = "",
        probe: Path | None = None,
    ) -> ForkedRun:
        """`largest_file`: bytes at which writing a file fails, as it does on a full disk.

        `more_memory`: bytes of address space beyond what the imports have taken.
        `environment`: what the run has beside that of this process; `typed`: its standard input;
        `probe`: where `emulation_probe.py`, in the run, writes what it has seen of the model.
        """
        if self._last is not None and not self._last.ends_within(0):
            self._last.signal(signal.SIGKILL)  # what a failed test left
            self._last.wait()
        cwd.mkdir(parents=True, exist_ok=True)
        self._count += 1
        out, err = (cwd / f".{self._count}.{name}" for name in ("out", "err"))
        job = {
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "out": str(out),
            "err": str(err),
            "largest_file": largest_file,
            "more_memory": more_memory,
            "environment": dict(environment or {}),
            "typed": typed,
            "probe": probe and str(probe),
        }
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        pid = int(self._replies.readline())
        self._last = ForkedRun(self._replies, pid, out, err)
        return self._last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()
        self._replies.close()


def _serve(replies: TextIO) -> None:
    from groupwise.framework.policy.unsloth import load_unsloth

    load_unsloth()
    import trl  # noqa: F401

    sys.stdout.flush()  # Unsloth's greeting: each child would write it again
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(job)
        print(pid, file=replies, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=replies, flush=True)


def _run(job: dict[str, Any]) -> None:
    """In the child: the streams of a process of its own, the command, the end."""
    import resource

    from groupwise.framework.cli.main import main

    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(job["cwd"])
        os.environ |= job["environment"]
        for descriptor, name in ((1, "out"), (2, "err")):
            file = os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(file, descriptor)
        typed, typing = os.pipe()
        os.write(typing, job["typed"].encode())
        os.close(typing)
        os.dup2(typed, 0)
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)  # without the server's jobs
        if job["largest_file"] is not None:
            limit = job["largest_file"]
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        if job["more_memory"] is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + job["more_memory"]
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if job["probe"] is None:
            code = main(job["arguments"])
        else:
            import emulation_probe

            code = emulation_probe.watched(main, job["arguments"], Path(job["probe"]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what ends the parent is none of the child's business


if __name__ == "__main__":
    _serve(os.fdopen(int(sys.argv[1]), "w", encoding="utf-8"))
