"""RecordLog: an append-only log of records that outlives any kill.

`settings.json` beside the log says with what it was made; it is written first, so that a log
without it is somebody else's. The log itself has no header: every line is a record.

What is promised: a record is handed to the operating system when `append` returns, so a killed
process (`kill -9` included) loses none. After a power cut, what came in the last ten seconds may be
gone: the disk is told to write (fsync) that often and on closing, not for every line, which on a
laptop's disk would take longer than sampling. A torn last line is cut off when the log is opened,
and its sample is owed again.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Generic

from groupwise.evaluation.log.files import full_disk_is_the_users, write_json
from groupwise.evaluation.log.jsonl import clean
from groupwise.evaluation.log.records import RecordT, from_line, to_line
from groupwise.rewards.errors import UserError

SETTINGS = "settings.json"
_FSYNC_EVERY_S = 10.0


class RecordLog(Generic[RecordT]):
    """Opens or creates a log for appending; locked against a second writer until it is closed.

    `settings` must be what JSON can hold. Those named in `may_grow` may be larger than in the log
    (num_samples: the samples that exist stay valid). UserError if the log was made with other
    settings, has a broken line, or is in use.
    """

    def __init__(
        self,
        path: Path,
        kind: type[RecordT],
        settings: Mapping[str, Any],
        may_grow: tuple[str, ...] = (),
    ) -> None:
        self.path, self.kind = path, kind
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._lock()
            settings = clean(settings)
            self._check(settings, may_grow)
            if load_settings(path.parent) != settings:
                write_json(path.parent / SETTINGS, settings)
            self._mend_last_line()
        except BaseException:
            os.close(self._file)
            raise
        self._synced = time.monotonic()

    def append(self, records: Iterable[RecordT]) -> None:
        """Writes the records at the end; they are safe from a kill when this returns."""
        data = memoryview("".join(map(to_line, records)).encode("utf-8"))
        with full_disk_is_the_users(self.path):
            while data:
                data = data[os.write(self._file, data) :]
            if time.monotonic() - self._synced > _FSYNC_EVERY_S:
                os.fsync(self._file)
                self._synced = time.monotonic()

    def close(self) -> None:
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)  # gives the lock back, too
            self._file = -1

    def __enter__(self) -> RecordLog[RecordT]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{self.path}: another process is writing this log. Wait for it, stop it, or "
                "choose another folder."
            ) from None

    def _check(self, settings: Mapping[str, Any], may_grow: tuple[str, ...]) -> None:
        before = load_settings(self.path.parent)
        if before is None:
            if os.fstat(self._file).st_size:
                raise UserError(
                    f"{self.path}: there is a log, but no {SETTINGS} that says how it was made. "
                    "Move it away, or choose another folder."
                )
            return
        differences = [
            line
            for line in setting_differences(before, settings, "in the log", "now")
            if not any(
                line.startswith(f"{name}:") and settings[name] >= before.get(name, 0)
                for name in may_grow
            )
        ]
        if differences:
            raise UserError(
                f"{self.path} was made with other settings:\n"
                + "\n".join(f"  {line}" for line in differences)
                + "\nRun it with the settings of the log, or choose another folder or label."
            )

    def _mend_last_line(self) -> None:
        """Cuts off what follows the last newline; a whole record that lacks only that is kept."""
        size = os.fstat(self._file).st_size
        start, tail = size, b""
        while start > 0:
            step = min(65536, start)
            start -= step
            tail = os.pread(self._file, step, start) + tail
            if (newline := tail.rfind(b"\n")) >= 0:
                start, tail = start + newline + 1, tail[newline + 1 :]
                break
        if not tail:
            return
        try:
            from_line(tail, self.kind)
        except (ValueError, RecursionError):
            os.ftruncate(self._file, start)
        else:
            os.write(self._file, b"\n")


def load_settings(folder: Path) -> dict[str, Any] | None:
    """What `settings.json` in this folder says, None if there is none."""
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: not a JSON object")
    return settings


def setting_differences(
    first: Mapping[str, Any], second: Mapping[str, Any], in_first: str, in_second: str
) -> list[str]:
    """One line for each setting that differs, by its dotted path, with both values."""
    a, b = dict(_leaves("", first)), dict(_leaves("", second))
    return [
        f"{path}: {_shown(a, path)} {in_first}, {_shown(b, path)} {in_second}"
        for path in sorted(a.keys() | b.keys())
        if _shown(a, path) != _shown(b, path)
    ]


def _leaves(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), item)
    else:
        yield prefix, value


def _shown(leaves: Mapping[str, Any], path: str) -> str:
    return json.dumps(leaves[path], ensure_ascii=False) if path in leaves else "nothing"
