"""What in the files of a run cannot be read: with the file, the line and the reason.

    first_broken(run)      # "runs/x/metrics.jsonl, line 3: not a line of metrics (NaN is not JSON…"

The same words as every command that reads the file. The page shows what it can read, and says this;
a report is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from groupwise.evaluation.log.jsonl import loads, read_lines
from groupwise.evaluation.log.metrics_log import from_metrics_line
from groupwise.evaluation.log.records import RolloutRecord, SampleRecord, read_records
from groupwise.evaluation.viewer.discover import HEALTH, METRICS, FoundLog, FoundRun
from groupwise.evaluation.viewer.reviews import checked, reviews_path
from groupwise.rewards.errors import UserError

_KINDS = {"samples": SampleRecord, "rollouts": RolloutRecord}


def first_broken(run: FoundRun, *, logs: bool = True) -> str | None:
    """The first line that cannot be read; None if there is none. `logs`: in samples, too."""
    for reading in _readings(run, logs=logs):
        try:
            deque(reading, maxlen=0)
        except UserError as error:
            return str(error)
        except OSError:
            continue  # gone since it was found
    return None


def _readings(run: FoundRun, *, logs: bool) -> Iterator[Iterator[Any]]:
    small: tuple[tuple[str, Callable[[bytes], Any], str], ...] = (
        (METRICS, from_metrics_line, "a line of metrics"),
        (HEALTH, loads, "a finding"),
    )
    for name, parse, what in small:
        if (path := run.file(name)) is not None:
            yield read_lines(path, parse, what)
    for folder in {log.path.parent: log for log in run.logs}.values():
        if (path := reviews_path(folder.path)).is_file() and not path.is_symlink():
            yield read_lines(path, lambda line: checked(loads(line)), "a review")
    for log in run.logs if logs else ():
        yield _records(log)


def _records(log: FoundLog) -> Iterator[Any]:
    return read_records(log.path, _KINDS[log.kind], log.path.name)
