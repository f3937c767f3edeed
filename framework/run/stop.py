"""Ctrl-C: once ends training after the current step, with a checkpoint; twice stops at once.

SIGTERM (`kill`) counts as Ctrl-C. So does SIGHUP (a closed window, a dropped ssh), once: the kernel
and the shell may both send it, and the second must not take the checkpoint away. Outside training
each stops at once, as Ctrl-C does. Under `nohup` SIGHUP is ignored, and stays so.

    stop = StopRequest(terminal.notice)
    trainer.add_callback(StopAfterStep(stop))     # of trainers/callbacks.py
    with stop.listening():
        trainer.train()

    with signals_as_interrupt():                  # around a whole command
        ...

What it leaves out: acting on the request, which is the callback's.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from groupwise.framework.run import processes


class StopRequest:
    """A request to end the training: by the user (`is_asked`), or the run's health (`is_over`)."""

    def __init__(self, notify: Callable[[str], None] = lambda _: None) -> None:
        self.is_asked = False
        self.is_over = False
        self._notify = notify
        self._is_announced = False

    def end(self) -> None:
        """Ends the training after this step, with a checkpoint; a resume does not continue it."""
        self.is_over = True

    def agree(self) -> None:
        """Shares the request among all processes, so that they stop after the same step."""
        requests = processes.gathered((self.is_asked, self.is_over))
        self.is_asked = any(asked for asked, _ in requests)
        self.is_over = any(over for _, over in requests)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the signals inside the block; does nothing outside the main thread."""
        # Shells start background jobs with SIGINT ignored: `kill -INT` stops those as well.
        with _handling((signal.SIGINT, *_not_ignored()), self._handle):
            yield

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.is_asked and number != signal.SIGHUP:
            raise KeyboardInterrupt
        self.is_asked = True
        # The signal may have come while the same stream was being written to (RuntimeError:
        # reentrant call). Then the end of the step announces it.
        with suppress(RuntimeError):
            self.announce()

    def announce(self) -> None:
        """Tells the user, once, that the run will stop."""
        if not self._is_announced:
            self._notify("stopping after this step, with a checkpoint; Ctrl-C again stops at once")
            self._is_announced = True


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:  # a second one must not disturb what the first one ends
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    with _handling(_not_ignored(), interrupt):
        yield


def _not_ignored() -> list[signal.Signals]:
    both = (signal.SIGTERM, signal.SIGHUP)
    return [number for number in both if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def _handling(
    numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    try:
        before = {number: signal.signal(number, handler) for number in numbers}
    except ValueError:  # not the main thread
        before = {}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
