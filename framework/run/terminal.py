"""The terminal during a run: named stages, a progress bar, notices.

    with terminal.stage("Train") as stage:
        stage.update(done, total, "reward 0.41")

Progress and notices go to standard error, results to standard output. What libraries print goes to
a log file: both streams are redirected below Python, because some libraries write there from C.
A terminal that goes away (a closed window, a dropped ssh) ends no run: what is written is dropped.
Without a terminal there are no colours and no moving bars, but a line at the start, at the end, at
every quarter of each stage, and when the time left of the run is first known.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from groupwise.evaluation.text import folded, printable, width_of
from groupwise.framework.run import processes
from groupwise.framework.run.screen import silence, while_there

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_NUMBERS = 72  # columns beside the bar: how far it is, the time left, and the stage's numbers
_MOST_BEFORE_A_RUN = 1_000_000  # bytes
_ERASE = "\r\x1b[2K"  # the line of the cursor


class Stage:
    """One stage of a run; `update` draws how far it is."""

    def __init__(self, terminal: Terminal, name: str) -> None:
        self._terminal, self.name = terminal, name
        self._started = time.perf_counter()
        self._numbers = ""
        self._progress: Progress | None = None
        self._next_quarter = 1
        self._has_said_left = False
        self.summary = ""  # shown in the closing line; the last numbers by default
        self.ended = ""  # "stopped" or "failed" if the stage was not completed

    def update(self, done: int, total: int, numbers: str = "", left: str = "") -> None:
        """`numbers`: the few that matter, such as "reward 0.41  length 12".

        `left`: the time to the end of the whole run, such as "1.4-1.7 h". Without it, the bar has
        that to the end of the stage.
        """
        self._numbers = numbers
        if self._terminal.is_interactive:
            self._draw(done, total or None, left)
            return
        is_quarter = bool(total) and self._next_quarter * total <= done * 4 < total * 4
        if is_quarter or (left and not self._has_said_left):
            self._has_said_left |= bool(left)
            self._next_quarter = done * 4 // total + 1
            said = f"      {done}/{total}  {numbers}".rstrip()
            self._terminal.line(f"{said}  left {left}" if left else said)

    def _draw(self, done: int, total: int | None, left: str) -> None:
        if self._progress is None:
            self._progress = self._terminal.new_progress(self.name)
        self._progress.update(
            self._progress.task_ids[0],
            completed=done,
            total=total,
            numbers=self._numbers,
            left=left,
        )

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._terminal.has_bar = False
        seconds = time.perf_counter() - self._started
        mark = f"{self.ended} after" if self.ended else "done in"
        said = self.summary or self._numbers
        head = f"  {self.name:<20} {mark} {seconds:5.1f} s"
        if said and not self._terminal.fits(f"{head}   {said}"):
            self._terminal.line(f"{head}\n      {said}")
        else:
            self._terminal.line(f"{head}   {said}".rstrip())


class Terminal:
    """Messages and bars on standard error. `quiet`: notices only.

    Of several processes, only the main one writes.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        stream = stream or (sys.stderr if processes.is_main() else silence())
        self._stream = while_there(stream)
        self.quiet = quiet
        self.is_interactive = (
            self._stream.isatty() and not quiet and os.environ.get("TERM", "dumb") != "dumb"
        )
        self._console: Console | None = None
        self.has_bar = False
        self._before_the_run = b""  # what libraries printed before there was a log

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        stage = Stage(self, name)
        if not self.is_interactive:
            self.line(f"  {name} …")
        else:
            stage.update(0, 0)
        try:
            yield stage
        except BaseException as error:
            stage.ended = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            raise
        finally:
            stage.close()

    def line(self, text: str) -> None:
        if not self.quiet:
            self._print(text)

    def notice(self, text: str) -> None:
        """Something the user should know, quiet or not. The text may come from anywhere."""
        self._print(f"  note: {printable(text, lines=True)}")

    def fits(self, line: str) -> bool:
        """Whether a line needs no folding."""
        width = width_of(self._stream)
        return width is None or len(line) <= width

    def _print(self, text: str) -> None:
        # Written past rich, which redraws the bar on the next line: this may run in a signal
        # handler while rich holds its locks.
        erase = _ERASE if self.has_bar else ""
        print(erase + folded(text, self._stream), file=self._stream, flush=True)

    def new_progress(self, name: str) -> Progress:
        # rich is slow to import: not at start-up
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining
        from rich.table import Column
        from rich.text import Text

        class Left(Remaining):
            """Of the run where that is known, else of the stage."""

            def render(self, task: Task) -> Text:
                left = task.fields["left"]
                return Text(f"left {left}") if left else super().render(task)

        if self._console is None:
            self._console = Console(file=self._stream, highlight=False)
        bar = min(24, self._console.width - 24 - _NUMBERS)
        drawn = (TextColumn("  {task.description:<20}"), BarColumn(bar_width=bar))
        whole = Column(no_wrap=True)
        progress = Progress(
            *(drawn if bar >= 8 else (TextColumn("  {task.description}"),)),
            MofNCompleteColumn(table_column=whole),
            Left(compact=True, table_column=whole),
            # What does not fit is cut off here, and not from the figures before it.
            TextColumn(
                "{task.fields[numbers]}",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            expand=True,
            console=self._console,
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,  # what libraries print belongs in their log
            redirect_stderr=False,
        )
        progress.add_task(name, total=None, numbers="", left="")
        progress.start()
        self.has_bar = True
        return progress

    @contextmanager
    def libraries_to(self, log: Path | None = None) -> Iterator[TextIO]:
        """Sends what libraries print (also from C) to `log`; this object keeps the terminal.

        Without `log`, before there is a run, it is kept for the next log, at whose head it comes;
        where there is none, it is dropped. Yields standard output as it was, for results.
        """
        sys.stdout.flush()
        while_there(sys.stderr).flush()
        own = os.fdopen(os.dup(self._stream.fileno()), "w", encoding="utf-8", buffering=1)
        kept = [os.dup(1), os.dup(2)]
        before, self._stream, self._console = self._stream, while_there(own), None
        with self._library_log(log) as sink, _standard_output() as results:
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            try:
                # The filters of warnings, which libraries change, are the caller's again at the end
                with warnings.catch_warnings():
                    yield results
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os.dup2(kept[0], 1)
                os.dup2(kept[1], 2)
                for descriptor in kept:
                    os.close(descriptor)
                self._stream.close()
                self._stream, self._console = before, None

    @contextmanager
    def _library_log(self, log: Path | None) -> Iterator[int]:
        """A descriptor to write to: of the log, or of a file that is kept in memory."""
        if log is None:
            with tempfile.TemporaryFile() as scratch:
                yield scratch.fileno()
                scratch.seek(0)
                self._before_the_run += scratch.read(_MOST_BEFORE_A_RUN)
            return
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab", buffering=0) as file:
            file.write(self._before_the_run)
            self._before_the_run = b""
            yield file.fileno()


def _standard_output() -> TextIO:
    return os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
