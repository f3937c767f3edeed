"""Our GRPOTrainer over the trainer that Unsloth generates for GPUs; run by itself, on a CPU.

    UNSLOTH_ALLOW_CPU=1 UNSLOTH_COMPILE_LOCATION=cache python unsloth_gpu_trainer.py MODEL DATA OUT

Has to be a process of its own: Unsloth decides at its import which of its backends it is. Prints
one JSON object of what came of it. `train_all` does the same with whichever trainer there is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

from groupwise.framework.config.schema import LossType
from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
from groupwise.framework.grpo_trainer.trl_config import refuse_dropped, trl_arguments, trl_classes
from groupwise.framework.policy import loading as policy
from groupwise.rewards import RewardSpec, build_rubric
from groupwise.rewards.errors import UserError

COMMON: dict[str, Any] = {
    "max_steps": 2,
    "prompts_per_step": 2,
    "num_generations": 4,
    "completions_per_forward": 4,
    "max_completion_length": 16,
    "lr": 1e-3,
    "warmup_ratio": 0.0,
    "use_gradient_checkpointing": False,
}
RUNS: dict[str, dict[str, Any]] = {
    "with_kl": {"beta": 0.04},
    "without_kl": {"longest_first": True},
}

# Settings that Unsloth's config changes when they are left open.
SETTINGS: dict[str, dict[str, Any]] = {
    **{f"loss_type {name}": {"loss_type": name} for name in get_args(LossType)},
    "loss_type dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "loss_type cispo": {"loss_type": "cispo", "epsilon_high": 5.0},
    "loss_type luspo": {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    "KL with dapo": {"beta": 0.04},
    "masked": {"mask_truncated_completions": True},
    "one completion a forward": {"completions_per_forward": 1, "num_generations": 8},
    "fewer than a group": {"completions_per_forward": 2},
    "several groups": {"completions_per_forward": 8},
    "two iterations": {"num_iterations": 2},
    "sampling": {"top_k": 20, "top_p": 0.9, "min_p": 0.05, "temperature": 0.7},
    "entropy": {"top_entropy_quantile": 0.2},
    "nothing set": {"lr": 5e-6, "warmup_ratio": 0.1},
}


def train_all(model_folder: str, data: str, out: str) -> dict[str, Any]:
    """Each of RUNS, with plain PEFT: what the trainer is, and what it made of our arguments."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    rows = [json.loads(line) for line in Path(data).read_text().splitlines()[:16]]
    rewards = {"correctness": RewardSpec(weight=1.0), "format": RewardSpec(weight=0.25)}
    found = {}
    for name, changes in RUNS.items():
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
        model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
        # What Unsloth's own loader adds to a model.
        model.for_training = lambda model=model, **_: model.train()
        model.for_inference = lambda model=model, **_: model.eval()
        args = GRPOArguments(**{**COMMON, **changes}, output_dir=f"{out}/{name}")
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=build_rubric(rewards),
            args=args,
            train_dataset=rows,
            tokenizer=tokenizer,
        )
        before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        result = trainer.train()
        after = dict(model.named_parameters())
        requested = trl_arguments(args, trainer.shape, model)
        found[name] = {
            "classes": [cls.__name__ for cls in type(trainer.trl_trainer).__mro__],
            "steps": result.steps,
            "trained": sum(not after[n].equal(p) for n, p in before.items()) / len(before),
            "changed_later": refused(requested, trainer.trl_trainer.args),
        }
    found["settings"] = {
        name: settings_refused({**COMMON, **changes}, out, model)
        for name, changes in SETTINGS.items()
    }
    return found


def settings_refused(settings: dict[str, Any], out: str, model: Any) -> str:
    args = GRPOArguments(**settings, output_dir=out)
    requested = trl_arguments(args, args.training_config().batch_shape, model)
    _, config_class = trl_classes()
    return refused(requested, config_class(**requested))


def refused(requested: dict[str, Any], effective: Any) -> str:
    """What `refuse_dropped` says, without its first line; empty if the library took everything."""
    try:
        refuse_dropped(requested, effective)
    except UserError as error:
        return str(error).partition("\n")[2]
    return ""


def main(model_folder: str, data: str, out: str) -> None:
    policy.load_unsloth()  # first, before trl and transformers
    from unsloth.models.rl import _patch_trl_rl_trainers

    _patch_trl_rl_trainers("grpo_trainer")
    print("\n" + json.dumps(train_all(model_folder, data, out)))


if __name__ == "__main__":
    main(*sys.argv[1:])
