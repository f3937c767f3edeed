"""Memory that runs out in an evaluation, a chat or a training, by an allocation no machine has."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import EMULATES_GPU, Toy, lines
from grpo_toys import problems, trainer_for

from groupwise.evaluation.sampler import Prompt
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.scored_groups import ScoredCompletion, ScoredGroup
from groupwise.framework.policy import Policy, load
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError

pytestmark = pytest.mark.stack

KEPT = "What was sampled is kept"


def run_short_after(policy: Policy, forwards: int) -> None:
    """From a forward on, a layer asks for more memory than there is."""
    import torch

    made = [0]

    def asks(*_: Any) -> None:
        made[0] += 1
        if made[0] > forwards:
            torch.empty(2**50)

    policy.model.get_base_model().model.layers[0].register_forward_pre_hook(asks)


def evaluation(config: ExperimentConfig, policy: Policy, folder: Path) -> None:
    from groupwise.framework.experiment.evaluate import evaluation_sampler, measure
    from groupwise.framework.sampling.self_check import check_engine

    held_out = problems(config, policy)[:8]
    # The engine's self-check comes first, once for a model, and makes forwards of its own.
    prompts = [Prompt(example.id, example.prompt) for example in held_out]
    check_engine(evaluation_sampler(config, policy), prompts, 24, print)
    run_short_after(policy, 30)
    measure("base", config, policy, held_out, RunDir(folder), Terminal(quiet=True))


def evaluation_in_training(config: ExperimentConfig, policy: Policy, folder: Path) -> None:
    from groupwise.framework.experiment.data import Problems
    from groupwise.framework.experiment.evaluate import periodic_evaluation

    held_out = Problems((), tuple(problems(config, policy)[:8]))
    run_dir, terminal = RunDir(folder), Terminal(quiet=True)
    made = periodic_evaluation(config, policy, held_out, run_dir, terminal)
    assert made is not None
    run_short_after(policy, 30)
    made.run(2)


def evaluation_of_a_trainer(config: ExperimentConfig, policy: Policy, folder: Path) -> None:
    made = problems(config, policy)[:8]
    trainer = trainer_for(config, policy, folder, eval_dataset=made)
    run_short_after(policy, 5)
    trainer.evaluate(num_samples=4, k=(1,))


def chat(config: ExperimentConfig, policy: Policy, folder: Path) -> None:
    from groupwise.framework.experiment.chat import chat

    # Unsloth's decoding calls no layer after the first token: it has code of its own for them.
    run_short_after(policy, 0 if EMULATES_GPU else 3)
    chat(
        config,
        policy,
        with_base=False,
        temperature=0.0,
        max_tokens=8,
        terminal=Terminal(),
        log=folder / "libraries.log",
    )


def warm_start(config: ExperimentConfig, policy: Policy, folder: Path) -> None:
    from groupwise.framework.trainers.sft import warm_start

    asked = [(example, "4") for example in problems(config, policy)[:16]]
    run_short_after(policy, 1)
    settings = config.training.warm_start
    warm_start(policy, asked, settings, seed=0, max_length=96, folder=folder)


def scored_groups(config: ExperimentConfig, policy: Policy, folder: Path) -> None:
    from groupwise.framework.trainers.group_scores import train_on_groups

    answers = (ScoredCompletion("4", 1.0), ScoredCompletion("5", 0.0))
    run_short_after(policy, 1)
    groups = [ScoredGroup("2+2=?", answers)] * 4
    folder.mkdir()
    train_on_groups(config, policy, groups, RunDir(folder), Terminal(quiet=True))


CASES: dict[str, tuple[Callable[..., None], list[str]]] = {
    "evaluation": (
        evaluation,
        [KEPT, "evaluation.max_rows: 4 (now 8; ", "_length: "],
    ),
    "evaluation in training": (evaluation_in_training, [KEPT, "evaluation.max_rows: 4 (now 8; "]),
    "evaluation of a trainer": (evaluation_of_a_trainer, [KEPT, "max_rows=8"]),
    "chat": (chat, ["--max-tokens 4 (now 8)", "/reset"]),
    "warm start": (warm_start, ["training.warm_start.batch_size: 8 (now 16; "]),
    "scored groups": (scored_groups, ["training.completions_per_forward: 4 (now 8;"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_settings_that_need_less_are_named(
    case: str, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("2+2=?\n"))
    config = toy.config(evaluation__max_rows=8, evaluation__every_steps=2)
    policy = load(config.model, config.seed)
    run, named = CASES[case]
    with pytest.raises(UserError) as caught:
        run(config, policy, tmp_path / "run")
    for words in ["out of memory in ", "DefaultCPUAllocator", "were asked for, ", *named]:
        assert words in str(caught.value)


def test_what_was_sampled_is_there_and_goes_on(toy: Toy, tmp_path: Path) -> None:
    from groupwise.framework.experiment.evaluate import measure

    config = toy.config(evaluation__max_rows=4)
    policy = load(config.model, config.seed)
    held_out = problems(config, policy)[:8]
    run_dir, terminal = RunDir(tmp_path), Terminal(quiet=True)
    with pytest.raises(UserError, match=KEPT):
        evaluation(config, policy, tmp_path)
    samples = run_dir.evaluation("base") / "samples.jsonl"
    first = lines(samples)
    assert 0 < len(first) < 32
    whole = load(config.model, config.seed)
    measure("base", config, whole, held_out, run_dir, terminal)
    assert lines(samples)[: len(first)] == first
    assert len(lines(samples)) == 32
