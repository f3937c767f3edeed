"""Resumes a run under the same config, or one that differs only in keys that may change.

    with resume_run_dir(config, terminal.notice) as run_dir: ...

Files may lie elsewhere than when the run began, if their content is the same (inputs.py). What it
leaves out: which checkpoint to load (checkpoints.py), and cutting the logs back to it
(`evaluation.log.writer`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.files import read_json, remove_torn, write_json
from groupwise.evaluation.log.settings import setting_differences
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.run.directory import RunDir, open_run_dir, run_that_began_as
from groupwise.framework.run.inputs import IMPORT_FROM, input_changes
from groupwise.rewards.errors import UserError

# Keys that do not change what a run computes: memory, checkpoints, where numbers go.
MAY_CHANGE = (
    "training.completions_per_forward",
    "training.max_rows",
    "training.save_steps",
    "training.save_total_limit",
    "training.stop_on",
    "model.use_gradient_checkpointing",
    "model.gpu_memory_utilization",
    "evaluation.after",
    "evaluation.max_rows",
    "evaluation.category_fields",
    "tracking.",
)
# These may change too, if the learning rate does not depend on the number of steps.
MAY_CHANGE_AT_CONSTANT_RATE = ("training.max_steps", "training.num_train_epochs")


def resume_run_dir(
    config: ExperimentConfig, notify: Callable[[str], None], folder: Path | None = None
) -> RunDir:
    """Opens and locks the run in `folder`; reports what differs from how it began.

    Without `folder`, it is the run that `config` names.

    Raises:
        UserError: there is no such run, it is in use, or the config differs in a key that a run
            cannot change.
    """
    run_dir, changes = check_resumable(config, folder)
    run_dir.lock()
    remove_torn(run_dir.path)
    if run_dir.last_session:
        notify(run_dir.last_session)
    for line in changes:
        notify(f"resuming with {line}")
    manifest = read_json(run_dir.manifest)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest.setdefault("resumed", []).append({"at": now, "changes": changes})
    write_json(run_dir.manifest, manifest)
    write_json(run_dir.config_resolved, config.standing_alone().to_dict())
    return run_dir


def check_resumable(
    config: ExperimentConfig, folder: Path | None = None
) -> tuple[RunDir, list[str]]:
    """The run that would be resumed, and what differs from how it began; nothing is written.

    Raises UserError as `resume_run_dir` does, but for a run in use.
    """
    path = folder or Path(config.output_dir).expanduser() / config.name
    if not path.exists() and (renamed := run_that_began_as(config.name, path.parent)):
        raise UserError(
            f"{path}: there is no such run; {renamed} began under this name: "
            f"`groupwise train {renamed} --resume` continues it"
        )
    run_dir = open_run_dir(path)
    manifest = read_json(run_dir.manifest)
    began = run_dir.config().standing_alone()
    changes, refused = _changes(began, config.standing_alone(), manifest)
    if refused:
        raise UserError(
            f"{run_dir.path}: a run cannot be resumed with another config:\n"
            + "\n".join(f"  {line}" for line in refused)
            + "\nUndo these changes, or start a new run with another --name."
        )
    return run_dir, changes


def _changes(
    began: ExperimentConfig, now: ExperimentConfig, manifest: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """What differs: all of it, and what of it a run cannot change."""
    allowed: tuple[str, ...] = MAY_CHANGE
    if now.training.lr_scheduler_type == "constant":
        allowed += MAY_CHANGE_AT_CONSTANT_RATE
    if now.evaluation.num_samples >= began.evaluation.num_samples:
        allowed += ("evaluation.num_samples",)  # answers that exist stay
    by_least_k = now.evaluation.every_steps and not now.evaluation.best_metric
    if not by_least_k or min(now.evaluation.k) == min(began.evaluation.k):
        allowed += ("evaluation.k",)  # else another model might be the best one
    inputs = input_changes(began, now, manifest)
    # A run may be moved and renamed: its place does not change its results.
    places = ("output_dir", "name", IMPORT_FROM, *(change.key for change in inputs))
    elsewhere = tuple(f"{key}:" for key in places)
    keys = setting_differences(began.to_dict(), now.to_dict(), "when it began", "now")
    keys = [line for line in keys if not line.startswith(elsewhere)]
    refused = [line for line in keys if not line.startswith(allowed)]
    refused += [str(change) for change in inputs if change.is_moved and not change.is_same]
    return keys + [str(change) for change in inputs], refused
