"""Ctrl-C: once ends the step in flight with a checkpoint, twice stops at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from groupwise.framework.run import processes


class StopRequest:
    """Whether Ctrl-C was pressed: once asks for an orderly stop, twice stops at once."""

    def __init__(self, notify: Callable[[str], None] = lambda _: None) -> None:
        self.is_asked = False
        self.is_over = False  # the run's health, not the user, ends the training
        self._notify = notify
        self._is_announced = False

    def end(self) -> None:
        """Ends the training after this step, with a checkpoint, for good."""
        self.is_over = True

    def agree(self) -> None:
        """Several processes stop after the same step: what one has heard, all know from here on."""
        heard = processes.gathered((self.is_asked, self.is_over))
        self.is_asked = any(asked for asked, _ in heard)
        self.is_over = any(over for _, over in heard)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes over SIGINT and SIGTERM inside; only in a main thread, elsewhere does nothing."""
        try:
            before = {s: signal.signal(s, self._hear) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
        with suppress(RuntimeError):  # the signal came while the same stream was being written to:
            self.announce()  # it is said at the end of the step, then

    def announce(self) -> None:
        """Tells the user, once, that the run will stop."""
        if not self._is_announced:
            self._notify("stopping after this step, with a checkpoint; Ctrl-C again stops at once")
            self._is_announced = True
