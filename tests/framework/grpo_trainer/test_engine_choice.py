"""`slots` or `generate`: one choice in all processes, made before a log says which it was.

The engines agree on the toy, so a tolerance below zero makes the check fail.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ENVIRONMENT, HANG_S, ROOT, Toy, lines, on_the_cpu_backend
from grpo_toys import problems, trainer_for

from groupwise.framework.sampling import self_check

pytestmark = pytest.mark.stack

NEVER = dict.fromkeys(self_check.TOLERANCE, (-1.0, -1.0))
GIVES_WAY = "sampling with generate, which is slower"

TRAINING = """
import json, sys
from pathlib import Path

from conftest import Toy
from grpo_toys import trainer_for
from groupwise.framework.policy import load
from groupwise.framework.run import processes
from groupwise.framework.sampling import self_check
from groupwise.framework.trainers.callbacks import Notices

model, train, out, disagrees = sys.argv[1:]
if processes.index() == int(disagrees):
    self_check.TOLERANCE = dict.fromkeys(self_check.TOLERANCE, (-1.0, -1.0))
config = Toy(Path(model), Path(train), Path(train)).config(
    training__max_steps=1, training__warm_start__enabled=False
)
told = []
policy = load(config.model, config.seed)
trainer = trainer_for(config, policy, Path(out), callbacks=[Notices(told.append)])
trainer.train()
found = {"engine": trainer.rollouts.sampler.name, "told": [t for t in told if "generate" in t]}
print("\\n" + json.dumps(found))
"""


def trained_by_two(toy: Toy, out: Path, disagrees: int) -> list[dict[str, Any]]:
    """What each of two processes says, of which one finds that the engines disagree."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    quiet = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TRAINING, toy.model, toy.train, out, str(disagrees)],
            cwd=out.parent,
            env={
                **os.environ,
                **quiet,
                **shared,
                **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
                **{"RANK": str(rank), "LOCAL_RANK": str(rank)},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=HANG_S) for process in started]
    assert [process.returncode for process in started] == [0, 0], [e[-2000:] for _, e in said]
    return [json.loads(text.splitlines()[-1]) for text, _ in said]


@on_the_cpu_backend("a process for each card, and the emulation has one card")
def test_one_process_whose_engines_disagree_decides_for_all(toy: Toy, tmp_path: Path) -> None:
    main, other = trained_by_two(toy, tmp_path / "out", disagrees=1)
    assert (main["engine"], other["engine"]) == ("generate", "generate")
    (told,) = main["told"]
    assert told.startswith(f"{GIVES_WAY}, in all processes: slots, in process 1: it disagrees")
    written = yaml.safe_load((tmp_path / "out" / "config.effective.yaml").read_text())["sampler"]
    assert written["engine"] == "generate"
    assert written["reason"].startswith("slots, in process 1: it disagrees with generate")


def test_the_engine_is_checked_before_an_evaluation(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from groupwise.framework.policy import load
    from groupwise.framework.trainers.callbacks import Notices

    config, told = toy.config(), []
    policy = load(config.model, config.seed)
    few = problems(config, policy)[:4]
    trainer = trainer_for(
        config, policy, tmp_path, eval_dataset=few, callbacks=[Notices(told.append)]
    )
    monkeypatch.setattr(self_check, "TOLERANCE", NEVER)
    trainer.evaluate(num_samples=1, k=(1,))
    assert [text.startswith(GIVES_WAY) for text in told] == [True]
    settings = json.loads((tmp_path / "evaluations" / "step-0" / "settings.json").read_text())
    assert settings["sampler"] == "generate"


def test_the_engine_is_checked_before_the_first_evaluation_in_training(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it found is said once."""
    from groupwise.framework.experiment.evaluate import (
        evaluation_rubric,
        evaluation_sampler,
        evaluation_settings,
    )
    from groupwise.framework.experiment.periodic_evaluation import PeriodicEvaluation
    from groupwise.framework.policy import load

    config, told = toy.config(), []
    policy = load(config.model, config.seed)
    evaluation = PeriodicEvaluation(
        config.evaluation,
        policy,
        problems(config, policy)[:3],
        evaluation_sampler(config, policy),
        evaluation_rubric(config),
        evaluation_settings(config, policy.tokenizer, "in training"),
        tmp_path,
        told.append,
    )
    monkeypatch.setattr(self_check, "TOLERANCE", NEVER)
    for step in (1, 2):
        evaluation.run(step)
        folder = tmp_path / "evaluations" / f"step-{step}"
        assert json.loads((folder / "settings.json").read_text())["sampler"] == "generate"
        assert len(lines(folder / "samples.jsonl")) == 3 * config.evaluation.num_samples
    assert [text.startswith(GIVES_WAY) for text in told] == [True, False, False]
