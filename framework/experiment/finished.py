"""The config of a run that is over, with what the run has made in place: its base, its models.

run_dir, config = tuned_run(Path("runs/x"), overrides)      # config.model loads final_model
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from groupwise.framework.config import ExperimentConfig, Overrides
from groupwise.framework.experiment.toy import toy_of
from groupwise.framework.policy.folders import as_saved
from groupwise.framework.run.directory import RunDir, open_run_dir
from groupwise.rewards.errors import UserError


def tuned_run(path: Path, overrides: Overrides) -> tuple[RunDir, ExperimentConfig]:
    """A finished run, and its config with the tuned model in place."""
    run_dir = open_run_dir(path)
    config = base_config(run_dir, overrides)
    if not run_dir.final_model.is_dir():
        raise UserError(f"{path}: the run has no final_model; it did not finish")
    return run_dir, replace(config, model=as_saved(config.model, run_dir.final_model))


def base_config(run_dir: RunDir, overrides: Overrides) -> ExperimentConfig:
    """A run's config with the model that it began with.

    A toy or a merged base model that the run has made is taken from its folder.
    """
    config = ExperimentConfig.from_yaml(run_dir.config_resolved, overrides)
    if run_dir.merged_base.is_dir():
        merged = replace(
            config.model, name=str(run_dir.merged_base), adapter=None, adapter_mode="continue"
        )
        config = replace(config, model=merged)
    return toy_of(run_dir, run_dir.dated(config))
