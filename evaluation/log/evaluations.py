"""Which evaluations a path means: a run, what `groupwise evaluate` made, one evaluation, or a log.

    for found in find_evaluations("runs/my-run"): print(found.label, found.log)

Only evaluations with a log count. What it leaves out: rollouts, and folders of several runs
(`viewer/discover.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from groupwise.evaluation.log.records import SAMPLES
from groupwise.rewards.errors import UserError

EVALUATIONS = "evaluations"


@dataclass(frozen=True, slots=True)
class FoundEvaluation:
    """An evaluation: its log, its label (the name of its folder or file), and where it is.

    `place` has the names of the folders above, and ends in run and label, ("runs", "my-run",
    "tuned"), or in the label alone where the log belongs to no run.
    """

    log: Path
    label: str
    place: tuple[str, ...]
    in_run: bool


def find_evaluations(path: str | Path) -> list[FoundEvaluation]:
    """All evaluations that a path means: base first, steps by their number, tuned last.

    The folder `evaluations` of a run means those of the run.

    Raises:
        UserError: there is none.
    """
    path = Path(path)
    if path.is_file():
        return [_found(path)]
    if (path / SAMPLES).is_file():
        return [_found(path / SAMPLES)]
    logs = f"*/{SAMPLES}" if path.name == EVALUATIONS else f"{EVALUATIONS}/*/{SAMPLES}"
    found = [_found(log) for log in sorted(path.glob(logs))]
    if found:
        return sorted(found, key=lambda one: place_of(one.label))
    if not path.exists():
        raise UserError(f"{path}: there is no such run, evaluation or log")
    raise UserError(
        f"{path}: there is no evaluation in it; name a run that has {EVALUATIONS}/LABEL/{SAMPLES}, "
        f"the folder of an evaluation, or a {SAMPLES}"
    )


def place_of(label: str) -> tuple[int, str]:
    """Where a label stands among a run's: before comes first and after last; steps by number."""
    rank = {"base": -1, "tuned": 10**9}.get(label)
    if rank is None:
        digits = label.removeprefix("step-")
        rank = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 9 else 0
    return rank, label


def names_of(evaluations: Sequence[FoundEvaluation]) -> list[str]:
    """A name for each, "run/label", with as many folders before it as it takes to tell them apart.

    Raises:
        UserError: one of them is there twice.
    """
    logs = [found.log.resolve() for found in evaluations]
    if twice := next((log for log in logs if logs.count(log) > 1), None):
        raise UserError(f"{evaluations[logs.index(twice)].log}: is named twice")
    lengths = [2 if found.in_run else 1 for found in evaluations]
    while True:
        names = [
            "/".join(found.place[-length:])
            for found, length in zip(evaluations, lengths, strict=True)
        ]
        alike = {name for name in names if names.count(name) > 1}
        longer = [n + (name in alike) for n, name in zip(lengths, names, strict=True)]
        if not alike or all(n > len(f.place) for n, f in zip(longer, evaluations, strict=True)):
            return names
        lengths = longer


def _found(log: Path) -> FoundEvaluation:
    folder = log.resolve().parent
    if log.name != SAMPLES:  # a log that somebody has named
        return FoundEvaluation(log, log.stem, (*folder.parts[1:], log.name), in_run=False)
    in_run = folder.parent.name == EVALUATIONS
    above = folder.parent.parent if in_run else folder.parent
    return FoundEvaluation(log, folder.name, (*above.parts[1:], folder.name), in_run=in_run)
