"""A log as Parquet or CSV, for tools that work on tables.

    export("runs/x/evaluations/tuned", "samples.parquet")

Every sample is a row; each reward part becomes a column `parts.<name>`; `metadata` becomes one
column of JSON text, because its fields may differ from row to row. The log is read twice, once for
the names of the parts, and never held in memory.

A spreadsheet runs a CSV cell that starts with `=`, `+`, `-` or `@` as a formula. Cells are written
as they are, so that the data stay what they were: open a CSV of model output as text.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.files import replacing
from groupwise.evaluation.log.jsonl import clean
from groupwise.evaluation.log.records import (
    ROLLOUTS,
    RolloutRecord,
    SampleRecord,
    log_of,
    read_records,
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


def export(run: str | Path, to: str | Path) -> int:
    """Writes the log of `run` (a log or its folder) to the file `to`, all or nothing.

    The end of the file's name says which: `.parquet` or `.csv`. Returns the number of rows. Raises
    UserError for any other name, and for a log that is missing or broken.
    """
    log, to = log_of(run), Path(to)
    if to.suffix not in (".parquet", ".csv"):
        raise UserError(f"{to}: exports are parquet or csv; end the file's name accordingly")
    columns = dict(_COLUMNS)
    of_training = log.name == ROLLOUTS
    if of_training:
        columns |= _ROLLOUT_COLUMNS
    parts = sorted({name for record in _read(log, of_training) for name in record.parts})
    columns |= {f"parts.{name}": "float64" for name in parts} | {"metadata": "string"}
    write = _write_parquet if to.suffix == ".parquet" else _write_csv
    with replacing(to) as beside:
        return write(beside, columns, _rows(log, of_training, parts))


def _read(log: Path, of_training: bool) -> Iterator[SampleRecord]:
    return read_records(log, RolloutRecord if of_training else SampleRecord, log.name)


def _rows(log: Path, of_training: bool, parts: list[str]) -> Iterator[dict[str, Any]]:
    names = [*_COLUMNS, *(_ROLLOUT_COLUMNS if of_training else ())]
    for record in _read(log, of_training):
        row = {name: clean(getattr(record, name)) for name in names}
        row |= {f"parts.{name}": record.parts.get(name) for name in parts}
        row["metadata"] = json.dumps(clean(record.metadata), ensure_ascii=False)
        yield row


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
            # NUL ends the text for most readers of CSV, and for some the file.
            writer.writerow(
                {k: v.replace("\0", "\ufffd") if isinstance(v, str) else v for k, v in row.items()}
            )
            written += 1
    return written
