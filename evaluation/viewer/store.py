"""The DuckDB tables over all logs: what is in them, and how lines of a log get there.

`samples` has a row for each line that is a record, without its texts, which stay in the log at
(`start`, `size`); `problems` one for each example_id, `fields` its metadata. The texts are copied
to `found.texts`, to be searched: in memory, or for large logs in a file of the given cache folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from groupwise.evaluation.log.records import MOST_SAMPLES
from groupwise.evaluation.viewer.scan import Chunk

MEMORY_LIMIT = "200MB"
_SNIPPET = 200
_SHOWN_PROMPT = 4_000  # characters from which a snippet is made
_MOST_FIELDS = 20
_LONGEST_VALUE = 100

_TABLES = """
CREATE TABLE samples (log INTEGER, line INTEGER, pid INTEGER, idx INTEGER, start BIGINT,
  size INTEGER, step INTEGER, tokens INTEGER, finish VARCHAR, status VARCHAR, correct BOOLEAN,
  score DOUBLE, advantage DOUBLE, parts MAP(VARCHAR, DOUBLE));
CREATE TABLE problems (pid INTEGER PRIMARY KEY, example_id VARCHAR UNIQUE, first_log INTEGER,
  first_line INTEGER, snippet VARCHAR, answer VARCHAR);
CREATE TABLE fields (pid INTEGER, field VARCHAR, value VARCHAR);
CREATE TABLE marks (log INTEGER, pid INTEGER, idx INTEGER, step INTEGER, mark VARCHAR);
CREATE TABLE found.texts (log INTEGER, line INTEGER, pid INTEGER, completion VARCHAR);
CREATE TABLE found.prompts (pid INTEGER, prompt VARCHAR);
"""
_RECORD = json.dumps(
    {
        "example_id": "VARCHAR",
        "sample_index": "BIGINT",
        "num_tokens": "BIGINT",
        "finish_reason": "VARCHAR",
        "status": "VARCHAR",
        "correct": "BOOLEAN",
        "score": "DOUBLE",
        "parts": "MAP(VARCHAR, DOUBLE)",
        "step": "BIGINT",
        "advantage": "DOUBLE",
    }
)
# A line that is no JSON gives NULL; a value of another type than its column's is NULL.
_TAKE_APART = f"""
CREATE OR REPLACE TEMP TABLE chunk AS
SELECT line, start, size, unnest(TRY(from_json(json, '{_RECORD}'))) FROM batch
"""
# Not a condition of the query above: it would take every line apart again to decide.
_DROP_BROKEN = f"""
DELETE FROM chunk
WHERE example_id IS NULL OR coalesce(sample_index, -1) NOT BETWEEN 0 AND {MOST_SAMPLES - 1}
"""
_NEW_PROBLEMS = """
CREATE OR REPLACE TEMP TABLE fresh AS
SELECT row_number() OVER (ORDER BY line) - 1 + ? AS pid, example_id, line
FROM (SELECT example_id, min(line) AS line FROM chunk ANTI JOIN problems USING (example_id)
      GROUP BY example_id)
"""
_THEIR_TEXTS = f"""
SELECT pid, example_id, line, left(coalesce(TRY(json->>'$.prompt'), ''), {_SHOWN_PROMPT}),
  left(coalesce(TRY(json->>'$.answer'), ''), {_SNIPPET}), coalesce(TRY(json->'$.metadata'), '{{}}')
FROM fresh JOIN batch USING (line) ORDER BY pid
"""
_ADD = """
INSERT INTO samples SELECT ?, line, pid, sample_index, start, size, TRY_CAST(step AS INTEGER),
  TRY_CAST(num_tokens AS INTEGER), finish_reason, coalesce(status, 'ungraded'), correct,
  CASE WHEN isfinite(score) THEN score END, CASE WHEN isfinite(advantage) THEN advantage END, parts
FROM chunk JOIN (SELECT pid, example_id FROM problems) USING (example_id)
"""
# As everywhere: a sample that is in a log twice counts once, by its first line.
_DROP_REPEATED = """
DELETE FROM samples WHERE log = ? AND line IN (SELECT line FROM samples WHERE log = ?
  QUALIFY row_number() OVER (PARTITION BY pid, idx ORDER BY line) > 1)
"""


class Store:
    """The tables. One thread adds; any thread may query beside it."""

    def __init__(self, search_file: Path | None) -> None:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY_LIMIT,
            "threads": min(4, os.cpu_count() or 1),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        where = ":memory:" if search_file is None else str(search_file).replace("'", "''")
        self.connection = duckdb.connect(":memory:", config=config)
        if search_file is not None:
            folder = str(search_file.parent).replace("'", "''")
            self.connection.execute(f"SET temp_directory = '{folder}'")
        self.connection.execute(f"ATTACH '{where}' AS found")
        # From here on no query can reach a file or the network, whatever it says.
        self.connection.execute("SET enable_external_access = false")
        self.connection.execute("SET lock_configuration = true")
        self.connection.execute(_TABLES)
        self.num_problems = 0
        self._ends: dict[int, tuple[str, str]] = {}

    def close(self) -> None:
        self.connection.close()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query; safe from any thread."""
        with self.connection.cursor() as cursor:
            return cursor.execute(sql, list(parameters)).fetchall()

    def add_lines(self, log: int, first_line: int, chunk: Chunk) -> tuple[int, list[str]]:
        """Adds the records of a chunk. Returns their number and the names of rewards in them."""
        with self.connection.cursor() as cursor:
            cursor.begin()
            cursor.register("batch", chunk.table(first_line))
            cursor.execute(_TAKE_APART)
            cursor.execute(_DROP_BROKEN)
            self._add_problems(cursor, log)
            cursor.execute(_ADD, [log])
            ((added,),) = cursor.execute("SELECT count(*) FROM chunk").fetchall()
            names = cursor.execute(
                "SELECT map_keys(parts) AS names FROM chunk WHERE parts IS NOT NULL "
                "GROUP BY names ORDER BY min(line) LIMIT 100"
            ).fetchall()
            cursor.commit()
        return added, list(dict.fromkeys(name for (row,) in names for name in row))

    def drop_repeated(self, log: int) -> int:
        """Removes samples that the log holds more than once; returns how many."""
        with self.connection.cursor() as cursor:
            ((dropped,),) = cursor.execute(_DROP_REPEATED, [log, log]).fetchall()
        return int(dropped)

    def add_texts(self, log: int, first_line: int, chunk: Chunk) -> None:
        """Makes the lines of a chunk searchable; `add_lines` has added them before."""
        with self.connection.cursor() as cursor:
            cursor.register("batch", chunk.table(first_line))
            cursor.begin()
            cursor.execute(
                "INSERT INTO found.texts SELECT ?, line, pid, TRY(json->>'$.completion') "
                "FROM batch JOIN (SELECT line, pid FROM samples WHERE log = ? "
                "AND line >= ? AND line < ?) USING (line)",
                [log, log, first_line, first_line + len(chunk.start)],
            )
            cursor.execute(
                "INSERT INTO found.prompts SELECT pid, TRY(json->>'$.prompt') FROM batch "
                "JOIN problems ON first_log = ? AND first_line = line",
                [log],
            )
            cursor.commit()

    def forget(self, log: int) -> None:
        """Removes what was read of a log; its problems stay, other logs may have them."""
        with self.connection.cursor() as cursor:
            cursor.execute("DELETE FROM samples WHERE log = ?", [log])
            cursor.execute("DELETE FROM found.texts WHERE log = ?", [log])

    def set_marks(self, log: int, marks: Sequence[tuple[str, int, int | None, str | None]]) -> None:
        """Replaces the marks of a log by these (example_id, idx, step, mark)."""
        with self.connection.cursor() as cursor:
            cursor.begin()
            cursor.execute("DELETE FROM marks WHERE log = ?", [log])
            for example_id, *rest in marks:
                cursor.execute(
                    "INSERT INTO marks SELECT ?, pid, ?, ?, ? FROM problems WHERE example_id = ?",
                    [log, *rest, example_id],
                )
            cursor.commit()

    def _add_problems(self, cursor: duckdb.DuckDBPyConnection, log: int) -> None:
        cursor.execute(_NEW_PROBLEMS, [self.num_problems])
        rows = cursor.execute(_THEIR_TEXTS).fetchall()
        if not rows:
            return
        prompts = [row[3] for row in rows]
        if log not in self._ends and len(prompts) > 1:
            self._ends[log] = _common_ends(prompts[:200])
        prefix, suffix = self._ends.get(log, ("", ""))
        problems = {
            "pid": pa.array([row[0] for row in rows], pa.int32()),
            "example_id": [row[1] for row in rows],
            "first_log": pa.array([log] * len(rows), pa.int32()),
            "first_line": pa.array([row[2] for row in rows], pa.int32()),
            "snippet": [_snippet(prompt, prefix, suffix) for prompt in prompts],
            "answer": [row[4] for row in rows],
        }
        cursor.register("rows", pa.table(problems))
        cursor.execute("INSERT INTO problems SELECT * FROM rows")
        fields = [(row[0], name, value) for row in rows for name, value in _fields(row[5])]
        if fields:
            pids, names, values = zip(*fields, strict=True)
            columns = {"pid": pa.array(pids, pa.int32()), "field": names, "value": values}
            cursor.register("rows", pa.table(columns))
            cursor.execute("INSERT INTO fields SELECT * FROM rows")
        self.num_problems += len(rows)


def _fields(metadata: str) -> list[tuple[str, str]]:
    """The short values of a problem's metadata, by which lists can be filtered."""
    try:
        found = msgspec.json.decode(metadata)
    except (ValueError, RecursionError):
        return []
    if not isinstance(found, dict):
        return []
    short = []
    for name, value in list(found.items())[:_MOST_FIELDS]:
        if value is None or isinstance(value, dict | list):
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if len(text) <= _LONGEST_VALUE and "\n" not in text:
            short.append((name[:_LONGEST_VALUE], text))
    return short


def _common_ends(prompts: list[str]) -> tuple[str, str]:
    """What all prompts begin and end with: the chat template, which a list need not repeat."""
    prefix = _common_start(prompts)
    suffix = _common_start([prompt[::-1] for prompt in prompts])[::-1]
    while prefix and prefix[-1].isalnum():  # not in the middle of a word or number
        prefix = prefix[:-1]
    while suffix and suffix[0].isalnum():
        suffix = suffix[1:]
    return prefix, suffix


def _common_start(texts: list[str]) -> str:
    first, last = min(texts), max(texts)  # what these two share, all between them share
    same = 0
    while same < len(first) and first[same] == last[same]:
        same += 1
    return first[:same]


def _snippet(prompt: str, prefix: str, suffix: str) -> str:
    text = prompt.removeprefix(prefix)
    text = text.removesuffix(suffix) if suffix else text
    return " ".join((text.strip() or prompt.strip())[: 2 * _SNIPPET].split())[:_SNIPPET]
