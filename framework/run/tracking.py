"""Weights & Biases and trackio; neither can stop a run, neither needs an account.

A resumed run continues as the same run there: its id in each tracker is kept in the run directory,
in `tracking.json`. Steps that are repeated after a kill have the same numbers; W&B keeps the first
of them. Offline, each session is a folder of its own with the same run id:
`wandb sync` joins them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.files import read_json, write_json

if TYPE_CHECKING:
    from groupwise.framework.config import ExperimentConfig


class Tracker:
    """Sends numbers to whichever trackers the config names.

    A tracker that raises is reported once through `notify` and then left alone: the numbers are in
    `metrics.jsonl` in any case.
    """

    def __init__(
        self, config: ExperimentConfig, folder: Path, notify: Callable[[str], None]
    ) -> None:
        self._notify = notify
        self._modules: dict[str, Any] = {}
        tracking = config.tracking
        if tracking.wandb != "off":
            self._start("wandb", lambda: _start_wandb(config, folder))
        if tracking.trackio:
            self._start("trackio", lambda: _start_trackio(config, folder))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        for name, module in list(self._modules.items()):
            self._guard(name, partial(module.log, dict(numbers), step=step))

    def alert(self, title: str, text: str, step: int) -> None:
        """Logs a finding: the number `health/TITLE` at its step, and in W&B an alert with the text.

        The text also goes to the W&B run's summary, where it is seen without notifications.
        """
        self.log({f"health/{title}": 1.0}, step)
        if wandb := self._modules.get("wandb"):
            self._guard("wandb", lambda: wandb.alert(title, text, level=wandb.AlertLevel.WARN))
            self._guard("wandb", lambda: wandb.run.summary.update({f"finding/{title}": text}))

    def finish(self) -> None:
        for name, module in list(self._modules.items()):
            self._guard(name, module.finish)
        self._modules.clear()

    def _start(self, name: str, start: Callable[[], Any]) -> None:
        def run() -> None:
            self._modules[name] = start()

        self._guard(name, run)

    def _guard(self, name: str, action: Callable[[], Any]) -> None:
        try:
            action()
        # Whatever a tracker raises (no network, no account, a full disk) must not stop the run.
        except Exception as error:
            self._modules.pop(name, None)
            self._notify(f"{name} is off for this run: {type(error).__name__}: {error}")


def _start_wandb(config: ExperimentConfig, folder: Path) -> Any:
    import wandb  # optional, slow: not at start-up

    tracking = config.tracking
    wandb.init(
        id=_id_of(folder, "wandb", secrets.token_hex(4)),
        resume="allow",
        project=tracking.project,
        entity=tracking.entity,
        name=tracking.run_name or config.name,
        tags=list(tracking.tags),
        config=config.to_dict(),
        mode="online" if tracking.wandb == "online" else "offline",
        dir=str(folder),
        settings=wandb.Settings(silent=True, console="off"),
    )
    return wandb


def _start_trackio(config: ExperimentConfig, folder: Path) -> Any:
    os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    import trackio  # optional, slow: not at start-up

    tracking = config.tracking
    trackio.init(
        project=tracking.project,
        # trackio identifies runs by name, and another run may have the same name.
        name=_id_of(
            folder, "trackio", f"{tracking.run_name or config.name}-{secrets.token_hex(2)}"
        ),
        resume="allow",
        config=config.to_dict(),
    )
    return trackio


def _id_of(folder: Path, tracker: str, new: str) -> str:
    """The id of the run in `folder` for a tracker: the one kept there, otherwise `new`."""
    file = folder / "tracking.json"
    kept: dict[str, str] = read_json(file) if file.is_file() else {}
    if tracker not in kept:
        write_json(file, kept | {tracker: new})
    return kept.get(tracker, new)
