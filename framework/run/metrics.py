"""Numbers of a training run: one JSON object for each step in `metrics.jsonl`."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from groupwise.evaluation.log.files import full_disk_as_user_error
from groupwise.framework.run import processes
from groupwise.framework.run.checkpoints import cut_log

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


class StepMetrics(Protocol):
    """A source of numbers of the latest step beside the trainer's own."""

    def metrics(self) -> Mapping[str, float | None]: ...


class TrainingLog:
    """Writes one line for each step, as the step ends.

    `source`: knows numbers of a step beside the trainer's own; `more`: others that do, whose
    numbers come last in the line.
    """

    def __init__(
        self, path: Path, source: StepMetrics | None = None, more: Sequence[StepMetrics] = ()
    ) -> None:
        self._path, self._source, self._more = path, source, more
        self._file: TextIO | None = None
        self.last: dict[str, float | None] = {}
        self._step_started = time.perf_counter()

    def open(self, last_step: int = 0) -> None:
        """Opens the log for appending; what it has of steps after `last_step` is dropped.

        Of several processes only the main one keeps a log.
        """
        if not processes.is_main():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut_log(self._path, last_step)
        self._file = self._path.open("a", encoding="utf-8")

    def steps(self) -> list[dict[str, float | None]]:
        """The lines so far, as they were logged."""
        if not self._path.is_file():
            return []
        return [json.loads(row) for row in self._path.read_text(encoding="utf-8").splitlines()]

    def begin_step(self) -> None:
        """Starts the clock of `step_seconds`."""
        self._step_started = time.perf_counter()

    def write(self, step: int, logs: Mapping[str, Any]) -> dict[str, float | None]:
        """Writes a step's line from the trainer's `logs`; returns its numbers, without the step."""
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
        for source in self._more:
            numbers |= source.metrics()
        self.last = numbers
        line = json.dumps({"step": step, **numbers}, allow_nan=False)
        assert self._file is not None, "open() comes first"
        with full_disk_as_user_error(self._path):
            self._file.write(line + "\n")
            self._file.flush()
        return numbers

    def close(self) -> None:
        if self._file is not None:
            with full_disk_as_user_error(self._path):  # what could not be written is tried again
                self._file.close()


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
