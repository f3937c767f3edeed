"""The child of `self_test.py`: a tiny model is loaded, sampled from, and trained for one step.

    run_child("groupwise.framework.experiment.self_test_probe", limit_s=600)

On the path of `groupwise train`: Unsloth, 4 bits, LoRA, `make_sampler`, `GRPOTrainer`.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.config import ModelConfig
from groupwise.framework.data.toy import make_model, make_problems, question
from groupwise.framework.experiment.self_test import STEPS
from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
from groupwise.framework.policy import Policy, load
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.run.doctor.children import Report
from groupwise.rewards.types import Completion, Example

_PRETRAINING_STEPS = 20  # enough for answers that differ


def probe(report: Report) -> None:
    """Runs in the child, and leaves nothing behind."""
    report.step(STEPS[0])
    load_unsloth()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        report.step(STEPS[1])
        train, _ = make_problems(seed=0)
        make_model(folder / "model", train, seed=0, steps=_PRETRAINING_STEPS)
        report.step(STEPS[2])
        policy = load(ModelConfig(name=str(folder / "model")), seed=0)
        report.fact(device=policy.device.type, kernels=_kernels(policy))
        report.step(STEPS[3])
        report.fact(**_sample(policy, train[:4]))
        report.step(STEPS[4])
        report.fact(**_train(policy, train[:4], folder / "run"))


def _kernels(policy: Policy) -> list[str]:
    """Whose code does the work: attention, and products with 4-bit weights."""
    from bitsandbytes.cextension import lib  # not at start-up

    unsloth = vars(sys.modules.get("unsloth.models._utils", sys))  # of its GPU code
    attention = str(getattr(policy.model.config, "_attn_implementation", "unknown"))
    if unsloth.get("HAS_FLASH_ATTENTION"):
        attention += ", flash-attn"
    if unsloth.get("xformers") is not None:
        attention += ", xformers"
    on = "CUDA" if getattr(lib, "compiled_with_cuda", False) else "CPU"
    return [f"attention by {attention}", f"4 bits by bitsandbytes ({on})"]


def _sample(policy: Policy, problems: list[tuple[int, int]]) -> dict[str, Any]:
    from groupwise.framework.sampling import make_sampler  # torch: not at start-up

    sampler = make_sampler(policy.model, policy.tokenizer)
    chosen = sampler.reason  # after the first samples it says how the self-check ended
    prompts = [Prompt(question(a, b), question(a, b)) for a, b in problems]
    began = time.perf_counter()
    drawn = list(sampler.sample(prompts, 4, SamplingParams(max_tokens=16)))
    seconds = time.perf_counter() - began
    tokens = sum(len(one.token_ids) for one in drawn)
    if len(drawn) != 4 * len(prompts) or not tokens:
        raise RuntimeError(f"{len(drawn)} answers with {tokens} tokens were sampled")
    return {
        "engine": sampler.name,
        "engine_reason": chosen,
        "engine_check": sampler.reason,
        "tokens": tokens,
        "sampling_seconds": seconds,
    }


def _train(policy: Policy, problems: list[tuple[int, int]], folder: Path) -> dict[str, Any]:
    arguments = GRPOArguments(
        output_dir=folder,
        seed=0,
        use_gradient_checkpointing=False,
        max_steps=1,
        warmup_ratio=0.0,
        prompts_per_step=2,
        num_generations=4,
        completions_per_forward=8,
        max_completion_length=16,
    )
    rows = [{"question": question(a, b), "answer": str(a + b)} for a, b in problems]
    trainer = GRPOTrainer(policy, [_differs], arguments, rows, progress=False)
    metrics = trainer.train().metrics
    numbers = {name: metrics[name] for name in ("policy_loss", "grad_norm")}
    if not all(math.isfinite(value or 0.0) for value in numbers.values()):
        raise RuntimeError(f"a step gave numbers that are not finite: {numbers}")
    changed = [p for name, p in policy.model.named_parameters() if "lora_B" in name and p.any()]
    if not changed:
        raise RuntimeError(f"a step left the adapter as it was: {numbers}")
    home = next(k for k in type(trainer.trl_trainer).__mro__ if "groupwise" not in k.__module__)
    return {"trainer": home.__name__, **numbers}


def _differs(example: Example, completion: Completion) -> float:
    """A reward that is another one for every other text."""
    return float(sum(map(ord, completion.text)) % 97 + len(example.answer))
