"""GRPOArguments: the settings of GRPOTrainer, as attributes.

    args = GRPOArguments(lr=5e-6, num_generations=8, output_dir="runs/mine")
    args.beta = 0.04

It holds a `TrainingConfig`, the `training` section of a config, which `trl_config.py` hands to TRL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from groupwise.framework.config import TrainingConfig, check_training, with_values
from groupwise.framework.config.chat_template import template_kwargs
from groupwise.framework.config.messages import probably
from groupwise.framework.config.other_names import snake
from groupwise.framework.config.schema import SECTIONS
from groupwise.rewards.errors import as_user_error

# The other fields of the section concern other methods.
_TRAINING_KEYS = tuple(
    f.name for f in fields(TrainingConfig) if f.name not in ("method", "warm_start", "group_scores")
)


@dataclass(init=False)
class GRPOArguments:
    """The `training` section of a config, with the same names and defaults.

    `args.beta` reads and sets `args.training.beta`, and so on; `lr` is an alias of `learning_rate`.
    `seed`, `output_dir`, `use_gradient_checkpointing` and `chat_template_kwargs` are in other
    sections of a config.

    Raises:
        TypeError: a name that does not exist is set, so that a misspelt one is not ignored.
        AttributeError: a name that does not exist is read.
        ConfigError: a value is out of range (a UserError). Rules over several keys are checked
            when the trainer is built, since attributes may be set one after the other.
    """

    training: TrainingConfig
    seed: int
    output_dir: str | Path
    use_gradient_checkpointing: bool | str
    chat_template_kwargs: Mapping[str, Any]

    def __init__(
        self,
        training: TrainingConfig | None = None,
        *,
        seed: int = 42,
        output_dir: str | Path = "runs/grpo",
        use_gradient_checkpointing: bool | str = True,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> None:
        self.training = training or TrainingConfig()
        self.seed = seed
        self.output_dir = output_dir
        self.use_gradient_checkpointing = use_gradient_checkpointing
        self.chat_template_kwargs = chat_template_kwargs or {}
        if values:
            self._set_training(values)

    def __getattr__(self, name: str) -> Any:  # only where there is no such field
        key = _key(name)
        if key not in _TRAINING_KEYS:
            raise AttributeError(_unknown(name))
        return getattr(self.training, key)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "chat_template_kwargs":
            with as_user_error(lambda error: f"chat_template_kwargs: {error}", ValueError):
                value = template_kwargs(dict(value))
        if name in _OWN_KEYS:
            object.__setattr__(self, name, value)
        else:
            self._set_training({name: value})

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *_OWN_KEYS, *_TRAINING_KEYS, "lr"]

    def training_config(self) -> TrainingConfig:
        """`training`, after the rules over several of its keys; raises ConfigError."""
        check_training(self.training)
        return self.training

    def _set_training(self, values: dict[str, Any]) -> None:
        for name in values:
            if _key(name) not in _TRAINING_KEYS:
                raise TypeError(_unknown(name))
        # All at once: a TrainingConfig is frozen, and each copy is validated whole.
        self.training = with_values(self.training, {_key(k): v for k, v in values.items()})


_OWN_KEYS = tuple(f.name for f in fields(GRPOArguments))


def _key(name: str) -> str:
    return "learning_rate" if name == "lr" else name


def _unknown(name: str) -> str:
    """The message on a name that does not exist. Keys of `training` are arguments as they are."""
    known = (*_TRAINING_KEYS, *_OWN_KEYS)
    if close := get_close_matches(snake(name), known, 1, 0.85):
        meaning = f"did you mean {close[0]}?"
    elif hasattr(TrainingConfig, name):
        meaning = f"training.{name} is of a whole config (ExperimentConfig)"
    elif meaning := probably(("training", name)).replace("training.", ""):
        if any(f"did you mean {section}." in meaning for section in SECTIONS):
            meaning += " That is in a whole config (ExperimentConfig)"
    else:
        meaning = f"it has {', '.join(known)}"
    return f"GRPOArguments has no {name!r}; {meaning}"
