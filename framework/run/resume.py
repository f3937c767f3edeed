"""Resumes a run under the same config, or one that differs only in keys that may change.

    with resume_run_dir(config, terminal.notice) as run_dir: ...

What it leaves out: which checkpoint to load (checkpoints.py), and cutting the logs back to it
(`evaluation.log.writer`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from groupwise.evaluation.log.files import remove_torn, write_json
from groupwise.evaluation.log.settings import setting_differences
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.run.directory import RunDir, open_run_dir
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
    "tracking.",
)
# These may change too, if the learning rate does not depend on the number of steps.
MAY_CHANGE_AT_CONSTANT_RATE = ("training.max_steps", "training.num_train_epochs")


def resume_run_dir(config: ExperimentConfig, notify: Callable[[str], None]) -> RunDir:
    """Opens and locks the run that `config` names; reports what differs from how it began.

    Raises:
        UserError: there is no such run, it is in use, or the config differs in a key that a run
            cannot change.
    """
    run_dir = open_run_dir(Path(config.output_dir).expanduser() / config.name)
    began = run_dir.config()
    changes = setting_differences(began.to_dict(), config.to_dict(), "when it began", "now")
    # A run may be moved and renamed: its place does not change its results.
    changes = [line for line in changes if not line.startswith(("output_dir:", "name:"))]
    allowed: tuple[str, ...] = MAY_CHANGE
    if config.training.lr_scheduler_type == "constant":
        allowed += MAY_CHANGE_AT_CONSTANT_RATE
    if refused := [line for line in changes if not line.startswith(allowed)]:
        raise UserError(
            f"{run_dir.path}: a run cannot be resumed with another config:\n"
            + "\n".join(f"  {line}" for line in refused)
            + "\nUndo these changes, or start a new run with another --name."
        )
    run_dir.lock()
    remove_torn(run_dir.path)
    for line in changes:
        notify(f"resuming with {line}")
    manifest = json.loads(run_dir.manifest.read_text(encoding="utf-8"))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest.setdefault("resumed", []).append({"at": now, "changes": changes})
    write_json(run_dir.manifest, manifest)
    write_json(run_dir.config_resolved, config.to_dict())
    return run_dir
