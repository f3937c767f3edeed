"""The machine: its system, memory, disk and settings; its NVIDIA cards beside the build of torch.

    findings = [*system_findings(), *card_findings(cards(), torch_build())]

Nothing is imported but the standard library: what torch itself sees is asked in a child process
(`torch_probe.py`).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from groupwise.framework.run.doctor.findings import Finding, Level, known_finding
from groupwise.framework.run.doctor.installed import TorchBuild
from groupwise.framework.run.doctor.known import (
    CUDA_DRIVERS,
    PYTORCH_PAGE,
    WHEEL_INDEXES,
    by_error,
    known,
)
from groupwise.framework.run.machine import cpu_name, memory_gb, nvidia_smi

LITTLE_DISK, NO_DISK = 20e9, 1e9
"""Bytes: a 4B model in 16 bits, from the hub and merged, with checkpoints; and next to nothing."""

LITTLE_MEMORY = 4e9  # bytes; the weights of a model pass through main memory


@dataclass(frozen=True, slots=True)
class Card:
    """An NVIDIA card as its driver describes it. `capability`: (8, 9), or None if not told."""

    name: str
    driver: str
    total_mib: int | None
    free_mib: int | None
    capability: tuple[int, int] | None

    @property
    def branch(self) -> int:
        """The driver's branch: 535 of "535.161.07"."""
        return int(re.sub(r"\D.*", "", self.driver) or 0)


@dataclass(frozen=True, slots=True)
class Cards:
    """`error`: what nvidia-smi says where it fails; None where there is none, "" if all is well."""

    cards: tuple[Card, ...]
    error: str | None


def find_cards() -> Cards:
    fields = ("name", "driver_version", "memory.total", "memory.free", "compute_cap")
    rows, error = nvidia_smi(*fields)
    if error and "compute_cap" in error:  # drivers before 510 do not know it
        rows, error = nvidia_smi(*fields[:-1])
    return Cards(tuple(_card(*row) for row in rows), error)


def _card(name: str, driver: str, total: str, free: str, capability: str = "") -> Card:
    found = re.fullmatch(r"(\d+)\.(\d+)", capability)
    generation = (int(found[1]), int(found[2])) if found else None
    return Card(name, driver, _mib(total), _mib(free), generation)


def _mib(text: str) -> int | None:
    """None for "[N/A]": a card that shares its memory with the processor."""
    found = re.match(r"(\d+) MiB", text)
    return int(found[1]) if found else None


def system_findings() -> Iterator[Finding]:
    """The system, memory, disk, and what the environment says."""
    system = platform.system()
    if system == "Linux":
        text = f"Linux {platform.release()}{' (WSL)' if is_wsl() else ''}, {platform.machine()}"
        yield _finding("system", "ok", text)
    else:
        yield _finding(
            "system", "problem", f"{system}: this stack runs on Linux", "Take Linux, or WSL."
        )
    yield from _memory()
    yield from _disk()
    yield from _environment()


def is_wsl() -> bool:
    return "WSL_DISTRO_NAME" in os.environ or "microsoft" in platform.release().lower()


def _finding(subject: str, level: Level, text: str, advice: str = "") -> Finding:
    return Finding("Machine", subject, level, text, advice=advice)


def _memory() -> Iterator[Finding]:
    yield _finding("processor", "ok", f"{cpu_name()}, {os.cpu_count()} cores")
    free, total = _available_memory(), memory_gb()
    if free is None or total is None:
        return
    text = f"{free / 1e9:.1f} of {total:.1f} GB free"
    if free < LITTLE_MEMORY:
        advice = "Close other programs: a model's weights pass through main memory."
        yield _finding("memory", "note", text, advice)
    else:
        yield _finding("memory", "ok", text)


def _available_memory() -> float | None:
    """Bytes that programs can get, from the kernel."""
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _disk() -> Iterator[Finding]:
    """Free space and write access of the folders that a run writes to, one line for each disk."""
    disks: dict[int, list[str]] = {}
    for name, folder in _folders().items():
        try:
            there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
            with tempfile.TemporaryFile(dir=there) as file:
                file.write(bytes(4096))
            disks.setdefault(there.stat().st_dev, []).append(name)
        except OSError as error:
            text = f"{name} cannot be written in {folder}: {error.strerror or error}"
            advice = _ELSEWHERE[name]
            yield _finding("disk", "problem", text, f"{advice[0].upper()}{advice[1:]}.")
            continue
        if len(disks[there.stat().st_dev]) > 1:
            continue
        free = shutil.disk_usage(there).free
        text = f"{free / 1e9:.0f} GB free for {name}"
        if free < LITTLE_DISK:
            level: Level = "problem" if free < NO_DISK else "note"
            advice = f"Free some space (a 4B model in 16 bits takes 8 GB), or {_ELSEWHERE[name]}."
            yield _finding("disk", level, f"{free / 1e9:.1f} GB free for {name}", advice)
        else:
            yield _finding("disk", "ok", text)


def _folders() -> dict[str, Path]:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (Path.home() raises without a home)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    hub = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    return {
        "runs": Path("runs"),
        "models (the hub's cache)": Path(os.environ.get("HF_HUB_CACHE") or hub / "hub"),
        "temporary files": _temporary(),
    }


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError:  # none can be written to
        return Path(os.environ.get("TMPDIR") or "tmp")


_ELSEWHERE = {
    "runs": "start from another folder, or name one with --output-dir",
    "models (the hub's cache)": "set the variable HF_HOME to a writable folder with space",
    "temporary files": "set the variable TMPDIR to a writable folder with space",
}


def _environment() -> Iterator[Finding]:
    """Variables that change what runs, by name."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "0").upper() in ("1", "ON", "YES", "TRUE"):
            yield _finding(
                name,
                "note",
                "is set: only models that are in the hub's cache already can be loaded",
                f"Unset {name} to download a model.",
            )
    if "cuda" in os.environ.get("LD_LIBRARY_PATH", "").lower():
        yield _finding(
            "LD_LIBRARY_PATH",
            "note",
            "names a CUDA: its libraries come before those of torch",
            known("other-cuda").remedy,
        )


# NVIDIA cards


def card_findings(found: Cards, torch: TorchBuild | None) -> Iterator[Finding]:
    """Each card, and whether driver and build of torch fit it."""
    if not found.cards:
        yield _no_card(found.error)
        return
    for card in found.cards:
        yield _finding("GPU", "ok", _described(card))
        yield from _memory_of(card)
    if cards_are_hidden():
        text = f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r} hides every card"
        yield _finding("GPU", "problem", text, "Unset CUDA_VISIBLE_DEVICES.")
    if is_wsl() and "expandable_segments:True" in os.environ.get("PYTORCH_ALLOC_CONF", ""):
        yield _known("wsl-allocator", "WSL, and PYTORCH_ALLOC_CONF asks for expandable_segments")
    if torch is not None:
        yield from _fit(found.cards, torch)


def _no_card(error: str | None) -> Finding:
    if error:
        first = error.splitlines()[0]
        text = f"nvidia-smi fails: {first}"
        for entry in by_error(error):
            return known_finding(entry, text, group="Machine")
        return _finding("GPU", "problem", text, "Restart the machine; then reinstall its driver.")
    if Path("/proc/driver/nvidia/version").exists():
        text = "the NVIDIA driver is loaded, and there is no nvidia-smi to ask it"
        return _finding("GPU", "note", text, "Install the driver's tools (nvidia-utils).")
    text = "none; everything runs on the CPU, slowly"
    return _finding("GPU", "note", text, "If there is an NVIDIA card, install its driver.")


def _described(card: Card) -> str:
    parts = [card.name]
    if card.total_mib is not None:
        parts.append(f"{(card.free_mib or 0) / 1024:.1f} of {card.total_mib / 1024:.1f} GB free")
    if card.capability:
        bfloat16 = "bfloat16" if card.capability >= (8, 0) else "no bfloat16"
        parts.append("compute capability {}.{}, {}".format(*card.capability, bfloat16))
    return ", ".join([*parts, f"driver {card.driver}"])


def _memory_of(card: Card) -> Iterator[Finding]:
    if card.total_mib and card.free_mib is not None and card.free_mib < 0.75 * card.total_mib:
        taken = (card.total_mib - card.free_mib) / 1024
        text = f"{taken:.1f} GB of the card are in use by other programs"
        yield _finding("GPU memory", "note", text, "Close what nvidia-smi lists as its processes.")


def cards_are_hidden() -> bool:
    """Whether CUDA_VISIBLE_DEVICES hides them all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible is not None and visible.strip() in ("", "-1", "none", "NoDevFiles")


def _fit(cards: tuple[Card, ...], torch: TorchBuild) -> Iterator[Finding]:
    """The driver and the generation of the cards beside the CUDA that torch is built for."""
    branch = min(card.branch for card in cards)
    capabilities = sorted(card.capability for card in cards if card.capability)
    oldest, newest = (capabilities[0], capabilities[-1]) if capabilities else (None, None)
    if oldest and oldest < (7, 0):
        yield _known("very-old-gpu", "compute capability {}.{}".format(*oldest))
        return
    remedy = remedy_for(branch, oldest)
    if torch.cuda is None:
        text = f"{torch.version} is a CPU build: the card is not used"
        yield _known("torch-cpu-build", text, advice=remedy)
        return
    built = f"{torch.version} is built for CUDA {torch.cuda}"
    major = torch.cuda.split(".")[0]
    needed = CUDA_DRIVERS.get(major, 0)
    if branch < needed:
        text = f"{built}, which needs driver {needed} or newer; this is {cards[0].driver}"
        yield _known("driver", text, advice=remedy)
    elif oldest and oldest < (7, 5) and major != "12":
        yield _known("old-gpu", "{}; compute capability {}.{}".format(built, *oldest))
    elif newest and newest >= (10, 0) and torch.cuda == "12.6":
        yield _known("new-gpu", "{}; compute capability {}.{}".format(built, *newest))
    if oldest and oldest < (8, 0):
        yield _known("no-bfloat16", "compute capability {}.{}".format(*oldest), "note")


def _known(key: str, text: str, level: Level = "problem", advice: str = "") -> Finding:
    return known_finding(known(key), text, level, group="Machine", advice=advice)


def remedy_for(branch: int, capability: tuple[int, int] | None) -> str:
    """Which build of torch to take, or which driver, for a card from compute capability 7.0 on."""
    fits = {major: branch >= oldest for major, oldest in CUDA_DRIVERS.items()}
    if capability is not None and capability < (7, 5):
        fits["13"] = False  # no kernels for it, whatever the driver
    elif capability is not None and capability >= (10, 0):
        fits["12"] = False
    update = f"update the driver to {CUDA_DRIVERS['13']} or newer"
    if not any(fits.values()):
        if capability is not None and capability < (7, 5):
            update = f"update the driver to {CUDA_DRIVERS['12']} or newer"
        return f"{update.capitalize()}: no build of torch runs with this one."
    index = WHEEL_INDEXES["13" if fits["13"] else "12"]
    install = f"Install torch from PyTorch's wheel index {index} ({PYTORCH_PAGE})"
    can_update = not fits["13"] and (capability is None or capability >= (7, 5))
    return f"{install}, or {update}." if can_update else f"{install}."


def compiler_findings() -> Iterator[Finding]:
    """For a machine with a GPU: Triton compiles a file of C before its first kernel there."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        yield _known("c-compiler", "no C compiler is on PATH")
    elif not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        yield _known("python-headers", "the headers of this Python are not there")
