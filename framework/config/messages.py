"""What pydantic found, in the words of someone who edits a YAML file."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from groupwise.framework.config.errors import Problem
from groupwise.framework.config.schema import Experiment
from groupwise.rewards import RewardSpec

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
"""Names that people bring from TRL, Unsloth and older scripts, and what says the same here."""

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a section of key: value lines",
    "mapping": "a section of key: value lines",
    "dataclass": "a section of key: value lines",
}


def describe(
    error: ValidationError, data: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> list[Problem]:
    """One problem for each key at fault, in pydantic's order.

    `prefix` leads from `data` to what was validated, where that is one section of it.
    """
    problems: dict[str, Problem] = {}
    for item in error.errors(include_url=False):
        loc = (*prefix, *item["loc"])
        keys = _real_keys(loc, data)
        if item["type"] in ("missing", "unexpected_keyword_argument"):
            keys = tuple(map(str, loc))
        path = ".".join(keys)
        if path not in problems:
            problems[path] = Problem(path, _message(item, keys))
    return list(problems.values())


def _real_keys(loc: tuple[Any, ...], data: Any) -> tuple[str, ...]:
    """Pydantic's location without the names of types and union members that it adds."""
    keys: list[str] = []
    for part in loc:
        in_mapping = isinstance(data, Mapping) and part in data
        in_list = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        if in_mapping or in_list:
            data = data[part]
        else:
            break
        keys.append(str(part))
    return tuple(keys) or tuple(map(str, loc))


def _message(item: Any, keys: tuple[str, ...]) -> str:
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "missing":
        return f"is required, and missing{_about(keys)}"
    if kind == "unexpected_keyword_argument":
        return f"there is no such key{_hint(keys)}"
    shown = _shown(value)
    if kind == "literal_error":
        choices = [choice.strip("'") for choice in _choices(context["expected"])]
        close = get_close_matches(str(value), choices, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{shown} is none of {', '.join(choices)}{hint}".replace("True", "true").replace(
            "False", "false"
        )
    if kind == "too_short":
        return "is empty; name at least one, or leave the key out for its default"
    if kind == "string_too_short":
        return "is empty; name one"
    if kind == "string_pattern_mismatch":
        return f"{shown} must be letters, digits, '.', '-' and '_', and begin with one of the first"
    if kind == "value_error" and "not a number" in item["msg"]:
        return f"{shown} is not a number"
    if kind == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    family = kind.partition("_")[0]
    if kind.endswith(("_type", "_parsing", "_from_float", "finite_number")) and family in _EXPECTED:
        return f"{shown} is not {_EXPECTED[family]}"
    message = item["msg"].replace("Input should be", "must be")
    return f"{shown} {message[0].lower()}{message[1:]}"


def _choices(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").split(", ")


def _shown(value: Any) -> str:
    """The value as it would stand in the file, cut to a readable length."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


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
        yield path, getattr(f.default, "description", None) or ""
        for inner in _members(hints[f.name]):
            if is_dataclass(inner):
                yield from _paths(inner, f"{path}.")


def _members(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        yield from get_args(hint)
    elif get_origin(hint) is None:
        yield hint
