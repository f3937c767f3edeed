"""Options of older GRPO scripts, each an alias of a config key.

`groupwise train --preset default --lr 1e-5` is `groupwise train default --set
training.learning_rate=1e-5`. Where both are given, the option wins.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from groupwise.framework.config import Override, Overrides, TrainingConfig
from groupwise.framework.config.batch import nearest_divisors
from groupwise.framework.config.load import raw_values
from groupwise.framework.config.other_names import OTHER_NAMES
from groupwise.framework.policy.folders import base_of_adapter

PRESETS = ("default", "fast_test", "full_training", "low_memory", "from_sft")
"""What `--preset` takes; `groupwise train NAME` takes the name of any config in `configs/`."""


class Alias(NamedTuple):
    """An option, and the type of its value. The key that it sets is that of its name."""

    option: str
    kind: type
    metavar: str

    @property
    def name(self) -> str:
        return self.option[2:].replace("-", "_")

    @property
    def key(self) -> str:
        return OTHER_NAMES[self.name].key


ALIASES = (
    Alias("--train-data", str, "FILE"),
    Alias("--val-data", str, "FILE"),
    Alias("--model-name", str, "NAME"),
    Alias("--num-samples", int, "N"),
    Alias("--kl-coef", float, "X"),
    Alias("--epochs", float, "N"),
    Alias("--batch-size", int, "N"),
    Alias("--lr", float, "X"),
    Alias("--max-length", int, "N"),
    Alias("--reward-model-path", str, "NAME"),
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
        value = getattr(arguments, alias.name)
        if value is not None:
            yield Override(alias.key, value, f"{alias.option} {value}")


def fitting_forward(
    arguments: argparse.Namespace, path: Path, overrides: Overrides
) -> Override | None:
    """With `--batch-size` or `--num-samples`, a `completions_per_forward` that divides the step.

    Older scripts have no such number. It is the largest that needs no more memory than the config's
    own; None where that divides the step, where `--set` gives one, or without these options.
    """
    options = [f"--{name.replace('_', '-')} {value}" for name in ("batch_size", "num_samples")
               if (value := getattr(arguments, name, None))]  # fmt: skip
    key = "training.completions_per_forward"
    if not options or any(text.startswith(f"{key}=") for text in arguments.overrides):
        return None
    training = raw_values(path, overrides).get("training") or {}
    if not isinstance(training, dict):
        return None  # the config's own message says so
    keys = ("prompts_per_step", "num_generations", "completions_per_forward")
    prompts, generations, forward = (training.get(k, getattr(TrainingConfig, k)) for k in keys)
    if not all(isinstance(n, int) and n > 0 for n in (prompts, generations, forward)):
        return None
    total = prompts * generations
    if total % forward == 0:
        return None
    return Override(key, nearest_divisors(total, forward)[0], ", ".join(options))
