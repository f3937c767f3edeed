"""Scripts written for the framework before this one: their lines run as they stand."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Toy, lines, run_python

SCRIPT = """
from framework.config import ExperimentConfig
from framework.grpo_trainer import GRPOArguments, GRPOTrainer
from framework.objective import compute_advantages, compute_kl_penalty
from framework.policy import load

import torch

config = ExperimentConfig.from_yaml("config.yaml")
policy = load(config.model)
model, tokenizer = policy.model, policy.tokenizer
dataset = [{"question": f"{a}+1=?", "answer": str(a + 1)} for a in range(8)]


def correctness_reward(prompts, completions, answer, **kwargs):
    return [1.0 if a in c[0]["content"] else 0.0 for c, a in zip(completions, answer)]


def format_reward(completions, **kwargs):
    return [0.25 if "<answer>" in c[0]["content"] else 0.0 for c in completions]


args = GRPOArguments()
args.lr = config.learning_rate
args.num_generations = config.num_generations
args.max_completion_length = config.max_completion_length

trainer = GRPOTrainer(
    model=model,
    reward_funcs=[correctness_reward, format_reward],
    args=args,
    train_dataset=dataset,
    eval_dataset=dataset,
    tokenizer=tokenizer,
)
result = trainer.train()

rewards = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.25, 0.25, 1.25, 0.25]])  # (batch, generations)
advantages = compute_advantages(rewards)

logp, ref_logp = torch.tensor([-1.0, -2.0]), torch.tensor([-1.0, -1.5])
kl = compute_kl_penalty(logp, ref_logp)
"""


@pytest.mark.stack
def test_the_lines_run_as_they_stand(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(toy.config().to_yaml(), encoding="utf-8")
    Path("script.py").write_text(SCRIPT, encoding="utf-8")
    left = runpy.run_path("script.py")
    assert left["args"].learning_rate == left["config"].training.learning_rate
    assert left["result"].steps == 1
    for row in left["advantages"].tolist():
        assert row == pytest.approx([1.0, -1.0, 1.0, -1.0], abs=1e-3)
    assert left["kl"].tolist() == pytest.approx([0.0, math.exp(0.5) - 1.5], abs=1e-6)
    logged = lines(left["trainer"].output_dir / "metrics.jsonl")
    assert {"reward/correctness_reward/mean", "reward/format_reward/mean"} <= set(logged[-1])


SAME = """
import sys
import framework.config, groupwise.framework.config, groupwise.rewards
import rewards.math.grade, evaluation, framework.toy
assert framework.config is groupwise.framework.config
assert framework.config.__spec__.name == "groupwise.framework.config"
assert rewards.math.grade.grade is groupwise.rewards.grade
assert evaluation is sys.modules["groupwise.evaluation"]
assert framework.toy is sys.modules["groupwise.framework.data.toy"]
assert len({id(m) for name, m in sys.modules.items() if name.endswith("rewards.types")}) == 1
"""


def test_they_are_the_same_modules(tmp_path: Path) -> None:
    run_python(SAME, cwd=tmp_path)


def test_they_run_as_programs(tmp_path: Path) -> None:
    for module in ("framework.cli", "framework.minimal_grpo"):
        done = subprocess.run(
            [sys.executable, "-m", module, "--help"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "usage:" in done.stdout


@pytest.mark.parametrize("name", ["framework", "rewards", "evaluation", "configs"])
@pytest.mark.parametrize("init", ["__init__.py", "notes.txt"])
def test_a_users_folder_of_that_name_wins(tmp_path: Path, name: str, init: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / init).touch()
    (tmp_path / name / "mine.py").write_text("WHOSE = 'the user'\n")
    (tmp_path / "script.py").write_text(
        f"import groupwise.framework.config\nfrom {name}.mine import WHOSE\n"
        "from groupwise.rewards import grade\nassert grade('4', '4').correct\nprint(WHOSE)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "the user\n", done.stderr


def test_a_module_that_has_moved(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from framework.toy import make_problems\n"
        "from groupwise.framework.data import toy\n"
        "print(make_problems is toy.make_problems)"
    )
    assert run_python(code, ROOT, cwd=tmp_path) == "True\n"
