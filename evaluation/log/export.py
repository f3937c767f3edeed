"""A log as Parquet or CSV, for tools that work on tables.

    export("runs/x/evaluations/tuned", "samples.parquet")
    export("runs/x", "answers.csv")  # all its evaluations

Every sample is a row; each reward part becomes a column `parts.<name>`; `metadata` becomes one
column of JSON text, because its fields may differ from row to row. The log is read twice, once for
the names of the parts, and never held in memory.

A spreadsheet runs a CSV cell that starts with `=`, `+`, `-` or `@` as a formula, and what a model
writes is hostile: in a CSV such a cell gets an apostrophe in front, unless it is a plain number.
Parquet has every text as it is.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.evaluations import find_evaluations
from groupwise.evaluation.log.files import replacing
from groupwise.evaluation.log.jsonl import clean
from groupwise.evaluation.log.records import (
    RolloutRecord,
    SampleRecord,
    has_steps,
    log_of,
    read_records,
    without_repeats,
)
from groupwise.rewards.errors import UserError

_ROWS = 1_000  # a Parquet row group, and what is held at once
_COLUMNS = {
    "schema": "int64",
    "example_id": "string",
    "sample_index": "int64",
    "prompt": "string",
    "completion": "string",
    "num_tokens": "int64",
    "finish_reason": "string",
    "answer": "string",
    "extracted": "string",
    "status": "string",
    "correct": "bool",
    "score": "float64",
    "seed": "int64",
    "seconds": "float64",
}
_ROLLOUT_COLUMNS = {"step": "int64", "advantage": "float64"}
# What spreadsheets take for the beginning of a formula (owasp.org, "CSV Injection"): also behind
# blanks that an import strips, and in the full-width forms of East Asian versions.
_FORMULA = re.compile(r"[\s\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def export(run: str | Path, to: str | Path) -> int:
    """Writes the answers of `run` to the file `to`, all or nothing; returns the number of rows.

    `run` is a log, the folder of an evaluation, or a run: all its evaluations, one after the other,
    with a column `evaluation` for their labels. The end of the file's name says which kind of
    table: `.parquet` or `.csv`.

    Raises:
        UserError: any other name, or a log that is missing or broken.
    """
    to = Path(to)
    if to.suffix.lower() not in (".parquet", ".csv"):
        raise UserError(f"{to}: tables are parquet or csv; end the file's name accordingly")
    table = _Table(logs_of(run), is_run=_is_run(run))
    write = _write_parquet if to.suffix.lower() == ".parquet" else _write_csv
    with replacing(to) as beside:
        return write(beside, table.columns, table.rows())


def logs_of(run: str | Path) -> dict[str, Path]:
    """The logs that a path means, by label. Raises UserError if there is none."""
    path = Path(run)
    if path.is_file():
        return {path.stem: path}
    return {found.label: found.log for found in find_evaluations(path)}


def _is_run(run: str | Path) -> bool:
    return Path(run).is_dir() and not log_of(run).is_file()


class _Table:
    """The columns of some logs together, and their rows, each sample once."""

    def __init__(self, logs: Mapping[str, Path], *, is_run: bool) -> None:
        self.logs, self.is_run = logs, is_run
        self.of_training = any(has_steps(log) for log in logs.values())
        self.parts = sorted(
            {name for log in logs.values() for record in self._read(log) for name in record.parts}
        )
        self.names = [*_COLUMNS, *(_ROLLOUT_COLUMNS if self.of_training else ())]
        columns = _COLUMNS | (_ROLLOUT_COLUMNS if self.of_training else {})
        columns |= {f"parts.{name}": "float64" for name in self.parts} | {"metadata": "string"}
        self.columns = ({"evaluation": "string"} if is_run else {}) | columns

    def rows(self) -> Iterator[dict[str, Any]]:
        for label, log in self.logs.items():
            for record in self._read(log):
                row: dict[str, Any] = {"evaluation": label} if self.is_run else {}
                row |= {name: clean(getattr(record, name)) for name in self.names}
                row |= {f"parts.{name}": record.parts.get(name) for name in self.parts}
                row["metadata"] = json.dumps(clean(record.metadata), ensure_ascii=False)
                yield row

    def _read(self, log: Path) -> Iterator[SampleRecord]:
        kind = RolloutRecord if self.of_training else SampleRecord
        return without_repeats(read_records(log, kind, log.name))


def _write_parquet(path: Path, columns: dict[str, str], rows: Iterator[dict[str, Any]]) -> int:
    import pyarrow  # slow: not at start-up
    import pyarrow.parquet

    types = {"bool": pyarrow.bool_, "string": pyarrow.string, "int64": pyarrow.int64}
    schema = pyarrow.schema(
        [(name, types.get(kind, pyarrow.float64)()) for name, kind in columns.items()]
    )
    written = 0
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, _ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            written += len(batch)
    return written


def _write_csv(path: Path, columns: dict[str, str], rows: Iterator[dict[str, Any]]) -> int:
    written = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: _cell(v) if isinstance(v, str) else v for k, v in row.items()})
            written += 1
    return written


def _cell(text: str) -> str:
    """A text that no spreadsheet runs as a formula, and no reader takes for the end of the file.

    >>> _cell('=HYPERLINK("http://x")'), _cell("-5"), _cell("- 5 apples")
    ('\'=HYPERLINK("http://x")', '-5', "'- 5 apples")
    """
    text = text.replace("\0", "\ufffd")  # NUL ends the text for most readers of CSV
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
