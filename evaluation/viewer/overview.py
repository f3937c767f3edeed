"""The first page: curves of pass@k with intervals, what changed, training curves, findings."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from groupwise.evaluation.comparison import ALPHA, COMPARISON
from groupwise.evaluation.log.settings import load_settings
from groupwise.evaluation.metrics.intervals import bootstrap_estimates, number
from groupwise.evaluation.metrics.pass_at_k import pass_at_k
from groupwise.evaluation.viewer.discover import HEALTH, METRICS, FoundRun
from groupwise.evaluation.viewer.index import Index, LogState
from groupwise.rewards.errors import UserError

_MOST_POINTS = 400
_MOST_BYTES = 200_000_000
_RESAMPLES = 10_000


class Overview:
    """Makes the overview of an index; slow parts are cached until their log grows."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._kept: dict[str, tuple[Any, dict[str, Any]]] = {}

    def to_json(self) -> dict[str, Any]:
        runs = [self._run(run) for run in self.index.runs]
        evaluations = [evaluation for run in runs for evaluation in run["evaluations"]]
        return {
            "runs": runs,
            "sets": self._number_sets(evaluations),
            "ready": self.index.ready.is_set(),
        }

    def _number_sets(self, evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Gives each evaluation the number of its set of problems, `set`; returns these sets.

        Evaluations are of one set if their settings say so, and where there are none, if they have
        answers to the same problems.
        """
        asked = {e["_pids"]: e["_asked"] for e in evaluations if e["_asked"]}
        numbers: dict[Any, int] = {}
        sets: list[dict[str, Any]] = []
        for evaluation in evaluations:
            pids = evaluation.pop("_pids")
            key = evaluation.pop("_asked") or asked.get(pids, pids)
            if key not in numbers:
                numbers[key] = len(sets)
                sets.append({"problems": 0, "example": self._snippet(pids[0])})
            evaluation["set"] = numbers[key]
            one = sets[numbers[key]]
            one["problems"] = max(one["problems"], evaluation["problems"])
        return sets

    def _snippet(self, pid: int) -> str:
        ((snippet,),) = self.index.query("SELECT snippet FROM problems WHERE pid = ?", [pid])
        return str(snippet)

    def _run(self, run: FoundRun) -> dict[str, Any]:
        states = [self.index.logs[log.key] for log in run.logs if log.key in self.index.logs]
        evaluations = [self._evaluation(state) for state in states if state.found.kind == "samples"]
        return {
            "name": run.name,
            "evaluations": [e for e in evaluations if e["samples"]],
            "comparison": self._comparison(run, evaluations),
            "training": read_table(run.file(METRICS)),
            "health": read_lines(run.file(HEALTH), 200),
            "rollouts": next((s.found.key for s in states if s.found.kind == "rollouts"), None),
        }

    def _evaluation(self, state: LogState) -> dict[str, Any]:
        mark = (state.number, state.samples, state.read)
        kept = self._kept.get(state.found.key)
        if kept is not None and kept[0] == mark:
            return dict(kept[1])
        made = self._make_evaluation(state)
        self._kept[state.found.key] = (mark, made)
        return dict(made)

    def _make_evaluation(self, state: LogState) -> dict[str, Any]:
        ((samples, truncated, tokens, score, graded),) = self.index.query(
            "SELECT count(*), coalesce(sum((finish = 'length')::INTEGER), 0), avg(tokens), "
            "avg(score), count(correct) FROM samples WHERE log = ?",
            [state.number],
        )
        counts = self.index.query(
            "SELECT count(*), sum(correct::INTEGER), pid FROM samples WHERE log = ? "
            "GROUP BY pid ORDER BY pid",
            [state.number],
        )
        statuses = self.index.query(
            "SELECT status, count(*) FROM samples WHERE log = ? GROUP BY status ORDER BY status",
            [state.number],
        )
        parts = self.index.query(
            "SELECT part.key, avg(part.value) FROM (SELECT unnest(map_entries(parts)) AS part "
            "FROM samples WHERE log = ?) GROUP BY ALL",
            [state.number],
        )
        means = dict(parts)
        solved = sum(bool(c) for _, c, _ in counts)
        return {
            "key": state.found.key,
            "label": state.found.label,
            "_asked": _problems_asked(state.found.path),
            "_pids": tuple(pid for _, _, pid in counts),
            "samples": samples,
            "problems": len(counts),
            "solved_once": solved,
            "truncated": int(truncated),
            "mean_num_tokens": tokens,
            "mean_score": score,
            "statuses": dict(statuses),
            "parts": {n: means[n] for n in self.index.part_names if n in means},
            "curve": _curve(counts) if graded == samples and samples else [],
            "by_category": self._by_category(state),
        }

    def _by_category(self, state: LogState) -> dict[str, list[dict[str, Any]]]:
        rows = self.index.query(
            "SELECT field, value, count(DISTINCT pid), count(*), avg(correct::INTEGER) "
            "FROM samples JOIN fields USING (pid) WHERE log = ? AND field IN "
            "(SELECT field FROM fields GROUP BY field HAVING count(DISTINCT value) <= 30) "
            "GROUP BY field, value ORDER BY field, value",
            [state.number],
        )
        found: dict[str, list[dict[str, Any]]] = {}
        for field, value, problems, samples, solved in rows:
            found.setdefault(field, []).append(
                {"value": value, "problems": problems, "samples": samples, "solved": solved}
            )
        return found

    def _comparison(
        self, run: FoundRun, evaluations: list[dict[str, Any]]
    ) -> dict[str, Any] | None:
        """The stored comparison, if it is of the evaluations as they are now."""
        path = run.file(COMPARISON)
        if path is None:
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            labels = {e["label"]: e["samples"] for e in evaluations}
            current = all(labels.get(s["label"]) == s["num_samples"] for s in found["sides"])
            pairs = [
                {
                    name: pair[name]
                    for name in (
                        "base", "other", "verdict", "pass_at_k", "num_won", "num_lost",
                        "num_unchanged", "crossing_k",
                    )
                }
                | {name: len(pair[name]) for name in ("newly_solved", "no_longer_solved")}
                for pair in found["pairs"]
            ]  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return {"pairs": pairs, "alpha": ALPHA} if current else None


def _problems_asked(log: Path) -> str | None:
    """The hash of the problems that an evaluation was started on, if its settings have it."""
    try:
        known = load_settings(log.parent) or {}
    except (UserError, OSError):
        return None
    asked = known.get("problems")
    return asked if isinstance(asked, str) else None


def _curve(counts: Sequence[tuple[int, int, int]]) -> list[dict[str, float | None]]:
    """pass@k with its interval for powers of two up to the fewest samples, and that number."""
    n = np.array([row[0] for row in counts], dtype=np.int64)
    c = np.array([row[1] for row in counts], dtype=np.int64)
    most = int(n.min())
    ks = sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most})
    values = np.stack([np.asarray(pass_at_k(n, c, k)) for k in ks], axis=1)
    resamples = _RESAMPLES if len(n) * len(ks) < 2_000_000 else 1_000
    estimates = bootstrap_estimates(values, bounds=(0.0, 1.0), resamples=resamples)
    return [
        {"k": k, "value": number(e.value), "low": number(e.low), "high": number(e.high)}
        for k, e in zip(ks, estimates, strict=True)
    ]


def read_table(path: Path | None) -> dict[str, Any] | None:
    """metrics.jsonl as {"step": [...], "columns": {name: [...]}}; a long run is thinned."""
    rows = [
        row for row in read_lines(path, 1_000_000)
        if isinstance(row.get("step"), int) and not isinstance(row["step"], bool)
    ]  # fmt: skip
    if not rows:
        return None
    width = math.ceil(len(rows) / _MOST_POINTS)
    groups = [rows[i : i + width] for i in range(0, len(rows), width)]
    names = list(dict.fromkeys(name for row in rows for name in row if name != "step"))[:200]
    return {
        "step": [group[-1]["step"] for group in groups],
        "steps": rows[-1]["step"],
        "averaged": width,
        "columns": {name: [_mean(group, name) for group in groups] for name in names},
    }


def read_lines(path: Path | None, most: int) -> list[dict[str, Any]]:
    """The objects of a JSONL file, as far as they are whole; the newest ones if there are more."""
    if path is None:
        return []
    try:
        if path.stat().st_size > _MOST_BYTES:
            return []
        lines = path.read_bytes().splitlines()[-most:]
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            row = json.loads(line, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def _mean(group: list[dict[str, Any]], name: str) -> float | None:
    values = [
        float(value) for row in group
        if isinstance(value := row.get(name), int | float) and math.isfinite(value)
    ]  # fmt: skip
    return fmean(values) if values else None
