"""What several commands share."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from groupwise.framework.cli.aliases import alias_overrides
from groupwise.framework.config import ExperimentConfig, Override, Overrides
from groupwise.framework.experiment.toy import toy_of
from groupwise.framework.policy.folders import as_saved
from groupwise.framework.run.directory import RunDir, open_run_dir
from groupwise.rewards.errors import UserError


def overrides_of(arguments: argparse.Namespace) -> Overrides:
    """The overrides of `--set` and of the options that set a key; the options win."""
    first, last = alias_overrides(arguments)
    overrides: list[str | Override] = [*first, *arguments.overrides, *last]
    for key in ("output_dir", "name", "seed"):
        value = getattr(arguments, key)
        if value is not None:
            overrides.append(Override(key, value, f"--{key.replace('_', '-')} {value}"))
    return overrides


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return (path / "config.resolved.json").is_file()


def tuned_run(path: Path, overrides: Overrides) -> tuple[RunDir, ExperimentConfig]:
    """A finished run, and its config with the tuned model in place."""
    run_dir = open_run_dir(path)
    config = base_config(run_dir, overrides)
    if not run_dir.final_model.is_dir():
        raise UserError(f"{path}: the run has no final_model; it did not finish")
    return run_dir, replace(config, model=as_saved(config.model, run_dir.final_model))


def base_config(run_dir: RunDir, overrides: Overrides) -> ExperimentConfig:
    """A run's config with its base model in place.

    A toy or a merged base model that the run has made is taken from its folder.
    """
    config = ExperimentConfig.from_yaml(run_dir.config_resolved, overrides)
    if run_dir.merged_base.is_dir():
        merged = replace(
            config.model, name=str(run_dir.merged_base), adapter=None, adapter_mode="continue"
        )
        config = replace(config, model=merged)
    return toy_of(run_dir, run_dir.dated(config))


def print_json(value: dict[str, Any]) -> None:
    """Prints JSON in ASCII: safe in any terminal encoding, and with lone surrogates in a prompt."""
    print(json.dumps(value, allow_nan=False))
