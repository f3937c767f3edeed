"""RecordLog: the log of one evaluation's samples. It survives kills and has one set of settings.

    with RecordLog(folder / "samples.jsonl", SampleRecord, settings) as log:
        log.append(records)

`settings.json` beside the log has the settings it was made with; it is written first, so that a log
without it was not made here. The log has no header: every line is a record. Writing lines is left
to `writer.JsonlWriter`; if it cut off a torn last line, that sample is missing and is drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Generic, Self

from groupwise.evaluation.log.files import write_json
from groupwise.evaluation.log.jsonl import clean
from groupwise.evaluation.log.records import RecordT, from_line, to_line
from groupwise.evaluation.log.settings import SETTINGS, load_settings, setting_differences
from groupwise.evaluation.log.writer import JsonlWriter
from groupwise.rewards.errors import UserError


class RecordLog(Generic[RecordT]):
    """Opens or creates a log for appending; locked against a second writer until it is closed.

    `settings` must be JSON values. Those named in `may_grow` may be larger than in the log
    (num_samples: existing samples stay valid). Of those named in `alike`, all the values given are
    as good as each other; the log keeps those that were in use (`note`), as "one, other".

    Raises UserError if the log was made with other settings, or is in use.
    """

    def __init__(
        self,
        path: Path,
        kind: type[RecordT],
        settings: Mapping[str, Any],
        may_grow: tuple[str, ...] = (),
        alike: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.path, self.kind = path, kind
        self._alike = dict(alike or {})
        self._settings: dict[str, Any] = {}
        self._is_new = True
        self._log = JsonlWriter(
            path,
            parse=partial(from_line, kind=kind),
            lock="refuse",
            check=lambda: self._keep_settings(clean(settings), may_grow),
        )

    def append(self, records: Iterable[RecordT]) -> None:
        """Appends the records; a kill loses none of them once this returns."""
        self._log.append(map(to_line, records))

    def note(self, name: str, value: str) -> None:
        """Says which value of a setting in `alike` the records that follow are made with."""
        used = [] if self._is_new else str(self._settings[name]).split(", ")
        self._is_new = False
        text = ", ".join(dict.fromkeys([*used, value]))
        if self._settings[name] != text:
            self._settings[name] = text
            write_json(self.path.parent / SETTINGS, self._settings)

    def close(self) -> None:
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep_settings(self, settings: Mapping[str, Any], may_grow: tuple[str, ...]) -> None:
        """Refuses a log of other settings; writes those of a new one."""
        before = load_settings(self.path.parent)
        self._is_new = self.path.stat().st_size == 0
        self._settings = settings_to_keep(self.path, settings, may_grow, self._alike)
        if before != self._settings:
            write_json(self.path.parent / SETTINGS, self._settings)


def settings_to_keep(
    path: Path,
    settings: Mapping[str, Any],
    may_grow: tuple[str, ...] = (),
    alike: Mapping[str, frozenset[str]] | None = None,
) -> dict[str, Any]:
    """The settings of a log that is to be continued with these; nothing is written.

    Raises:
        UserError: the log was made with other settings, or nothing says how it was made.
    """
    before = load_settings(path.parent)
    if before is None:
        if path.is_file() and path.stat().st_size:
            raise UserError(
                f"{path}: there is a log, but no {SETTINGS} that says how it was made. "
                "Move it away, or choose another folder."
            )
        return dict(settings)
    settings = {**settings, **_kept(before, settings, alike or {})}
    grown = {name for name in may_grow if settings[name] >= before.get(name, 0)}
    differences = [
        line
        for line in setting_differences(before, settings, "in the log", "now")
        if line.partition(":")[0] not in grown
    ]
    if differences:
        raise UserError(
            f"{path} was made with other settings:\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nRun it with the settings of the log, or choose another folder or label."
        )
    return settings


def _kept(
    before: Mapping[str, Any], settings: Mapping[str, Any], alike: Mapping[str, frozenset[str]]
) -> dict[str, Any]:
    """The log's values of the settings in `alike`, where the new one is as good."""
    return {
        name: before[name]
        for name, values in alike.items()
        if name in before and {*str(before[name]).split(", "), settings[name]} <= values
    }
