"""Ctrl-C: once ends training after the current step, with a checkpoint; twice stops at once.

    stop = StopRequest(terminal.notice)
    trainer.add_callback(StopAfterStep(stop))     # of trainers/callbacks.py
    with stop.listening():
        trainer.train()

What it leaves out: acting on the request, which is the callback's.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
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
        """Handles SIGINT and SIGTERM inside the block; does nothing outside the main thread."""
        try:
            before = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_asked:
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
