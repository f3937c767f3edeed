"""What a config may say and seldom means: notices, where `checks.py` has errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from framework.config.schema import ExperimentConfig, ModelConfig

SFT_RATE = {"LoRA": 1e-4, "all weights": 1e-5}
"""From where on a learning rate is one for supervised training, by what is trained."""
GRPO_RATE = {"LoRA": "5e-6", "all weights": "1e-6"}
"""What is usual for GRPO: the published Unsloth notebooks; TRL's default."""
_TINY_BYTES = 100_000_000  # weights of some 50 million parameters in 16 bits


def notices(config: ExperimentConfig) -> Iterator[str]:
    """One sentence for each thing that is worth a second look before a run."""
    yield from _rate(config)


def _rate(config: ExperimentConfig) -> Iterator[str]:
    """GRPO at SFT's learning rate: the same number as the warm start's, or in its range.

    Tiny models are left out: they learn nothing at the rates of large ones.
    """
    training, warm = config.training, config.training.warm_start
    if training.method != "grpo" or is_tiny(config.model):
        return
    rate = training.learning_rate
    trained = "all weights" if config.model.full_finetuning else "LoRA"
    if warm.enabled and rate == warm.learning_rate:
        found = "the same as training.warm_start.learning_rate, which is SFT's"
    elif rate >= SFT_RATE[trained]:
        found = f"a rate for SFT ({trained}: {SFT_RATE[trained]:g} and more)"
    else:
        return
    yield (
        f"training.learning_rate: {rate:g} is {found}; GRPO at SFT's rate soon writes noise. "
        f"{GRPO_RATE[trained]} is usual"
    )


def is_tiny(model: ModelConfig) -> bool:
    """Whether a model is the toy, or a folder with less than 100 MB of weights."""
    from framework.config.schema import TOY

    weights = [file.stat().st_size for file in Path(model.name).glob("*.safetensors")]
    return model.name == TOY or 0 < sum(weights) < _TINY_BYTES
