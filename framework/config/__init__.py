"""The config of an experiment: its schema, loading, overrides and checks. No torch here.

    config = ExperimentConfig.from_yaml("configs/quickstart.yaml", ["training.max_steps=20"])
    config.training.learning_rate
    print(config.training.batch_shape)

A relative path inside a config file is looked for from the current directory first, then from the
folder of the config file.
"""

from framework.config.advice import notices
from framework.config.batch_shape import BatchShape, check_processes, shared_batch_shape
from framework.config.checks import ConfigError, Problem
from framework.config.loading import validated
from framework.config.presets import list_presets, preset_text, resolve_config_path
from framework.config.schema import (
    TOY,
    DataConfig,
    EvaluationConfig,
    ExperimentConfig,
    GroupScoresConfig,
    ModelConfig,
    RewardsConfig,
    TrackingConfig,
    TrainingConfig,
    WarmStartConfig,
)

__all__ = [
    "ExperimentConfig",
    "ModelConfig",
    "DataConfig",
    "RewardsConfig",
    "TrainingConfig",
    "WarmStartConfig",
    "GroupScoresConfig",
    "EvaluationConfig",
    "TrackingConfig",
    "BatchShape",
    "ConfigError",
    "Problem",
    "TOY",
    "check_processes",
    "shared_batch_shape",
    "notices",
    "validated",
    "list_presets",
    "preset_text",
    "resolve_config_path",
]
