"""Index: all logs as tables, filled in the background and kept up to date as logs grow.

    index = Index(["runs/my-run"])
    index.start()

Two passes. The first reads what lists and curves need and is ready within a second or two; the
second copies the texts into a table that can be searched, which takes longer; only searches wait
for it. Nothing is written beside the logs: the search table of large logs is in a cache folder of
its own, which is removed on closing.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groupwise.evaluation.viewer.broken import first_broken
from groupwise.evaluation.viewer.discover import FoundLog, FoundRun, find_runs
from groupwise.evaluation.viewer.reviews import Review, read_reviews, reviews_path
from groupwise.evaluation.viewer.scan import TEXT_CHUNK_BYTES, ahead, identity, read_chunks
from groupwise.evaluation.viewer.store import Store

SMALL_BYTES = 64_000_000  # logs smaller than this together are searched in memory
MOST_PARTS = 32
_LOOK_AGAIN_S = 1.0
_FIRST_PAGE_S = 0.5  # in which the first page is answered, before the texts take all cores

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LogState:
    """How far a log has been read. `number` is its id in the tables.

    `lines` counts all lines, `samples` those that are records; `read` and `searchable` are bytes.
    """

    number: int
    found: FoundLog
    inode: tuple[int, int] = (0, 0)
    size: int = 0
    read: int = 0
    lines: int = 0
    samples: int = 0
    broken: int = 0
    searchable: int = 0
    searchable_lines: int = 0
    error: str | None = None
    reviews: dict[tuple[str, int, int | None], Review] = field(default_factory=dict)
    reviews_seen: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.found.key,
            "run": self.found.run,
            "label": self.found.label,
            "kind": self.found.kind,
            "samples": self.samples,
            "broken": self.broken,
            "bytes": self.size,
            "read": self.read,
            "searchable": self.searchable,
            "error": self.error,
        }


class Index:
    """The tables over all logs under `paths`. `start()` begins reading; `close()` removes all.

    `version` grows whenever something was added: cache a result together with its version.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self.paths = [Path(path) for path in paths]
        self.runs: list[FoundRun] = find_runs(self.paths)
        self.logs: dict[str, LogState] = {}
        self.part_names: list[str] = []
        self.version = 0
        self.broken: str | None = None  # the first line that cannot be read; None: not looked yet
        self.ready = threading.Event()  # the first pass over what was there at the start
        self.searchable = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._marks_lock = threading.Lock()
        self._cache = self._cache_folder()
        self.store = Store(None if self._cache is None else self._cache / "texts.duckdb")
        self.query = self.store.query
        self._thread = threading.Thread(target=self._follow, name="index", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        self.store.close()
        if self._cache is not None:
            shutil.rmtree(self._cache, ignore_errors=True)

    def read_now(self, *, texts: bool = True) -> None:
        """Reads to the end of all logs in this thread (for reports and tests)."""
        self._look_for_runs()
        self._read_all()
        self.ready.set()
        if texts:
            self._read_texts()
            self.searchable.set()

    def read_marks(self, state: LogState) -> None:
        """Reads the reviews of a log again, if their file has changed."""
        with self._marks_lock:
            try:
                stat = reviews_path(state.found.path).stat()
                seen = (stat.st_mtime_ns, stat.st_size)
            except OSError:
                seen = (0, 0)
            if seen == state.reviews_seen:
                return
            state.reviews = read_reviews(state.found.path)
            rows = [(*review.sample, review.mark) for review in state.reviews.values()]
            self.store.set_marks(state.number, rows)
            state.reviews_seen = seen
        self._changed()

    def pid(self, example_id: str) -> int | None:
        rows = self.query("SELECT pid FROM problems WHERE example_id = ?", [example_id])
        return rows[0][0] if rows else None

    def status(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "ready": self.ready.is_set(),
            "searchable": self.searchable.is_set(),
            "problems": self.store.num_problems,
            "parts": list(self.part_names),
            "broken": self.broken or None,
            "logs": [state.to_json() for state in list(self.logs.values())],
        }

    def _changed(self) -> None:
        with self._lock:
            self.version += 1

    def _cache_folder(self) -> Path | None:
        """A new folder for the search table of large logs, None for small ones."""
        logs = [log.path for run in self.runs for log in run.logs]
        if sum(identity(path)[2] for path in logs) < SMALL_BYTES:
            return None
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groupwise"
        try:
            home.mkdir(parents=True, exist_ok=True)
            _remove_left_over(home)
            return Path(tempfile.mkdtemp(prefix=f"view-{os.getpid()}-", dir=home))
        except OSError:
            return Path(tempfile.mkdtemp(prefix="groupwise-view-"))

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._look_for_runs()
                self._read_all()
                if not self.ready.is_set():
                    self.ready.set()
                    self._stop.wait(_FIRST_PAGE_S)
                self._read_texts()
                self.searchable.set()
                self._look_for_broken_lines()
            except Exception:  # the page must keep showing what is there
                if self._stop.is_set():
                    return
                _logger.exception("reading the logs failed; trying again")
                self.ready.set()
            self._stop.wait(_LOOK_AGAIN_S)

    def _look_for_runs(self) -> None:
        self.runs = find_runs([path for path in self.paths if path.exists()])
        known = len(self.logs)
        for run in self.runs:
            for found in run.logs:
                if found.key not in self.logs:
                    self.logs[found.key] = LogState(len(self.logs), found)
        if len(self.logs) != known:
            self._changed()

    def _read_all(self) -> None:
        # Evaluations first: the page opens with them; the log of training may be far longer.
        for state in sorted(self.logs.values(), key=lambda s: s.found.kind == "rollouts"):
            try:
                device, inode, size = identity(state.found.path)
                if (device, inode) != state.inode or size < state.read:
                    self._forget(state)
                    state.inode = (device, inode)
                state.size = size
                if size > state.read:
                    self._read_lines(state)
                state.error = None
            except FileNotFoundError:
                self._forget(state)
                state.error = "the log is gone"
            except (OSError, ValueError) as error:
                state.error = str(error)
            if self._stop.is_set():
                return
            self.read_marks(state)

    def _read_lines(self, state: LogState) -> None:
        added = 0
        for chunk in ahead(read_chunks(state.found.path, state.read)):
            count, names = self.store.add_lines(state.number, state.lines, chunk)
            added += count
            state.samples += count
            state.broken += len(chunk.start) - count
            state.lines += len(chunk.start)
            state.read = chunk.end
            self.part_names += [n for n in names if n not in self.part_names]
            del self.part_names[MOST_PARTS:]
            self._changed()
            if self._stop.is_set():
                return
        if added and state.found.kind == "samples":
            state.samples -= self.store.drop_repeated(state.number)
            state.reviews_seen = (0, 0)  # marks of problems that were not there yet

    def _read_texts(self) -> None:
        """Makes searchable what has been read since the last time."""
        for state in list(self.logs.values()):
            if state.searchable >= state.read:
                continue
            try:
                unread = (state.found.path, state.searchable, state.read)
                for chunk in ahead(read_chunks(*unread, TEXT_CHUNK_BYTES)):
                    self.store.add_texts(state.number, state.searchable_lines, chunk)
                    state.searchable_lines += len(chunk.start)
                    state.searchable = chunk.end
                    if self._stop.is_set():
                        return
            except OSError:
                continue  # the next pass finds out what became of the log
            self._changed()

    def _look_for_broken_lines(self) -> None:
        """Once: says what other commands would refuse, while the page shows the rest."""
        if self.broken is None:
            self.broken = next(filter(None, map(first_broken, self.runs)), "")
            if self.broken:
                _logger.warning("%s", self.broken)  # to standard error
            self._changed()

    def _forget(self, state: LogState) -> None:
        """The log was replaced by another one: what was read of it no longer holds."""
        if state.read == 0:
            return
        self.store.forget(state.number)
        state.read = state.lines = state.samples = state.broken = 0
        state.searchable = state.searchable_lines = 0
        self._changed()


def _remove_left_over(home: Path) -> None:
    """Removes the cache folders of processes that were killed."""
    for folder in home.glob("view-*-*"):
        owner = folder.name.split("-")[1]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, OSError):
            continue  # the process lives, perhaps another user's
