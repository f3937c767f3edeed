"""Advice for a run in which memory ran out: the nearest setting that should fit, by the plan.

    with advised(config):
        experiment.run(config, ...)

Without it the error names halves of the present settings (`run/out_of_memory.py`); so it does where
the plan knows no change that is enough.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.nearest import Use, nearest_fit
from groupwise.framework.policy.checkpointing import checkpointing, with_checkpointing
from groupwise.framework.run.out_of_memory import Setting, ShortOfMemoryError, amount
from groupwise.rewards.errors import UserError


@contextmanager
def advised(config: ExperimentConfig) -> Iterator[None]:
    """Puts what the memory plan advises into a ShortOfMemoryError that passes."""
    try:
        yield
    except ShortOfMemoryError as error:
        advise(error, config)
        raise


def advise(error: ShortOfMemoryError, config: ExperimentConfig) -> None:
    uses: dict[str, Use] = {
        "training": "rollouts" if error.in_sampling else "training",
        "an evaluation": "evaluation",
    }
    if error.what not in uses:
        return
    config = with_checkpointing(config, checkpointing(config))
    device = "cuda" if sys.modules["torch"].cuda.is_available() else "cpu"
    lacking = error.shortage.lacking or 0
    try:
        architecture = read_architecture(config.model)
        found = nearest_fit(config, architecture, uses[error.what], lacking, device=device)
    except UserError:  # a family or a quantisation that is not known: no plan
        return
    if found is not None:
        settings = [Setting(key, value, _now(config, key)) for key, value in found.values.items()]
        error.advise(settings, f"By the memory plan, this needs {amount(found.spared)} less")


def _now(config: ExperimentConfig, key: str) -> object:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)
