"""One self-contained HTML page of a run: it opens from disk and loads nothing else.

    write_report("runs/my-run", "report.html")

It is the review page (evaluation/viewer), read-only, with its data embedded. Of a small run all
data are embedded; of a large one all numbers, all problems that flipped, and a random sample of the
others. The page states what is left out.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.files import write_text
from groupwise.evaluation.text import printable
from groupwise.evaluation.viewer.broken import first_broken
from groupwise.evaluation.viewer.bundle import page
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from groupwise.evaluation.viewer.index import Index, LogState
    from groupwise.evaluation.viewer.queries import Queries

REPORT = "report.html"
FULL_BYTES = 12_000_000  # logs of evaluations up to this size are embedded completely
PART_BYTES = 12_000_000  # approximate limit for the texts of larger ones
TRAINING_BYTES = 3_000_000
_OTHER_PROBLEMS = 200
_CUT_TEXT = 4_000
_STEPS = 9


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which problems are in the page, how many answers of each, and the sentence that says so."""

    pids: list[int]
    answers: int
    cut: int
    note: str


def write_report(run: str | Path, path: str | Path | None = None) -> Path:
    """Writes the page (default: `report.html` in the run) and returns its path.

    `run` is a run directory, an evaluation, or a folder of runs. The file is replaced whole or not
    at all. Raises UserError if there is no sample, or a line of a log that cannot be read.
    """
    from groupwise.evaluation.viewer.index import Index  # DuckDB, pyarrow: not at start-up

    run = Path(run)
    path = (run if run.is_dir() else run.parent) / REPORT if path is None else Path(path)
    if path.suffix not in (".html", ".htm") and not path.is_dir():
        raise UserError(f"{path}: a report is an HTML page; end the file's name in .html")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name the file to write, such as {path / REPORT}")
    index = Index([run])
    try:
        if broken := next(filter(None, map(first_broken, index.runs)), None):
            raise UserError(broken)
        index.read_now(texts=False)
        if not any(state.samples for state in index.logs.values()):
            raise UserError(f"{run}: there is no sample to report on")
        name = printable(run.resolve().name)
        write_text(path, page(report_data(index), f"{name} · Groupwise"))
    finally:
        index.close()
    return path


def report_data(index: Index) -> dict[str, Any]:
    """The data embedded in the page, from which static/js/local.js answers its requests."""
    # DuckDB and NumPy stay out of start-up.
    from groupwise.evaluation.viewer.overview import Overview
    from groupwise.evaluation.viewer.queries import Queries

    queries = Queries(index)
    evaluations = [s for s in index.logs.values() if s.found.kind == "samples" and s.samples]
    compared = queries.evaluations([]) if evaluations else []
    choice = _choose(index, evaluations, compared)
    problems, logs = _problems(index, queries, evaluations, choice)
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    status = index.status() | {"searchable": True, "note": f"report, {date}: {choice.note}"}
    return {
        "status": status,
        "overview": Overview(index).to_json(),
        "categories": queries.categories(),
        "compared": [state.found.key for state in compared],
        "problems": problems,
        "logs": logs,
        "training": {
            state.found.key: _training(queries, state)
            for state in index.logs.values()
            if state.found.kind == "rollouts" and state.samples
        },
    }


def _choose(index: Index, evaluations: Sequence[LogState], compared: Sequence[LogState]) -> _Choice:
    every = [pid for (pid,) in index.query("SELECT DISTINCT pid FROM samples WHERE "
             "list_contains(?, log) ORDER BY pid", [[s.number for s in evaluations]])]  # fmt: skip
    size = sum(state.size for state in evaluations)
    if size <= FULL_BYTES:
        samples = sum(state.samples for state in evaluations)
        return _Choice(every, samples, 20_000, f"all {samples:,} answers")
    flips = _flips(index, compared)
    known = set(flips)
    others = [pid for pid in every if pid not in known]
    drawn = sorted(random.Random(0).sample(others, min(_OTHER_PROBLEMS, len(others))))
    pids = sorted(flips + drawn)
    mean = max(1.0, min(size / sum(s.samples for s in evaluations), _CUT_TEXT))
    most = max(1, min(8, int(PART_BYTES / (mean * len(evaluations) * max(1, len(pids))))))
    # With very many flips each keeps at least one answer, and answers are cut shorter.
    cut = int(min(_CUT_TEXT, max(200.0, PART_BYTES / (most * len(evaluations) * len(pids)))))
    note = (
        f"all {len(flips):,} flips and {len(drawn):,} of the other {len(others):,} problems, drawn "
        f"at random; up to {most} answers of each, to {cut:,} characters"
    )
    return _Choice(pids, most, cut, note)


def _flips(index: Index, compared: Sequence[LogState]) -> list[int]:
    """Problems solved at least once on exactly one side."""
    if len(compared) < 2:
        return []
    first, last = compared[0].number, compared[-1].number
    rows = index.query(
        "SELECT pid FROM samples WHERE log IN (?, ?) GROUP BY pid "
        "HAVING max(correct) FILTER (log = ?) <> max(correct) FILTER (log = ?)",
        [first, last, first, last],
    )
    return [pid for (pid,) in rows]


def _problems(
    index: Index, queries: Queries, evaluations: Sequence[LogState], choice: _Choice
) -> tuple[list[dict[str, Any]], dict[str, dict[str, list[dict[str, Any]]]]]:
    """The rows of the list, and all answers by log and problem."""
    logs: dict[str, dict[str, list[dict[str, Any]]]] = {s.found.key: {} for s in evaluations}
    sides: dict[str, list[dict[str, Any]]] = defaultdict(list)
    by_number = {state.number: state for state in evaluations}
    for log, example_id, *place in index.query(
        "SELECT log, example_id, start, size, line FROM samples JOIN problems USING (pid) "
        "WHERE list_contains(?, log) AND list_contains(?, pid) "
        "QUALIFY row_number() OVER (PARTITION BY log, pid ORDER BY idx) <= ? "
        "ORDER BY pid, log, idx",
        [list(by_number), choice.pids, choice.answers],
    ):
        state = by_number[log]
        sample = queries.sample_at(state, *place, limit=choice.cut)
        answers = logs[state.found.key].setdefault(example_id, [])
        if not answers:
            sides[example_id].append({"samples": answers})
        answers.append(sample)
    rows = []
    for start in range(0, len(choice.pids), 1_000):
        rows += queries.rows(evaluations, choice.pids[start : start + 1_000])
    for row in rows:
        row |= queries.question(sides[row["id"]])
    return rows, logs


def _training(queries: Queries, state: LogState) -> dict[str, Any]:
    """The table of steps, and the answers of a few steps from first to last."""
    found = queries.steps(state.found.key)
    numbers = [row["step"] for row in found["steps"]]
    last = len(numbers) - 1
    shown = sorted({numbers[round(i * last / (_STEPS - 1))] for i in range(_STEPS)})
    budget = TRAINING_BYTES
    steps: dict[str, Any] = {}
    for step in [shown[0], *shown[:0:-1]]:  # first and last before those between
        entry = queries.step(state.found.key, step)
        samples = [s for group in entry["groups"] for s in group["samples"]]
        budget -= sum(len(s["completion"]) + 400 for s in samples)
        if budget < 0 and steps:
            break
        steps[str(step)] = entry
    return found | {"step": steps}
