"""The directory of a run: created whole or not at all, and locked while in use.

    with create_run_dir(config, config_text) as run:
        run.metrics, run.evaluation("base") / "samples.jsonl"

A run directory is never reused: what is in it belongs to one config. The lock is the kernel's
(`evaluation.log.lock`), so that a killed process leaves none behind. No torch: versions come from
the packages' metadata.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from groupwise.evaluation.log.files import read_json, write_json, write_text
from groupwise.evaluation.log.lock import take_lock
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.config.paths import nearby
from groupwise.framework.run import machine
from groupwise.framework.run.inputs import fingerprints
from groupwise.framework.run.killed import SESSION, begin_session, end_session
from groupwise.rewards.errors import UserError

EVALUATION_CONFIG = "config.json"
"""In the folder of an evaluation by `groupwise evaluate`: the config that it was begun with."""

_LABEL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class RunDir:
    """The paths of one run. As a context manager, and until `close()`, it holds the run's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self.last_session = ""  # once locked: what a user should know of how it ended

    @property
    def config_yaml(self) -> Path:
        """The config as the user gave it."""
        return self.path / "config.yaml"

    @property
    def config_resolved(self) -> Path:
        """The config as it ran, defaults and overrides included."""
        return self.path / "config.resolved.json"

    @property
    def manifest(self) -> Path:
        """Versions, hardware, seed, git revision, and hashes of the files that it began with."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts.jsonl"

    @property
    def health(self) -> Path:
        return self.path / "health.jsonl"

    @property
    def log(self) -> Path:
        """What the libraries print: kept here instead of on the screen."""
        return self.path / "libraries.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def final_model(self) -> Path:
        return self.path / "final_model"

    @property
    def merged_base(self) -> Path:
        """The base model with an earlier adapter merged into it (`model.adapter_mode: merge`)."""
        return self.path / "merged_base"

    @property
    def comparison(self) -> Path:
        return self.path / "comparison.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def evaluation(self, label: str) -> Path:
        """The folder of one evaluation: base, tuned, step-N, or the user's own label.

        Raises:
            UserError: the label cannot be the name of a folder.
        """
        if not _LABEL.match(label):
            raise UserError(f"the label {label!r} must be letters, digits, '.', '-' and '_'")
        return self.path / "evaluations" / label

    def config(self) -> ExperimentConfig:
        """The config as it ran. Raises UserError if it cannot be read."""
        return ExperimentConfig.from_yaml(self.config_resolved)

    def dated(self, config: ExperimentConfig) -> ExperimentConfig:
        """The config with the run's own date, for chat templates that write today's.

        It is the moment at which the run was made: the same on every later day.
        """
        if config.model.chat_template_date is not None or not self.manifest.is_file():
            return config
        made = read_json(self.manifest).get("created")
        return replace(config, model=replace(config.model, chat_template_date=made))

    @property
    def is_locked(self) -> bool:
        """Whether this object holds the run's lock."""
        return self._lock is not None

    def lock(self) -> None:
        """Claim the run for this process. Raises UserError if another process has it."""
        path = self.path / ".lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        taken = take_lock(handle)
        if taken == "taken":
            # The kernel does not say who holds a lock, and the message of a refusal has to.
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            self._lock = handle
            self.last_session = begin_session(self.path)
            return
        holder = os.read(handle, 32).decode("ascii", "replace").strip() or "another"
        os.close(handle)
        if taken == "held":
            raise UserError(
                f"{self.path}: is in use by process {holder}; wait until it ends, or stop it"
            )

    def holder(self) -> str:
        """The process that holds the run's lock; empty if none does."""
        lock = self.path / ".lock"
        if not lock.is_file():
            return ""
        try:
            with lock.open("r+") as handle:  # a network file system locks only what may be written
                return handle.read().strip() if take_lock(handle.fileno()) == "held" else ""
        except PermissionError:
            return ""  # another user's run

    def close(self) -> None:
        """Release the lock.

        The file stays: removing it would let two processes hold "the lock", one of them on a file
        that no longer has a name.
        """
        if self._lock is not None:
            end_session(self.path)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, UserError) and self.is_locked and _is_bare(self):
            # Refused before any stage ran: the fixed config may use the same name.
            _remove_made(self, keep_folder=False)
        self.close()

    def __repr__(self) -> str:
        return f"RunDir({str(self.path)!r})"

    def __reduce__(self) -> tuple[type[RunDir], tuple[Path]]:
        """A pickled copy (another process) has the paths, and not the lock: it is held once."""
        return RunDir, (self.path,)


def check_run_dir(config: ExperimentConfig) -> Path:
    """The folder that the run would get; nothing is created.

    Raises:
        UserError: the folder holds something already.
    """
    path = Path(config.output_dir).expanduser() / config.name
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file, where the run's folder is to be made")
    try:
        # What a kill left before the config was written is not a run: the name is free.
        taken = path.is_dir() and not (_is_bare(RunDir(path)) and not is_run(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if taken:
        raise UserError(f"{path}: {_taken_by(path)}")
    return path


def _taken_by(path: Path) -> str:
    """What holds the folder, and the ways on; the one that loses what is in it comes last."""
    elsewhere = f"choose another place with --name {_free_name(path)} or --output-dir"
    if holder := RunDir(path).holder():
        return f"holds a run that is in use by process {holder}; wait until it ends, or {elsewhere}"
    if is_run(path):
        resume = "continue it with --resume"
        return f"holds a run already; {resume}, {elsewhere}, or remove the folder"
    return f"is not empty, and holds no run; {elsewhere}, or remove the folder"


def check_writable(config: ExperimentConfig) -> None:
    """Raises UserError if the run's folder could not be created; the probe is removed again."""
    path = Path(config.output_dir).expanduser()
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    try:
        Path(tempfile.mkdtemp(dir=there)).rmdir()
    except OSError as error:
        raise _cannot_be_made(path / config.name, error) from error


def _cannot_be_made(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be made: {error.strerror or error}; choose another place with --output-dir"
    )


def create_run_dir(config: ExperimentConfig, config_text: str | None = None) -> RunDir:
    """Make the run's folder with config and manifest, and lock it.

    `config_text` is the YAML as the user gave it, kept as it is; None writes the resolved one. When
    anything fails, what was made is removed again.

    Raises:
        UserError: the folder holds something, cannot be written, or the disk is full.
    """
    path = check_run_dir(config)
    run = RunDir(path)
    was_there = path.is_dir()
    try:
        path.mkdir(parents=True, exist_ok=True)
        run.lock()
        if is_run(path):  # made by another process since we looked
            run.close()
            check_run_dir(config)
        write_text(run.config_yaml, config.to_yaml() if config_text is None else config_text)
        write_json(run.manifest, make_manifest(config))
        write_json(run.config_resolved, config.standing_alone().to_dict())
    except BaseException as error:
        if run.is_locked:  # without the lock, the files are another process's
            _remove_made(run, keep_folder=was_there)
        run.close()
        if isinstance(error, OSError):
            raise _cannot_be_made(path, error) from error
        raise
    return run


def open_run_dir(path: Path) -> RunDir:
    """An existing run, not locked. Raises UserError if the folder holds none."""
    if not path.is_dir():
        raise UserError(f"{path}: there is no such run{nearby(path)}")
    if not is_run(path):
        raise UserError(f"{path}: holds no run: config.resolved.json is missing")
    return RunDir(path)


def run_that_began_as(name: str, folder: Path) -> Path | None:
    """A run in `folder` that has been renamed since it began under `name`."""
    for manifest in sorted(folder.glob("*/manifest.json")):
        with suppress(OSError, UserError):
            if read_json(manifest).get("name") == name:
                return manifest.parent
    return None


def make_manifest(config: ExperimentConfig) -> dict[str, Any]:
    """What a result depends on besides its config: versions, hardware, seed, code, inputs."""
    return {
        "name": config.name,
        "seed": config.seed,
        # With the offset of the place where the run was made: chat templates write its date.
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: machine.installed(name) for name in ("groupwise", *machine.STACK)},
        "hardware": machine.hardware(),
        "git": machine.git_revision(Path(__file__).resolve().parents[2]),
        "inputs": fingerprints(config),
    }


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return (path / "config.resolved.json").is_file()


def _free_name(path: Path) -> str:
    number = 2
    while (path.parent / f"{path.name}-{number}").exists():
        number += 1
    return f"{path.name}-{number}"


def _is_bare(run: RunDir) -> bool:
    """Whether the folder holds nothing but what `create_run_dir` writes."""
    made = set(_made_at_once(run))
    return all(path in made or _is_torn(path) for path in run.path.iterdir())


def _is_torn(path: Path) -> bool:
    """Whether a kill left this half-written file (see evaluation.log.files)."""
    return path.name.startswith(".") and path.name.endswith(".tmp") and path.is_file()


def _made_at_once(run: RunDir) -> tuple[Path, ...]:
    hidden = (run.path / ".lock", run.path / SESSION)
    return run.config_yaml, run.manifest, run.config_resolved, run.log, *hidden


def _remove_made(run: RunDir, *, keep_folder: bool) -> None:
    for file in _made_at_once(run):
        file.unlink(missing_ok=True)
    if not keep_folder and run.path.is_dir() and not any(run.path.iterdir()):
        run.path.rmdir()
