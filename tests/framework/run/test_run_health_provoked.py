"""The run's health in real trainings: each finding provoked on purpose, none in healthy runs.

The model is the toy with eight sums learned by heart, half of them as they are and half of them
wrong, as it would be after pretraining: it is right now and then, and GRPO can take it anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import EMULATES_GPU, PRETRAINING_STEPS, ROOT, Toy, lines, run_python
from grpo_toys import problems, trainer_for

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.config.schema import HealthName
from groupwise.framework.run.health import read_findings
from groupwise.framework.run.health_checks import CHECKS

pytestmark = pytest.mark.stack

NUM_PROBLEMS = 8
HERE = Path(__file__)


# -- rewards that pay for the wrong thing, in TRL's form --------------------------------------


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]


def same(completions: list[Any], **_: Any) -> list[float]:
    return [0.5 for _ in completions]


def ends_in_nine(completions: list[Any], **_: Any) -> list[float]:
    return [float(_text(completion).endswith("9</answer>")) for completion in completions]


def ones(completions: list[Any], **_: Any) -> list[float]:
    return [float(_text(completion).count("1")) for completion in completions]


def long(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [len(ids) / 10 for ids in completion_ids]


def short(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [-len(ids) / 10 for ids in completion_ids]


KEPT: list[Any] = []


def hoarding(completions: list[Any], **_: Any) -> list[float]:
    """Keeps 16 MB of tensors a call, as a reward does that appends to a list for plots."""
    import torch

    KEPT.append(torch.ones(4_000_000))
    return [float(len(_text(completion)) % 2) for completion in completions]


def parts(**weights: float | Mapping[str, Any]) -> dict[str, Any]:
    """`rewards.parts`: built-in rewards by name, and those of this file."""
    own = {"same", "ends_in_nine", "ones", "long", "short", "hoarding"}
    return {
        name: {"use": f"{HERE}:{name}", "weight": value} if name in own else value
        for name, value in weights.items()
    }


# -- what is set, and what has to be found ----------------------------------------------------


@dataclass(frozen=True)
class Provoked:
    """Settings (`training` keys bare) that make a training of so many steps go wrong."""

    steps: int
    found: set[HealthName]
    settings: Mapping[str, Any]
    absent: frozenset[str] = frozenset()  # what must not be found
    cures: str = ""  # what the remedy has to name
    answers: Mapping[int, str] | None = None  # reference answers of problems, by number


PAYING = {"learning_rate": 3e-3, "beta": 0.0}
PROVOKED: dict[str, Provoked] = {
    "a learning rate of ten thousand million": Provoked(
        12,
        {"non_finite"},
        {"learning_rate": 1e10, "max_grad_norm": 0.0},
        absent=frozenset(CHECKS) - {"non_finite"},  # all else follows from it
        cures="learning_rate (1e+10)",
    ),
    "a learning rate of 1": Provoked(
        8,
        {"kl_exploding"},
        {"learning_rate": 1.0, "max_grad_norm": 0.0},
        cures="learning_rate (1)",
    ),
    "no room for an answer": Provoked(
        6, {"truncation"}, {"max_completion_length": 6}, cures="max_completion_length to 12"
    ),
    "a reward that never changes": Provoked(
        11, {"reward_constant"}, {"rewards__parts": parts(same=1.0)}, cures="groupwise check"
    ),
    "an answer where nobody looks for it": Provoked(
        11,
        {"unreadable_answers", "reward_floor"},
        {"rewards__parts": parts(correctness={"params": {"extract": ["boxed"]}}, format=0.25)},
        cures="groupwise check",
    ),
    "problems that any number solves": Provoked(
        21,
        {"reward_ceiling"},
        {
            "temperature": 0.1,
            "rewards__parts": parts(
                correctness={"params": {"tolerance": 1000.0, "extract": ["last_number"]}}
            ),
        },
        cures="harder problems",
    ),
    "no temperature": Provoked(
        11, {"no_group_variance"}, {"temperature": 0.02}, cures="temperature (0.02)"
    ),
    "one text pays": Provoked(
        34,
        {"duplicate_completions", "diversity_collapse", "entropy_collapse"},
        PAYING | {"rewards__parts": parts(correctness=0.1, format=1.0, ones=0.2)},
    ),
    "length pays": Provoked(
        25,
        {"length_runaway"},
        PAYING | {"max_completion_length": 48, "rewards__parts": parts(correctness=1.0, long=1.0)},
        cures="dr_grpo",
    ),
    "brevity pays": Provoked(
        30,
        {"length_collapse"},
        PAYING | {"rewards__parts": parts(correctness=0.1, short=1.0)},
        cures="favour short answers",
    ),
    "one part outweighs the others": Provoked(
        21,
        {"dominating_reward"},
        {"learning_rate": 1e-5, "rewards__parts": parts(correctness=1.0, format=0.25, ones=5.0)},
        cures="rewards.parts.ones.weight (5) to ",
    ),
    "references that no grader can work out": Provoked(
        6,
        {"grader_timeouts"},
        {
            "rewards__parts": parts(correctness={"params": {"timeout_s": 0.05}}, format=0.25),
        },
        cures="timeout_s",
        answers={0: "10^{10^{8}}", 1: "10^{10^{9}}"},
    ),
}
WITHOUT_ENTROPY: set[HealthName] = {"entropy_collapse"}
"""What cannot be found with Unsloth's trainer, which does not log the entropy."""
IN_TESTS_OF_THEIR_OWN: set[HealthName] = {"reward_hacking", "memory_creeping"}


@pytest.fixture(scope="session")
def knowing(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The toy model after a pretraining on `NUM_PROBLEMS` sums, half of them told wrong."""
    from groupwise.framework.data import toy as module

    folder = tmp_path_factory.mktemp("knowing") / "model"
    problems, _ = module.make_problems(0)
    steps = PRETRAINING_STEPS + 40
    module.make_model(folder, problems[:NUM_PROBLEMS], 0, steps=steps)
    return replace(toy, model=folder)


def config_of(knowing: Toy, steps: int, settings: Mapping[str, Any]) -> ExperimentConfig:
    """A training on the eight sums, all of them in each step."""
    training = {
        "max_steps": steps,
        "save_steps": 100,
        "prompts_per_step": NUM_PROBLEMS,
        "num_generations": 4,
        "completions_per_forward": 4 * NUM_PROBLEMS,
        "lr_scheduler_type": "constant",
    }
    keys = {
        key if "__" in key else f"training__{key}": value
        for key, value in (training | dict(settings)).items()
    }
    return knowing.config(data__max_train_examples=NUM_PROBLEMS, **keys)


def train(config: ExperimentConfig, folder: Path, answers: Mapping[int, str] | None = None) -> Any:
    """Trains as `groupwise train` does, without an evaluation; the trainer's result."""
    from groupwise.framework.policy import load

    policy = load(config.model, config.seed)
    examples = [
        replace(example, answer=(answers or {}).get(number, example.answer))
        for number, example in enumerate(problems(config, policy))
    ]
    return trainer_for(config, policy, folder, train_dataset=examples).train()


def test_every_finding_is_provoked() -> None:
    provoked = {name for case in PROVOKED.values() for name in case.found}
    assert provoked | IN_TESTS_OF_THEIR_OWN == set(CHECKS)


@pytest.mark.parametrize("name", PROVOKED)
def test_provoked_on_purpose(name: str, knowing: Toy, tmp_path: Path) -> None:
    case = PROVOKED[name]
    train(config_of(knowing, case.steps, case.settings), tmp_path, case.answers)
    metrics = lines(tmp_path / "metrics.jsonl")
    assert len(metrics) == case.steps
    findings = {finding.name: finding for finding in read_findings(tmp_path / "health.jsonl")}
    expected = case.found - (WITHOUT_ENTROPY if EMULATES_GPU else set())
    assert expected <= findings.keys(), metrics[-1]
    assert not case.absent & findings.keys()
    for wanted in expected:
        assert findings[wanted].numbers
        assert findings[wanted].cause
    if case.cures:
        assert any(case.cures in findings[wanted].remedy for wanted in expected)


def test_a_short_cut_that_pays(knowing: Toy, tmp_path: Path) -> None:
    """Reward hacking: the format is learned and pays, while right answers get fewer."""
    hacked = {
        "num_generations": 8,
        "stop_on": ["reward_hacking"],
        "rewards__parts": parts(correctness=0.1, format=0.5, ends_in_nine=1.0),
    }
    train(config_of(knowing, 45, PAYING | hacked), tmp_path)
    metrics = lines(tmp_path / "metrics.jsonl")
    (finding,) = [f for f in read_findings(tmp_path / "health.jsonl") if f.name == "reward_hacking"]
    assert len(metrics) == finding.step < 45, "stop_on ends the run there"
    assert metrics[-1]["reward/format/mean"] > metrics[0]["reward/format/mean"] + 0.3
    assert metrics[-1]["correct"] < 0.1 < finding.numbers["correct_at_best"]
    assert "'ends_in_nine' pays better than being right" in finding.cause
    assert "rewards.parts.ends_in_nine.weight (1)" in finding.remedy


def test_ends_the_run_where_it_is_asked_to(knowing: Toy, tmp_path: Path) -> None:
    config = config_of(knowing, 12, {"max_completion_length": 6, "stop_on": ["truncation"]})
    result = train(config, tmp_path)
    (finding,) = [f for f in read_findings(tmp_path / "health.jsonl") if f.name == "truncation"]
    assert result.steps == finding.step == len(lines(tmp_path / "metrics.jsonl")) < 12
    assert not result.was_stopped, "not by the user: the run continues with the evaluation"
    assert (tmp_path / "checkpoints" / f"checkpoint-{result.steps}").is_dir()


@pytest.mark.long
def test_memory_that_a_reward_keeps(knowing: Toy, tmp_path: Path) -> None:
    """In a process of its own: what a test before this one has used would hide the growth."""
    config = config_of(
        knowing, 52, {"rewards__parts": parts(correctness=1.0, hoarding=0.1), "beta": 0.0}
    )
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[1].split(':')\n"
        "from groupwise.framework.policy.unsloth import load_unsloth; load_unsloth()\n"
        "from test_run_health_provoked import train\n"
        "from groupwise.framework.config import ExperimentConfig\n"
        "train(ExperimentConfig.from_yaml(Path(sys.argv[2]) / 'config.yaml'), Path(sys.argv[2]))\n"
    )
    run_python(code, f"{HERE.parent}:{ROOT / 'tests'}", tmp_path, cwd=ROOT)
    findings = {finding.name: finding for finding in read_findings(tmp_path / "health.jsonl")}
    creeping = findings["memory_creeping"]
    assert creeping.numbers["memory/peak_gb"] > creeping.numbers["memory/peak_gb_before"] + 0.3


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_healthy_seeds_raise_none(seed: int, knowing: Toy, tmp_path: Path) -> None:
    """The same model and problems with the rewards as they should be, to 90 % right answers."""
    settings = {"num_generations": 8, "rewards__parts": parts(correctness=1.0, format=0.25)}
    config = replace(config_of(knowing, 60, settings), seed=seed)
    train(config, tmp_path)
    metrics = lines(tmp_path / "metrics.jsonl")
    assert metrics[-1]["correct"] > metrics[0]["correct"] + 0.4, "it learned"
    assert [str(finding) for finding in read_findings(tmp_path / "health.jsonl")] == []
