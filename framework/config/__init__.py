"""The config of an experiment: its schema, loading, overrides and checks. No torch here.

    config = ExperimentConfig.from_yaml("configs/quickstart.yaml", ["training.max_steps=20"])
    config.training.learning_rate
    print(config.training.batch_shape)

    schema, descriptions    every key with type, default and meaning; the meanings as text
    experiment              `ExperimentConfig`: the sections as one checked whole
    load, yaml, overrides   from a file, a dictionary and `--set` to a config
    edit                    a config's text with other values, its comments kept
    locations               which keys hold paths; where they lead; absolute ones for a run
    rules, batch, paths     rules over several keys; batch sizes; names of data files
    errors, messages        what is wrong, all of it at once, with what was probably meant
    other_names             keys as other tools name them, and what they are here
    presets, reference      the configs of the project by name; `configs/reference.yaml`

A relative path inside a config file is looked for from the current directory first, then from the
folder of the config file.
"""

from groupwise.framework.config.batch import BatchShape
from groupwise.framework.config.errors import ConfigError, Problem
from groupwise.framework.config.experiment import ExperimentConfig
from groupwise.framework.config.load import with_values
from groupwise.framework.config.overrides import Override, Overrides
from groupwise.framework.config.presets import (
    list_presets,
    preset_path,
    preset_text,
    resolve_config_path,
)
from groupwise.framework.config.rules import (
    check_processes,
    check_training,
    notices,
    shared_batch_shape,
)
from groupwise.framework.config.schema import (
    TOY,
    DataConfig,
    EvaluationConfig,
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
    "Override",
    "Overrides",
    "ConfigError",
    "Problem",
    "TOY",
    "check_processes",
    "check_training",
    "shared_batch_shape",
    "notices",
    "with_values",
    "list_presets",
    "preset_path",
    "preset_text",
    "resolve_config_path",
]
