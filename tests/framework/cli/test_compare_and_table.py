"""`groupwise compare` and `groupwise table`: which evaluations a path means, and their names."""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path

import pytest
from conftest import RunCli
from evaluation_toy import ToySampler, ToyScorer, toy_examples

from groupwise.evaluation.runner import EvaluationSettings, evaluate
from groupwise.evaluation.sampler import SamplingParams

FEW = EvaluationSettings(num_samples=2, ks=(1, 2), resamples=100)


def measured(
    folder: Path, skill: float, *, seed: int = 0, temperature: float = 1.0, count: int = 12
) -> Path:
    settings = dataclasses.replace(FEW, params=SamplingParams(seed=seed, temperature=temperature))
    evaluate(toy_examples(count), ToySampler(skill), ToyScorer(), settings, folder)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs, two folders of `evaluate`, and another folder of runs with one of the same name."""
    runs = tmp_path / "runs"
    for name, label, skill, seed in (
        ("r", "base", 0.3, 0), ("r", "tuned", 0.7, 0), ("r", "tuned-exam", 0.6, 0),
        ("s", "base", 0.3, 2), ("s", "tuned", 0.7, 2),
        ("eval-m", "m-exam", 0.5, 0),
        ("eval-n", "n-exam", 0.5, 0), ("eval-n", "n-other", 0.4, 0),
        ("begun", "base", 0.3, 0),
    ):  # fmt: skip
        measured(runs / name / "evaluations" / label, skill, seed=seed)
    (runs / "begun" / "evaluations" / "tuned").mkdir()
    measured(tmp_path / "elsewhere" / "r" / "evaluations" / "tuned", 0.5)
    (tmp_path / "mine.jsonl").write_bytes(
        (runs / "r" / "evaluations" / "base" / "samples.jsonl").read_bytes()
    )
    return runs


# arguments -> the first lines of each comparison
COMPARED = {
    "runs/r": ["base -> tuned"],
    "runs/r runs/eval-m": ["r/tuned -> eval-m/m-exam"],
    "runs/r/ runs/eval-m/": ["r/tuned -> eval-m/m-exam"],
    "runs/begun runs/r": ["begun/base -> r/tuned"],
    "runs/r/evaluations/tuned runs/eval-m/evaluations/m-exam": ["r/tuned -> eval-m/m-exam"],
    "runs/r/evaluations/base runs/r/evaluations/tuned": ["r/base -> r/tuned"],
    "runs/r/evaluations/base/samples.jsonl runs/r": ["r/base -> r/tuned"],
    "runs/r/evaluations": ["base -> tuned"],
    "runs/r/evaluations runs/eval-m/evaluations": ["r/tuned -> eval-m/m-exam"],
    "runs/r elsewhere/r": ["runs/r/tuned -> elsewhere/r/tuned"],
    "mine.jsonl runs/r": ["mine.jsonl -> r/tuned"],
    "runs/r runs/s runs/eval-m": ["r/tuned -> s/tuned", "r/tuned -> eval-m/m-exam"],
}


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("arguments", COMPARED)
def test_what_is_compared(cli: RunCli, arguments: str) -> None:
    ended = cli("compare", *arguments.split())
    assert ended.code == 0, ended.err
    assert (
        re.findall(r"^(.+ -> .+): 12 problems x 2 samples", ended.out, re.M)
        == (COMPARED[arguments])
    )


REFUSED = {
    "runs/eval-n": "there is no base and no tuned. Name two or more, such as: runs/eval-n/"
    "evaluations/n-exam, runs/eval-n/evaluations/n-other",
    "runs/begun": "there is no tuned. There is runs/begun/evaluations/base",
    "runs/r runs/eval-n": "runs/eval-n: has 2 evaluations, so say which. Name two or more, such "
    "as: runs/eval-n/evaluations/n-exam, runs/eval-n/evaluations/n-other",
    "runs/r runs/r": "runs/r/evaluations/tuned/samples.jsonl: is named twice",
    "runs/r runs/nothing": "runs/nothing: there is no such run, evaluation or log",
    "runs/r runs": "runs: there is no evaluation in it",
}


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("arguments", REFUSED)
def test_what_cannot_be_compared_is_named(cli: RunCli, arguments: str) -> None:
    ended = cli("compare", *arguments.split())
    assert (ended.code, ended.out) == (2, "")
    assert REFUSED[arguments] in ended.err


def test_another_seed_is_a_notice_and_another_temperature_is_refused(
    cli: RunCli, runs: Path
) -> None:
    ended = cli("compare", "runs/r", "runs/s")
    assert ended.code == 0, ended.err
    assert "Notice: params.seed: 0 in r/tuned, 2 in s/tuned" in ended.out
    measured(runs / "warm" / "evaluations" / "tuned", 0.7, seed=2, temperature=0.5)
    ended = cli("compare", "runs/r", "runs/warm")
    assert ended.code == 2
    assert "params.temperature: 1.0 in r/tuned, 0.5 in warm/tuned" in ended.err
    assert "params.seed" not in ended.err, "which is no reason"


def test_each_pair_keeps_its_own_problems(cli: RunCli, runs: Path) -> None:
    measured(runs / "small" / "evaluations" / "tuned", 0.5, count=7)
    ended = cli("compare", "runs/r", "runs/small", "runs/s", "--allow-differences")
    found = re.findall(r"^r/tuned -> (.+): (\d+) problems", ended.out, re.M)
    assert found == [("small/tuned", "7"), ("s/tuned", "12")]
    alone = cli("compare", "runs/r", "runs/s").out
    assert alone.split("Notice:")[0].strip() in ended.out, "the third run changes no number"
    as_json = cli("compare", "runs/r", "runs/small", "runs/s", "--allow-differences", "--json").json
    assert [pair["num_examples"] for pair in as_json["pairs"]] == [7, 12]
    assert as_json["num_examples"] == 12


def test_long_names_stay_apart_in_the_columns(cli: RunCli, runs: Path) -> None:
    for label in ("a-model-with-a-long-name-exam-1", "a-model-with-a-long-name-exam-2"):
        measured(runs / "a-run-with-a-long-name" / "evaluations" / label, 0.5)
    folder = Path("runs/a-run-with-a-long-name/evaluations")
    ended = cli("compare", *(folder / f"a-model-with-a-long-name-exam-{i}" for i in (1, 2)))
    heading = next(line for line in ended.out.splitlines() if "difference" in line)
    assert len(heading) <= 90
    assert heading.split()[:2] == ["a-run-with-…-name-exam-1", "a-run-with-…-name-exam-2"]
    assert "a-run-with-a-long-name/a-model-with-a-long-name-exam-1 -> " in ended.out


# --- tables -----------------------------------------------------------------------------------


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_of_a_run(cli: RunCli, runs: Path, tmp_path: Path) -> None:
    ended = cli("table", "runs/r")
    assert (ended.code, ended.out) == (0, "runs/r/samples.csv: 72 answers\n")
    labels = [row["evaluation"] for row in rows_of(runs / "r" / "samples.csv")]
    assert labels == ["base"] * 24 + ["tuned-exam"] * 24 + ["tuned"] * 24

    assert cli("table", "mine.jsonl").out == "mine.csv: 24 answers\n"
    ended = cli("table", "runs/eval-m/evaluations/m-exam", "-o", "x.csv", "--json")
    assert ended.json == {"table": "x.csv", "rows": 24}
    assert "evaluation" not in rows_of(tmp_path / "x.csv")[0]


@pytest.mark.usefixtures("runs")
def test_a_table_replaces_a_file_only_when_told(cli: RunCli, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("a,b\n")
    ended = cli("table", "runs/r", "-o", "mine.csv")
    assert (ended.code, mine.read_text()) == (2, "a,b\n")
    assert "mine.csv: is there already; name another file, or add --overwrite" in ended.err
    assert cli("table", "runs/r", "-o", "mine.csv", "--overwrite").code == 0
    assert len(rows_of(mine)) == 72


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    "line",
    [
        "export-groups mine.jsonl --to kept.jsonl",
        "export-groups mine.jsonl -o kept.jsonl",
        "rewards --log mine.jsonl --config rewards.yaml -o kept.jsonl",
    ],
)
def test_a_log_that_is_made_anew_replaces_a_file_only_when_told(
    cli: RunCli, tmp_path: Path, line: str
) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text("mine\n")
    (tmp_path / "rows.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    (tmp_path / "rewards.yaml").write_text(
        "model: {name: m}\ndata: {train: rows.jsonl, eval: rows.jsonl}\n"
        "rewards: {parts: {format: 1.0}}\n"
    )
    ended = cli(*line.split())
    assert (ended.code, ended.out, kept.read_text()) == (2, "", "mine\n")
    assert "kept.jsonl: is there already; name another file, or add --overwrite" in ended.err
    ended = cli(*line.split(), "--overwrite")
    assert ended.code == 0, ended.err
    assert kept.read_text().startswith("{")


@pytest.mark.usefixtures("runs")
def test_a_log_is_not_replaced_by_its_groups(cli: RunCli, tmp_path: Path) -> None:
    before = (tmp_path / "mine.jsonl").read_bytes()
    ended = cli("export-groups", "mine.jsonl", "--to", "mine.jsonl", "--overwrite")
    assert ended.code == 2
    assert "mine.jsonl: is the log itself; name another file" in ended.err
    assert (tmp_path / "mine.jsonl").read_bytes() == before


@pytest.mark.usefixtures("runs")
def test_a_report_replaces_no_file_of_a_run(cli: RunCli, tmp_path: Path) -> None:
    settings = tmp_path / "runs" / "r" / "evaluations" / "base" / "settings.json"
    before = settings.read_bytes()
    ended = cli("report", "runs/r", "-o", settings)
    assert (ended.code, settings.read_bytes()) == (2, before)
    assert f"{settings}: a report is an HTML page; end the file's name in .html" in ended.err


# arguments of `table` that cannot be -> what is said
NO_TABLE = {
    "runs/r -o x.xlsx": "x.xlsx: tables are parquet or csv; end the file's name accordingly",
    "runs/r -o runs": "runs: is a folder; name the file to write, such as runs/samples.csv",
    "runs/r -o mine.jsonl/x.csv": "mine.jsonl/x.csv: ",
    "runs/nothing": "runs/nothing: there is no such run, evaluation or log",
    "runs": "runs: there is no evaluation in it",
}


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("arguments", NO_TABLE)
def test_what_gives_no_table(cli: RunCli, arguments: str) -> None:
    ended = cli("table", *arguments.split())
    assert (ended.code, ended.out) == (2, "")
    assert NO_TABLE[arguments] in ended.err
