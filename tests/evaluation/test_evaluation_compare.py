"""Comparisons, tables and terminal text: what people read."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from evaluation_toy import SETTINGS, ToySampler, ToyScorer, toy_examples

from groupwise.evaluation.comparison import Comparison, compare, write_comparison
from groupwise.evaluation.log.records import SampleRecord, read_samples, to_line
from groupwise.evaluation.runner import EvaluationSettings, evaluate
from groupwise.evaluation.sampler import SamplingParams
from groupwise.evaluation.summary import summarise
from groupwise.evaluation.tables import (
    aligned,
    comparison_table,
    p_text,
    print_table,
    summary_table,
)
from groupwise.evaluation.text import printable, rounded
from groupwise.rewards.errors import UserError

SMALL = EvaluationSettings(num_samples=8, resamples=1000)


def golden(name: str, text: str) -> None:
    """Set UPDATE_GOLDEN=1 to write the files anew; then read what changed."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def run(folder: Path, skill: float, settings: EvaluationSettings = SMALL, count: int = 60) -> Path:
    evaluate(toy_examples(count), ToySampler(skill), ToyScorer(), settings, folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: run(folder / name, skill) for name, skill in (("base", 0.3), ("tuned", 0.7))}


def test_the_numbers_are_those_of_the_logs(runs: dict[str, Path]) -> None:
    comparison = compare(runs, resamples=1000)
    (pair,) = comparison.pairs
    share = {
        name: np.array(
            [
                np.mean([r.correct for r in read_samples(path) if r.example_id == e.id])
                for e in toy_examples(60)
            ]
        )
        for name, path in runs.items()
    }
    change = share["tuned"] - share["base"]
    assert pair.pass_at_k[1].difference.value == pytest.approx(change.mean())
    assert len(pair.won) == (change > 0).sum()
    assert len(pair.lost) == (change < 0).sum()
    assert pair.unchanged == (change == 0).sum()
    assert len(pair.newly_solved) == ((share["base"] == 0) & (share["tuned"] > 0)).sum()
    biggest = toy_examples(60)[int(np.argmax(change))].id
    assert change[[e.id for e in toy_examples(60)].index(pair.won[0])] == change.max(), biggest
    assert len(comparison.sides[0].curve) == 8
    alone = summarise(runs["base"], resamples=1000)  # the table and the summary must agree
    assert pair.pass_at_k[8].base == alone.pass_at_k[8]
    assert pair.maj_at_k[4].base.to_json() == alone.maj_at_k[4].to_json()


def test_comparing_with_itself_shows_nothing(runs: dict[str, Path]) -> None:
    (pair,) = compare({"a": runs["base"], "b": runs["base"]}).pairs
    assert pair.pass_at_k[1].p_value == 1.0
    assert (pair.won, pair.lost, pair.unchanged, pair.crossing_k) == ((), (), 60, None)
    assert pair.problems_needed is None
    assert pair.verdict.startswith("No difference in pass@1")


def test_more_than_two(runs: dict[str, Path], tmp_path: Path) -> None:
    comparison = compare({**runs, "third": run(tmp_path, 0.5)}, ks=(1, 3))
    assert [(p.base, p.other) for p in comparison.pairs] == [("base", "tuned"), ("base", "third")]
    assert list(comparison.pairs[0].pass_at_k) == [1, 3]


def test_comparison_json(runs: dict[str, Path], tmp_path: Path) -> None:
    write_comparison(tmp_path, compare(runs, resamples=1000))
    data = json.loads((tmp_path / "comparison.json").read_text())
    golden("evaluation_comparison.json", json.dumps(data, indent=2) + "\n")


@pytest.mark.parametrize(
    ("settings", "count", "message"),
    [
        (dataclasses.replace(SMALL, params=SamplingParams(temperature=0.2)), 60,
         "params.temperature: 1.0 in base, 0.2 in other"),
        (dataclasses.replace(SMALL, num_samples=9), 60, "num_samples: 8 in base, 9 in other"),
        (SMALL, 50, "10 problems are only in base, such as 'p50'"),
        (dataclasses.replace(SMALL, identity={"rewards": "new"}), 60,
         'identity.rewards: nothing in base, "new" in other'),
    ],
)  # fmt: skip
def test_what_was_not_made_alike_is_refused_unless_told(
    runs: dict[str, Path],
    tmp_path: Path,
    settings: EvaluationSettings,
    count: int,
    message: str,
) -> None:
    both = {"base": runs["base"], "other": run(tmp_path, 0.5, settings, count)}
    with pytest.raises(UserError, match="not made alike") as refused:
        compare(both)
    assert message in str(refused.value)
    comparison = compare(both, allow_differences=True, resamples=200)
    assert comparison.num_examples == count
    assert any(message in notice for notice in comparison.notices)


def test_another_model_or_engine_is_no_reason_to_refuse(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    other = run(tmp_path, 0.5, dataclasses.replace(SMALL, model="other"))
    assert compare({"base": runs["base"], "other": other}, resamples=200).notices == ()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("prompt", "60 problems have another prompt in other, such as 'p0'"),
        ("answer", "60 problems have another reference answer in other, such as 'p0'"),
    ],
)
def test_problems_that_were_asked_differently_are_named(
    runs: dict[str, Path], tmp_path: Path, field: str, message: str
) -> None:
    examples = [dataclasses.replace(e, **{field: "other"}) for e in toy_examples(60)]
    evaluate(examples, ToySampler(), ToyScorer(), SMALL, tmp_path)
    with pytest.raises(UserError, match=message):
        compare({"base": runs["base"], "other": tmp_path})


def test_another_date_of_the_prompts_counts_only_where_it_shows(tmp_path: Path) -> None:
    """And then the message says how to ask the same."""
    made = {}
    for name, date in (("a", "2026-11-26T10:00"), ("b", "2026-11-26T15:00"), ("c", "2026-11-27")):
        settings = dataclasses.replace(SMALL, identity={"chat_template_date": date})
        day = date.partition("T")[0]
        examples = [dataclasses.replace(e, prompt=f"{day} {e.prompt}") for e in toy_examples(60)]
        made[name] = tmp_path / name
        evaluate(examples, ToySampler(), ToyScorer(), settings, made[name])
    assert compare({"a": made["a"], "b": made["b"]}, resamples=200).notices == ()
    with pytest.raises(UserError, match="60 problems have another prompt in c") as refused:
        compare({"a": made["a"], "c": made["c"]})
    assert "2026-11-26T10:00 in a, 2026-11-27 in c" in str(refused.value)
    assert "--set model.chat_template_date=2026-11-26T10:00" in str(refused.value)


def test_an_unfinished_evaluation_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("samples.jsonl", "settings.json"):
        (tmp_path / name).write_bytes((runs["tuned"] / name).read_bytes())
    lines = (tmp_path / "samples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "samples.jsonl").write_text("".join(lines[:-5]))
    with pytest.raises(UserError, match="5 samples are missing"):
        compare({"base": runs["base"], "torn": tmp_path})


def records(answers: dict[str, list[bool]], finish_reason: str = "stop") -> str:
    return "".join(
        to_line(
            SampleRecord(
                example_id=key, sample_index=i, prompt="?", completion="!", num_tokens=1,
                finish_reason=finish_reason, answer="", extracted=str(right), correct=right,
                status="correct" if right else "wrong", score=float(right or 0), parts={},
            )
        )
        for key, rights in answers.items()
        for i, right in enumerate(rights)
    )  # fmt: skip


def logs(tmp_path: Path, a: dict[str, list[bool]], b: dict[str, list[bool]]) -> dict[str, Path]:
    paths = {"a": tmp_path / "a.jsonl", "b": tmp_path / "b.jsonl"}
    paths["a"].write_text(records(a))
    paths["b"].write_text(records(b))
    return paths


def test_too_few_problems_to_tell_and_how_many_it_would_take(tmp_path: Path) -> None:
    a = {f"p{i}": [i % 2 == 0] for i in range(20)}
    b = {f"p{i}": [i % 2 == 0 or i in (1, 3)] if i else [False] for i in range(20)}
    (pair,) = compare(logs(tmp_path, a, b), resamples=500).pairs
    assert pair.pass_at_k[1].p_value == 1.0  # two won, one lost
    assert pair.problems_needed is not None
    assert pair.problems_needed > 200
    assert "too little to tell it from luck" in pair.verdict
    assert f"about {pair.problems_needed:,} problems" in pair.verdict


# problems, samples of each, right ones of each problem before and after -> the verdict
VERDICTS: list[tuple[list[int], list[int], int, str]] = [
    # six problems, one better by one of four samples: 25 points is the least that can be shown
    ([1] * 6, [2, 1, 1, 1, 1, 1], 4,
     "6 problems show differences from about 25.0 points."),
    ([1] * 6, [2, 0, 2, 1, 0, 2], 4,
     "6 problems show differences from about 41.7 points."),
    ([0] * 5, [4, 4, 4, 4, 4], 4,
     "A difference of 100.0 points in pass@1 on 5 problems: too little to tell it from luck. If it "
     "is real, showing it would take about 6 problems. Fewer than 6 problems can show no "
     "difference, whatever its size."),
    ([1], [2], 4,
     "Fewer than 6 problems can show no difference, whatever its size."),
    ([0] * 6, [1, 1, 1, 1, 0, 0], 1,
     "A difference of 66.7 points in pass@1 on 6 problems: too little to tell it from luck. If it "
     "is real, showing it would take about 9 problems. 6 problems show differences from about "
     "100.0 points."),
    ([2] * 8, [2] * 8, 4,
     "No difference in pass@1 on 8 problems: too little to tell it from luck."),
    ([0] * 6, [1] * 6, 4, "pass@1 rose by 25.0 points: more than luck explains."),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "samples", "said"), VERDICTS)
def test_a_verdict_says_only_what_can_be(
    tmp_path: Path, before: list[int], after: list[int], samples: int, said: str
) -> None:
    a, b = (
        {f"p{i}": [j < right for j in range(samples)] for i, right in enumerate(rights)}
        for rights in (before, after)
    )
    (pair,) = compare(logs(tmp_path, a, b), resamples=200).pairs
    assert pair.verdict.endswith(said)


def test_the_k_at_which_the_base_overtakes(tmp_path: Path) -> None:
    # a solves every problem now and then, b solves half of them always
    a = {f"p{i}": [True, False, False, False] for i in range(20)}
    b = {f"p{i}": [i % 2 == 0] * 4 for i in range(20)}
    (pair,) = compare(logs(tmp_path, a, b), resamples=200).pairs
    assert pair.crossing_k == 3
    assert "from k = 3 on, a is ahead" in comparison_table(
        compare(logs(tmp_path, a, b), resamples=200)
    )


def test_answers_that_were_cut_off_are_told_in_words(tmp_path: Path) -> None:
    paths = logs(tmp_path, {"p": [True]}, {"p": [True]})
    paths["a"].write_text(records({f"p{i}": [i > 0] for i in range(7)}, "length"))
    paths["b"].write_text(
        records({f"p{i}": [True] for i in range(2)}, "length")
        + records({f"p{i}": [True] for i in range(2, 7)})
    )
    table = comparison_table(compare(paths, resamples=200))
    assert "Notice: 100 % of the answers of a were cut off at the token limit" in table
    assert "answers of b" not in table, "29 % are few"


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ({"x": [True]}, {"y": [True]}, "no problem in common"),
        ({}, {"y": [True]}, "the log is empty"),
        ({"x": [None]}, {"x": [True]}, "nothing says which samples are right"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, a, b, message: str) -> None:
    paths = logs(tmp_path, a, b)
    with pytest.raises(UserError, match=message):
        compare(paths, allow_differences=True)


def test_arguments_of_compare(runs: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="at least two"):
        compare({"base": runs["base"]})
    with pytest.raises(UserError, match="k between 1 and 8"):
        compare(runs, ks=(16,))


def test_comparison_table(runs: dict[str, Path]) -> None:
    golden("evaluation_comparison.txt", comparison_table(compare(runs, resamples=1000)))


def test_comparison_table_with_notices(runs: dict[str, Path], tmp_path: Path) -> None:
    few = run(tmp_path, 0.3, dataclasses.replace(SMALL, num_samples=2, ks=(1, 2)), count=5)
    hostile = {"base": runs["base"], "\x1b[31mred\u202e": few}
    comparison = compare(hostile, allow_differences=True, resamples=1000)
    golden("evaluation_comparison_few.txt", comparison_table(comparison))


def test_summary_table(runs: dict[str, Path]) -> None:
    summary = summarise(runs["tuned"], category_fields=("level",), resamples=1000)
    golden("evaluation_summary.txt", summary_table(summary, "tuned"))


def test_categories_stay_within_80_columns(runs: dict[str, Path]) -> None:
    summary = summarise(runs["tuned"], ks=(1, 2, 3, 4, 5, 6, 7, 8), category_fields=("level",))
    table = summary_table(summary, "tuned")
    assert max(map(len, table.splitlines())) <= 80
    by_level = [line for line in table.splitlines() if line.startswith("by level")]
    assert re.findall(r"pass@\d", " ".join(by_level)) == [f"pass@{k}" for k in range(1, 9)]


@pytest.mark.parametrize(
    ("x", "digits", "text"),
    [
        (100 * 4 / 1600, 1, "0.3"), (39.05, 1, "39.1"), (1.005, 2, "1.01"), (0.5, 0, "1"),
        (2.5, 0, "3"), (-2.25, 1, "-2.3"), (99.95, 1, "100.0"), (0.04999999, 1, "0.0"),
        (1e-30, 1, "0.0"), (123456789.25, 1, "123456789.3"), (math.nan, 1, "nan"),
        (1e30, 0, f"{1e30:.0f}"), (-1e300, 0, f"{-1e300:.0f}"),
    ],
)  # fmt: skip
def test_half_is_rounded_away_from_zero(x: float, digits: int, text: str) -> None:
    assert rounded(x, digits) == text


def test_summary_json(tmp_path: Path) -> None:
    run(tmp_path, 0.5, SETTINGS, count=6)
    golden("evaluation_summary.json", (tmp_path / "summary.json").read_text())


def test_a_field_with_too_many_values_keeps_the_largest_groups(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    line = json.loads(records({"x": [True]}))
    path.write_text(
        "".join(
            json.dumps({**line, "example_id": str(i), "metadata": {"name": f"{i % 150:03}"}}) + "\n"
            for i in range(220)
        )
    )
    groups = summarise(path, ks=(1,), category_fields=("name",), resamples=100).by_category["name"]
    assert len(groups) == 101
    assert groups["(other)"].num_examples == 50
    assert groups["000"].num_examples == 2
    nothing = summarise(path, ks=(1,), category_fields=("no",), resamples=100).by_category["no"]
    assert list(nothing) == ["(none)"]


def test_a_category_may_be_nested(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    line = json.loads(records({"x": [True]}))
    kinds: list[Any] = [{"info": {"kind": "a"}}, {"info": {"kind": None}}, {"info": "text"}, {}]
    rows = [{**line, "example_id": str(i), "metadata": kind} for i, kind in enumerate(kinds)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = summarise(path, ks=(1,), category_fields=("info.kind",), resamples=100).by_category
    counts = {name: group.num_examples for name, group in found["info.kind"].items()}
    assert counts == {"a": 1, "(none)": 3}


def test_pipes_get_plain_text_and_terminals_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    row = "pass@1   +1.0 [bold]   -2.0          -2.0\n"
    text = f"x: 1 problems x 2 samples\n{row}Verdict: yes, and how it rose and rose, I say\n"
    monkeypatch.setenv("COLUMNS", "40")
    pipe, terminal = io.StringIO(), Terminal()
    print_table(text, pipe)
    print_table(text, terminal)
    assert pipe.getvalue() == text
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert row in shown, "rows of a table stay whole"
    assert "Verdict: yes, and how it rose and rose,\n    I say\n" in shown


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.5, "0.50"), (0.0123, "0.01"), (0.00123, "0.0012"), (0.00001, "< 0.0001"), (math.nan, "-")],
)
def test_p_values_as_people_write_them(p: float, text: str) -> None:
    assert p_text(p) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold] text", "plain [bold] text"),
        ("\x1b[2Jx", r"\x1b[2Jx"),
        ("a\x9bb\x7f", r"a\x9bb\x7f"),
        ("\u202eabc", r"\u202eabc"),
        ("a\u200bb", r"a\u200bb"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("👩‍👧 é 答案", "👩‍👧 é 答案"),
        ("a" + "\u0301" * 50, "a" + "\u0301" * 4),
        ("x" * 30, "x" * 19 + "…"),
    ],
)
def test_text_for_terminals(text: str, shown: str) -> None:
    assert printable(text, limit=20 if len(text) == 30 else None) == shown


def test_lines_are_kept_where_asked() -> None:
    assert printable("a\n\tb\r\x1b", lines=True) == "a\n\tb\\r\\x1b"


def test_a_comparison_is_plain_data(runs: dict[str, Path]) -> None:
    assert isinstance(compare(runs, resamples=100), Comparison)


def test_cells_are_aligned() -> None:
    rows = [["name", "value", "verdict"], ["a", "1.25", "fine"], ["longer", "100.0", "no"]]
    assert aligned(rows) == [
        "name     value   verdict",
        "a         1.25      fine",
        "longer   100.0        no",
    ]
    assert aligned(rows, left=(0, -1)) == [
        "name     value   verdict",
        "a         1.25   fine",
        "longer   100.0   no",
    ]
