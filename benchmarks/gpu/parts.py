"""The parts of the GPU benchmark, each a function; `runner.py` runs them in processes.

A part writes what it finds into `<work>/<part>.json` as it goes. The model that `model` makes is
in `work` too. With `tiny` the model and answers are small, and it computes in float32: a CPU
multiplies no 16 bits quickly. Nothing else differs.
"""

from __future__ import annotations

import os
import platform
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.gpu.measure import Result
from benchmarks.gpu.model import (
    MOST_LAYERS,
    QWEN3_4B,
    TINY,
    layers_that_fit,
    make_model,
)
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.run.doctor.diagnosis import diagnose
from groupwise.framework.run.machine import gpus

LAYERS_IN_16_BITS = 4  # enough for rounding to add up, and small beside the 4-bit model


WITHOUT_UNSLOTH = ("doctor", "model", "grpo_trl")
FUNCTIONS = {
    "doctor": ("parts", "doctor"),
    "model": ("parts", "model"),
    "checks": ("parts", "checks"),
    "parity": ("sampling", "parity"),
    "sampling": ("sampling", "sampling"),
    "grpo_groupwise": ("grpo", "groupwise_side"),
    "grpo_unsloth": ("grpo", "unsloth_side"),
    "grpo_trl": ("grpo", "trl_side"),
    "peak_8": ("peaks", "peak_8"),
    "peak_10": ("peaks", "peak_10"),
    "cuda_graph": ("sampling", "cuda_graph"),
    "peak_12": ("peaks", "peak_12"),
    "peak_16": ("peaks", "peak_16"),
}


def run(name: str, work: Path, tiny: bool) -> None:
    result = Result(work / f"{name}.json")
    if name.startswith("peak"):
        # Unsloth chooses this route by the card's whole memory, and that is not the small card's.
        os.environ["UNSLOTH_FUSED_LINEAR_FLASH_MIN_ROWS"] = "0"
    if name not in WITHOUT_UNSLOTH:
        load_unsloth()  # before all libraries that it patches
    result.begin()
    module, function = FUNCTIONS[name]
    # Only now: these import what Unsloth patches.
    getattr(import_module(f"benchmarks.gpu.{module}"), function)(result, work, tiny)
    result.end()


def doctor(result: Result, _work: Path, _tiny: bool) -> None:
    """What `groupwise doctor` says, and what the card is."""
    diagnosis = diagnose()
    result.row(what="Python", here=platform.python_version(), tested="")
    for package in diagnosis.packages:
        result.row(what=package.name, here=package.installed or "missing", tested=package.tested)
    for card in gpus():
        result.row(what="card", here=", ".join(card.values()), tested="")
    free, total = torch.cuda.mem_get_info() if torch.cuda.is_available() else (0, 0)
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else ()
    result.row(what="compute capability", here=".".join(map(str, capability)), tested="")
    result.row(what="CUDA of torch", here=str(torch.version.cuda), tested="")
    result.row(
        what="free of all memory, GB", here=f"{free / 1e9:.2f} / {total / 1e9:.2f}", tested=""
    )
    agree = all(package.agrees for package in diagnosis.packages)
    result.note("Everything is as it was tested." if agree else "Versions differ.")


def model(result: Result, work: Path, tiny: bool) -> None:
    """A 4-bit model for all parts, and a short 16-bit one for parity."""
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 1e12
    shape = TINY if tiny else {**QWEN3_4B, "num_hidden_layers": layers_that_fit(free)}
    make_model(work / "model", shape)
    make_model(
        work / "model16",
        {**shape, "num_hidden_layers": min(LAYERS_IN_16_BITS, shape["num_hidden_layers"])},
        quantised=False,
    )
    for name in ("model", "model16"):
        size = sum(file.stat().st_size for file in (work / name).glob("*.safetensors"))
        result.row(model=name, gb=size / 1e9)
    result.note(f"{shape['num_hidden_layers']} layers; Qwen3-4B has {MOST_LAYERS}.")


def checks(result: Result, work: Path, _tiny: bool) -> None:
    from benchmarks.gpu.checks import run_checks

    folder = work / "checks"
    folder.mkdir()
    wrong = []
    for name, error in run_checks(folder):
        result.row(check=name, passed=not error, error=error)
        wrong += [name] if error else []
    assert not wrong, f"failed: {', '.join(wrong)}"
