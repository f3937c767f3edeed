"""The answers to the pages' requests: the list of problems, one of them, training, the queue.

What it leaves out: the overview (overview.py), the parameters of a list (filters.py), HTTP
(server.py).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import duckdb

from groupwise.evaluation.viewer.filters import BadRequestError, Filter
from groupwise.evaluation.viewer.index import Index, LogState
from groupwise.evaluation.viewer.reviews import digest
from groupwise.evaluation.viewer.scan import read_record

MOST_ROWS = 200  # of a page
MOST_SAMPLES = 64  # of one log on one page
SHOWN_TEXT = 20_000  # characters of an answer; the whole text is one click away
_KEPT_LISTS = 16


class Queries:
    """Queries of an index. Ordered lists are cached, so that paging does not sort again."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._lists: OrderedDict[tuple[Any, ...], list[int]] = OrderedDict()
        self._lock = threading.Lock()

    def log(self, key: str) -> LogState:
        state = self.index.logs.get(key)
        if state is None:
            raise BadRequestError(f"there is no log {key!r}")
        return state

    def evaluations(self, keys: Sequence[str]) -> list[LogState]:
        """The logs by key; without keys, the first and the last evaluation of the first run."""
        if keys:
            return [self.log(key) for key in dict.fromkeys(keys)]
        found = [s for s in self.index.logs.values() if s.found.kind == "samples"]
        found = [s for s in found if s.found.run == found[0].found.run]
        return [found[0], found[-1]] if len(found) > 1 else found

    def problems(
        self, keys: Sequence[str], asked: Filter, offset: int = 0, limit: int = 50
    ) -> dict[str, Any]:
        """A page of the list: rows in the order asked for, and how many there are in all."""
        logs = self.evaluations(keys)
        if not logs:
            return {"total": 0, "offset": 0, "rows": [], "logs": []}
        pids = self._ordered(logs, asked)
        offset = max(0, offset)
        page = pids[offset : offset + max(1, min(limit, MOST_ROWS))]
        return {
            "total": len(pids),
            "offset": offset,
            "logs": [state.found.key for state in logs],
            "searchable": self.index.searchable.is_set(),
            "rows": self.rows(logs, page),
        }

    def problem(self, keys: Sequence[str], example_id: str, first: int = 0) -> dict[str, Any]:
        """One problem: prompt, reference, and the answers of each log from number `first` on."""
        pid = self._pid(example_id)
        sides = []
        for state in self.evaluations(keys):
            rows = self.index.query(
                "SELECT start, size, line FROM samples WHERE log = ? AND pid = ? "
                "ORDER BY step, idx LIMIT ? OFFSET ?",
                [state.number, pid, MOST_SAMPLES, max(0, first)],
            )
            ((total,),) = self.index.query(
                "SELECT count(*) FROM samples WHERE log = ? AND pid = ?", [state.number, pid]
            )
            sides.append(
                {
                    "key": state.found.key,
                    "total": total,
                    "samples": [self.sample_at(state, *row) for row in rows],
                }
            )
        return {"id": example_id} | self.question(sides) | {"logs": sides}

    def sample(self, key: str, line: int) -> dict[str, Any]:
        """One sample with its whole text."""
        state = self.log(key)
        rows = self.index.query(
            "SELECT start, size, line FROM samples WHERE log = ? AND line = ?",
            [state.number, line],
        )
        if not rows:
            raise BadRequestError("there is no such sample")
        return self.sample_at(state, *rows[0], limit=None)

    def steps(self, key: str) -> dict[str, Any]:
        """Training by step, and the problems that were met most often."""
        state = self.log(key)
        steps = self.index.query(
            "SELECT step, count(*), count(DISTINCT pid), avg(correct::INTEGER), avg(score), "
            "avg(tokens), sum((finish = 'length')::INTEGER) FROM samples WHERE log = ? "
            "GROUP BY step ORDER BY step",
            [state.number],
        )
        names = ("step", "samples", "problems", "solved", "score", "tokens", "truncated")
        met = self.index.query(
            "SELECT example_id, snippet, count(DISTINCT step) AS steps, count(*), "
            "avg(correct::INTEGER) FROM samples s JOIN problems USING (pid) WHERE s.log = ? "
            "GROUP BY ALL ORDER BY steps DESC, example_id LIMIT 200",
            [state.number],
        )
        met_names = ("id", "question", "steps", "samples", "solved")
        return {
            "key": key,
            "steps": [dict(zip(names, row, strict=True)) for row in steps],
            "problems": [dict(zip(met_names, row, strict=True)) for row in met],
        }

    def step(self, key: str, step: int) -> dict[str, Any]:
        """All groups of one step, with their answers."""
        state = self.log(key)
        rows = self.index.query(
            "SELECT pid, example_id, snippet, start, size, samples.line FROM samples "
            "JOIN problems USING (pid) WHERE samples.log = ? AND step = ? ORDER BY line LIMIT ?",
            [state.number, step, 8 * MOST_SAMPLES],
        )
        groups: dict[int, dict[str, Any]] = {}
        for pid, example_id, snippet, *place in rows:
            group = groups.setdefault(pid, {"id": example_id, "question": snippet, "samples": []})
            group["samples"].append(self.sample_at(state, *place))
        return {"key": key, "step": step, "groups": list(groups.values())}

    def trajectory(self, key: str, example_id: str) -> dict[str, Any]:
        """One problem through training: its answers at every step that sampled it."""
        state = self.log(key)
        rows = self.index.query(
            "SELECT step, start, size, line FROM samples WHERE log = ? AND pid = ? "
            "ORDER BY step, line LIMIT ?",
            [state.number, self._pid(example_id), 8 * MOST_SAMPLES],
        )
        steps: dict[int, dict[str, Any]] = {}
        for step, *place in rows:
            entry = steps.setdefault(step, {"step": step, "samples": []})
            entry["samples"].append(self.sample_at(state, *place))
        sides = list(steps.values())
        return {"id": example_id, "key": key} | self.question(sides) | {"steps": sides}

    def queue(
        self, keys: Sequence[str], part: str = "", threshold: float = 0.5, kind: str = "marks"
    ) -> dict[str, Any]:
        """Samples on which two judges differ: the grader and a mark, or the grader and a reward."""
        logs = self.evaluations(keys)
        numbers = [state.number for state in logs]
        columns = "s.log, s.start, s.size, s.line, p.example_id, p.snippet"
        rows: list[tuple[Any, ...]] = []
        if kind == "marks":
            rows = self.index.query(
                f"SELECT {columns} FROM samples s JOIN problems p USING (pid) JOIN marks m "
                "ON m.log = s.log AND m.pid = s.pid AND m.idx = s.idx "
                "AND m.step IS NOT DISTINCT FROM s.step WHERE list_contains(?, s.log) AND "
                "(m.mark = 'unsure' OR (m.mark = 'right' AND s.correct IS NOT TRUE) "
                "OR (m.mark = 'wrong' AND s.correct)) ORDER BY p.example_id, s.log, s.idx LIMIT ?",
                [numbers, MOST_ROWS + 1],
            )
        elif kind == "reward" and part in self.index.part_names:
            rows = self.index.query(
                f"SELECT {columns} FROM samples s JOIN problems p USING (pid) "
                "WHERE list_contains(?, s.log) AND s.correct IS NOT NULL "
                "AND (s.parts[?] >= ?) <> s.correct ORDER BY p.example_id, s.log, s.idx LIMIT ?",
                [numbers, part, threshold, MOST_ROWS + 1],
            )
        by_number = {state.number: state for state in logs}
        return {
            "more": len(rows) > MOST_ROWS,
            "samples": [
                {"id": example_id, "question": snippet, "key": by_number[log].found.key}
                | self.sample_at(by_number[log], start, size, line)
                for log, start, size, line, example_id, snippet in rows[:MOST_ROWS]
            ],
        }

    def categories(self) -> dict[str, list[str]]:
        """Metadata fields that name kinds of problems, with their values."""
        rows = self.index.query(
            "SELECT field, list(DISTINCT value ORDER BY value) FROM fields GROUP BY field "
            "HAVING count(DISTINCT value) BETWEEN 1 AND 100 ORDER BY field"
        )
        return dict(rows)

    def _ordered(self, logs: Sequence[LogState], asked: Filter) -> list[int]:
        key = (self.index.version, asked, *(state.number for state in logs))
        with self._lock:
            if key in self._lists:
                self._lists.move_to_end(key)
                return self._lists[key]
        sql, parameters = _list_query([state.number for state in logs], asked)
        try:
            pids = [row[0] for row in self.index.query(sql, parameters)]
        except duckdb.Error as error:
            if asked.regex and asked.q:
                message = str(error).splitlines()[0].partition(": ")[2]
                raise BadRequestError(f"the regular expression: {message}") from None
            raise
        with self._lock:
            self._lists[key] = pids
            while len(self._lists) > _KEPT_LISTS:
                self._lists.popitem(last=False)
        return pids

    def rows(self, logs: Sequence[LogState], pids: list[int]) -> list[dict[str, Any]]:
        """Rows of the list for these problems, with the counts of each log."""
        numbers = [state.number for state in logs]
        rows: dict[int, dict[str, Any]] = {}
        for pid, example_id, snippet, answer in self.index.query(
            "SELECT pid, example_id, snippet, answer FROM problems WHERE list_contains(?, pid)",
            [pids],
        ):
            rows[pid] = {"id": example_id, "question": snippet, "answer": answer, "logs": {}}
        keys = {state.number: state.found.key for state in logs}
        for log, pid, *values in self.index.query(
            "SELECT log, pid, count(*), sum(correct::INTEGER), avg(score), avg(tokens), "
            "sum((finish = 'length')::INTEGER) FROM samples "
            "WHERE list_contains(?, pid) AND list_contains(?, log) GROUP BY log, pid",
            [pids, numbers],
        ):
            names = ("n", "right", "score", "tokens", "truncated")
            rows[pid]["logs"][keys[log]] = dict(zip(names, values, strict=True))
        for pid, field, value in self.index.query(
            "SELECT pid, field, value FROM fields WHERE list_contains(?, pid)", [pids]
        ):
            rows[pid].setdefault("fields", {})[field] = value
        return [rows[pid] for pid in pids if pid in rows]

    def sample_at(
        self, state: LogState, start: int, size: int, line: int, *, limit: int | None = SHOWN_TEXT
    ) -> dict[str, Any]:
        """The sample at this place of its log, its text cut at `limit` characters."""
        record = read_record(state.found.path, start, size)
        text = str(record.get("completion", ""))
        record["completion"] = text[:limit]
        record["cut"] = len(text) - len(record["completion"])
        record["line"] = line
        record["review"] = self._review(state, record, text)
        record["key"] = state.found.key
        return record

    @staticmethod
    def _review(state: LogState, record: dict[str, Any], text: str) -> dict[str, Any] | None:
        example_id, index, step = (record.get(k) for k in ("example_id", "sample_index", "step"))
        if not isinstance(example_id, str) or not isinstance(index, int):
            return None  # a log may hold anything
        if step is not None and not isinstance(step, int):
            return None
        review = state.reviews.get((example_id, index, step))
        if review is None:
            return None
        other = review.digest not in ("", digest(text))
        return {"mark": review.mark, "note": review.note, "other_answer": other}

    @staticmethod
    def question(sides: list[dict[str, Any]]) -> dict[str, Any]:
        """What was asked, once; where logs asked differently, each prompt by itself."""
        prompts: dict[str, list[str]] = {}
        answer = ""
        metadata: dict[str, Any] = {}
        for side in sides:
            for sample in side["samples"]:
                asked = prompts.setdefault(str(sample.pop("prompt", "")), [])
                if (key := sample["key"]) not in asked:
                    asked.append(key)
                answer = answer or sample.pop("answer", "")
                metadata = metadata or sample.pop("metadata", {})
        return {
            "prompts": [{"prompt": text, "logs": keys} for text, keys in prompts.items()],
            "answer": answer,
            "metadata": metadata,
        }

    def _pid(self, example_id: str) -> int:
        pid = self.index.pid(example_id)
        if pid is None:
            raise BadRequestError(f"there is no problem {example_id!r}")
        return pid


def _list_query(numbers: list[int], asked: Filter) -> tuple[str, list[Any]]:
    """All problems that the filter lets through, in its order."""
    first, last = numbers[0], numbers[-1]
    two = first != last
    conditions, sample_parameters = asked.sample_conditions()
    parameters: list[Any] = []
    clauses = []
    if asked.q:
        clauses.append(
            "hits AS (SELECT log, line FROM found.texts WHERE "
            "list_contains(?, log) AND regexp_matches(completion, ?, 'i'))"
        )
        parameters += [numbers, asked.pattern]
        clauses.append(
            "asked AS (SELECT pid FROM found.prompts WHERE regexp_matches(prompt, ?, 'i') "
            "UNION SELECT pid FROM problems WHERE example_id = ?)"
        )
        parameters += [asked.pattern, asked.q]
        hit = {
            "answers": "(s.log, s.line) IN (SELECT (log, line) FROM hits)",
            "prompts": "s.pid IN (SELECT pid FROM asked)",
        }
        conditions.append(hit.get(asked.scope) or f"({hit['answers']} OR {hit['prompts']})")
    if asked.field:
        conditions.append("s.pid IN (SELECT pid FROM fields WHERE field = ? AND value = ?)")
        sample_parameters += [asked.field, asked.value]
    where = " AND ".join(["list_contains(?, s.log)", *conditions])
    clauses.append(f"matching AS (SELECT pid, count(*) AS matches FROM samples s WHERE {where} "
                   "GROUP BY pid)")  # fmt: skip
    parameters += [numbers, *sample_parameters]
    clauses.append(
        "sums AS (SELECT pid, "
        "avg(correct::INTEGER) FILTER (log = ?) AS solved_a, "
        "avg(correct::INTEGER) FILTER (log = ?) AS solved_b, "
        "avg(score) FILTER (log = ?) AS score_a, avg(score) FILTER (log = ?) AS score_b, "
        "avg(tokens) FILTER (log = ?) AS tokens_b, "
        "sum((finish = 'length')::INTEGER) AS truncated "
        "FROM samples WHERE list_contains(?, log) GROUP BY pid)"
    )
    parameters += [first, last, first, last, last, numbers]
    delta = "solved_b - solved_a" if two else "NULL"
    clauses.append(
        f"listed AS (SELECT *, {delta} AS delta, "
        "coalesce((solved_a = 0) <> (solved_b = 0), false)::INTEGER AS flip "
        "FROM matching JOIN sums USING (pid) JOIN (SELECT pid, example_id, snippet FROM problems) "
        "USING (pid))"
    )
    change = asked.change_condition()
    sql = f"WITH {', '.join(clauses)} SELECT pid FROM listed"
    if change:
        sql += f" WHERE {change}"
    return f"{sql} ORDER BY {asked.order()}", parameters
