"""The problems of a run: read, put into the model's chat template, and what was left out said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.examples import Split, load_examples, overlap
from groupwise.framework.data.prompts import RenderedPrompts, render_prompts
from groupwise.framework.data.scored_groups import (
    ScoredGroup,
    notice_known_problems,
    read_groups,
)
from groupwise.framework.grpo_trainer.inputs import check_data_size
from groupwise.framework.policy import Policy
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example


@dataclass(frozen=True, slots=True)
class Data:
    """The problems of a run, with rendered prompts; offline, `groups` to train on instead."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    groups: tuple[ScoredGroup, ...] = ()


def load_data(config: ExperimentConfig, policy: Policy, terminal: Terminal) -> Data:
    """Reads the problems and puts them into the model's chat template."""
    if config.training.method == "group_scores":
        return load_groups(config, policy, terminal)
    with terminal.stage("Read the data") as stage:
        train = rendered(config, "train", policy.tokenizer)
        held_out = rendered(config, "eval", policy.tokenizer)
        stage.summary = f"{len(train.examples)} to train on, {len(held_out.examples)} held out"
    if config.training.method == "grpo":
        check_data_size(len(train.examples), config.training.prompts_per_step)
    _report_left_out(terminal, "train", train)
    _report_left_out(terminal, "eval", held_out)
    if repeated := overlap(train.examples, held_out.examples):
        terminal.notice(
            f"{len(repeated)} of the held-out problems are in the training data too: what Pass@K "
            "says of them is not about new problems"
        )
    return Data(train.examples, held_out.examples)


def load_groups(config: ExperimentConfig, policy: Policy, terminal: Terminal) -> Data:
    """Reads the scored groups to train on, and the problems to evaluate on."""
    groups = read_groups(config.data.train)
    held_out = load_held_out(config, policy, terminal) if evaluates(config) else ()
    completions = sum(len(group.completions) for group in groups)
    terminal.line(f"  {len(groups)} groups with {completions} completions to train on")
    notice_known_problems(groups, held_out, terminal.notice)
    return Data((), held_out, tuple(groups))


def load_held_out(
    config: ExperimentConfig, policy: Policy, terminal: Terminal
) -> tuple[Example, ...]:
    """The problems to evaluate on alone, with rendered prompts. Raises UserError without any."""
    with terminal.stage("Read the data") as stage:
        held_out = rendered(config, "eval", policy.tokenizer)
        if not held_out.examples:
            raise UserError(
                "data.eval: there is nothing to evaluate on; name a file, or set "
                "data.eval_fraction: 0.1"
            )
        stage.summary = f"{len(held_out.examples)} problems"
    _report_left_out(terminal, "eval", held_out)
    return held_out.examples


def evaluates(config: ExperimentConfig) -> bool:
    """Whether the run measures Pass@K, before or after."""
    return config.evaluation.before or config.evaluation.after


def rendered(config: ExperimentConfig, split: Split, tokenizer: Any) -> RenderedPrompts:
    examples = load_examples(config.data, split).examples
    return render_prompts(examples, tokenizer, config.data.max_prompt_length)


def _report_left_out(terminal: Terminal, split: Split, rendered: RenderedPrompts) -> None:
    if rendered.left_out:
        terminal.notice(f"{split}: {rendered}")
