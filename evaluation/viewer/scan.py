"""The lines of a log, chunk by chunk, with the place of each; and one record by its place.

A chunk's lines are given to DuckDB as an Arrow array over the bytes as they were read: its threads
parse them, not Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

CHUNK_BYTES = 32_000_000  # fewer, larger ones save a third of the time; memory is the limit
TEXT_CHUNK_BYTES = 12_000_000
MOST_LINE_BYTES = 256_000_000  # beyond, it is no log
_ROWS_A_BATCH = 2_048  # DuckDB's vector: what one thread takes at a time


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines: line i is `size[i]` bytes from `start[i]` of the file; `end` is behind them."""

    start: NDArray[np.int64]
    size: NDArray[np.int64]
    lines: Any
    end: int

    def table(self, first_line: int) -> Any:
        """An Arrow table (line, start, size, json), cut so that threads can share it."""
        numbers = np.arange(first_line, first_line + len(self.start))
        columns = {"line": numbers, "start": self.start, "size": self.size}
        arrays = {name: pa.array(values) for name, values in columns.items()}
        table = pa.table(arrays | {"json": self.lines})
        return pa.Table.from_batches(table.to_batches(max_chunksize=_ROWS_A_BATCH), table.schema)


def read_chunks(
    path: Path, start: int, until: int | None = None, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Chunk]:
    """The whole lines from byte `start` on; a last line without its newline is left for later.

    `until` is where an earlier reading ended. ValueError for a line of absurd length.
    """
    with path.open("rb", buffering=0) as log:
        size = chunk_bytes
        while True:
            log.seek(start)
            data = log.read(size if until is None else min(size, until - start))
            cut = data.rfind(b"\n") + 1
            if cut:
                yield _chunk(data, cut, start)
                start, size = start + cut, chunk_bytes
            elif len(data) < size:  # nothing more, or the beginning of a line alone
                return
            elif size > MOST_LINE_BYTES:
                raise ValueError(f"a line is longer than {MOST_LINE_BYTES:,} bytes")
            else:
                size *= 4


def _chunk(data: bytes, cut: int, start: int) -> Chunk:
    """The lines of data[:cut], which begins at byte `start` of the log."""
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8, count=cut) == 0x0A) + 1
    offsets = np.concatenate([[0], ends])
    lines: Any = pa.LargeStringArray.from_buffers(
        len(ends), pa.py_buffer(offsets.astype(np.int64).tobytes()), pa.py_buffer(data)
    )
    if not data.isascii():  # DuckDB trusts that text is UTF-8
        try:
            lines.validate(full=True)
        except pa.ArrowInvalid:
            pieces = (data[a:b] for a, b in pairwise(offsets))
            texts = [piece.decode("utf-8", "replace") for piece in pieces]
            lines = pa.array(texts, pa.large_string())
    return Chunk(start + offsets[:-1], np.diff(offsets), lines, start + cut)


def ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same chunks, the next one read while the last one is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            yield chunk


def read_record(path: Path, start: int, size: int) -> dict[str, Any]:
    """The whole record at this place; empty if the log has changed under us."""
    with path.open("rb") as log:
        log.seek(start)
        data = log.read(size)
    try:
        record = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def identity(path: Path) -> tuple[int, int, int]:
    """(device, inode, size): tells a log that grew from another file of the same name."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size
