"""Options of older GRPO scripts, each an alias of a config key.

`groupwise train --preset default --lr 1e-5` is `groupwise train default --set
training.learning_rate=1e-5`. Where both are given, the option wins.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from groupwise.framework.config import Override
from groupwise.framework.policy.folders import base_of_adapter

PRESETS = ("default", "fast_test", "full_training", "low_memory", "from_sft")
"""What `--preset` takes; `groupwise train NAME` takes the name of any config in `configs/`."""


class Alias(NamedTuple):
    """An option, the key that it sets, and the type of its value."""

    option: str
    key: str
    kind: type
    metavar: str


ALIASES = (
    Alias("--train-data", "data.train", str, "FILE"),
    Alias("--val-data", "data.eval", str, "FILE"),
    Alias("--model-name", "model.name", str, "NAME"),
    Alias("--num-samples", "training.num_generations", int, "N"),
    Alias("--kl-coef", "training.beta", float, "X"),
    Alias("--epochs", "training.num_train_epochs", float, "N"),
    Alias("--batch-size", "training.prompts_per_step", int, "N"),
    Alias("--lr", "training.learning_rate", float, "X"),
    Alias("--max-length", "training.max_completion_length", int, "N"),
    Alias("--reward-model-path", "rewards.parts.reward_model.params.model", str, "NAME"),
)

REWARD_MODELS = {"heuristic": "reference_quality", "learned": "reward_model"}


def add_aliases(parser: argparse.ArgumentParser) -> None:
    """Adds the options; the help of each names its key."""
    parser.set_defaults(has_aliases=True)
    group = parser.add_argument_group(
        "other names of config keys", "as older GRPO scripts have them; same as --set KEY=VALUE"
    )
    for alias in ALIASES:
        group.add_argument(alias.option, type=alias.kind, metavar=alias.metavar, help=alias.key)
    group.add_argument(
        "--sft-model",
        metavar="DIR",
        help="model.adapter, for a folder with a LoRA adapter; else model.name",
    )
    group.add_argument("--no-4bit", action="store_true", help="model.load_in_4bit=false")
    group.add_argument(
        "--no-lora",
        action="store_true",
        help="model.full_finetuning=true and model.load_in_4bit=false",
    )
    group.add_argument(
        "--reward-model",
        choices=REWARD_MODELS,
        metavar="KIND",
        help="rewards.parts: heuristic is {reference_quality: 1.0}, learned {reward_model: 1.0}",
    )


def alias_overrides(arguments: argparse.Namespace) -> tuple[list[Override], list[Override]]:
    """The options as overrides: those to apply before `--set`, and those to apply after it.

    `--reward-model` replaces all rewards, so it comes first: `--set` can then change one of them.
    """
    if not getattr(arguments, "has_aliases", False):
        return [], []  # another command, whose options may have the same names
    first = []
    if kind := arguments.reward_model:
        parts = {REWARD_MODELS[kind]: {"weight": 1.0}}
        first.append(Override("rewards.parts", parts, f"--reward-model {kind}"))
    return first, list(_overrides(arguments))


def _overrides(arguments: argparse.Namespace) -> Iterator[Override]:
    if folder := arguments.sft_model:
        origin = f"--sft-model {folder}"
        if (Path(folder) / "adapter_config.json").is_file():
            yield Override("model.adapter", folder, origin)
            if base := base_of_adapter(Path(folder)):
                yield Override("model.name", base, origin)
        else:
            yield Override("model.name", folder, origin)
            yield Override("model.adapter", None, origin)
    if arguments.no_4bit or arguments.no_lora:
        origin = "--no-lora" if arguments.no_lora else "--no-4bit"
        yield Override("model.load_in_4bit", False, origin)
    if arguments.no_lora:
        yield Override("model.full_finetuning", True, "--no-lora")
    for alias in ALIASES:
        value = getattr(arguments, alias.option[2:].replace("-", "_"))
        if value is not None:
            yield Override(alias.key, value, f"{alias.option} {value}")
