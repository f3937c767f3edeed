"""Parts of the GPU benchmark: what runs for small cards take, on whatever card there is.

A smaller card is imitated by ballast: all but 8, 10, 12 or 16 GiB of the card is taken first, so
that what looks at the free memory sees what it would there. Runs are the presets as shipped, and
larger ones (`predicted.py`). All answers have full length. The figures are the third step's, the
first also verifies: what sampling took and what training took, beside what the memory plan says.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.gpu.measure import Result, peak_gb, reset_peak
from benchmarks.gpu.model import device, make_problems
from benchmarks.gpu.predicted import GIB, Predicted, config_on, predict, run_on
from groupwise.framework.cli.main import main as groupwise
from groupwise.framework.config import ExperimentConfig, TrainingConfig, resolve_config_path
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.sampling.slots import SlotSampler

STEPS = 3
ALLOWED_PERCENT = 10  # off by more, the plan is to be corrected
_rewards = random.Random(0)


def noise(example: Any, completion: Any) -> float:  # noqa: ARG001 (names say what is passed)
    """A random reward: no group is without variance, so that nothing is left out of training."""
    for watched in _watching:
        watched.look()
    return _rewards.random()


class Watched:
    """Rows for each step that is in a run's metrics: a run that is stopped keeps those it made.

    The record of the peak begins anew before and after each call of the engine: the peak in the
    metrics is that of training.
    """

    def __init__(
        self,
        metrics: Path,
        result: Result,
        training: TrainingConfig,
        ballast: torch.Tensor,
        predicted: dict[str, Predicted],
    ) -> None:
        self.metrics, self.result, self.training = metrics, result, training
        self.ballast, self.predicted = ballast, predicted
        self.seen: list[str] = []
        self.sampling_gb: dict[int, float] = {}  # by step

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Inside, the peak of each call of the engine `slots` is recorded."""
        plain = SlotSampler.running

        @contextmanager
        def running(*arguments: Any) -> Iterator[Any]:
            reset_peak()
            with plain(*arguments) as run:
                yield run
            if device() == "cuda":
                self.sampling_gb[len(self._lines()) + 1] = peak_gb()
            reset_peak()

        with mock.patch.object(SlotSampler, "running", running):
            yield

    def _lines(self) -> list[str]:
        return self.metrics.read_text().splitlines() if self.metrics.is_file() else []

    def look(self) -> None:
        for line in self._lines()[len(self.seen) :]:
            self.seen.append(line)
            numbers = json.loads(line)
            step = int(numbers["step"])
            self._row("generation", self.sampling_gb.get(step, 0.0), numbers)
            self._row("training", numbers["memory/peak_gb"], numbers)

    def _row(self, phase: str, peak: float, numbers: dict[str, Any]) -> None:
        ballast_gb = self.ballast.nbytes / 1e9
        context_gb = device_gb() - torch.cuda.memory_reserved() / 1e9 - self.result.others_gb
        measured = peak - ballast_gb + context_gb
        planned = self.predicted[phase]
        off = 100 * (measured / planned.expected_gb - 1)
        self.result.row(
            phase=phase,
            step=int(numbers["step"]),
            rows=self.training.max_rows,
            per_forward=self.training.completions_per_forward,
            tokens=int(numbers["completion_tokens"]),
            peak_gb=measured,
            predicted_gb=planned.expected_gb,
            interval=planned.interval,
            off_percent=off,
            context_gb=context_gb,
            ballast_gb=ballast_gb,
            seconds=numbers["rollout_seconds" if phase == "generation" else "step_seconds"],
        )
        if numbers["step"] == STEPS and abs(off) > ALLOWED_PERCENT:
            self.result.note(
                f"**{phase}: off by {off:+.0f} %: the memory plan is to be corrected.**"
            )


_watching: list[Watched] = []


def peak_8(result: Result, work: Path, tiny: bool) -> None:
    peak(result, work, tiny, 8)


def peak_10(result: Result, work: Path, tiny: bool) -> None:
    peak(result, work, tiny, 10)


def peak_12(result: Result, work: Path, tiny: bool) -> None:
    peak(result, work, tiny, 12)


def peak_16(result: Result, work: Path, tiny: bool) -> None:
    peak(result, work, tiny, 16)


def peak(result: Result, work: Path, tiny: bool, card_gib: int) -> None:
    preset, larger = run_on(card_gib)
    problems, out = work / f"problems_{card_gib}.jsonl", work / f"peak_{card_gib}"
    changes: dict[str, Any] = {
        **larger,
        "name": "peak",
        "output_dir": str(out),
        "model.name": str(work / "model"),
        "model.use_gradient_checkpointing": "unsloth",  # "auto" goes by the whole card
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
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    data = config_on(card_gib).data
    assert data.system_prompt is not None
    # Exactly as long as is allowed: one token more, and the run has no problems at all.
    make_problems(problems, data.system_prompt, tokens=data.max_prompt_length)
    config = ExperimentConfig.from_yaml(resolve_config_path(preset), overrides=overrides)
    predicted = predict(config, read_architecture(config.model), card_gib * GIB, device())
    ballast = taken(card_gib)
    watched = Watched(out / "peak" / "metrics.jsonl", result, config.training, ballast, predicted)
    result.note(f"`{preset}`" + "".join(f", `{key}: {value}`" for key, value in larger.items()))
    _watching.append(watched)
    with watched.sampling():
        code = groupwise(["train", preset, *(w for text in overrides for w in ("--set", text))])
    assert code == 0, f"groupwise train {preset} ended with {code}"
    watched.look()
    assert len(watched.seen) == STEPS, f"{len(watched.seen)} of {STEPS} steps are in metrics.jsonl"
    result.note(
        "`peak_gb` is what torch reserved at most, less the ballast, plus the CUDA context, in GB "
        "of 1e9 bytes; 8 GiB are 8.59 GB. `off_percent` is the peak's, of what was predicted."
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
