"""What all trainers share: the arguments that depend on the machine, and the result of a training.

    SFTConfig(..., **machine_arguments(compute_dtype(model), config.optim))

Left out: arguments that depend on the method (batch sizes, learning rate, what is saved and when).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Optimiser steps made, seconds, and the last logged metrics of a training.

    `was_stopped`: the user stopped it before the last step; a checkpoint is written.
    """

    steps: int
    seconds: float
    metrics: Mapping[str, float | None]
    was_stopped: bool = False


def machine_arguments(dtype: torch.dtype, optim: str) -> dict[str, Any]:
    """Optimiser, precision and output: what transformers' `TrainingArguments` get in any training.

    `dtype` is what the model computes in; float32 trains without autocast. `optim` is
    transformers' name of an optimiser: on a CPU every kind of AdamW becomes `adamw_torch_fused`,
    because bitsandbytes has no CPU kernels for its own and torch's others are slower.
    """
    import torch  # slow: not at start-up

    on_gpu = torch.cuda.is_available()
    return {
        "optim": "adamw_torch_fused" if not on_gpu and "adamw" in optim else optim,
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,
        # Numbers go through callbacks of ours (`callbacks.py`), not through the library's.
        "report_to": [],
        "disable_tqdm": True,
    }
