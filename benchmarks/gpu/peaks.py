"""Parts of the GPU benchmark: what the presets for small cards take, on whatever card there is.

A smaller card is imitated by ballast: all but 8 or 10 GiB of the card is taken first, so that what
looks at the free memory sees what it would there. The preset runs as it is shipped but for fewer
groups a step, which change no peak: it is set by the rows in flight and by the completions in a
forward. All answers have full length. The figure is the third step's; the first also verifies.
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

GIB = 2**30
STEPS = 3
_rewards = random.Random(0)


def noise(example: Any, completion: Any) -> float:  # noqa: ARG001 (names say what is passed)
    """A random reward: no group is without variance, so that nothing is left out of training."""
    for watched in _watching:
        watched.look()
    return _rewards.random()


class Watched:
    """A row for each step that is in a run's metrics: a run that is stopped keeps those it made."""

    def __init__(
        self, metrics: Path, result: Result, preset: str, training: Any, ballast: torch.Tensor
    ) -> None:
        self.metrics, self.result, self.preset = metrics, result, preset
        self.training, self.ballast = training, ballast
        self.seen: list[str] = []

    def look(self) -> None:
        lines = self.metrics.read_text().splitlines() if self.metrics.is_file() else []
        for line in lines[len(self.seen) :]:
            self.seen.append(line)
            self._row(json.loads(line))

    def _row(self, numbers: dict[str, Any]) -> None:
        ballast_gb = self.ballast.nbytes / 1e9
        context_gb = device_gb() - torch.cuda.memory_reserved() / 1e9 - self.result.others_gb
        reserved_gb = numbers["memory/peak_gb"] - ballast_gb
        self.result.row(
            preset=self.preset,
            step=int(numbers["step"]),
            rows=self.training.max_rows,
            per_forward=self.training.completions_per_forward,
            tokens=int(numbers["completion_tokens"]),
            peak_gb=reserved_gb + context_gb,
            reserved_gb=reserved_gb,
            context_gb=context_gb,
            ballast_gb=ballast_gb,
            step_s=numbers["step_seconds"],
            sampling_s=numbers["rollout_seconds"],
        )


_watching: list[Watched] = []


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
        "rewards.parts": {"noise": {"use": "benchmarks.gpu.peaks:noise"}},
        "evaluation.before": False,
        "evaluation.after": False,
    }
    if tiny:  # a CPU multiplies no 16 bits quickly
        changes |= {"model.dtype": "float32", "training.max_completion_length": 16}
    words = [w for key, value in changes.items() for w in ("--set", f"{key}={json.dumps(value)}")]
    watched = Watched(out / "peak" / "metrics.jsonl", result, preset, training, ballast)
    _watching.append(watched)
    code = groupwise(["train", preset, *words])
    assert code == 0, f"groupwise train {preset} ended with {code}"
    watched.look()
    assert len(watched.seen) == STEPS, f"{len(watched.seen)} of {STEPS} steps are in metrics.jsonl"
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
