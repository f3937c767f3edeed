"""Numbers of a training run: one JSON object per step in `metrics.jsonl`, and to the trackers.

    log = TrainingLog(run_dir.metrics, rollouts, tracker=tracker)
    log.open(last_step)
    trainer.add_callback(log.callback())

What it leaves out: how lines reach the disk (`evaluation.log.writer`), and what the numbers mean
(docs/training.md).
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from groupwise.evaluation.log.writer import JsonlWriter
from groupwise.framework.run import processes

if TYPE_CHECKING:
    from groupwise.framework.run.health import HealthLog
    from groupwise.framework.run.tracking import Tracker

# TRL's name, and Unsloth's where it differs -> ours.
_RENAMED = {
    "loss": "policy_loss",
    "kl": "kl_divergence",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_ratio",
    "epoch": "epoch",
}

OnMetrics = Callable[[int, int, Mapping[str, float | None]], None]
"""Called after each step with (step, number of steps, numbers)."""


class StepMetrics(Protocol):
    """A source of further numbers of the latest step, such as the rollouts."""

    def metrics(self) -> Mapping[str, float | None]: ...


class TrainingLog:
    """Writes one line per step as the step ends, and passes it to trackers and progress bar."""

    def __init__(
        self,
        path: Path,
        source: StepMetrics | None = None,
        *,
        tracker: Tracker | None = None,
        on_metrics: OnMetrics | None = None,
        health: HealthLog | None = None,
    ) -> None:
        self._path, self._health = path, health
        self._log: JsonlWriter | None = None
        self._source, self.tracker, self._on_metrics = source, tracker, on_metrics
        self.last: dict[str, float | None] = {}
        self.extra: dict[str, float | None] = {}  # for the next line: an evaluation at that step
        self._step_started = time.perf_counter()

    def open(self, last_step: int = 0) -> None:
        """Opens the log for appending; lines of steps after `last_step` are dropped.

        Of several processes only the main one keeps a log.
        """
        if not processes.is_main():
            return
        self._log = JsonlWriter(self._path, last_step=last_step)
        if self._health:
            rows = self._path.read_text(encoding="utf-8").splitlines() if last_step else []
            self._health.open(last_step, [json.loads(row) for row in rows])

    def callback(self) -> Any:
        """The `transformers.TrainerCallback` that writes this log."""
        from transformers import TrainerCallback  # slow: not at start-up

        log = self

        class LogCallback(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                log._step_started = time.perf_counter()

            def on_log(
                self, _args: Any, state: Any, _control: Any, logs: dict[str, Any], **_: Any
            ) -> None:
                if "loss" in logs and state.is_world_process_zero:
                    log.write(int(state.global_step), int(state.max_steps), logs)

        return LogCallback()

    def write(self, step: int, num_steps: int, logs: Mapping[str, Any]) -> None:
        seconds = time.perf_counter() - self._step_started
        numbers: dict[str, float | None] = {
            ours: _finite(logs.get(theirs)) for theirs, ours in _RENAMED.items()
        }
        numbers |= self._source.metrics() if self._source else {}
        tokens = numbers.get("completion_tokens")
        numbers |= {
            "non_finite": float(sum(_is_non_finite(logs.get(name)) for name in _RENAMED)),
            "step_seconds": seconds,
            "tokens_per_second": tokens / seconds if tokens and seconds else None,
            "memory/peak_gb": peak_memory_gb(),
        }
        numbers |= self.extra
        self.extra = {}
        self.last = numbers
        line = json.dumps({"step": step, **numbers}, allow_nan=False)
        assert self._log is not None, "open() comes first"
        self._log.append([line + "\n"])
        if self.tracker:
            self.tracker.log({k: v for k, v in numbers.items() if v is not None}, step)
        if self._health:
            self._health.look(step, numbers)
        if self._on_metrics:
            self._on_metrics(step, num_steps, numbers)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def peak_memory_gb() -> float:
    """Peak memory so far, in GB of 1e9 bytes: reserved on the GPU, or resident on the CPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return float(torch.cuda.max_memory_reserved()) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts in KiB


def _is_non_finite(value: Any) -> bool:
    return value is not None and not math.isfinite(float(value))


def _finite(value: Any) -> float | None:
    """JSON has no NaN: a number that is not finite is null, and so is one that was not logged."""
    if value is None or not math.isfinite(float(value)):
        return None
    return float(value)
