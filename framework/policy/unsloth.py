"""Unsloth, imported first and quietly, and what of TRL has to be kept from the model.

Unsloth is imported here first, and nowhere before: it patches transformers, peft and TRL, and has
to come in front of them. The import takes seconds, so it happens inside `load_unsloth`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def adapter_precision(model: PreTrainedModel) -> Iterator[None]:
    """Keeps LoRA weights in the precision they have while a TRL trainer is built.

    TRL casts those of a quantised model to bfloat16 (grpo_trainer.py, "When using QLoRA"). At
    GRPO's learning rates most of Adam's updates are below bfloat16's resolution and would be lost.
    """
    trained = {name: p.data for name, p in model.named_parameters() if p.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in trained:
            parameter.data = trained[name]


def load_unsloth() -> Any:
    """Imports Unsloth and returns its `FastLanguageModel`, quietly. Seconds, the first time."""
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # it would ask a server otherwise
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # we know that rollout_func is new
    # Where CI is set, torch makes an error of a warning about its own compiler's operators, which
    # Unsloth's attention masks run into.
    os.environ.setdefault("TORCHINDUCTOR_ERROR_ON_CUSTOM_OP_ALIASING", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from unsloth import FastLanguageModel
    return FastLanguageModel
