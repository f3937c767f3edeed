"""Going on where a run stopped: the last whole checkpoint, and logs cut back to it.

The trainer writes `trainer_state.json` last, and removes older checkpoints only after that: a
folder in which it can be read is whole, and what a kill left half-written is never picked.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from evaluation.files import replacing
from framework import processes
from rewards.errors import UserError

_NAME = re.compile(r"^checkpoint-(\d+)$")
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_WRITE_FAILED = re.compile(
    r"No space left|File too large|Disk quota|os error (28|27|122|5)\b|PytorchStreamWriter|"
    r"inline_container|I/O error"
)
_WEIGHTS = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")


def step_of(checkpoint: Path) -> int:
    """The optimiser step after which a checkpoint was written."""
    found = _NAME.match(checkpoint.name)
    if found is None:
        raise ValueError(f"{checkpoint} is not named checkpoint-N")
    return int(found[1])


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    has_weights = any((checkpoint / name).is_file() for name in _WEIGHTS)
    return has_weights and state.get("global_step") == step_of(checkpoint)


def latest_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint in `folder`; removes what is half-written."""
    whole = whole_checkpoints(folder)
    for path in set(_checkpoints(folder)) - set(whole):
        shutil.rmtree(path)
    return max(whole, key=step_of, default=None)


def whole_checkpoints(folder: Path) -> list[Path]:
    """Those in `folder` that a run could go on from."""
    return [path for path in _checkpoints(folder) if is_whole(path)]


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if _NAME.match(path.name)]


@contextmanager
def unwritable_is_the_users(folder: Path, and_then: str = "") -> Iterator[None]:
    """Turns "cannot write the weights" into a message that says where, whatever library raises it.

    safetensors and torch write files themselves and have errors of their own for a full disk.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not isinstance(error, OSError) and not _WRITE_FAILED.search(str(error)):
            raise
        if isinstance(error, OSError) and error.errno not in _WRITE_ERRORS:
            raise
        reason = " ".join(str(error).split("\n")[0].split())[:200]
        raise UserError(
            f"{folder}: cannot be written ({reason}). Is the disk full? Free some space and go on "
            f"with the same command and --resume: what is finished is kept{and_then}."
        ) from error


def cut_log(path: Path, last_step: int) -> None:
    """Drops the lines of a JSON Lines log that are of later steps, and a torn last line."""
    if not path.is_file():
        return
    with replacing(path) as new, path.open("rb") as old, new.open("wb") as kept:
        for line in old:
            try:
                step = json.loads(line)["step"]
            except (ValueError, KeyError):
                break  # torn by a kill: nothing whole comes after it
            if step <= last_step:
                kept.write(line)


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
