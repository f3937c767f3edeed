"""GRPOArguments: the `training` section of a config as attributes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from groupwise.framework.config import TrainingConfig, validated

if TYPE_CHECKING:
    pass


# Fields of the `training` section that concern other methods.
_NOT_GRPO = {"method", "warm_start", "group_scores"}
_DEFAULTS = TrainingConfig()
_GRPO_FIELDS = tuple(f.name for f in fields(TrainingConfig) if f.name not in _NOT_GRPO)


class GRPOArguments:
    """The `training` section of a config as attributes, with the same names and defaults.

    `lr` is another name of `learning_rate`. Unknown names raise TypeError, so that a misspelt one
    is not ignored. `seed`, `output_dir` and `use_gradient_checkpointing` stand in other sections of
    a config and are added here.
    """

    def __init__(self, **values: Any) -> None:
        self._values: dict[str, Any] = {
            **{name: getattr(_DEFAULTS, name) for name in _GRPO_FIELDS},
            "seed": 42,
            "output_dir": "runs/grpo",
            "use_gradient_checkpointing": True,
        }
        for name, value in values.items():
            setattr(self, name, value)

    @classmethod
    def from_config(cls, training: TrainingConfig, **values: Any) -> GRPOArguments:
        return cls(**{name: getattr(training, name) for name in _GRPO_FIELDS}, **values)

    def __getattr__(self, name: str) -> Any:
        name = "learning_rate" if name == "lr" else name
        values = self.__dict__.get("_values", {})
        if name not in values:
            raise AttributeError(f"GRPOArguments has no {name!r}; it has {', '.join(values)}")
        return values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_values":
            object.__setattr__(self, name, value)
            return
        name = "learning_rate" if name == "lr" else name
        if name not in self._values:
            raise TypeError(f"GRPOArguments has no {name!r}; it has {', '.join(self._values)}")
        self._values[name] = value

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._values, "lr"]

    def training_config(self) -> TrainingConfig:
        """The same as a checked `TrainingConfig`; raises UserError on values out of range."""
        return validated(TrainingConfig, {name: self._values[name] for name in _GRPO_FIELDS})
