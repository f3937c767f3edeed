"""Compares the installed versions with the tested ones, and names the GPU.

    print(report(diagnose()))

Version mismatch is the most frequent trouble with this stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from groupwise.framework.config.presets import CONFIGS
from groupwise.framework.run.machine import STACK, gpus, installed


@dataclass(frozen=True, slots=True)
class PackageCheck:
    """A package of the stack: the tested and the installed version (None: not installed)."""

    name: str
    tested: str
    installed: str | None

    @property
    def agrees(self) -> bool:
        # "2.13.0+cpu" is 2.13.0, built for a CPU.
        return self.installed is not None and self.installed.split("+")[0] == self.tested


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`gpu` is the driver's name of the card, None without one."""

    lock: Path
    packages: tuple[PackageCheck, ...]
    gpu: str | None

    @property
    def healthy(self) -> bool:
        return all(package.agrees for package in self.packages)


def diagnose() -> Diagnosis:
    """Reads the lock file for this machine (GPU or CPU), and what is installed."""
    gpu = "\n".join(", ".join([*gpu.values()][:2]) for gpu in gpus()) or None
    lock = CONFIGS.parent / "requirements" / ("gpu.txt" if gpu else "cpu.txt")
    tested = _locked(lock)
    checks = tuple(
        PackageCheck(name, tested[_key(name)], installed(name))
        for name in STACK
        if _key(name) in tested
    )
    return Diagnosis(lock, checks, gpu)


def report(diagnosis: Diagnosis) -> str:
    """The diagnosis as a table, followed by what to do."""
    lines = [f"{'package':<14} {'tested':<12} installed"]
    for package in diagnosis.packages:
        mark = "" if package.agrees else "  <- differs"
        here = f"{package.installed or 'missing':<14}{mark}".rstrip()
        lines.append(f"{package.name:<14} {package.tested:<12} {here}")
    lines.append("")
    lines.append(f"GPU: {diagnosis.gpu or 'none; everything runs on the CPU, slowly'}")
    if diagnosis.healthy:
        lines.append("Everything is as it was tested.")
    else:
        lines.append(
            "What differs was not tested together. Install the tested set with `make install`, or "
            f"pip install --no-deps -r {diagnosis.lock.parent.name}/{diagnosis.lock.name}"
        )
    return "\n".join(lines)


def _locked(lock: Path) -> dict[str, str]:
    """Versions by normalised name; empty if the lock file is not there (a wheel has none)."""
    if not lock.is_file():
        return {}
    pairs = (line.split("==") for line in lock.read_text().splitlines() if "==" in line)
    return {_key(name): version.strip() for name, version in pairs}


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "-")
