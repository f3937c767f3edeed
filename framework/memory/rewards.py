"""Reward models that a config scores with: they stay in memory beside the policy.

Their weights are in the type of the checkpoint, as `rewards/reward_model.py` loads them. Left out:
their activations, and rewards of the user's own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import find_config
from groupwise.framework.memory.families import count
from groupwise.framework.memory.parts import Part
from groupwise.rewards.errors import UserError


def reward_model_parts(config: ExperimentConfig, *, on_gpu: bool) -> list[Part]:
    """A part for each reward model on the device; 0 bytes where its config is not known here."""
    parts = []
    for name, spec in config.rewards.parts.items():
        if (spec.use or name) != "reward_model" or "model" not in spec.params:
            continue
        device = str(spec.params.get("device", "auto"))
        if on_gpu and device == "cpu":
            continue
        model = str(spec.params["model"])
        size = _bytes(model)
        said = model if size else f"{model}: its architecture is not known here, and not counted"
        parts.append(Part("reward_model", size, said))
    return parts


@lru_cache
def _bytes(name: str) -> int:
    try:
        config, _ = find_config(name)
    except UserError:  # a wrong name is reported where the reward is built
        return 0
    counted = count(config)
    if counted is None:
        return 0
    others: Mapping[str, Any] = {**counted.others, "head": 0}  # labels in place of words
    parameters = sum(linear.parameters for linear in counted.linears) + int(sum(others.values()))
    in_32_bits = (config.get("dtype") or config.get("torch_dtype")) == "float32"
    return (4 if in_32_bits else 2) * parameters
