"""Options of older GRPO scripts: each is another name for a key of the config, and nothing more.

`groupwise train --preset default --lr 1e-5` is `groupwise train default --set
training.learning_rate=1e-5`. Where both are given, the option wins.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PRESETS = ("default", "fast_test", "full_training", "low_memory", "from_sft")
"""Those that `--preset` takes; the names of all configs are good for `groupwise train NAME`."""


class Alias(NamedTuple):
    """An option with the key that it sets, and what its value is."""

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
    """The options, each with the key it stands for."""
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


def alias_overrides(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The options as overrides: those that belong in front of `--set`, and those behind it.

    `--reward-model` replaces all rewards, so that it comes first and `--set` can say more of one.
    """
    if not getattr(arguments, "has_aliases", False):
        return [], []  # another command, whose options may have the same names
    kind = getattr(arguments, "reward_model", None)
    first = [_override("rewards.parts", {REWARD_MODELS[kind]: {"weight": 1.0}})] if kind else []
    return first, list(_overrides(arguments))


def _overrides(arguments: argparse.Namespace) -> Iterator[str]:
    if folder := getattr(arguments, "sft_model", None):
        from groupwise.framework.policy.folders import base_of_adapter

        if (Path(folder) / "adapter_config.json").is_file():
            yield _override("model.adapter", folder)
            if base := base_of_adapter(Path(folder)):
                yield _override("model.name", base)
        else:
            yield _override("model.name", folder)
            yield _override("model.adapter", None)
    if getattr(arguments, "no_4bit", False) or getattr(arguments, "no_lora", False):
        yield _override("model.load_in_4bit", False)
    if getattr(arguments, "no_lora", False):
        yield _override("model.full_finetuning", True)
    for alias in ALIASES:
        value = getattr(arguments, alias.option[2:].replace("-", "_"), None)
        if value is not None:
            yield _override(alias.key, value)


def _override(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value)}"
