"""TRL's classes as Unsloth provides them, its arguments, and the check that it accepted them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.framework.config import BatchShape
from groupwise.framework.grpo_trainer.arguments import GRPOArguments
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.trainers.common import machine_arguments, training_dtype
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def trl_classes() -> tuple[type, type]:
    """TRL's trainer and config as Unsloth provides them: rewritten on a GPU, TRL's own on a CPU."""
    load_unsloth()
    import torch  # slow: not at start-up, and only after Unsloth has patched the libraries
    from trl import GRPOConfig, GRPOTrainer

    if torch.cuda.is_available() and not GRPOTrainer.__name__.startswith("Unsloth"):
        raise RuntimeError(
            "Unsloth did not patch TRL's GRPOTrainer (import order, or a version mismatch): this "
            "would train without Unsloth's memory savings. `groupwise doctor` compares versions."
        )
    return GRPOTrainer, GRPOConfig


def trl_arguments(args: GRPOArguments, shape: BatchShape, model: PreTrainedModel) -> dict[str, Any]:
    """Every TRL argument that matters, set explicitly: Unsloth's defaults differ from TRL's."""
    config = args.training
    return {
        "output_dir": str(Path(args.output_dir) / "checkpoints"),
        "seed": args.seed,
        "max_steps": -1 if config.max_steps is None else config.max_steps,
        "num_train_epochs": config.num_train_epochs,
        **shape.trl_arguments(),
        "max_completion_length": config.max_completion_length,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.lr_scheduler_type,
        "warmup_steps": config.warmup_ratio,  # below 1: a share of all steps
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "adam_beta1": config.adam_beta1,
        "adam_beta2": config.adam_beta2,
        "beta": config.beta,
        "epsilon": config.epsilon,
        "epsilon_high": config.clip_high,
        "loss_type": config.loss_type,
        "importance_sampling_level": config.importance_sampling_level,
        "scale_rewards": config.scale_rewards,
        "mask_truncated_completions": config.mask_truncated_completions,
        "top_entropy_quantile": config.top_entropy_quantile,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": config.top_k,
        "min_p": config.min_p,
        "repetition_penalty": config.repetition_penalty,
        "gradient_checkpointing": bool(args.use_gradient_checkpointing),
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": config.save_total_limit,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a NaN must show, and not be averaged away
        **machine_arguments(training_dtype(model), config.optim),
    }


def refuse_dropped(requested: Mapping[str, Any], effective: Any) -> None:
    """Raises UserError if the library changed or dropped an argument.

    Unsloth's config changes some values and drops unknown keys with no more than a warning.
    """
    changed = []
    for name, value in requested.items():
        got = getattr(effective, name, None)
        got = getattr(got, "value", got)  # enums of transformers
        if got != value and not (name == "report_to" and not got):
            changed.append(f"  {name}: asked for {value!r}, the library has {got!r}")
    if changed:
        raise UserError(
            "The installed TRL/Unsloth did not take these training settings as given:\n"
            + "\n".join(changed)
        )
