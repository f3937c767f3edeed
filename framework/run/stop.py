"""Ctrl-C: once ends the step in flight with a checkpoint, twice stops at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

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
            self._announce()  # it is said at the end of the step, then

    def _announce(self) -> None:
        if not self._is_announced:
            self._notify("stopping after this step, with a checkpoint; Ctrl-C again stops at once")
            self._is_announced = True

    def callback(self, num_iterations: int) -> Any:
        """The `transformers.TrainerCallback` that stops after the step in flight, and saves.

        With several iterations on one batch of completions it goes on to the last of them: a
        checkpoint in between could not be continued, the completions being gone.
        """
        from transformers import TrainerCallback

        request = self

        class StopCallback(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
                if request.is_asked:
                    request._announce()
                request.agree()
                ends = request.is_asked or request.is_over
                if ends and state.global_step % num_iterations == 0:
                    control.should_training_stop = True
                    control.should_save = True

            # The run's health looks at a step's numbers, which come after its end.
            on_log = on_step_end

        return StopCallback()
