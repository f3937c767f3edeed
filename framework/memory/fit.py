"""The largest settings that fit into memory, and the config that does with the fewest changes.

    largest_settings(config, Planner(architecture, total), memory)     # each by itself
    fitted(config, Planner(architecture, total), memory).changes

Left out: what changes the run more than a shorter answer does, such as prompts left out, a smaller
adapter or another model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.known import known_names
from groupwise.framework.memory.planner import (
    Planner,
    most_that_fit,
    rows_asked,
    upper_end,
    with_keys,
)

_LONGEST = 131_072  # tokens of an answer that are tried at most
_STEPS = ((16_384, 4096), (4_096, 512), (1_024, 128), (64, 64), (0, 8))  # above, in steps of
_SHORTEST = 64  # tokens to which a config is not cut further


class Largest(NamedTuple):
    """The largest value of a key that fits, the others as they are; None: no value does.

    `bounded` is false where memory is not what bounds it; `note` says what else does.
    """

    key: str
    now: int
    value: int | None
    bounded: bool
    note: str = ""


def largest_settings(
    config: ExperimentConfig, planner: Planner, memory: int
) -> tuple[Largest, ...]:
    """For each setting of the method that memory may bound, the largest value that fits."""
    if config.training.method == "sft":
        return ()
    forward = _largest(config, planner, memory, "completions_per_forward", _forwards(config))
    if config.training.method == "group_scores":
        return (forward,)
    rows = () if config.model.fast_inference else (_largest_rows(config, planner, memory),)
    return (
        _longest(config, planner, memory),
        _largest(config, planner, memory, "num_generations", _generations(config)),
        *rows,  # vLLM decides about them itself
        forward,
    )


def _largest(
    config: ExperimentConfig, planner: Planner, memory: int, name: str, values: Sequence[int]
) -> Largest:
    """`values` of `training.<name>`, in ascending order."""
    key = f"training.{name}"
    value = _first(
        reversed(values), lambda n: planner.needed(with_keys(config, {key: n})) <= memory
    )
    step = config.training.batch_shape.completions_per_step
    is_whole = name == "completions_per_forward" and value == step
    return Largest(
        key,
        getattr(config.training, name),
        value,
        bounded=value != values[-1],
        note="all of a step" if is_whole else "",
    )


def _longest(config: ExperimentConfig, planner: Planner, memory: int) -> Largest:
    """Of the completion length; `max_seq_length` and the model's own positions bound it, too."""
    key, prompt = "training.max_completion_length", config.data.max_prompt_length
    room = config.model.max_seq_length

    def fits(length: int) -> bool:
        longer = {key: length, "model.max_seq_length": max(room, prompt + length)}
        return planner.needed(with_keys(config, longer)) <= memory

    now = config.training.max_completion_length
    value = _first(_lengths_below(_LONGEST), fits)
    if value is not None and value < now and fits(now):
        value = now  # between two lengths that are tried
    if value is None:
        return Largest(key, now, None, bounded=True)
    positions, otherwise, note = planner.architecture.positions, "else", ""
    if positions is not None and prompt + value > positions:
        value, otherwise = max(0, positions - prompt), "model:"
        note = f"the model's {positions:,} positions"
    if prompt + value <= room:
        return Largest(key, now, value or None, True, note)
    return Largest(key, now, room - prompt, True, f"max_seq_length ({otherwise} {value:,})")


def _largest_rows(config: ExperimentConfig, planner: Planner, memory: int) -> Largest:
    """Rows of full length at once; a step has no more than its completions."""
    key, step = "training.max_rows", config.training.batch_shape.completions_per_step

    def fits(rows: int) -> bool:
        return upper_end(planner.plan(with_keys(config, {key: rows}), rows)) <= memory

    value = most_that_fit(step, fits)
    note = "all of a step" if value == step else "the others wait their turn"
    now = rows_asked(config)
    return Largest(key, now, value or None, value < step, note if value else "")


def _first(values: Iterator[int], fits: Callable[[int], bool]) -> int | None:
    return next((value for value in values if fits(value)), None)


def _lengths_below(most: int) -> Iterator[int]:
    """Round numbers of tokens in descending order, about as fine as a prediction is."""
    length = most
    while length > 0:
        yield length
        step = next(step for above, step in _STEPS if length > above)
        length = (length - 1) // step * step


def _forwards(config: ExperimentConfig) -> list[int]:
    """The sizes of a forward that divide a step, in ascending order."""
    step = config.training.batch_shape.completions_per_step
    if config.training.method == "group_scores":  # groups differ in size there
        return list(range(1, step + 1))
    return [n for n in range(1, step + 1) if step % n == 0]


def _generations(config: ExperimentConfig) -> list[int]:
    """Numbers of generations with which the forward still divides a step, in ascending order."""
    training = config.training
    unit = training.completions_per_forward
    unit //= math.gcd(unit, training.prompts_per_step)
    few = range(unit, 16 * unit, unit)
    return [n for n in (*few, *(unit * 2**i for i in range(4, 12))) if n >= 2]


# --- the config that fits --------------------------------------------------------------------


class Change(NamedTuple):
    """One key that is changed, and what that does; `same_result` but for rounding."""

    key: str
    old: Any
    new: Any
    same_result: bool
    why: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """A config that fits, and what was changed for it; None if nothing that is tried does.

    `needed`: bytes at the upper end of the interval, of `config` or of the smallest that was tried;
    `instead`: where nothing fits, what would.
    """

    config: ExperimentConfig | None
    changes: tuple[Change, ...]
    needed: int
    instead: str = ""


class _Lever(NamedTuple):
    """Values for some keys, from the present ones on to those that need least."""

    values: Callable[[ExperimentConfig], list[dict[str, Any]]]
    same_result: bool
    why: str


def fitted(config: ExperimentConfig, planner: Planner, memory: int) -> Fitted:
    """The config with the fewest changes that fits `memory` at the upper end of the interval.

    Levers are pulled one after the other, those that leave the result the same first, until it
    fits, or until there is none left. Then each is let go as far as the others allow, the last one
    first.
    """

    def needed(values: Mapping[str, Any]) -> int:
        return planner.needed(with_keys(config, values))

    pulled: list[dict[str, Any]] = []
    steps = [lever.values(config) for lever in LEVERS]
    for values in steps:
        if needed(_merged(pulled)) <= memory:
            break
        pulled.append(values[-1] if values else {})
    reached = max(memory, needed(_merged(pulled)))
    for at in 2 * [*reversed(range(len(pulled)))]:  # twice: one let go may free another
        for less in ({}, *steps[at]):
            released = [*pulled[:at], less, *pulled[at + 1 :]]
            if needed(_merged(released)) <= reached:
                pulled = released
                break
    least = needed(_merged(pulled))
    changes = _changes(config, pulled)
    if least > memory:
        return Fitted(None, changes, least, _instead(config, planner, memory))
    return Fitted(with_keys(config, _merged(pulled)), changes, least)


def _instead(config: ExperimentConfig, planner: Planner, memory: int) -> str:
    """A LoRA where all weights are trained; the largest known model that fits with this config."""
    if config.model.full_finetuning:
        lora = with_keys(config, {"model.full_finetuning": False, "model.load_in_4bit": True})
        if planner.needed(lora) <= memory:
            return "with model.full_finetuning false and model.load_in_4bit true it fits as it is"
    found = {}
    for name in known_names():
        model = replace(config.model, name=name, adapter=None, adapter_mode="continue")
        architecture = read_architecture(model)
        if replace(planner, architecture=architecture).needed(config) <= memory:
            found[architecture.parameters] = name.partition("/")[2]
    if not found:
        return "no model known here fits with this config"
    return f"with a model of the size of {found[max(found)]} it fits as it is"


def _merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


def _changes(config: ExperimentConfig, pulled: Sequence[Mapping[str, Any]]) -> tuple[Change, ...]:
    return tuple(
        Change(key, _value(config, key), new, lever.same_result, lever.why)
        for lever, values in zip(LEVERS, pulled, strict=False)
        for key, new in values.items()
        if new != _value(config, key)
    )


def _value(config: ExperimentConfig, key: str) -> Any:
    return reduce(getattr, key.split("."), config)


def _smaller_forwards(config: ExperimentConfig) -> list[dict[str, Any]]:
    now = config.training.completions_per_forward
    key = "training.completions_per_forward"
    return [{key: n} for n in reversed(_forwards(config)) if n < now]


def _fewer_rows(config: ExperimentConfig) -> list[dict[str, Any]]:
    """For engines that keep to their rows; the others take what is left."""
    training, evaluation = rows_asked(config), config.evaluation.max_rows or 16
    return [
        {"training.max_rows": min(n, training), "evaluation.max_rows": min(n, evaluation)}
        for n in range(max(training, evaluation) - 1, 0, -1)
    ]


def _with_checkpointing(_: ExperimentConfig) -> list[dict[str, Any]]:
    return [{"model.use_gradient_checkpointing": "unsloth"}]


def _optimiser_in_8_bits(config: ExperimentConfig) -> list[dict[str, Any]]:
    is_wide = config.training.optim in ("adamw_torch", "adamw_torch_fused", "paged_adamw_32bit")
    return [{"training.optim": "adamw_8bit"}] if is_wide else []


def _smaller_warm_start(config: ExperimentConfig) -> list[dict[str, Any]]:
    now, sizes = config.training.warm_start, (64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
    if not (now.enabled or config.training.method == "sft"):
        return []
    key = "training.warm_start.batch_size"
    return [{key: n} for n in sizes if n < now.batch_size]


def _weights_in_4_bits(config: ExperimentConfig) -> list[dict[str, Any]]:
    if config.model.full_finetuning or config.model.load_in_4bit:
        return []
    return [{"model.load_in_8bit": False, "model.load_in_4bit": True}]


def _shorter_answers(config: ExperimentConfig) -> list[dict[str, Any]]:
    """With what is trained on at the model's whole length, such as demonstrations, cut as well."""
    key, own = "max_completion_length", config.evaluation.max_completion_length
    now, room = config.training.max_completion_length, config.model.max_seq_length
    whole = config.training.method != "grpo" or config.training.warm_start.enabled
    most = max(now, own or 0, room - config.data.max_prompt_length if whole else 0)
    found = []
    for length in _lengths_below(most):
        if length < _SHORTEST:
            break
        values = {f"training.{key}": min(length, now)}
        if own is not None:
            values[f"evaluation.{key}"] = min(length, own)
        if whole:
            values["model.max_seq_length"] = min(room, config.data.max_prompt_length + length)
        found.append(values)
    return found


LEVERS = (
    _Lever(_smaller_forwards, True, "more passes over the same step"),
    _Lever(_fewer_rows, True, "fewer answers are sampled at once"),
    _Lever(_with_checkpointing, True, "activations are computed twice"),
    _Lever(_optimiser_in_8_bits, False, "its state is rounded"),
    _Lever(_smaller_warm_start, False, "the warm start makes more and smaller steps"),
    _Lever(_weights_in_4_bits, False, "the frozen weights are rounded"),
    _Lever(_shorter_answers, False, "longer ones are cut off, or left out"),
)
"""What is changed to make a config fit, in this order."""
