"""The measurement of how many rows are fastest: what it tries, what it says, what it leaves."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import RunCli
from sampling_toys import make_model, make_tokenizer

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.sampling.slots import Run
from groupwise.framework.sampling.tune_rows import RowsMeasured, RowsTried, measure_rows
from groupwise.rewards.errors import UserError

pytestmark = pytest.mark.stack

PROMPTS = [Prompt(key=f"p{i}", text=f"{i} + {i * i} =" + " ?" * i) for i in range(5)]
PARAMS = SamplingParams(max_tokens=32)


def probe(model: Any, **options: Any) -> RowsMeasured:
    settings = {"at_once": 1000, "seconds": 0.5, **options}
    return measure_rows(model, make_tokenizer(), PROMPTS, PARAMS, **settings)


def test_it_measures_and_leaves_the_model_as_it_was() -> None:
    model = make_model("qwen3").train()
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    found = probe(model)
    rows = [tried.rows for tried in found.tried]
    assert rows == sorted(rows)
    assert {16, 32, 64, 128} <= set(rows)
    assert found.now.rows == 128  # what null means on a CPU
    assert all(tried.tokens_per_second > 0 for tried in found.tried)
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    assert not any("forward" in vars(module) for module in model.modules())


def test_the_rate_is_tokens_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock on which every step takes half a second, a row makes two tokens a second."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) * 0.5)
    found = probe(make_model("qwen3"), seconds=30.0)
    assert [(t.rows, t.tokens_per_second) for t in found.tried] == [
        (rows, 2.0 * rows) for rows in (16, 32, 64, 128, 256)
    ]
    assert found.best.rows == 256
    assert found.now.rows == 128


def test_it_stops_where_more_rows_are_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that only steps move: 100 seconds for 64 rows and more, else one."""
    now = 0.0
    step = Run.advance

    def advance(run: Run) -> bool:
        nonlocal now
        now += 1.0 if run.max_rows < 64 else 100.0
        return step(run)

    monkeypatch.setattr(Run, "advance", advance)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    found = probe(make_model("qwen3"), max_rows=32, seconds=30.0)
    assert [t.rows for t in found.tried] == [16, 32, 64]
    assert found.best.rows == 32


def test_rows_that_would_idle_or_do_not_fit_are_not_tried() -> None:
    model = make_model("qwen3")
    assert [t.rows for t in probe(model, at_once=24).tried] == [16, 24]
    assert [t.rows for t in probe(model, at_once=3, max_rows=2).tried] == [2, 3]
    small = probe(model, memory_budget_bytes=1_500_000)
    assert small.tried[-1].rows < 128
    assert small.now == small.tried[-1]  # null comes to what memory holds
    with pytest.raises(UserError, match="raise the memory budget"):
        probe(model, memory_budget_bytes=1000)


def test_only_a_gain_worth_a_line_is_advised() -> None:
    tried = (RowsTried(16, 500.0), RowsTried(64, 1000.0), RowsTried(128, 1290.0))
    slow = RowsMeasured(16, tried[0], tried)
    assert slow.best == tried[2]
    assert slow.advice("training.max_rows") == (
        "training.max_rows: 128 is 2.6 times as fast as 16: 1,290 tokens a second against 500; "
        "the answers are the same up to rounding"
    )
    tried = (RowsTried(32, 990.0), RowsTried(64, 1000.0), RowsTried(128, 1010.0))
    fine = RowsMeasured(None, tried[1], tried)
    assert fine.best == tried[1]
    assert fine.advice("training.max_rows") == (
        "training.max_rows: null (64 rows here) is as fast as any that was tried"
    )
    assert (
        RowsMeasured(None, RowsTried(8, 100.0), tried).best == tried[0]
    )  # fewest of the fast ones


@pytest.mark.long
def test_doctor_measures_with_a_configs_model_and_problems(
    cli: RunCli, tiny_yaml: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    ended = cli("doctor", "--rows", tiny_yaml, "--json")
    assert ended.code == 0, ended.err
    assert set(ended.json) == {"training.max_rows", "evaluation.max_rows"}
    training = ended.json["training.max_rows"]
    assert [tried["rows"] for tried in training["tried"]] == [16]  # 4 prompts x 4 generations
    assert all(tried["tokens_per_second"] > 0 for tried in training["tried"])
    assert ended.json["evaluation.max_rows"]["now"]["rows"] == 48  # 12 problems x 4 samples
    assert sorted(tmp_path.rglob("*")) == before  # a look, not a run

    ended = cli("doctor", "--rows", tiny_yaml, "--set", "training.sampler=generate")
    assert ended.code == 0, ended.err
    assert "training.max_rows: not measured, the engine is generate" in ended.err
    assert "evaluation.max_rows: null (48 rows here)" in ended.out or (
        "evaluation.max_rows: " in ended.out and "times as fast as null (48 rows here)" in ended.out
    )
