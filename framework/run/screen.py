"""Standard error that may go away: a closed window, a dropped ssh, a pipe without a reader.

    say("groupwise: stopped after step 8")

A run outlives its terminal: what is written to one that is gone is dropped, and no error. Other
errors, such as a full disk under a log file, pass.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from groupwise.evaluation.text import folded

_GONE = (errno.EIO, errno.EPIPE, errno.ENXIO)  # the terminal, or the reader of the pipe


def say(text: str) -> None:
    """Prints a line to standard error, folded to the terminal; if that is gone, drops it."""
    print(folded(text, sys.stderr), file=while_there(sys.stderr), flush=True)


class _WhileThere:
    """A stream that is written to as long as there is somebody to read it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_gone = False

    def write(self, text: str) -> int:
        with self._noticing_the_end():
            if not self._is_gone:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._noticing_the_end():
            if not self._is_gone:
                self._stream.flush()

    def close(self) -> None:
        with self._noticing_the_end():
            self._stream.close()

    @contextmanager
    def _noticing_the_end(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self._is_gone = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def while_there(stream: TextIO) -> TextIO:
    return cast(TextIO, _WhileThere(stream))


def silence() -> TextIO:
    """A stream that drops what is written to it."""
    return Path(os.devnull).open("w", encoding="utf-8")
