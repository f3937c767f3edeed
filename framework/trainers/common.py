"""What all trainers share: precision, arguments that depend on the machine, and the result.

    dtype = training_dtype(model)
    with plain_precision(dtype):
        trainer = SFTTrainer(model, SFTConfig(..., **machine_arguments(dtype, config.optim)))

Every trainer of this project takes its precision from here.

Left out: arguments that depend on the method (batch sizes, learning rate, what is saved and when).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groupwise.framework.policy.loading import compute_dtype

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Optimiser steps made, seconds, and the last logged metrics of a training.

    `was_stopped`: the user stopped it before the last step; a checkpoint is written.
    """

    steps: int
    seconds: float
    metrics: Mapping[str, float | None]
    was_stopped: bool = False


def half_precision(*, has_bfloat16: bool | None = None) -> torch.dtype:
    """The 16 bits that this GPU computes in: bfloat16 from Ampere on, else float16.

    `has_bfloat16` None asks the GPU. Older ones (T4, RTX 20) emulate bfloat16, slowly, and
    transformers refuses to train in it there.
    """
    import torch  # slow: not at start-up

    if has_bfloat16 is None:
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float16


def training_dtype(model: PreTrainedModel) -> torch.dtype:
    """What a training of this model computes in: float32 where that was asked for.

    If all weights are trained, Unsloth keeps those of a 16-bit model in float32, for the optimiser,
    and computes in 16 bits.
    """
    import torch  # slow: not at start-up

    original = getattr(model, "_unsloth_original_dtype", None)
    if original is not None and torch.cuda.is_available():
        return half_precision() if original == torch.bfloat16 else torch.float16
    return compute_dtype(model)


def machine_arguments(dtype: torch.dtype, optim: str) -> dict[str, Any]:
    """Optimiser, precision and output: what transformers' `TrainingArguments` get in any training.

    `dtype` is what the training computes in (`training_dtype`); float32 trains without autocast.
    `optim` is transformers' name of an optimiser: on a CPU every kind of AdamW becomes
    `adamw_torch_fused`, because bitsandbytes has no CPU kernels for its own and torch's others are
    slower.
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
