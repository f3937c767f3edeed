"""The file of scored groups: what is read, what is refused, and how a log becomes one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from groupwise.evaluation.log.records import RolloutRecord, SampleRecord, to_line
from groupwise.framework.data.scored_groups import (
    ScoredCompletion,
    ScoredGroup,
    export_groups,
    read_groups,
)
from groupwise.rewards.errors import UserError

TWO = [{"text": "4", "score": 1}, {"text": "5", "score": 0.5, "finished": False, "logprob": -3}]
MESSAGES = [{"role": "user", "content": "2+2=?"}]


@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
def test_read(tmp_path: Path, form: str) -> None:
    rows = [{"prompt": "2+2=?", "completions": TWO}, {"prompt": MESSAGES, "completions": TWO}]
    path = tmp_path / f"groups.{form}"
    text = json.dumps(rows) if form == "json" else "\n".join(map(json.dumps, rows))
    path.write_text(text, encoding="utf-8")
    if form == "csv":
        with path.open("w", newline="") as lines:
            cells = [["2+2=?", json.dumps(TWO)], [json.dumps(MESSAGES), json.dumps(TWO)]]
            csv.writer(lines, delimiter=";").writerows([["prompt", "completions"], *cells])
    completions = (ScoredCompletion("4", 1.0), ScoredCompletion("5", 0.5, False, -3.0))
    assert read_groups(str(path)) == [
        ScoredGroup("2+2=?", completions),
        ScoredGroup(tuple(MESSAGES), completions),
    ]


def changed(**values: Any) -> list[dict[str, Any]]:
    return [TWO[0], TWO[1] | values]


# a row, and what the user reads of it
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"completions": TWO}, "`prompt` must be a text, or a list of messages"),
    ({"prompt": "", "completions": TWO}, "`prompt` must be a text"),
    ({"prompt": ["hello"], "completions": TWO}, "`prompt` must be a text, or a list of messages"),
    ({"prompt": "p"}, "`completions` must be a list of at least two"),
    ({"prompt": "p", "completions": TWO[:1]}, "`completions` must be a list of at least two"),
    ({"prompt": "p", "completions": ["a", "b"]}, "completion 1 needs a `text`"),
    ({"prompt": "p", "completions": changed(text=None)}, "completion 2 needs a `text`"),
    ({"prompt": "p", "completions": changed(score=None)}, "completion 2: `score` is None, no"),
    ({"prompt": "p", "completions": changed(score=True)}, "completion 2: `score` is True, no"),
    ({"prompt": "p", "completions": changed(score="1")}, "completion 2: `score` is '1', no"),
    ({"prompt": "p", "completions": changed(logprob="x")}, "completion 2: `logprob` is 'x', no"),
    ({"prompt": "p", "completions": changed(finished="no")}, "completion 2: `finished` is 'no'"),
]


@pytest.mark.parametrize(("row", "message"), REFUSED)
def test_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = tmp_path / "groups.jsonl"
    good = {"prompt": "p", "completions": TWO}
    path.write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_groups(str(path))
    assert str(caught.value).startswith(f"{path}, line 2: {message}")


def sample(example_id: str, index: int, score: float | None, **values: Any) -> SampleRecord:
    kind = RolloutRecord if "step" in values else SampleRecord
    defaults = {
        "prompt": f"<{example_id}>",
        "completion": f"{example_id}{index}",
        "num_tokens": 2,
        "finish_reason": "stop",
        "answer": "4",
        "extracted": None,
        "status": "wrong",
        "correct": score == 1.0,
        "parts": {"format": 0.25 * index},
    }
    return kind(example_id=example_id, sample_index=index, score=score, **(defaults | values))


def write(path: Path, records: list[SampleRecord]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(map(to_line, records)), encoding="utf-8")
    return path


SAMPLES = [
    sample("a", 0, 1.0),
    sample("b", 0, 0.0),
    sample("a", 1, 0.0, finish_reason="length"),
    sample("b", 1, 0.0),  # b: all equal
    sample("c", 0, 1.0),
    sample("c", 1, None),  # c: one is left
    sample("d", 0, 1.0),
    sample("d", 1, 0.0, status="timeout"),
    sample("d", 2, 0.5),
]


def test_a_log_of_samples_becomes_groups(tmp_path: Path) -> None:
    write(tmp_path / "base" / "samples.jsonl", SAMPLES)
    to = tmp_path / "groups.jsonl"
    export = export_groups(tmp_path / "base", to)
    assert str(export) == (
        "2 groups with 4 completions; left out: 2 completions without a score, 1 groups with "
        "fewer than two completions, 1 groups whose scores are all equal"
    )
    assert read_groups(str(to)) == [
        ScoredGroup("<a>", (ScoredCompletion("a0", 1.0), ScoredCompletion("a1", 0.0, False))),
        ScoredGroup("<d>", (ScoredCompletion("d0", 1.0), ScoredCompletion("d2", 0.5))),
    ]
    assert export_groups(tmp_path / "base", to, keep_equal=True).groups == 3
    export_groups(tmp_path / "base", to, score="format")
    assert [c.score for c in read_groups(str(to))[1].completions] == [0.0, 0.25]
    export_groups(tmp_path / "base", to, score="correct")
    assert [c.score for c in read_groups(str(to))[0].completions] == [1.0, 0.0]


def test_a_log_of_rollouts_has_a_group_a_step(tmp_path: Path) -> None:
    records = [
        sample("a", index, score, step=step, advantage=0.0)
        for step in (1, 2)
        for index, score in enumerate((1.0, 0.0, 0.5))
    ]
    write(tmp_path / "run" / "rollouts.jsonl", records)
    write(tmp_path / "night.jsonl", records)
    to = tmp_path / "groups.jsonl"
    assert export_groups(tmp_path / "night.jsonl", to).groups == 2, "by its lines, not by its name"
    assert export_groups(tmp_path / "run", to).groups == 2
    assert [len(group.completions) for group in read_groups(str(to))] == [3, 3]


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    log = write(tmp_path / "samples.jsonl", SAMPLES[1:2])
    for arguments, message in [
        ({"run": tmp_path / "none", "to": tmp_path / "g.jsonl"}, "no such log"),
        ({"run": log, "to": tmp_path / "g.csv"}, "end the name in .jsonl"),
        ({"run": log, "to": tmp_path / "g.jsonl"}, "no group is left to train on"),
        (
            {"run": log, "to": tmp_path / "g.jsonl", "score": "formt"},
            "--score formt: the log has no such score; it has score, correct, format",
        ),
    ]:
        with pytest.raises(UserError, match=message):
            export_groups(**arguments)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"neither samples\.jsonl nor rollouts\.jsonl"):
        export_groups(tmp_path / "empty", tmp_path / "g.jsonl")
    write(tmp_path / "run" / "evaluations" / "base" / "samples.jsonl", SAMPLES)
    for folder in ("run", "run/evaluations"):
        with pytest.raises(UserError) as caught:
            export_groups(tmp_path / folder, tmp_path / "g.jsonl")
        assert str(caught.value).endswith(f"name one of {tmp_path}/run/evaluations/base")
    assert not list(tmp_path.glob("g.*"))
