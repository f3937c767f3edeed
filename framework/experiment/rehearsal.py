"""Everything short of loading the model: what a dry run and the preflight need."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.framework.config import TOY, ExperimentConfig
from groupwise.framework.data.demonstrations import load_demonstrations
from groupwise.framework.data.prompts import RenderedPrompts
from groupwise.framework.data.toy import with_toy
from groupwise.framework.experiment.data import rendered
from groupwise.framework.experiment.evaluate import rubric_of
from groupwise.framework.policy.folders import check_model_folder, read_chat_template
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards import UserError


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a dry run found out: counts, lengths, and a first prompt as the model would see it."""

    train: RenderedPrompts
    held_out: RenderedPrompts
    num_demonstrations: int
    batch_shape: str
    checkpointing: str  # gradient checkpointing: on or off, and why
    first_prompt: str
    problems: tuple[str, ...]  # what makes training meaningless, as `groupwise check` finds it


def rehearse(config: ExperimentConfig, terminal: Terminal) -> Rehearsal:
    """Everything short of loading the model: data, rewards, prompts, batch shape."""
    from groupwise.framework.experiment.preflight import quick_check
    from groupwise.framework.policy.checkpointing import checkpointing

    with without_model(config, terminal) as (config, tokenizer), rubric_of(config) as rubric:
        train = rendered(config, "train", tokenizer)
        held_out = rendered(config, "eval", tokenizer)
        demonstrations = (
            load_demonstrations(config.data, config.training.warm_start)
            if config.training.warm_start.enabled or config.training.method == "sft"
            else []
        )
        problems: tuple[str, ...] = ()
        if config.training.method == "grpo":
            problems = quick_check(config, tokenizer, rubric).problems
    if len(train.examples) < config.training.prompts_per_step:
        raise UserError(
            f"training.prompts_per_step: {config.training.prompts_per_step} problems per step, but "
            f"the training data has {len(train.examples)}"
        )
    return Rehearsal(
        train,
        held_out,
        len(demonstrations),
        str(config.training.batch_shape),
        str(checkpointing(config)),
        train.examples[0].prompt,
        problems,
    )


@contextmanager
def without_model(
    config: ExperimentConfig, terminal: Terminal
) -> Iterator[tuple[ExperimentConfig, Any]]:
    """The config with the toy's problems in place, and the tokenizer; libraries are kept quiet."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with terminal.libraries_to(folder / "library.log"):
            tokenizer = tokenizer_of(config)
            yield with_toy_problems(config, folder), tokenizer


def with_toy_problems(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """Makes the toy's problems in `folder` where the config asks for them; no model."""
    if TOY not in (config.data.train, config.data.eval):
        return config
    from groupwise.framework.data import toy

    paths = toy.make_toy(folder, config.seed, with_model=False)
    return with_toy(config, paths.model, paths.train, paths.eval)


def tokenizer_of(config: ExperimentConfig) -> Any:
    """The model's tokenizer alone. Raises UserError where it cannot be had."""
    if config.model.name == TOY:
        from groupwise.framework.data.toy import make_tokenizer

        tokenizer: Any = make_tokenizer()
    else:
        check_model_folder(config.model)
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(config.model.adapter or config.model.name)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"model.name: the tokenizer of {config.model.name} cannot be loaded: {reason}"
            ) from error
    if config.model.chat_template is not None:
        tokenizer.chat_template = read_chat_template(config.model.chat_template)
    return tokenizer
