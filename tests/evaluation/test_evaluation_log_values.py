"""What a log may hold: every reader refuses the rest alike, and no writer writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_toy import ToySampler, ToyScorer, toy_examples
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.evaluation.comparison import compare
from groupwise.evaluation.log.export import export
from groupwise.evaluation.log.files import read_json, write_json
from groupwise.evaluation.log.jsonl import dumps_line
from groupwise.evaluation.log.metrics_log import from_metrics_line, numbers_of, to_metrics_line
from groupwise.evaluation.log.records import (
    RolloutRecord,
    SampleRecord,
    from_line,
    read_rollouts,
    read_samples,
    to_line,
)
from groupwise.evaluation.log.settings import load_settings
from groupwise.evaluation.log.writer import JsonlWriter
from groupwise.evaluation.report import write_report
from groupwise.evaluation.runner import EvaluationSettings, evaluate
from groupwise.evaluation.summary import summarise
from groupwise.evaluation.viewer.index import Index
from groupwise.evaluation.viewer.reviews import Review, append_review, read_reviews
from groupwise.framework.data.scored_groups import export_groups
from groupwise.framework.experiment.rescore import rescore
from groupwise.framework.run.health import Finding, HealthLog, RunHealth, read_findings
from groupwise.framework.run.metrics import TrainingLog
from groupwise.rewards import build_rubric
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example

EXAMPLES = toy_examples(4)
SETTINGS = EvaluationSettings(num_samples=3, ks=(1,))


def an_evaluation(folder: Path) -> Path:
    evaluate(EXAMPLES, ToySampler(), ToyScorer(), SETTINGS, folder)
    return folder / "samples.jsonl"


def rollouts(folder: Path) -> Path:
    """The same answers as rollouts of two steps."""
    records = list(read_samples(an_evaluation(folder / "made")))
    fields = [{name: getattr(r, name) for name in SampleRecord.__slots__} for r in records]
    path = folder / "rollouts.jsonl"
    path.write_text(
        "".join(
            to_line(RolloutRecord(**f, step=1 + i // 6, advantage=0.5))
            for i, f in enumerate(fields)
        )
    )
    return path


def resume_evaluation(log: Path) -> None:
    evaluate(EXAMPLES, ToySampler(), ToyScorer(), SETTINGS, log.parent)


def rescore_log(log: Path) -> None:
    rescore(log, build_rubric({"format": 1.0}), {})


# each way to read a log of answers
READERS: dict[str, Callable[[Path], object]] = {
    "the summary": lambda log: summarise(log, ks=(1,)),
    "compare": lambda log: compare({"a": log, "b": log}, allow_differences=True),
    "the page": lambda log: write_report(log.parent),
    "table": lambda log: export(log, log.with_name("t.csv")),
    "export-groups": lambda log: export_groups(log, log.with_name("g.jsonl")),
    "rewards": rescore_log,
    "the evaluation, resumed": resume_evaluation,
}

# a field of a line, what is written there, and what is said of it
BAD: list[tuple[str, str, str]] = [
    ("score", "NaN", "NaN is not JSON; where there is no number, null stands"),
    ("score", "-Infinity", "-Infinity is not JSON; where there is no number, null stands"),
    ("score", "1e999", "score is inf, no number"),
    ("score", '"0.5"', "score is '0.5', no number"),
    ("score", "true", "score is True, no number"),
    ("parts", "null", "parts is null"),
    ("parts", '{"a": NaN}', "NaN is not JSON; where there is no number, null stands"),
    ("parts", '{"a": "x"}', "parts.a is 'x', no number"),
    ("num_tokens", "null", "num_tokens is null"),
    ("num_tokens", "2.5", "num_tokens is 2.5"),
    ("sample_index", "null", "sample_index is null"),
    ("sample_index", "-1", "sample_index is -1"),
    ("seconds", "null", "seconds is null"),
    ("seed", "null", "seed is null"),
    ("answer", "null", "answer is null"),
    ("prompt", "null", "prompt is null"),
    ("finish_reason", "null", "finish_reason is null"),
    ("metadata", "null", "metadata is null"),
    ("metadata", '{"a": Infinity}', "Infinity is not JSON; where there is no number, null stands"),
    ("schema", "null", "schema is null"),
    ("schema", "99", "schema 99 is newer than this program, which reads 1"),
]
GOOD = [
    ("score", "null"),
    ("score", "1"),
    ("parts", '{"a": null}'),
    ("parts", "{}"),
    ("status", "null"),
    ("correct", "null"),
    ("extracted", "null"),
    ("new", '"field"'),
]


def with_value(line: str, field: str, value: str) -> str:
    """The line with a value as text, which may be no JSON."""
    row = json.loads(line) | {field: "@"}
    return json.dumps(row).replace('"@"', value) + "\n"


@pytest.mark.parametrize(("field", "value", "message"), BAD)
def test_one_bad_value_is_said_alike_by_every_reader(
    field: str, value: str, message: str, tmp_path: Path
) -> None:
    log = an_evaluation(tmp_path / "e")
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*rows[:3], with_value(rows[3], field, value), *rows[4:]]))
    for name, read in READERS.items():
        with pytest.raises(UserError) as caught:
            read(log)
        said = f"{log}, line 4: not a record of a log ({message}); correct that line, or remove it"
        assert str(caught.value) == said, name
    index = Index([log.parent])
    index._look_for_broken_lines()
    assert index.status()["broken"] == str(caught.value)
    index.close()


# a line, where it stands, and what is said of it
NO_RECORD = {
    '{"a": 1': (4, "Expecting ',' delimiter, at character 9); correct that line, or remove it"),
    "": (4, "it is empty); correct that line, or remove it"),
    "   ": (4, "it is empty); correct that line, or remove it"),
    "name: r": (
        1,
        "Expecting value, at character 1); correct that line, remove it, or name another file",
    ),
}


@pytest.mark.parametrize("line", NO_RECORD)
def test_a_line_that_is_no_record_is_placed_within_the_file(line: str, tmp_path: Path) -> None:
    number, message = NO_RECORD[line]
    log = an_evaluation(tmp_path / "e")
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*rows[: number - 1], line + "\n", *rows[number - 1 :]]))
    for name, read in READERS.items():
        with pytest.raises(UserError) as caught:
            read(log)
        start = f"{log}, line {number}: not a"
        assert str(caught.value).startswith(start), name
        assert str(caught.value).endswith(f"({message}"), name


@pytest.mark.parametrize(("field", "value"), GOOD)
def test_what_may_be_null(field: str, value: str, tmp_path: Path) -> None:
    log = an_evaluation(tmp_path / "e")
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*rows[:3], with_value(rows[3], field, value), *rows[4:]]))
    assert len(list(read_samples(log))) == len(rows)
    for name in ("the page", "table", "export-groups", "rewards", "the evaluation, resumed"):
        READERS[name](log)


@pytest.mark.parametrize(("field", "value"), [("step", "null"), ("advantage", "NaN")])
def test_the_same_of_rollouts(field: str, value: str, tmp_path: Path) -> None:
    log = rollouts(tmp_path)
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*rows[:3], with_value(rows[3], field, value), *rows[4:]]))
    before = log.read_bytes()
    for read in (
        lambda: list(read_rollouts(log)),
        lambda: export(log, tmp_path / "t.csv"),
        lambda: export_groups(log, tmp_path / "g.jsonl"),
        lambda: rescore_log(log),
        lambda: write_report(tmp_path),
        lambda: JsonlWriter(log, last_step=1),  # as a resume opens it
    ):
        with pytest.raises(UserError, match=r"rollouts\.jsonl, line 4: not a "):
            read()
    assert log.read_bytes() == before


def test_a_torn_last_line_is_no_mistake(tmp_path: Path) -> None:
    log = an_evaluation(tmp_path / "e")
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join(rows[:-1]) + rows[-1][:40])
    for name, read in READERS.items():
        read(log)
        assert len(list(read_samples(log))) >= len(rows) - 1, name


def test_a_repeated_sample_counts_once_everywhere(tmp_path: Path) -> None:
    log = an_evaluation(tmp_path / "e")
    rows = log.read_text().splitlines(keepends=True)
    summary = summarise(log, ks=(1,))
    groups, change = export_groups(log, tmp_path / "a.jsonl"), rescore(log, rubric(), {})
    log.write_text("".join([*rows, rows[0], rows[5]]))
    assert summarise(log, ks=(1,)) == summary
    assert export_groups(log, tmp_path / "b.jsonl") == groups
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    assert rescore(log, rubric(), {}).to_json() == change.to_json()
    assert export(log, tmp_path / "t.csv") == len(rows)

    steps = rollouts(tmp_path / "r")
    rows = steps.read_text().splitlines(keepends=True)
    once = export_groups(steps, tmp_path / "c.jsonl", keep_equal=True)
    steps.write_text("".join([*rows, rows[-1]]))
    assert export_groups(steps, tmp_path / "d.jsonl", keep_equal=True) == once
    assert export(steps, tmp_path / "r.csv") == len(rows)


def rubric() -> Any:
    return build_rubric({"format": 1.0})


# -- metrics, findings, reviews, settings -------------------------------------------------------

METRICS: list[tuple[str, str]] = [
    ('{"step": 2, "reward/mean": NaN}', "NaN is not JSON; where there is no number, null stands"),
    ('{"step": null}', "step is null"),
    ('{"reward/mean": 1.0}', "step is null"),
    ('{"step": 2, "reward/mean": "x"}', "reward/mean is 'x', no number"),
    ("[]", "not a JSON object"),
    ('{"step": 2', "Expecting ',' delimiter"),
]


@pytest.mark.parametrize(("line", "message"), METRICS)
def test_metrics(line: str, message: str, tmp_path: Path) -> None:
    log = an_evaluation(tmp_path / "evaluations" / "base").parents[2] / "metrics.jsonl"
    good = '{"step":1,"reward/mean":null}\n'
    log.write_text(f"{good}{line}\n" + '{"step":3,"reward/mean":0.5}\n')
    for read in (TrainingLog(log).steps, lambda: write_report(tmp_path)):
        with pytest.raises(UserError) as caught:
            read()
        assert str(caught.value).startswith(f"{log}, line 2: not a line of metrics ({message}")
    log.write_text(good + line)  # the last line, which a kill has torn
    assert TrainingLog(log).steps() == [{"step": 1, "reward/mean": None}]


FINDING = Finding("truncation", 3, "what", "cause", "remedy", {"share": 0.5})


def test_findings(tmp_path: Path) -> None:
    log = tmp_path / "health.jsonl"
    line = json.loads(dumps_line({name: getattr(FINDING, name) for name in Finding.__slots__}))
    for bad, message in (
        ({"numbers": {"share": math.nan}}, "NaN is not JSON"),
        ({"step": None}, "step is null"),
        ({"remedy": None}, "remedy is None"),
    ):
        log.write_text("".join(json.dumps(row) + "\n" for row in (line, line | bad, line)))
        with pytest.raises(UserError, match=rf"health\.jsonl, line 2: not a finding \({message}"):
            read_findings(log)
    log.write_text(json.dumps(line) + '\n{"na')
    assert read_findings(log) == [FINDING]


def test_reviews_and_settings(tmp_path: Path) -> None:
    log = an_evaluation(tmp_path)
    append_review(log, Review("p0", 0, None, "right", "", "d"))
    reviews = tmp_path / "reviews.jsonl"
    reviews.write_text(reviews.read_text() + '{"example_id": null}\n' + reviews.read_text())
    with pytest.raises(UserError, match=r"reviews\.jsonl, line 2: not a review \(a review needs"):
        write_report(tmp_path)
    reviews.unlink()
    settings_file = tmp_path / "settings.json"
    settings_file.write_text('{\n  "model": "m",\n  "num_samples": NaN\n}\n')
    with pytest.raises(UserError, match=r"settings\.json, line 3: not JSON \(NaN is not JSON"):
        load_settings(tmp_path)


# -- no writer writes what its reader refuses ---------------------------------------------------

numbers = st.one_of(
    st.floats(), st.integers(), st.booleans(), st.none(),
    st.floats(width=32).map(np.float32), st.integers(0, 9).map(np.int64),
)  # fmt: skip
texts = st.text(st.characters(), max_size=8)  # lone surrogates among them
anything = st.recursive(
    st.one_of(numbers, texts, st.dates(), st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(texts, inner, max_size=2)),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.floats(), st.none()),
    st.dictionaries(texts, st.one_of(st.floats(), st.none()), max_size=3),
    st.dictionaries(texts, anything, max_size=3),
    texts,
    st.floats(),
)
def test_records(
    score: float | None,
    parts: dict[str, float | None],
    metadata: dict[str, Any],
    text: str,
    advantage: float,
) -> None:
    record = RolloutRecord(
        example_id=text, sample_index=0, prompt=text, completion=text, num_tokens=1,
        finish_reason="stop", answer=text, extracted=text, status=None, correct=None, score=score,
        parts=parts, metadata=metadata, step=1, advantage=advantage,
    )  # fmt: skip
    line = to_line(record)
    read = from_line(line, RolloutRecord)
    assert from_line(line, SampleRecord).score == read.score
    assert read.score == (score if score is not None and math.isfinite(score) else None)
    assert read.advantage == (advantage if math.isfinite(advantage) else None)
    assert to_line(read) == line


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(texts.filter(lambda name: name != "step"), anything, max_size=4))
def test_metrics_of_any_reward_or_callback(values: dict[str, Any]) -> None:
    kept = numbers_of(values)
    assert from_metrics_line(to_metrics_line(7, kept)) == {"step": 7, **kept}


def test_a_step_that_went_wrong_is_logged(tmp_path: Path) -> None:
    class Broken:
        def metrics(self) -> dict[str, Any]:
            return {
                "reward/mean": math.nan,
                "kl": np.float32(0.5),
                "x": -math.inf,
                "n": np.int64(3),
            }

    log = TrainingLog(tmp_path / "metrics.jsonl", Broken())
    log.open()
    log.write(1, {"loss": math.nan, "grad_norm": math.inf})
    log.close()
    (row,) = log.steps()
    assert (row["policy_loss"], row["reward/mean"], row["x"]) == (None, None, None)
    assert (row["kl"], row["n"], row["non_finite"]) == (0.5, 3.0, 2.0)


def test_a_finding_without_a_number_is_logged(tmp_path: Path) -> None:
    from groupwise.framework.config import TrainingConfig

    class Finds(RunHealth):
        def look(self, *_: Any, **__: Any) -> list[Finding]:
            return [Finding("x", 1, "\ud800", "c", "r", {"a": math.nan})]

    health = HealthLog(tmp_path / "health.jsonl", Finds(TrainingConfig()))
    health.look(1, {})
    (found,) = read_findings(tmp_path / "health.jsonl")
    assert found.numbers == {"a": None}


@settings(max_examples=50, deadline=None)
@given(texts, texts)
def test_reviews(tmp_path_factory: pytest.TempPathFactory, text: str, name: str) -> None:
    log = tmp_path_factory.mktemp("reviews") / "samples.jsonl"
    append_review(log, Review(name, 0, None, "right", text, "d"))
    (found,) = read_reviews(log).values()
    assert found.mark == "right"


def test_half_a_character_in_a_file_s_name_is_written(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"command": ["train", "\udce9.yaml"]})
    assert read_json(tmp_path / "manifest.json") == {"command": ["train", "\ufffd.yaml"]}


def test_half_a_character_in_an_id_is_resumed(tmp_path: Path) -> None:
    examples = [Example("a\ud800", "q", "a", prompt="q?"), *EXAMPLES]
    evaluate(examples, ToySampler(), ToyScorer(), SETTINGS, tmp_path)
    whole = (tmp_path / "samples.jsonl").read_bytes()
    evaluate(examples, ToySampler(), ToyScorer(), SETTINGS, tmp_path)
    assert (tmp_path / "samples.jsonl").read_bytes() == whole
