"""This machine's hardware, and the installed versions of the stack, without importing torch.

Versions come from the packages' metadata, GPUs from nvidia-smi.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

STACK = (
    "torch",
    "unsloth",
    "unsloth_zoo",
    "trl",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "triton",
    "torchao",
    "vllm",
    "math-verify",
    "pint",
    "pydantic",
    "wandb",
)
"""The packages that training and its results depend on."""


def installed(name: str) -> str | None:
    """The version of a package here; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def hardware() -> dict[str, Any]:
    """Processor, memory and GPUs, as a manifest has them."""
    return {
        "cpu": cpu_name(),
        "cpu_cores": os.cpu_count(),
        "memory_gb": memory_gb(),
        "gpus": gpus(),
    }


def cpu_name() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError):
        return None


def gpus() -> list[dict[str, str]]:
    """Name, memory and driver of each NVIDIA GPU, from nvidia-smi: torch is not loaded yet."""
    rows, _ = nvidia_smi("name", "memory.total", "driver_version")
    return [dict(zip(("name", "memory", "driver"), row, strict=True)) for row in rows]


def nvidia_smi(*fields: str) -> tuple[list[list[str]], str | None]:
    """The fields of each GPU, and what nvidia-smi says where it fails (None: there is none)."""
    command = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib")
    if command is None:
        return [], None
    query = [command, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            query, capture_output=True, text=True, errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"{type(error).__name__}: it does not answer"
    rows = [line.split(", ") for line in done.stdout.splitlines()]
    if done.returncode or not all(len(row) == len(fields) for row in rows):
        return [], (done.stdout + done.stderr).strip()
    return rows, ""


class Memory(NamedTuple):
    """Of a card, or of this machine: its name, all of its bytes, and those that are free."""

    name: str
    total: int
    free: int


def free_disk(folder: Path) -> int | None:
    """Bytes that are free where the folder is, or is to be made; None if it cannot be read."""
    above = (folder.absolute(), *folder.absolute().parents)
    try:
        return shutil.disk_usage(next(path for path in above if path.exists())).free
    except OSError:
        return None


def card() -> Memory | None:
    """The GPU that a run would use: of those that it may see, the one with most free memory."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return None
    query = "--query-gpu=index,uuid,name,memory.total,memory.free"
    found = []
    for line in _output(["nvidia-smi", query, "--format=csv,noheader,nounits"]).splitlines():
        index, uuid, name, *numbers = line.split(", ")
        asked = [word.strip() for word in (visible or index).split(",")]
        is_visible = any(word and (word == index or uuid.startswith(word)) for word in asked)
        if not is_visible or not all(n.isdecimal() for n in numbers):
            continue
        total, free = (int(n) * 2**20 for n in numbers)
        found.append(Memory(name, total, free))
    return max(found, key=lambda one: one.free, default=None)


def main_memory() -> Memory:
    """This machine's main memory, within what its container is given."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = (os.sysconf(f"SC_{name}PHYS_PAGES") * page for name in ("", "AV"))
    with suppress(OSError, ValueError):  # no container, or no limit: "max"
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return Memory("this machine", total, min(free, total))


def git_revision(folder: Path) -> dict[str, Any] | None:
    """The revision of this project's own clone; None if it is installed without one."""
    if not (folder / ".git").exists():
        return None
    revision = _output(["git", "-C", str(folder), "rev-parse", "HEAD"]).strip()
    changed = _output(["git", "-C", str(folder), "status", "--porcelain", "-uno"]).strip()
    return {"revision": revision, "changed_files": bool(changed)} if revision else None


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
