"""A pool of math-verify processes that are killed when they take too long.

math-verify bounds its own time with SIGALRM, which works in the main thread only and not inside C
code; without it nothing bounds it (huggingface/trl#6534 and others). So it runs in processes of its
own, started with the first pair that needs one, and a process that passes its time is killed.

    shared_pool().verify([("1", "\\int_0^1 2x dx")], timeout_s=3.0)   # ["equal"]

What it leaves out: `multiprocessing`. Its `spawn` imports the user's main script again, and `fork`
after CUDA or threads is unsafe; a plain subprocess with a line protocol has neither problem.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from groupwise.rewards.errors import UserError

Outcome = Literal["equal", "different", "unreadable_gold", "unreadable_answer", "stopped"]
"""What math-verify says of a pair; `stopped`: it took too much time or memory and was killed."""

START_TIMEOUT_S = 120.0
"""Importing SymPy takes a second; on a disk that is cold or busy, many."""


@dataclass(slots=True)
class _Process:
    """One child, and the pair that it is working on."""

    popen: subprocess.Popen[bytes]
    errors: IO[bytes]  # what it printed until it was ready
    ready: bool = False
    deadline: float = 0.0
    job: int | None = None
    buffer: bytes = b""


class MathVerifyPool:
    """Verifies pairs in up to `num_workers` processes. Safe to call from any thread."""

    def __init__(self, num_workers: int = 2, memory_mb: int = 2048) -> None:
        self.num_workers = num_workers
        self.memory_mb = memory_mb
        self._processes: list[_Process] = []
        self._lock = threading.Lock()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forget)

    def verify(self, pairs: Sequence[tuple[str, str]], timeout_s: float) -> list[Outcome]:
        """The outcome for each (gold, answer), in order; at most `timeout_s` seconds per pair.

        Raises:
            UserError: no worker can be started (math-verify is missing or broken).
        """
        if not pairs:
            return []
        with self._lock:
            try:
                return self._verify(pairs, timeout_s)
            except BaseException:
                # An interrupt leaves replies in the pipes that the next call would take for its own
                self._kill_all()
                raise

    def warm_up(self) -> None:
        """Start one worker without waiting for it."""
        with self._lock:
            if not self._processes:
                self._processes.append(self._start())

    def close(self) -> None:
        """Kill the workers; a later `verify` starts new ones."""
        with self._lock:
            self._kill_all()

    def _forget(self) -> None:
        """In a forked process: the workers are its parent's, whose threads may hold the lock."""
        self._processes, self._lock = [], threading.Lock()

    def _kill_all(self) -> None:
        for process in self._processes:
            _kill(process)
        self._processes.clear()

    def _verify(self, pairs: Sequence[tuple[str, str]], timeout_s: float) -> list[Outcome]:
        outcomes: list[Outcome] = ["stopped"] * len(pairs)
        waiting = list(range(len(pairs)))[::-1]
        for process in [p for p in self._processes if p.popen.poll() is not None]:
            _kill(process)
            self._processes.remove(process)
        while len(self._processes) < min(self.num_workers, len(pairs)):
            self._processes.append(self._start())
        while True:
            for process in self._processes:
                if process.ready and process.job is None and waiting:
                    self._send(process, waiting.pop(), pairs, timeout_s)
            busy = [process for process in self._processes if process.job is not None]
            if not busy and not waiting:
                return outcomes
            self._wait(timeout_s)
            self._collect(outcomes, waiting)

    def _send(
        self, process: _Process, job: int, pairs: Sequence[tuple[str, str]], timeout_s: float
    ) -> None:
        gold, answer = pairs[job]
        line = json.dumps({"gold": gold, "answer": answer, "timeout_s": timeout_s}) + "\n"
        process.job = job
        process.deadline = time.monotonic() + timeout_s
        with contextlib.suppress(BrokenPipeError):  # it died: `_collect` sees its end of file
            assert process.popen.stdin is not None
            rest = memoryview(line.encode())
            while rest:
                rest = rest[process.popen.stdin.write(rest) :]

    def _wait(self, timeout_s: float) -> None:
        """Until a worker has something to say, or the first deadline passes."""
        expecting = [p for p in self._processes if not p.ready or p.job is not None]
        patience = min((p.deadline for p in expecting), default=0.0) - time.monotonic()
        with selectors.DefaultSelector() as selector:
            for process in expecting:
                assert process.popen.stdout is not None
                selector.register(process.popen.stdout, selectors.EVENT_READ, process)
            for key, _ in selector.select(max(0.0, min(patience, timeout_s + START_TIMEOUT_S))):
                process = key.data
                chunk = os.read(key.fd, 65536)
                process.buffer += chunk
                if not chunk:
                    process.deadline = 0.0

    def _collect(self, outcomes: list[Outcome], waiting: list[int]) -> None:
        for index, process in enumerate(self._processes):
            line, newline, rest = process.buffer.partition(b"\n")
            if newline:
                process.buffer = rest
                message = json.loads(line)
                if not process.ready:
                    process.ready = True
                elif process.job is not None:
                    outcomes[process.job] = message["outcome"]
                    process.job = None
            elif (process.job is not None or not process.ready) and (
                process.deadline <= time.monotonic()
            ):
                if not process.ready:
                    raise UserError(_start_failure(process))
                _kill(process)
                process.job = None
                if waiting:
                    self._processes[index] = self._start()
        self._processes = [
            p for p in self._processes if p.popen.poll() is None or p.job is not None
        ]
        if waiting and not self._processes:
            self._processes.append(self._start())

    def _start(self) -> _Process:
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        environment["GROUPWISE_WORKER_MEMORY_MB"] = str(self.memory_mb)
        environment["OMP_NUM_THREADS"] = "1"
        # No pipe: it would fill up, and the worker wait for us
        errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        popen = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-c",
                "from groupwise.rewards.verify.worker import main; main()",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,  # nothing that a forked process would write once more
            env=environment,
            start_new_session=True,  # Ctrl-C is for the run, which ends its workers itself
        )
        return _Process(popen, errors, deadline=time.monotonic() + START_TIMEOUT_S)


def _kill(process: _Process) -> None:
    process.popen.kill()
    process.popen.wait()
    for stream in (process.popen.stdin, process.popen.stdout, process.errors):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _start_failure(process: _Process) -> str:
    process.popen.kill()
    process.popen.wait()
    process.errors.seek(0)
    tail = process.errors.read().decode(errors="replace").strip().splitlines()[-1:]
    return (
        "the math-verify worker process could not be started: "
        + (tail[0] if tail else "no reason given")
        + ". Check with: python -c 'import math_verify'"
    )


_shared: MathVerifyPool | None = None
_shared_lock = threading.Lock()


def _new_lock() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


def shared_pool() -> MathVerifyPool:
    """The pool of this process; every grader uses it."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = MathVerifyPool(num_workers=max(1, min(4, (os.cpu_count() or 2) // 2)))
        return _shared
