"""What can be refused before a run directory exists: rewards, model folder, data files."""

from __future__ import annotations

from pathlib import Path

from groupwise.framework.config import TOY, ExperimentConfig
from groupwise.framework.config.paths import is_missing_file, nearby
from groupwise.framework.data.demonstrations import load_demonstrations
from groupwise.framework.data.examples import Split, load_examples
from groupwise.framework.data.scored_groups import read_groups
from groupwise.framework.experiment.evaluate import rubric_of
from groupwise.framework.policy.folders import check_model_folder
from groupwise.rewards.errors import UserError


def check_early(config: ExperimentConfig, splits: tuple[Split, ...]) -> None:
    """Raises UserError for what a user would else be told after the model was loaded."""
    rubric_of(config).close()
    if config.model.name != TOY:
        check_model_folder(config.model)
    offline = config.training.method == "group_scores"
    keys = {
        split: "data.eval" if split == "eval" and config.data.eval else "data.train"
        for split in splits
    }
    sources = {key: getattr(config.data, key.removeprefix("data.")) for key in keys.values()}
    warm_start = config.training.warm_start
    warms = "train" in splits and warm_start.enabled
    if warms:
        sources["training.warm_start.data"] = warm_start.data
    for key, source in sources.items():
        if source is not None and is_missing_file(source):
            raise UserError(f"{key}: there is no file {source}{nearby(Path(source))}")
    for split, key in keys.items():
        source = sources[key]
        if offline and source == config.data.train:
            read_groups(source)
        elif Path(source).is_file():
            load_examples(config.data, split)
    if warms and Path(warm_start.data or config.data.train).is_file():
        load_demonstrations(config.data, warm_start)
