"""Parts of the GPU benchmark: what the presets for small cards take, on whatever card there is.

A smaller card is imitated by ballast: all but 8 or 10 GiB of the card is taken first, so that what
looks at the free memory sees what it would there. The preset runs as it is shipped but for fewer
groups a step, which change no peak: it is set by the rows in flight and by the completions in a
forward. All answers have full length. The figures are of the third step; the first also verifies.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.measure import Result
from benchmarks.gpu.model import device, make_problems
from groupwise.framework.cli.main import main as groupwise
from groupwise.framework.config import ExperimentConfig, resolve_config_path
from groupwise.framework.run.metrics import peak_memory_gb

GIB = 2**30
STEPS = 3
_rewards = random.Random(0)


def noise(example: Any, completion: Any) -> float:  # noqa: ARG001 (names say what is passed)
    """A random reward: no group is without variance, so that nothing is left out of training."""
    return _rewards.random()


def peak_8(result: Result, work: Path, tiny: bool) -> None:
    peak(result, work, tiny, 8)


def peak_10(result: Result, work: Path, tiny: bool) -> None:
    peak(result, work, tiny, 10)


def peak(result: Result, work: Path, tiny: bool, card_gib: int) -> None:
    preset = f"qwen3_4b_gsm8k_{card_gib}gb"
    config = ExperimentConfig.from_yaml(resolve_config_path(preset))
    training, data = config.training, config.data
    assert data.system_prompt is not None
    problems = work / f"{preset}.jsonl"
    # Exactly as long as is allowed: one token more, and the run has no problems at all.
    make_problems(problems, data.system_prompt, tokens=data.max_prompt_length)
    ballast = taken(card_gib)
    out = work / f"peak_{card_gib}"
    changes = {
        "name": "peak",
        "output_dir": str(out),
        "model.name": str(work / "model"),
        "data.train": str(problems),
        "data.eval": str(problems),
        "data.answer_after": None,
        "data.config_name": None,
        "training.max_steps": STEPS,
        "training.prompts_per_step": (training.max_rows or 8) // training.num_generations,
        "rewards.parts": {"noise": {"use": "benchmarks.gpu.peaks:noise"}},
        "evaluation.before": False,
        "evaluation.after": False,
    }
    if tiny:  # a CPU multiplies no 16 bits quickly
        changes |= {"model.dtype": "float32", "training.max_completion_length": 16}
    words = [w for key, value in changes.items() for w in ("--set", f"{key}={json.dumps(value)}")]
    code = groupwise(["train", preset, *words])
    assert code == 0, f"groupwise train {preset} ended with {code}"
    last = json.loads((out / "peak" / "metrics.jsonl").read_text().splitlines()[-1])
    context_gb = device_gb() - torch.cuda.memory_reserved() / 1e9 - result.others_gb
    reserved_gb = peak_memory_gb() - ballast.nbytes / 1e9
    result.row(
        preset=preset,
        card_gib=card_gib,
        ballast_gb=ballast.nbytes / 1e9,
        peak_gb=reserved_gb + context_gb,
        reserved_gb=reserved_gb,
        context_gb=context_gb,
        rows=training.max_rows,
        per_forward=training.completions_per_forward,
        tokens=last["completion_tokens"],
        step_s=last["step_seconds"],
        sampling_s=last["rollout_seconds"],
    )
    result.note(
        "`peak_gb` is what torch reserved at most, less the ballast, plus the CUDA context, in GB "
        "of 1e9 bytes; 8 GiB are 8.59 GB."
    )


def taken(card_gib: int) -> torch.Tensor:
    """Ballast that leaves so much of the card free.

    Unsloth has been imported by now: it sets up the allocator, which CUDA reads once.
    """
    free, _ = torch.cuda.mem_get_info()
    size = max(0, free - card_gib * GIB)
    return torch.empty(size, dtype=torch.uint8, device=device())


def device_gb() -> float:
    """GB of the card that are in use, by whomever."""
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 1e9
