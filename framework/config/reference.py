"""Writes configs/reference.yaml, every key with its meaning and default, from the schema.

    python -m groupwise.framework.config.reference            # rewrite the file
    python -m groupwise.framework.config.reference --check    # exit code 1 if it is out of date

The file is a whole config and loads; the two keys that have no default are set to the toy.
"""

from __future__ import annotations

import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from groupwise.framework.config.descriptions import description
from groupwise.framework.config.experiment import ExperimentConfig
from groupwise.framework.config.presets import CONFIGS
from groupwise.framework.config.schema import SECTIONS, TOY, DataConfig, Experiment, ModelConfig
from groupwise.rewards import RewardSpec
from groupwise.rewards.rubric import REWARDS

WIDTH = 100

HEADER = """\
# Every key of a config, with its meaning and its default.
#
# Written by `python -m groupwise.framework.config.reference` from framework/config/schema.py: edit
# that. Copy what you want to change into a file of your own; what you leave out keeps its default.
# Only model.name and data.train have none. A relative path is looked for from the current directory
# first, then from the folder of the config file. On the command line: --set section.key=value.
"""


REWARD_KEYS = {
    "use": "a built-in reward, module:function, or path/to/file.py:function, also in TRL's form; "
    "null takes the part's own name.",
    "weight": "what the raw value is multiplied by.",
    "params": "parameters of the reward.",
    "requires": "parts that must hold before this one counts: {name: least raw value}.",
    "clip": "[low, high] for the raw value.",
    "schedule": "[[progress, factor], ...]: a line through these points multiplies the weight, as "
    "progress goes from 0 to 1.",
    "completions": "text or messages: how a function of yours gets them; null: as its annotation "
    "says, else messages, as in TRL.",
}
"""The fields of RewardSpec; a test holds that none is missing."""


def reference_yaml() -> str:
    """The text of configs/reference.yaml."""
    config = ExperimentConfig(model=ModelConfig(name=TOY), data=DataConfig(train=TOY))
    lines = [HEADER]
    lines += [*_comment(description(Experiment, "name"), 0), "# name: my-experiment"]
    for f in fields(ExperimentConfig):
        if f.name not in SECTIONS and f.name != "name":
            lines += _entry(Experiment, f.name, getattr(config, f.name), indent=0)
    for name in SECTIONS:
        section = getattr(config, name)
        lines += ["", *_comment(_sentence(type(section)), 0), f"{name}:"]
        lines += _section(section, indent=2)
    return "\n".join(lines) + "\n"


def _section(section: Any, indent: int) -> Iterator[str]:
    for f in fields(section):
        value = getattr(section, f.name)
        if is_dataclass(value):
            yield from _comment(_sentence(type(value)), indent)
            yield f"{' ' * indent}{f.name}:"
            yield from _section(value, indent + 2)
        else:
            yield from _entry(type(section), f.name, value, indent)


def _entry(owner: type, name: str, value: Any, indent: int) -> list[str]:
    text = description(owner, name)
    if choices := _choices(get_type_hints(owner, include_extras=True)[name]):
        text += f" One of {', '.join(choices)}."
    pad = " " * indent
    if name == "parts":
        return [*_comment(text, indent), *_reward_keys(indent), f"{pad}parts:", *_parts(value, pad)]
    return [*_comment(text, indent), f"{pad}{name}: {_scalar(value)}"]


def _reward_keys(indent: int) -> list[str]:
    defaults = RewardSpec()
    lines = [*_comment(f"Built-in rewards: {', '.join(REWARDS)}. Keys of a reward:", indent)]
    for name, text in REWARD_KEYS.items():
        lines += _comment(f"- {name} ({_scalar(getattr(defaults, name))}): {text}", indent)
    return lines


def _parts(parts: dict[str, RewardSpec], pad: str) -> list[str]:
    return [f"{pad}  {name}: {{weight: {_scalar(spec.weight)}}}" for name, spec in parts.items()]


def _sentence(owner: type) -> str:
    return (owner.__doc__ or "").split("\n")[0]


def _comment(text: str, indent: int) -> list[str]:
    pad = " " * indent + "# "
    hanging = pad + ("  " if text.startswith("- ") else "")
    return textwrap.wrap(
        text, WIDTH, initial_indent=pad, subsequent_indent=hanging, break_on_hyphens=False
    )


def _scalar(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, float) and value >= 1 and value == int(value):
        return f"{value:.1f}"
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        return f"{value:g}".replace("e-0", "e-")
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _choices(hint: Any) -> list[str]:
    """The values that a Literal allows, also inside Annotated and unions."""
    origin = get_origin(hint)
    if origin is Literal:
        return [_scalar(value) for value in get_args(hint)]
    if origin is Annotated:
        return _choices(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return [choice for inner in get_args(hint) for choice in _choices(inner)]
    return []


def main(arguments: list[str]) -> int:
    path = CONFIGS / "reference.yaml"
    text = reference_yaml()
    if arguments == ["--check"]:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return 0
        print(
            f"{path} is out of date: run python -m groupwise.framework.config.reference",
            file=sys.stderr,
        )
        return 1
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
