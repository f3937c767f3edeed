"""The run's health: each finding on the numbers that mean it, none on those of healthy runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from conftest import ROOT, RunCli, lines

from groupwise.framework.config import TrainingConfig
from groupwise.framework.config.schema import HealthName
from groupwise.framework.run.health import Finding, HealthLog, RunHealth, read_findings
from groupwise.framework.run.health_checks import CHECKS
from groupwise.framework.run.health_history import RewardPart

HEALTHY = ROOT / "tests" / "data" / "healthy_metrics.json"

Series = Callable[[int], float | None]

TRAINING = TrainingConfig(
    prompts_per_step=16,
    num_generations=8,
    completions_per_forward=16,
    max_completion_length=100,
    beta=0.001,
)
PARTS = {"correctness": RewardPart(1.0, True), "format": RewardPart(0.25, False)}

# A run that goes well: the numbers of each of 60 steps, by step from 0 on.
GOOD: dict[str, Series] = {
    "policy_loss": lambda _: 0.0,
    "kl_divergence": lambda i: 0.002 * i,
    "grad_norm": lambda _: 0.2,
    "entropy": lambda i: 0.5 - 0.004 * i,
    "reward/mean": lambda i: 0.5 + 0.01 * i,
    "reward/std": lambda _: 0.5,
    "reward/correctness/std": lambda _: 0.45,
    "reward/format/std": lambda _: 0.3,
    "correct": lambda i: 0.3 + 0.01 * i,
    "status/unparseable": lambda _: 0.05,
    "status/timeout": lambda _: 0.0,
    "completion_length/mean": lambda i: 40 + i % 3,
    "truncated": lambda _: 0.02,
    "zero_variance_groups": lambda i: 0.1 + 0.008 * i,
    "distinct_completions": lambda i: 0.9 - 0.01 * i,
    "most_common_completion": lambda _: 0.05,
    "non_finite": lambda _: 0.0,
    "memory/peak_gb": lambda i: 5 + min(i, 8) * 0.1,
}


def falls_to(early: float, late: float, at: int = 10) -> Series:
    return lambda i: early if i < at else late


Fits = dict[str, Series]
# what goes wrong, as numbers in place of the good ones; by which step it is to be found (from 1),
# and what the message has to name
BAD: dict[HealthName, tuple[Fits, int, str]] = {
    "non_finite": ({"non_finite": falls_to(0, 2, 3)}, 4, "2 of the step's loss"),
    "reward_floor": ({"correct": lambda _: 0.0}, 10, "not one right answer in the last 10 steps"),
    "reward_ceiling": (
        {"correct": falls_to(0.9, 1.0, 20), "zero_variance_groups": falls_to(0.5, 1.0, 20)},
        40,
        r"(99\.\d|100\.0) % of the answers",
    ),
    "reward_constant": (
        {"reward/std": lambda _: 0.0, "reward/mean": lambda _: 0.25},
        10,
        "got the same reward, 0.25",
    ),
    "no_group_variance": ({"zero_variance_groups": lambda _: 0.95}, 10, "in 95 % of the groups"),
    "kl_exploding": (
        {"kl_divergence": falls_to(0.02, 7.0, 20)},
        21,
        r"2\.35 a token.*learning_rate \(5e-06\).*beta \(0\.001\) to 0\.01",
    ),
    "entropy_collapse": (
        {"entropy": falls_to(0.5, 0.01, 20), "correct": lambda _: 0.3},
        25,
        r"from 0\.5 to 0\.01",
    ),
    "diversity_collapse": (
        {"distinct_completions": falls_to(0.9, 0.15, 20), "correct": lambda _: 0.3},
        25,
        "15 % are different; it was 90 %",
    ),
    "duplicate_completions": (
        {"most_common_completion": falls_to(0.1, 0.9, 20), "correct": lambda _: 0.1},
        25,
        "90 % of a step's completions are one and the same text",
    ),
    "length_runaway": (
        {"completion_length/mean": lambda i: 30 + max(0, i - 10) * 2},
        35,
        "completions have grown from 30 to 6. tokens, of 100",
    ),
    "length_collapse": (
        {"completion_length/mean": falls_to(40, 3, 20), "correct": lambda _: 0.2},
        25,
        "shrunk from 40 to 3",
    ),
    "truncation": (
        {"truncated": lambda _: 0.62},
        5,
        "max_completion_length 100 cuts off 62 %.*max_completion_length to 200",
    ),
    "unreadable_answers": ({"status/unparseable": lambda _: 0.97}, 10, "97 % of the completions"),
    "grader_timeouts": ({"status/timeout": lambda _: 0.2}, 5, "20 % of the answers took"),
    "dominating_reward": (
        {"reward/format/std": lambda _: 20.0},
        20,
        r"92 % of the spread in the rewards comes from 'format'.*parts\.format\.weight \(0\.25\)",
    ),
    "reward_hacking": (
        {"correct": falls_to(0.5, 0.2, 20)},
        40,
        r"right answers fell from 50 % to 3\d %, and the reward rose from",
    ),
    "memory_creeping": (
        {"memory/peak_gb": lambda i: 5 + 0.05 * i},
        60,
        "peak memory has grown from",
    ),
}


def findings(changes: Fits, steps: int = 60, **training: Any) -> list[Finding]:
    series = GOOD | changes
    config = TrainingConfig(**{**TRAINING.__dict__, **training}) if training else TRAINING
    health = RunHealth(config, PARTS)
    return [
        finding
        for i in range(steps)
        for finding in health.look(i + 1, {key: value(i) for key, value in series.items()})
    ]


def test_every_finding_has_a_name_in_the_config_and_a_case_here() -> None:
    assert tuple(CHECKS) == get_args(HealthName) == tuple(BAD)


def test_the_page_explains_every_finding() -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert [name for name in CHECKS if f"`{name}`" not in page] == []


def test_a_good_run_has_none() -> None:
    assert findings({}) == []


@pytest.mark.parametrize("name", BAD)
def test_what_goes_wrong_is_found_early_and_once(name: HealthName) -> None:
    changes, by_step, message = BAD[name]
    found = findings(changes)
    assert [f.name for f in found] == [name]
    (finding,) = found
    assert finding.step <= by_step
    assert re.search(message, str(finding)), str(finding)
    assert all(isinstance(value, float) for value in finding.numbers.values())
    assert json.loads(json.dumps(finding.numbers)) == finding.numbers


# what looks like a finding, and is none
NOT_BAD: dict[str, Fits] = {
    "certain, because it is right": {
        "entropy": falls_to(0.5, 0.01, 20),
        "distinct_completions": falls_to(0.9, 0.13, 20),
        "correct": falls_to(0.5, 0.97, 20),
        "zero_variance_groups": falls_to(0.2, 0.85, 20),
    },
    "numbers that a trainer does not log": {"entropy": lambda _: None, "correct": lambda _: None},
    "longer, and far from the limit": {
        "completion_length/mean": falls_to(10, 30),
    },
    "a few are cut off": {"truncated": lambda _: 0.2},
    "a bad stretch": {"correct": lambda i: 0.2 if 20 <= i < 25 else 0.5},
    "correctness is all of the reward": {"reward/format/std": lambda _: 0.0},
    "the KL has a peak": {"kl_divergence": lambda i: 1.2 if i == 30 else 0.05},
    "memory settles": {"memory/peak_gb": lambda i: 5 + min(i, 30) * 0.05},
}


@pytest.mark.parametrize("name", NOT_BAD)
def test_what_is_no_finding(name: str) -> None:
    assert findings(NOT_BAD[name]) == []


def test_healthy_quickstarts_have_none() -> None:
    """The numbers of `groupwise quickstart` with several seeds, as they were logged."""
    from groupwise.framework.config import ExperimentConfig

    config = ExperimentConfig.from_yaml(ROOT / "configs" / "quickstart.yaml").training
    parts = {
        "correctness": RewardPart(1.0, True),
        "format": RewardPart(0.25, False),
        "language": RewardPart(0.1, False),
    }
    runs = json.loads(HEALTHY.read_text(encoding="utf-8"))
    assert len(runs) >= 5
    for seed, columns in runs.items():
        health = RunHealth(config, parts)
        steps = len(columns["correct"])
        assert steps == 100
        for i in range(steps):
            found = health.look(i + 1, {key: values[i] for key, values in columns.items()})
            assert found == [], f"seed {seed}: {found[0]}"


def test_findings_are_kept_told_once_and_stop_the_run(tmp_path: Path) -> None:
    path, said, stopped = tmp_path / "health.jsonl", [], []

    def log() -> HealthLog:
        return HealthLog(
            path,
            RunHealth(TRAINING, PARTS),
            stop_on=("truncation",),
            stop=lambda: stopped.append(True),
            notify=said.append,
        )

    bad = {key: value(0) for key, value in (GOOD | {"truncated": lambda _: 0.5}).items()}
    first = log()
    first.open(0, [])
    for step in range(1, 8):
        first.look(step, bad)
    (finding,) = read_findings(path)
    assert (finding.name, finding.step) == ("truncation", 5)
    assert said == [str(finding), "training.stop_on: the training ends here, on truncation"]
    assert stopped == [True]
    assert first.stopped_by == "truncation"

    again = log()  # resumed: it is known
    again.open(7, [bad] * 7)
    again.look(8, bad)
    assert again.stopped_by == "truncation"
    assert len(read_findings(path)) == 1
    assert len(said) == 2

    earlier = log()  # resumed from before it was found: it is found again
    earlier.open(4, [bad] * 4)
    assert earlier.stopped_by is None
    assert read_findings(path) == []
    earlier.look(5, bad)
    assert [f.step for f in read_findings(path)] == [5]


# what is wrong with all answers of a run, and with how many steps it is said at the latest
SHORT_RUNS = {
    "truncation": {"truncated": lambda _: 0.96},
    "unreadable_answers": {"status/unparseable": lambda _: 0.97},
    "grader_timeouts": {"status/timeout": lambda _: 0.2},
}


@pytest.mark.parametrize("name", SHORT_RUNS)
@pytest.mark.parametrize("steps", [1, 2, 4, 9])
def test_a_run_of_a_few_steps_is_told_at_its_end(name: str, steps: int) -> None:
    health = RunHealth(TRAINING, PARTS)
    found = []
    for step in range(1, steps + 1):
        numbers = {key: value(step) for key, value in (GOOD | SHORT_RUNS[name]).items()}
        found += health.look(step, numbers, is_last=step == steps)
    assert [finding.name for finding in found] == [name]


def test_a_good_run_of_a_few_steps_is_told_nothing() -> None:
    health = RunHealth(TRAINING, PARTS)
    good = {key: value(0) for key, value in GOOD.items()}
    assert [health.look(step, good, is_last=step == 2) for step in (1, 2)] == [[], []]


@pytest.mark.stack
def test_a_run_that_its_health_ends_is_evaluated_and_says_so(tiny_yaml: Path, cli: RunCli) -> None:
    """Said once, kept in health.jsonl, in W&B and in the report, and said again at the end."""
    from test_run_tracking import wandb_file, wandb_records
    from wandb.proto import wandb_internal_pb2

    ended = cli(
        *("train", tiny_yaml, "--set", "training.max_completion_length=6"),
        *("--set", "training.max_steps=30", "--set", "training.stop_on=truncation"),
        *("--set", "tracking.wandb=offline"),
    )
    assert ended.code == 0, ended.err
    run = Path("runs/tiny")
    (finding,) = [f for f in read_findings(run / "health.jsonl") if f.step == 5]
    assert ended.err.count(f"  note: {finding}\n") == 1
    cut_off = (
        r"  note: base: \d+ % of the answers were cut off at training\.max_completion_length 6"
    )
    assert re.search(cut_off, ended.err)
    assert re.search(r"Notice: \d\d+ % of the answers of tuned were cut off", ended.out)
    assert "  note: training.stop_on: the training ends here, on truncation\n" in ended.err
    assert "health: truncation (step 5): max_completion_length 6 cuts off" in ended.out
    assert (run / "evaluations/tuned/summary.json").is_file()
    assert len(lines(run / "metrics.jsonl")) == 5

    # As JSON inside of the page; how it looks there is in test_viewer_browser.py
    page = (run / "report.html").read_text(encoding="utf-8")
    for words in (finding.what, finding.cause, finding.remedy):
        assert json.dumps(words)[1:-1] in page

    records = [wandb_internal_pb2.Record.FromString(raw) for raw in wandb_records(wandb_file(run))]
    alerts = [r.alert for r in records if r.alert.title]
    assert [(a.title, a.text) for a in alerts] == [("truncation", str(finding))]
    summary = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for r in records
        for item in r.summary.update
    }
    assert summary["finding/truncation"] == str(finding)
    history = [(item.key or "/".join(item.nested_key)) for r in records for item in r.history.item]
    assert history.count("health/truncation") == 1
