"""What signals do to a run, and what a terminal that goes away does: neither takes a checkpoint."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM

import pytest
from conftest import ENVIRONMENT, HANG_S, lines

from groupwise.framework.run.screen import say
from groupwise.framework.run.stop import StopRequest, signals_as_interrupt
from groupwise.framework.run.terminal import Terminal

SAID = "stopping after this step, with a checkpoint; Ctrl-C again stops at once"


# The signals one after the other, and whether the last of them stops at once.
IN_TRAINING = [
    ((SIGINT,), False),
    ((SIGTERM,), False),
    ((SIGHUP,), False),
    ((SIGHUP, SIGHUP), False),  # from the kernel, and from the shell
    ((SIGTERM, SIGHUP), False),  # as systemd ends a service
    ((SIGINT, SIGINT), True),
    ((SIGINT, SIGTERM), True),
    ((SIGHUP, SIGTERM), True),
]


@pytest.mark.parametrize(("signals", "at_once"), IN_TRAINING)
def test_in_training(signals: tuple[signal.Signals, ...], at_once: bool) -> None:
    said: list[str] = []
    request = StopRequest(said.append)
    before = [signal.getsignal(number) for number in (SIGINT, SIGTERM, SIGHUP)]
    with request.listening():
        for number in signals[:-1]:
            os.kill(os.getpid(), number)
        if at_once:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signals[-1])
        else:
            os.kill(os.getpid(), signals[-1])
        assert request.is_asked
        assert said == [SAID]
    assert [signal.getsignal(number) for number in (SIGINT, SIGTERM, SIGHUP)] == before


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_outside_training_each_stops_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    kept = False
    with suppress(KeyboardInterrupt), signals_as_interrupt():
        try:
            os.kill(os.getpid(), number)
            pytest.fail("it went on")
        finally:
            if number == SIGHUP:
                os.kill(os.getpid(), number)  # the second one, while the first is being dealt with
            kept = True
    assert kept
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [SIGTERM, SIGHUP])
def test_what_nohup_ignores_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        request = StopRequest()
        with signals_as_interrupt(), request.listening():
            os.kill(os.getpid(), number)
        assert not request.is_asked
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


@contextmanager
def screen_that_is_gone(kind: str) -> Iterator[int]:
    """A file descriptor to write to, whose other side has been closed."""
    reader, writer = pty.openpty() if kind == "terminal" else os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_a_terminal_that_is_gone_ends_nothing(kind: str, tmp_path: Path) -> None:
    with screen_that_is_gone(kind) as screen:
        with pytest.raises(OSError, match=r"Input/output|Broken pipe"):
            os.write(screen, b"x")  # as it is without us
        stream = os.fdopen(os.dup(screen), "w", buffering=1)
        terminal = Terminal(stream)
        terminal.is_interactive = True  # it was one when the run began
        with terminal.libraries_to(tmp_path / "log"), terminal.stage("Train") as stage:
            for step in range(3):
                stage.update(step, 3, "reward 0.5")
            StopRequest(terminal.notice).announce()
        terminal.line("done")
        with suppress(OSError):
            stream.close()


def test_a_full_disk_is_another_matter() -> None:
    full = os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")
    with pytest.raises(OSError, match="No space left"):
        Terminal(full).notice("the reader is there")
    with suppress(OSError):
        full.close()


def test_a_message_to_a_pipe_that_is_gone_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    with screen_that_is_gone("pipe") as screen:
        stream = os.fdopen(os.dup(screen), "w", buffering=1)
        monkeypatch.setattr(sys, "stderr", stream)
        say("stopped")
        with suppress(OSError):
            stream.close()


@pytest.mark.stack
def test_a_closed_window_leaves_a_checkpoint(tiny_yaml: Path, tmp_path: Path) -> None:
    """The kernel sends SIGHUP to what has the terminal, and every write to it fails from then."""
    window, inside = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "groupwise.framework.cli", "train", tiny_yaml,
         "--set", "training.max_steps=5000", "--set", "evaluation.before=false",
         "--set", "training.warm_start.enabled=false"],
        cwd=tmp_path, env={**os.environ, **ENVIRONMENT, "TERM": "xterm"},
        stdin=inside, stdout=inside, stderr=inside,
        # These tests may run under nohup, and what ignores it is not told.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )  # fmt: skip
    os.close(inside)
    os.set_blocking(window, False)
    metrics = tmp_path / "runs" / "tiny" / "metrics.jsonl"
    deadline = time.monotonic() + HANG_S
    shown = b""
    while process.poll() is None and not (metrics.is_file() and metrics.stat().st_size):
        assert time.monotonic() < deadline
        try:
            shown += os.read(window, 65536)
        except OSError:  # nothing to read yet, or any more
            os.sched_yield()
    assert process.poll() is None, shown.decode()
    os.close(window)
    assert process.wait(HANG_S) == 130
    steps = len(lines(metrics))
    assert (tmp_path / "runs" / "tiny" / "checkpoints" / f"checkpoint-{steps}").is_dir()
