"""Numbers of a training run: one JSON object per step in `metrics.jsonl`.

What it leaves out: how lines reach the disk (`evaluation.log.writer`), where else numbers are sent
(`trainers/callbacks.py`), and what they mean (docs/training.md).
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from groupwise.evaluation.log.metrics_log import numbers_of, read_metrics, to_metrics_line
from groupwise.evaluation.log.writer import JsonlWriter
from groupwise.framework.run import processes

# TRL's name -> ours.
_RENAMED = {
    "loss": "policy_loss",
    "kl": "kl_divergence",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_ratio",
    "epoch": "epoch",
}


class StepMetrics(Protocol):
    """A source of further numbers of the latest step, such as the rollouts."""

    def metrics(self) -> Mapping[str, float | None]: ...


class TrainingLog:
    """Writes one line per step, as the step ends.

    `source` provides numbers of a step in addition to the trainer's own; `more` are further
    sources. Last come the numbers of `logged`, which users' functions named: one whose name is
    taken is called `logged/NAME`.
    """

    def __init__(
        self,
        path: Path,
        source: StepMetrics | None = None,
        more: Sequence[StepMetrics] = (),
        logged: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._path, self._source, self._more, self._logged = path, source, more, logged
        self._log: JsonlWriter | None = None
        self.last: dict[str, float | None] = {}
        self._step_started = time.perf_counter()

    def open(self, last_step: int = 0) -> None:
        """Opens the log for appending; lines of steps after `last_step` are dropped.

        Of several processes only the main one keeps a log.
        """
        if not processes.is_main():
            return
        self._log = JsonlWriter(self._path, last_step=last_step)

    def steps(self) -> list[dict[str, float | None]]:
        """The lines so far, as they were logged."""
        if not self._path.is_file():
            return []
        return list(read_metrics(self._path))

    def begin_step(self) -> None:
        """Starts the clock of `step_seconds`."""
        self._step_started = time.perf_counter()

    def write(self, step: int, logs: Mapping[str, Any]) -> dict[str, float | None]:
        """Writes a step's line from the trainer's `logs`; returns its numbers, without the step."""
        seconds = time.perf_counter() - self._step_started
        numbers: dict[str, float | None] = {
            ours: logs.get(theirs) for theirs, ours in _RENAMED.items()
        }
        numbers |= self._source.metrics() if self._source else {}
        tokens = numbers.get("completion_tokens")
        numbers |= {
            "non_finite": float(sum(_is_non_finite(logs.get(name)) for name in _RENAMED)),
            "step_seconds": seconds,
            "tokens_per_second": tokens / seconds if tokens and seconds else None,
            "memory/peak_gb": peak_memory_gb(),
        }
        for source in self._more:
            numbers |= source.metrics()
        taken = {"step", *numbers}
        for name, value in self._logged().items():
            numbers[f"logged/{name}" if name in taken else name] = value
        numbers = self.last = numbers_of(numbers)  # rewards and callbacks may give anything
        assert self._log is not None, "open() comes first"
        self._log.append([to_metrics_line(step, numbers)])
        return numbers

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def peak_memory_gb() -> float:
    """Peak memory so far, in GB of 1e9 bytes: reserved on the GPU, or resident on the CPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return float(torch.cuda.max_memory_reserved()) / 1e9
    # Not getrusage's: that begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kib,) = re.findall(r"^VmHWM:\s*(\d+) kB$", status, re.M)
    return int(kib) * 1024 / 1e9


def _is_non_finite(value: Any) -> bool:
    return value is not None and not math.isfinite(float(value))
