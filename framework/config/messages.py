"""Messages on wrong keys and values of a config, with what was probably meant."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from groupwise.framework.config.descriptions import description
from groupwise.framework.config.errors import Problem
from groupwise.framework.config.schema import Experiment
from groupwise.rewards import RewardSpec
from groupwise.rewards.validation import explain

OTHER_NAMES = {
    "per_device_train_batch_size": "training.completions_per_forward counts completions in a pass",
    "gradient_accumulation_steps": "it follows from training.completions_per_forward",
    "steps_per_generation": "it follows from training.completions_per_forward",
    "generation_batch_size": "it is training.prompts_per_step x training.num_generations",
    "batch_size": "training.prompts_per_step and training.completions_per_forward say it",
    "lr": "the key is training.learning_rate",
    "kl_coef": "the key is training.beta",
    "epochs": "the key is training.num_train_epochs",
    "steps": "the key is training.max_steps",
    "max_new_tokens": "the key is training.max_completion_length",
    "lora_rank": "the key is model.lora_r",
    "r": "the key is model.lora_r",
    "use_vllm": "the keys are model.fast_inference: true and training.sampler: vllm",
    "model_name": "the key is model.name",
    "model_name_or_path": "the key is model.name",
    "dataset": "the key is data.train",
    "report_to": "the keys are tracking.wandb and tracking.trackio",
    "reward_weights": "each of rewards.parts has its own weight",
    "loss": "the key is training.loss_type",
    "max_examples": "the keys are data.max_train_examples and data.max_eval_examples",
}
"""Names from TRL, Unsloth and older scripts, with the keys that replace them here."""


def describe(
    error: ValidationError, data: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> list[Problem]:
    """One problem for each key at fault. `data` is what was validated; its path is `prefix`."""
    found = explain(error, data, prefix, hint=_hint, about=_about)
    return [Problem(path, message) for path, message in found.items()]


def _about(keys: tuple[str, ...]) -> str:
    description = known_paths().get(".".join(keys), "")
    return f": {description[0].lower()}{description[1:].rstrip('.')}" if description else ""


def _hint(keys: tuple[str, ...]) -> str:
    """What was probably meant: a neighbour, the same key elsewhere, another library's name."""
    *parents, key = keys
    prefix = ".".join((*parents, ""))
    known = list(known_paths())
    if parents[:2] == ["rewards", "parts"] and len(parents) == 3:
        known = [f"{prefix}{f.name}" for f in fields(RewardSpec)]
    neighbours = [
        path[len(prefix) :]
        for path in known
        if path.startswith(prefix) and "." not in path[len(prefix) :]
    ]
    known.sort(key=lambda path: path.count("."))  # stable: the plain sections come first
    elsewhere = [path for path in known if path.split(".")[-1] == key]
    if elsewhere:
        return f"; did you mean {' or '.join(elsewhere)}?"
    other = OTHER_NAMES.get(key, "")
    if other.startswith("the key is") and (own := other.split(".")[-1]) in neighbours:
        return f"; did you mean {prefix}{own}?"
    if other and not get_close_matches(key, neighbours, 1, 0.85):
        return f"; {other}"
    if close := get_close_matches(key, neighbours, 1, 0.55):
        return f"; did you mean {prefix}{close[0]}?"
    if parents == ["rewards"]:
        return f"; did you mean rewards.parts.{key}?"
    by_last = {path.split(".")[-1]: path for path in reversed(known)}
    if close := get_close_matches(key, by_last, 1, 0.75):
        return f"; did you mean {by_last[close[0]]}?"
    return f"; the keys here are {', '.join(neighbours)}" if neighbours else ""


@cache
def known_paths() -> dict[str, str]:
    """Every dotted path of the schema, in order, with its description."""
    return dict(_paths(Experiment, ""))


def _paths(owner: Any, prefix: str) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(owner)
    for f in fields(owner):
        path = f"{prefix}{f.name}"
        yield path, description(owner, f.name)
        for inner in _members(hints[f.name]):
            if is_dataclass(inner):
                yield from _paths(inner, f"{path}.")


def _members(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        yield from get_args(hint)
    elif get_origin(hint) is None:
        yield hint
