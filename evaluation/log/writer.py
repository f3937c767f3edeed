"""JsonlWriter: the one writer of append-only JSON Lines files, with one stated durability.

    with JsonlWriter(path, last_step=resumed_step) as log:
        log.append([line, line])

Samples, rollouts, metrics, findings and reviews are all written by it:

- When `append` returns, the operating system has the lines: a killed process (`kill -9` included)
  loses none of them.
- After a power failure, the last ten seconds may be missing: fsync is called that often, and on
  closing. Called for every line, it would take longer than sampling.
- A line is written completely or not at all: on an error (a full disk, Ctrl-C) the file is
  truncated to its last complete line. What a kill leaves of a line is cut off when the file is
  opened next.

What it leaves out: making lines (`jsonl.dumps_line`, `records.to_line`), and which records belong
into one log (`record_log`).
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from groupwise.evaluation.log.files import full_disk_as_user_error
from groupwise.evaluation.log.jsonl import broken_line, loads
from groupwise.evaluation.log.lock import take_lock
from groupwise.rewards.errors import UserError

_FSYNC_EVERY_S = 10.0
_BLOCK_BYTES = 65_536


def in_use(path: Path) -> UserError:
    """The refusal of a second writer."""
    return UserError(
        f"{path}: another process is writing this log. Wait for it, stop it, or choose another "
        "folder."
    )


class JsonlWriter:
    """Opens or creates a JSON Lines file for appending; `close` it, or use it in a `with` block.

    Args:
        path: the file; its folder is made if it is missing.
        last_step: drop all lines after this training step (each line has a "step", in ascending
            order): pass the step of the checkpoint that a run resumes from, 0 for a new run. None
            keeps all lines.
        parse: reads a line, and raises ValueError for one that is not whole. A last line without
            its newline is kept if it can be read, and cut off otherwise.
        lock: how a second writer of the same file is handled. "none": no lock (something else, such
            as the run's own lock, keeps others out); "refuse": UserError; "wait": it waits.
        check: called once the file is open and locked, before anything in it is changed; if it
            raises, the file stays as it is.
        follow_links: False refuses a path that is a symbolic link (OSError).

    Raises:
        UserError: another process writes this file (`lock="refuse"`).
    """

    def __init__(
        self,
        path: Path,
        *,
        last_step: int | None = None,
        parse: Callable[[bytes], Any] = json.loads,
        lock: Literal["none", "refuse", "wait"] = "none",
        check: Callable[[], None] = lambda: None,
        follow_links: bool = True,
    ) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | (0 if follow_links else os.O_NOFOLLOW)
        self._file = os.open(path, flags, 0o644)
        try:
            if lock != "none" and take_lock(self._file, wait=lock == "wait") == "held":
                raise in_use(path)
            check()
            if os.fstat(self._file).st_size:  # a device has no size, and may have no end
                with full_disk_as_user_error(path):
                    if last_step is not None:
                        self._drop_after(last_step)
                    self._repair_last_line(parse)
        except BaseException:
            os.close(self._file)  # releases the lock, too
            raise
        self._synced = time.monotonic()

    def append(self, lines: Iterable[str]) -> None:
        """Appends lines, each with its newline; a kill loses none of them once this returns.

        Raises:
            UserError: the disk is full; then none of the lines is in the file.
        """
        data = memoryview("".join(lines).encode("utf-8"))
        end = os.fstat(self._file).st_size
        with full_disk_as_user_error(self.path):
            try:
                while data:
                    data = data[os.write(self._file, data) :]
            except BaseException:
                with suppress(OSError):  # the error that says why comes first
                    os.ftruncate(self._file, end)  # half a line would swallow the next one
                raise
            if time.monotonic() - self._synced > _FSYNC_EVERY_S:
                _sync(self._file)
                self._synced = time.monotonic()

    def close(self) -> None:
        """Flushes the file to disk (fsync) and releases the lock. A second call does nothing."""
        if self._file < 0:
            return
        file, self._file = self._file, -1
        try:
            with full_disk_as_user_error(self.path):
                _sync(file)
        finally:
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drop_after(self, last_step: int) -> None:
        """Cuts the file before the first line that is of a later step, or that a kill has torn.

        Raises UserError for any other line that cannot be read: whole lines come after it.
        """
        end = 0
        with open(self._file, "rb", closefd=False) as log:
            for number, line in enumerate(log, start=1):
                try:
                    step = step_of_line(line)
                except (ValueError, RecursionError) as error:
                    if log.read(1):
                        raise broken_line(self.path, number, "a line of this log", error) from None
                    break
                if step > last_step:
                    break
                end += len(line)
        os.ftruncate(self._file, end)

    def _repair_last_line(self, parse: Callable[[bytes], Any]) -> None:
        """Cuts off what follows the last newline; a whole line that lacks only that is kept."""
        start, tail = os.fstat(self._file).st_size, b""
        while start > 0:
            step = min(_BLOCK_BYTES, start)
            start -= step
            tail = os.pread(self._file, step, start) + tail
            if (newline := tail.rfind(b"\n")) >= 0:
                start, tail = start + newline + 1, tail[newline + 1 :]
                break
        if not tail:
            return
        try:
            parse(tail)
        except (ValueError, RecursionError):
            os.ftruncate(self._file, start)
        else:
            os.write(self._file, b"\n")


def step_of_line(line: str | bytes) -> int:
    """The training step of a line. ValueError says what is wrong with it."""
    step = loads(line).get("step")
    if type(step) is not int:  # true and false are no numbers
        raise ValueError(f"step is {json.dumps(step)[:50]}")
    return step


def _sync(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a device or a pipe, which cannot be told to
            raise


def cut_log(path: Path, last_step: int) -> None:
    """Drops the lines of a log after a training step, and a torn last line, if the file exists.

    For a log that is created with its first line; otherwise open a JsonlWriter with `last_step`.
    """
    if path.is_file():
        JsonlWriter(path, last_step=last_step).close()
