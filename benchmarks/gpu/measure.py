"""How the parts of the GPU benchmark measure and save: results, the clock, and memory."""

from __future__ import annotations

import json
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.model import device
from groupwise.rewards.errors import UserError


class Result:
    """What a part has measured; on disk after each row, so that a part that is stopped keeps it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failed: list[str] = []
        self.others_gb = used_gb()  # before this process has a context on the card
        self.found: dict[str, Any] = {"device": "", "notes": [], "rows": []}

    def begin(self) -> None:
        """After Unsloth's import, which sets up the allocator: this asks the card for its name."""
        self.found["device"] = described()
        self._save()

    def row(self, **values: Any) -> dict[str, Any]:
        self.found["rows"].append(values)
        self._save()
        return values

    def note(self, text: str) -> None:
        self.found["notes"].append(text)
        self._save()

    @contextmanager
    def guarded(self, **values: Any) -> Iterator[None]:
        """What fails inside is noted in a row, and the part goes on.

        Too little memory, or a model that is not served, is a result. After anything else the part
        has failed, once it has measured the rest.
        """
        try:
            yield
        except Exception as error:
            self.row(**values, error=f"{type(error).__name__}: {error}".partition("\n")[0])
            if not is_a_result(error):
                traceback.print_exc()
                self.failed.append(str(values))
            if device() == "cuda":
                torch.cuda.empty_cache()

    def end(self) -> None:
        """Raises RuntimeError if a row failed."""
        if self.failed:
            raise RuntimeError(f"failed: {'; '.join(self.failed)}")

    def _save(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.found), encoding="utf-8")
        new.replace(self.path)  # never half a file


def is_a_result(error: Exception) -> bool:
    """A model that is not served, or too little memory, by whichever library says so."""
    said = str(error)
    of_memory = "out of memory" in said or "ALLOC_FAILED" in said  # CUDA's and cuBLAS's
    return isinstance(error, UserError | torch.OutOfMemoryError) or of_memory


def used_gb() -> float:
    """What is in use on the first card, by the driver's word; 0 without one."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0.0
    first = done.stdout.partition("\n")[0].strip()
    return int(first) * 2**20 / 1e9 if first.isdigit() else 0.0


def described() -> str:
    """The device and torch, for the report."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "a CPU"
    return f"{name} (torch {torch.__version__})"


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What `run` gives, and the seconds until the device has done it."""
    synchronize()
    started = time.perf_counter()
    made = run()
    synchronize()
    return made, time.perf_counter() - started


def synchronize() -> None:
    if device() == "cuda":  # where there is none, these raise
        torch.cuda.synchronize()


def reset_peak() -> None:
    if device() == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb() -> float:
    """Most bytes that torch has reserved since `reset_peak`, in GB of 1e9 bytes."""
    return torch.cuda.max_memory_reserved() / 1e9
