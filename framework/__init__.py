"""From one YAML file to a tuned model, and to its comparison with the base model.

Each name is imported when it is first used: torch and Unsloth take seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from groupwise.framework.config import ExperimentConfig
    from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
    from groupwise.framework.policy import Policy
    from groupwise.framework.policy import load as load_policy

__all__ = ["ExperimentConfig", "GRPOArguments", "GRPOTrainer", "Policy", "load_policy"]

_NAMES = {
    "ExperimentConfig": ("config", "ExperimentConfig"),
    "GRPOArguments": ("grpo_trainer", "GRPOArguments"),
    "GRPOTrainer": ("grpo_trainer", "GRPOTrainer"),
    "Policy": ("policy", "Policy"),
    "load_policy": ("policy", "load"),
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'groupwise.framework' has no attribute {name!r}")
    module, own_name = _NAMES[name]
    return getattr(import_module(f"groupwise.framework.{module}"), own_name)


if __name__ == "framework":  # by its earlier name: the same module, not a second one
    from groupwise._earlier_names import same_module

    same_module(__name__)
