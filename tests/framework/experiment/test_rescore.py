"""`groupwise rewards`: answers that exist, under other rewards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCli, assert_golden, lines

from groupwise.evaluation.log.records import RolloutRecord, SampleRecord, read_samples, to_line
from groupwise.framework.config import ExperimentConfig

ROWS = [{"id": f"p{i}", "question": f"What is {i}+{i}?", "answer": str(2 * i)} for i in range(4)]

CONFIG = """
model: {name: toy}
data: {train: problems.jsonl, id_field: id}
rewards:
  parts:
    correctness: {params: {extract: [boxed]}}
    short: {use: "own.py:short", weight: 0.5}
"""


def sample(number: int, index: int, completion: str, score: float, **more: Any) -> SampleRecord:
    kind = RolloutRecord if "step" in more else SampleRecord
    correct = score >= 1
    return kind(
        example_id=f"p{number}",
        sample_index=index,
        prompt=f"<|user|>What is {number}+{number}?<|assistant|>",
        completion=completion,
        num_tokens=len(completion.split()),
        finish_reason="stop",
        answer=str(2 * number),
        extracted=None,
        status="correct" if correct else "wrong",
        correct=correct,
        score=score,
        parts={"correctness": float(correct), "old": None},
        **more,
    )


SAMPLES = [
    sample(1, 0, "so \\boxed{2}", 1.0),
    sample(1, 1, "The answer is 2.", 1.0),
    sample(2, 0, "so \\boxed{4} it is, I said", 0.0),
    sample(2, 1, "no idea", 0.0),
    sample(3, 0, "\\boxed{7}", 0.0),
    sample(3, 1, "\\boxed{6}", 1.0),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "own.py").write_text(
        "def short(example, completion):\n"
        "    assert example.question.startswith('What is'), example.question\n"
        "    return 1 / (1 + len(completion.text.split()))\n"
    )
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(map(to_line, SAMPLES)))
    return path


def test_what_changed_is_shown_and_the_log_is_left_alone(log: Path, cli: RunCli) -> None:
    before = log.read_bytes()
    ended = cli("rewards", "--log", "samples.jsonl", "--config", "config.yaml")
    assert ended.code == 0, ended.err
    assert_golden("rescored.txt", ended.out)
    assert log.read_bytes() == before
    assert sorted(p.name for p in log.parent.iterdir() if p.suffix == ".jsonl") == [
        "problems.jsonl",
        "samples.jsonl",
    ]


def test_json_and_output(log: Path, cli: RunCli) -> None:
    ended = cli(
        "rewards", "--log", ".", "--config", "config.yaml", "--output", "new.jsonl", "--json"
    )
    (change,) = ended.json["logs"]
    assert (change["newly_correct"], change["no_longer_correct"]) == (1, 1)
    assert change["parts"]["correctness"] == {"before": 0.5, "after": 0.5}
    assert change["parts"]["short"]["before"] is None
    assert change["total"]["before"] == 0.5
    assert change["same_order"] == 1.0  # only problem 3 is told apart by both
    new = list(read_samples(log.parent / "new.jsonl"))
    assert [record.completion for record in new] == [record.completion for record in SAMPLES]
    assert [record.status for record in new] == [
        "correct",
        "unparseable",
        "correct",
        "unparseable",
        "wrong",
        "correct",
    ]
    assert new[0].parts == {"correctness": 1.0, "short": pytest.approx(1 / 3)}
    assert new[0].score == pytest.approx(1 + 0.5 / 3)


def test_rollouts_are_normalised_within_their_groups(log: Path, cli: RunCli) -> None:
    rollouts = [
        sample(1, i, text, float(i), step=step, advantage=0.5)
        for step in (1, 2)
        for i, text in enumerate(["\\boxed{9}", "\\boxed{2}"])
    ]
    (log.parent / "rollouts.jsonl").write_text("".join(map(to_line, rollouts)))
    ended = cli(
        *("rewards", "--log", "rollouts.jsonl", "--config", "config.yaml"),
        *("--set", "rewards.aggregation=normalize_then_sum", "--output", "new.jsonl"),
    )
    assert ended.code == 0, ended.err
    new = lines(log.parent / "new.jsonl")
    assert [row["advantage"] for row in new] == [None] * 4
    assert [row["step"] for row in new] == [1, 1, 2, 2]
    # (1 - 0.5) / (0.7071 + 1e-4); `short` is equal in the group
    assert [row["score"] for row in new] == pytest.approx([-0.707, 0.707] * 2, abs=1e-3)


def test_problems_that_the_config_does_not_know_are_counted(log: Path, cli: RunCli) -> None:
    (log.parent / "problems.jsonl").write_text(json.dumps({**ROWS[0], "id": "other"}) + "\n")
    ended = cli(
        *("rewards", "--log", "samples.jsonl", "--config", "config.yaml"),
        *("--set", "rewards.parts={correctness: 1.0}", "--set", "data.eval=problems.jsonl"),
    )
    assert ended.code == 0, ended.err
    assert "6 samples belong to no problem of this config" in ended.out


@pytest.mark.parametrize(
    "target", ["run", "run/evaluations/base", "run/evaluations/base/samples.jsonl"]
)
def test_a_config_of_rewards_alone_takes_the_rest_from_the_run(
    log: Path, cli: RunCli, tmp_path: Path, target: str
) -> None:
    """From any folder, and with rewards that are looked for beside their own config."""
    problems = ("data.train", str(tmp_path / "problems.jsonl"))
    config = ExperimentConfig.from_yaml("config.yaml", [problems])
    run = tmp_path / "run"
    (run / "evaluations" / "base").mkdir(parents=True)
    (run / "config.resolved.json").write_text(json.dumps(config.to_dict()))
    (run / "evaluations" / "base" / "samples.jsonl").write_bytes(log.read_bytes())
    (tmp_path / "o.yaml").write_text("rewards: {parts: {correctness: 2.0}}\n")
    (change,) = cli("rewards", "--log", target, "--config", "o.yaml", "--json").json["logs"]
    assert change["unknown_questions"] == 0
    assert change["parts"]["correctness"]["after"] is not None
    assert "short" not in change["parts"], "the run's own rewards are replaced"

    # An evaluation of its own may be of other data.
    folder = run / "evaluations" / "tuned-exam"
    folder.mkdir()
    (tmp_path / "exam.jsonl").write_text(
        "".join(json.dumps({**row, "id": f"exam {row['id']}"}) + "\n" for row in ROWS)
    )
    exam = config.with_values({"data.train": str(tmp_path / "exam.jsonl")})
    (folder / "config.json").write_text(json.dumps(exam.to_dict()))
    samples = [replace(one, example_id=f"exam {one.example_id}") for one in SAMPLES]
    (folder / "samples.jsonl").write_text("".join(map(to_line, samples)))
    found = cli("rewards", "--log", "run", "--config", "o.yaml", "--json").json["logs"]
    assert [change["unknown_questions"] for change in found] == [0, 0]

    ended = cli("rewards", "--log", "samples.jsonl", "--config", "o.yaml")
    assert ended.code == 2, "a log of no run"
    assert "model: is required, and missing" in ended.err


REFUSED = [
    (["--log", "nowhere"], "--log nowhere: no log"),
    (["--log", "samples.jsonl", "--output", "samples.jsonl"], "is the log itself"),
    (["--log", "samples.jsonl", "--config", "missing.yaml"], "missing.yaml"),
    (["--log", "broken.jsonl"], "broken.jsonl, line 1: not a record of a log"),
    (["--log", "run", "--output", "x.jsonl"], "takes one log, and there are 2"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_done_is_said(
    arguments: list[str], message: str, log: Path, cli: RunCli
) -> None:
    (log.parent / "broken.jsonl").write_text("{}\n")
    for label in ("base", "tuned"):
        folder = log.parent / "run" / "evaluations" / label
        folder.mkdir(parents=True)
        (folder / "samples.jsonl").write_text("".join(map(to_line, SAMPLES)))
    config = [] if "--config" in arguments else ["--config", "config.yaml"]
    ended = cli("rewards", *arguments, *config)
    assert ended.code == 2
    assert message in ended.err
    assert not (log.parent / "x.jsonl").exists()
