"""A self-test of the whole stack: a tiny model is loaded, sampled from, and trained for one step.

    ended = run_child(SELF_TEST, limit_s=300, environment=scratch_environment(folder))
    findings = self_test_findings(ended)

It runs in a process of its own (`run/doctor/children.py`) on the path of `groupwise train`:
Unsloth, 4 bits, LoRA, `make_sampler`, `GRPOTrainer`. It tells which engine samples, whose trainer
trains, and that a step changes the adapter; nothing about speed or memory of a real model.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.framework.run.doctor.children import Ended, Report
from groupwise.framework.run.doctor.findings import Finding
from groupwise.framework.run.doctor.reading import error_finding
from groupwise.framework.run.machine import installed

if TYPE_CHECKING:
    from groupwise.framework.policy import Policy
    from groupwise.rewards.types import Completion, Example

SELF_TEST = "groupwise.framework.experiment.self_test"

STEPS = ("import Unsloth", "make a tiny model", "load it", "sample", "train one GRPO step")

_PRETRAINING_STEPS = 20  # enough for answers that differ


def probe(report: Report) -> None:
    """Runs in the child, and leaves nothing behind."""
    report.step(STEPS[0])
    # The whole stack, in a process of its own: not start-up.
    from groupwise.framework.config import ModelConfig
    from groupwise.framework.data.toy import make_model, make_problems
    from groupwise.framework.policy import load
    from groupwise.framework.policy.unsloth import load_unsloth

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
    from groupwise.evaluation.sampler import Prompt, SamplingParams  # not at start-up
    from groupwise.framework.data.toy import question
    from groupwise.framework.sampling import make_sampler

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
    from groupwise.framework.data.toy import question  # not at start-up
    from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer

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


def self_test_findings(ended: Ended) -> Iterator[Finding]:
    """What the self-test showed, as far as it came."""
    facts, seconds = ended.facts, ended.seconds
    if STEPS[1] in seconds:  # it ended
        where = "its CPU backend" if facts.get("device") == "cpu" else "its GPU code"
        text = f"{installed('unsloth')} imports in {seconds[STEPS[0]]:.0f} s"
        yield _ok("Unsloth", f"{text}, {where}" if "device" in facts else text)
    if "kernels" in facts:
        triton = f"Triton {installed('triton')}" if installed("triton") else "no Triton"
        yield _ok("kernels", "; ".join([*facts["kernels"], triton]))
    if "engine" in facts:
        yield _engine(facts)
        yield _ok("vLLM", _vllm())
    if "trainer" in facts:
        yield _trainer(facts)
    if ended.error is not None:
        yield error_finding("self-test", ended.error)
        return
    each = ", ".join(
        f"{name} {seconds[step]:.1f} s"
        for name, step in zip(("load", "sample", "one GRPO step"), STEPS[2:], strict=True)
    )
    yield _ok("self-test", f"passed: {each}")


def _ok(subject: str, text: str) -> Finding:
    return Finding("Stack", subject, "ok", text)


def _engine(facts: dict[str, Any]) -> Finding:
    if facts["engine"] == "generate":
        advice = "Report it (--report): sampling works, and is slower than it could be."
        return Finding(
            "Stack", "sampling", "note", f"generate: {facts['engine_check']}", advice=advice
        )
    return _ok("sampling", f"{facts['engine']}: {facts['engine_reason']}; agrees with generate")


def _vllm() -> str:
    version = installed("vllm")
    if version is None:
        return "not installed, and not needed"
    return f"{version}, used where model.fast_inference is true"


def _trainer(facts: dict[str, Any]) -> Finding:
    name = facts["trainer"]
    if facts["device"] == "cpu":
        return _ok("trainer", f"TRL's {name}, as on every CPU")
    if name.startswith("Unsloth"):
        return _ok("trainer", f"{name} is in place")
    return Finding(
        "Stack",
        "trainer",
        "problem",
        f"TRL's own {name}: Unsloth did not put its own in place",
        does="It would train without Unsloth's savings of memory.",
        advice="Install the tested versions of unsloth, unsloth_zoo and trl.",
    )
