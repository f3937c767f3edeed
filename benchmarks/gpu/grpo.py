"""Parts of the GPU benchmark: a GRPO step of Groupwise, of stock Unsloth, and of TRL without it.

The same model, adapter, prompts, batch, learning rate and optimiser on each side; rewards are
random, so that no group is without variance, and all answers have full length. The sides run in
processes of their own, and TRL's never imports Unsloth.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks.gpu.measure import Result, peak_gb, reset_peak, synchronize, timed
from benchmarks.gpu.model import SYSTEM_PROMPT, best_dtype, device, make_problems
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
from groupwise.framework.policy import load
from groupwise.framework.policy.loading import compute_dtype
from groupwise.framework.policy.targets import PROJECTIONS
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.trainers.common import machine_arguments

PROMPTS, GENERATIONS, PER_FORWARD = 2, 8, 4
STEPS = 3  # the first compiles; the report is of the median of the others
LEARNING_RATE, MAX_GRAD_NORM, RANK, ALPHA = 5e-6, 0.1, 16, 32
MAX_SEQ_LENGTH = 1280

_rewards = random.Random(0)


def noise(completions: list[Any], **_: Any) -> list[float]:
    """Random rewards, in TRL's form: most tokens of a random model have no text to judge."""
    return [_rewards.random() for _ in completions]


def max_tokens(tiny: bool) -> int:
    return 8 if tiny else 256


class Steps:
    """A side's steps: a row for each as it ends, and at the end the median of all but the first."""

    def __init__(self, result: Result, side: str) -> None:
        self.result, self.side = result, side
        self.numbers: list[tuple[float, float, float]] = []

    def add(self, step_s: float, sampling_s: float, tokens: float) -> None:
        self.numbers.append((step_s, sampling_s, tokens))
        self._row(str(len(self.numbers)), step_s, sampling_s, tokens)

    def end(self) -> None:
        later = zip(*self.numbers[1:], strict=True)
        self._row("median", *(statistics.median(values) for values in later))

    def _row(self, step: str, step_s: float, sampling_s: float, tokens: float) -> None:
        self.result.row(
            side=self.side,
            step=step,
            completions=PROMPTS * GENERATIONS,
            tokens=int(tokens),
            step_s=step_s,
            sampling_s=sampling_s,
            training_s=step_s - sampling_s,
            sampled_tokens_per_s=tokens / sampling_s,
            gb=peak_gb(),
        )


# ---- Groupwise


def groupwise_side(result: Result, work: Path, tiny: bool) -> None:
    config = ExperimentConfig.from_dict(
        {
            "model": {
                "name": str(work / "model"),
                "max_seq_length": MAX_SEQ_LENGTH,
                "dtype": str(best_dtype()).removeprefix("torch."),
                "use_gradient_checkpointing": "unsloth",
                "lora_r": RANK,
                "lora_alpha": ALPHA,
            },
            "data": {"train": "toy"},
        }
    )
    policy = load(config.model, seed=0)
    out = work / "grpo_groupwise"
    arguments = GRPOArguments(
        output_dir=out,
        seed=0,
        use_gradient_checkpointing="unsloth",
        max_steps=STEPS,
        prompts_per_step=PROMPTS,
        num_generations=GENERATIONS,
        completions_per_forward=PER_FORWARD,
        max_completion_length=max_tokens(tiny),
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        warmup_ratio=0.0,
        optim="adamw_8bit",
        max_grad_norm=MAX_GRAD_NORM,
        beta=0.0,
        max_rows=PROMPTS * GENERATIONS,
        save_steps=10_000,
    )
    steps = Steps(result, "Groupwise")
    watch = OurNumbers(steps)
    trainer = GRPOTrainer(policy, [noise], arguments, rows(work), callbacks=[watch])
    result.note(f"Groupwise samples with: {trainer.rollouts.sampler.name}")
    reset_peak()
    trainer.train()
    steps.end()


class OurNumbers(TrainerCallback):
    """Takes each step's line of `metrics.jsonl`."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def on_log(self, _args: Any, _state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
        if "step_seconds" in logs:  # and not the summary at the end
            names = ("step_seconds", "rollout_seconds", "completion_tokens")
            self.steps.add(*(logs[name] for name in names))


def rows(work: Path) -> list[dict[str, str]]:
    """Problems in TRL's form, with prompts that are rendered already."""
    prompts = make_problems(work / "grpo.jsonl", SYSTEM_PROMPT)
    return [{"prompt": prompt, "answer": str(n)} for n, prompt in enumerate(prompts)]


# ---- TRL's trainer, as Unsloth rewrites it and as it is


def unsloth_side(result: Result, work: Path, tiny: bool) -> None:
    fast_model = load_unsloth()
    model, tokenizer = fast_model.from_pretrained(
        model_name=str(work / "model"),
        max_seq_length=MAX_SEQ_LENGTH,
        dtype=best_dtype(),
        load_in_4bit=True,
        fast_inference=False,
        max_lora_rank=RANK,
    )
    model = fast_model.get_peft_model(
        model,
        r=RANK,
        target_modules=list(PROJECTIONS),
        lora_alpha=ALPHA,
        use_gradient_checkpointing="unsloth",
        random_state=0,
    )
    train(result, "stock Unsloth", model, tokenizer, work, tiny)


def trl_side(result: Result, work: Path, tiny: bool) -> None:
    from peft import LoraConfig

    assert "unsloth" not in sys.modules, "Unsloth has patched TRL"
    tokenizer = AutoTokenizer.from_pretrained(work / "model")
    model = AutoModelForCausalLM.from_pretrained(
        work / "model", dtype=best_dtype(), device_map={"": device()}
    )
    lora = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=list(PROJECTIONS), task_type="CAUSAL_LM"
    )
    if device() == "cpu":
        os.environ["UNSLOTH_ZOO_DISABLE_GPU_INIT"] = "1"
        from unsloth_zoo.cpu.ops import patch_trl_fused_lm_head

        patch_trl_fused_lm_head()  # without a GPU, TRL 1.15 fails where triton is installed
    train(result, "TRL, PEFT, bitsandbytes", model, tokenizer, work, tiny, peft_config=lora)


class Clock(TrainerCallback):
    """Times each step of TRL's trainer, and the sampling in it."""

    def __init__(self, trainer: Any, steps: Steps) -> None:
        self.steps = steps
        self.rollout_s, self.tokens = 0.0, 0
        generate = trainer._generate_single_turn

        def timed_generate(*arguments: Any, **options: Any) -> Any:
            made, self.rollout_s = timed(lambda: generate(*arguments, **options))
            self.tokens = sum(len(ids) for ids in made[0])
            return made

        trainer._generate_single_turn = timed_generate

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        synchronize()
        self._began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        synchronize()
        self.steps.add(time.perf_counter() - self._began, self.rollout_s, self.tokens)


def train(
    result: Result, name: str, model: Any, tokenizer: Any, work: Path, tiny: bool, **more: Any
) -> None:
    """TRL's GRPOTrainer with its own defaults but for what has to be equal on all sides."""
    import trl
    from datasets import Dataset

    config = trl.GRPOConfig(
        output_dir=str(work / "grpo_trl"),
        seed=0,
        max_steps=STEPS,
        per_device_train_batch_size=PER_FORWARD,
        gradient_accumulation_steps=PROMPTS * GENERATIONS // PER_FORWARD,
        num_generations=GENERATIONS,
        max_completion_length=max_tokens(tiny),
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=MAX_GRAD_NORM,
        beta=0.0,
        temperature=1.0,
        gradient_checkpointing=True,
        save_strategy="no",
        **machine_arguments(compute_dtype(model), "adamw_8bit"),
    )
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=[noise],
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows(work)),
        args=config,
        **more,
    )
    result.note(f"{name}: {type(trainer).__name__}")
    steps = Steps(result, name)
    trainer.add_callback(Clock(trainer, steps))
    reset_peak()
    trainer.train()
    steps.end()
