"""Finds the logs under the given folders: one run, several, or a folder of runs.

Only the file names of a run directory are looked for, and a link that leads out of the given
folders is ignored: a run from elsewhere may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from groupwise.evaluation.log.evaluations import EVALUATIONS, place_of
from groupwise.evaluation.log.records import ROLLOUTS, SAMPLES, has_steps
from groupwise.rewards.errors import UserError

METRICS = "metrics.jsonl"
HEALTH = "health.jsonl"
_RUN_MARKS = ("config.resolved.json", METRICS, ROLLOUTS, EVALUATIONS)
_MOST_RUNS = 1_000

Kind = Literal["samples", "rollouts"]


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A log, by `key` ("run/label"), which is how pages and links name it."""

    key: str
    run: str
    label: str
    kind: Kind
    path: Path


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run and its logs; `path` is the folder of metrics, health and comparison."""

    name: str
    path: Path
    root: Path
    logs: tuple[FoundLog, ...]

    def file(self, name: str) -> Path | None:
        """A file of the run, if it exists and is inside the given folders."""
        return _inside(self.path / name, self.root)


def find_runs(paths: Sequence[str | Path]) -> list[FoundRun]:
    """All runs under the paths, in the order given.

    UserError for a path that does not exist; a folder that holds nothing (yet) gives no run.
    """
    runs: list[FoundRun] = []
    taken: set[str] = set()
    for given in paths:
        path = Path(given)
        if not path.exists():
            raise UserError(f"{path}: there is no such run or folder")
        for folder, root in _run_folders(path):
            name = _free_name(folder, taken)
            taken.add(name)
            runs.append(_run(name, folder, root))
    return runs


def _run_folders(path: Path) -> Iterable[tuple[Path, Path]]:
    """(run folder or log, the folder that must not be left) for each run that a path means."""
    if path.is_file():
        yield path, path.parent
        return
    if (path / SAMPLES).exists() or _is_run(path):
        yield path, path
        return
    found = 0
    for child in _folders(path):
        below = [child] if _is_run(child) or (child / SAMPLES).exists() else _folders(child)
        for folder in below:
            if _is_run(folder) or (folder / SAMPLES).exists():
                yield folder, path
                found += 1
                if found >= _MOST_RUNS:
                    return


def _run(name: str, folder: Path, root: Path) -> FoundRun:
    candidates: list[tuple[str, Kind, Path]] = []
    if folder.is_file():
        kind: Kind = "rollouts" if has_steps(folder) else "samples"
        candidates.append((folder.stem, kind, folder))
        folder = folder.parent
    elif (folder / SAMPLES).exists():
        candidates.append((folder.name, "samples", folder / SAMPLES))
    for evaluation in _folders(folder / EVALUATIONS):
        candidates.append((evaluation.name, "samples", evaluation / SAMPLES))
    if not candidates or candidates[0][2].parent != folder:
        candidates.append((ROLLOUTS.removesuffix(".jsonl"), "rollouts", folder / ROLLOUTS))
    logs = [
        FoundLog(f"{name}/{label}", name, label, kind, path)
        for label, kind, path in sorted(candidates, key=_order)
        if _inside(path, root)
    ]
    return FoundRun(name, folder, root, tuple(logs))


def _order(candidate: tuple[str, Kind, Path]) -> tuple[bool, tuple[int, str]]:
    """Rollouts after evaluations, and these in their own order."""
    label, kind, _ = candidate
    return kind == "rollouts", place_of(label)


def _inside(path: Path, root: Path) -> Path | None:
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return path if real.is_file() and real.is_relative_to(root.resolve()) else None


def _is_run(path: Path) -> bool:
    return any((path / mark).exists() for mark in _RUN_MARKS)


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return []


def _free_name(folder: Path, taken: set[str]) -> str:
    parts = folder.resolve().parts
    name = folder.resolve().stem if folder.is_file() else parts[-1]
    if name in taken and len(parts) > 1:
        name = f"{parts[-2]}/{name}"
    base, number = name, 2
    while name in taken:
        name, number = f"{base} ({number})", number + 1
    return name
