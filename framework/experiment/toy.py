"""The one place where the name `toy` in a config is replaced by paths of files made on the spot.

    config = make_toy_in(run_dir.path / "toy", config, terminal)   # a run: with the model, kept
    with toy_in_scratch(config) as config: ...                     # checks: no weights, removed
    config = toy_of(run_dir, config)                               # what a finished run has made

The rest of the code sees plain paths. How the files are made is in `data/toy.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groupwise.evaluation.log.files import replacing_folder
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.toy import (
    ToyPaths,
    make_folder_without_weights,
    make_toy,
    toy_keys,
    with_toy,
)
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.terminal import Terminal


def make_toy_in(folder: Path, config: ExperimentConfig, terminal: Terminal) -> ExperimentConfig:
    """Makes the toy that the config asks for, model included, unless `folder` has it already."""
    keys = toy_keys(config)
    if keys and not folder.is_dir():
        with terminal.stage("Make the toy model") as stage, replacing_folder(folder) as new:

            def on_step(step: int, steps: int, loss: float) -> None:
                stage.summary = ""
                stage.update(step, steps, f"loss {loss:.2f}")

            with_model = "model.name" in keys
            stage.summary = "the one made before" if with_model else "its problems"
            make_toy(new, toy_seed(config), with_model=with_model, on_step=on_step)
    return with_toy(config, folder)


def toy_seed(config: ExperimentConfig) -> int:
    return config.seed if config.data.toy_seed is None else config.data.toy_seed


@contextmanager
def toy_in_scratch(config: ExperimentConfig) -> Iterator[ExperimentConfig]:
    """The config with problems and a model folder without weights, in a temporary folder."""
    keys = toy_keys(config)
    if not keys:
        yield config
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_toy(folder, toy_seed(config), with_model=False)
        if "model.name" in keys:
            make_folder_without_weights(ToyPaths.under(folder).model)
        yield with_toy(config, folder)


def toy_of(run_dir: RunDir, config: ExperimentConfig) -> ExperimentConfig:
    """The config of a finished run, with the toy in its folder in place of the name `toy`."""
    return with_toy(config, toy_folder(run_dir))


def toy_folder(run_dir: RunDir) -> Path:
    return run_dir.path / "toy"
