"""The output directory of a training from Python: no earlier run in it is written over.

    with locked(folder):
        checkpoint = claim(folder, resume_from_checkpoint, arguments)

`arguments.json` keeps what a training was started with, so that it is resumed with the same. Left
out: the folders of `groupwise train`, which `framework/run` makes and checks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.files import write_json
from groupwise.evaluation.log.jsonl import clean
from groupwise.evaluation.log.settings import load_settings, setting_differences
from groupwise.framework.run import processes
from groupwise.framework.run.checkpoints import is_whole, latest_checkpoint, whole_checkpoints
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.resume import MAY_CHANGE, MAY_CHANGE_AT_CONSTANT_RATE
from groupwise.rewards.errors import UserError

ARGUMENTS = "arguments.json"
Resume = bool | str | Path | None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of the folder. Raises UserError if one is in it."""
    run = RunDir(folder)
    if processes.is_main() and run.holder() != str(os.getpid()):  # else the run's own lock
        folder.mkdir(parents=True, exist_ok=True)
        run.lock()
    try:  # not `with run`, which removes the folder of a run that is refused at its start
        yield
    finally:
        run.close()


def claim(folder: Path, resume: Resume, arguments: Mapping[str, Any]) -> Path | None:
    """The checkpoint that a training in `folder` resumes from; None: it begins at its start.

    `resume`: True for the last whole checkpoint in the folder, if there is one; or a checkpoint.
    `arguments`: what decides about the results; those of a resumed training must be the same.

    Raises:
        UserError: the folder holds a run that is not resumed, the arguments differ, or there is no
            such checkpoint.
    """
    run = RunDir(folder)
    checkpoint = None
    if resume is True:
        checkpoint = latest_checkpoint(run.checkpoints)
    elif resume:
        checkpoint = _named(Path(resume))
    inside = checkpoint is not None and checkpoint.resolve().parent == run.checkpoints.resolve()
    if _holds_run(run) and resume is not True and not inside:
        raise UserError(
            f"{folder}: holds a run already; train(resume_from_checkpoint=True) continues it, "
            "another output_dir keeps it"
        )
    if not run.config_resolved.is_file():  # else the run's own config has been compared
        _keep(folder, clean(arguments), is_resumed=bool(resume) and _holds_run(run))
    return checkpoint


def _named(checkpoint: Path) -> Path:
    if not is_whole(checkpoint):
        raise UserError(
            f"resume_from_checkpoint: {checkpoint} is no whole checkpoint of a training; True takes"
            " the last one in output_dir"
        )
    return checkpoint


def _holds_run(run: RunDir) -> bool:
    """Whether a training has left something in the folder."""
    logs = (run.metrics, run.rollouts)
    return (
        any(log.is_file() and log.stat().st_size for log in logs)
        or run.config_resolved.is_file()
        or bool(whole_checkpoints(run.checkpoints))
    )


def _keep(folder: Path, arguments: Mapping[str, Any], *, is_resumed: bool) -> None:
    before = load_settings(folder, ARGUMENTS) if is_resumed else None
    allowed: tuple[str, ...] = MAY_CHANGE
    if arguments["training"]["lr_scheduler_type"] == "constant":
        allowed += MAY_CHANGE_AT_CONSTANT_RATE
    changes = setting_differences(before or arguments, arguments, "when it began", "now")
    if refused := [line for line in changes if not line.startswith(allowed)]:
        raise UserError(
            f"{folder}: a training cannot be resumed with other arguments:\n"
            + "\n".join(f"  {line}" for line in refused)
            + "\nUndo these changes, or choose another output_dir."
        )
    write_json(folder / ARGUMENTS, arguments)
