"""ExperimentConfig: the sections of the schema as one checked whole, loaded, changed and saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic.dataclasses import dataclass

from groupwise.evaluation.sampler import SamplingParams
from groupwise.framework.config.load import load_dict, load_yaml, to_dict
from groupwise.framework.config.locations import make_absolute
from groupwise.framework.config.messages import probably
from groupwise.framework.config.other_names import OTHER_NAMES
from groupwise.framework.config.overrides import Overrides
from groupwise.framework.config.rules import refuse_contradictions
from groupwise.framework.config.schema import STRICT, Experiment, sampling_params


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExperimentConfig(Experiment):
    """One experiment, from the model to the report. Load it with `from_yaml` or `from_dict`.

    The names of `READ_THROUGH` can be read from the config itself: `config.learning_rate` is
    `config.training.learning_rate`, and `config.model_name` is `config.model.name`.

    Raises:
        ConfigError: two keys contradict each other (a UserError; it lists every such problem).
        pydantic.ValidationError: a value has the wrong type, where the constructor is called
            directly; `from_yaml` and `from_dict` turn this into a ConfigError too.
    """

    def __post_init__(self) -> None:
        refuse_contradictions(self)

    @classmethod
    def from_yaml(
        cls,
        path: str | Path,
        overrides: Overrides = (),
        others: Mapping[str, Any] | None = None,
    ) -> ExperimentConfig:
        """Load a YAML file; the sections that it leaves out come from `others`, if given.

        `overrides` are "section.key=value", as `--set` takes them, or pairs of a dotted key and
        its value: `from_yaml("mine.yaml", ["training.beta=0.04", ("seed", 7)])`.

        Raises:
            ConfigError: the file or an override is wrong; the message lists every problem.
        """
        return load_yaml(cls, Path(path), overrides, others)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], overrides: Overrides = ()) -> ExperimentConfig:
        """Build a config from nested dictionaries, as YAML would give them. Raises ConfigError."""
        return load_dict(cls, data, overrides)

    def with_values(self, values: Mapping[str, Any]) -> ExperimentConfig:
        """A checked copy with other values, by dotted path: {"data.train": "rows.jsonl"}."""
        return self.from_dict(self.to_dict(), list(values.items()))

    def standing_alone(self) -> ExperimentConfig:
        """The same config with absolute paths: it can be used from any folder."""
        data = self.to_dict()
        make_absolute(data)
        return self.from_dict(data)

    def to_dict(self) -> dict[str, Any]:
        """The whole config, defaults included, as plain lists, dictionaries and scalars."""
        return to_dict(self)

    def to_yaml(self) -> str:
        """The whole config as YAML that `from_yaml` reads back as the same config."""
        return str(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=100))

    @property
    def eval_sampling_params(self) -> SamplingParams:
        """How evaluation draws answers, in the sampler's terms."""
        stop = self.training.stop if self.evaluation.stop is None else self.evaluation.stop
        return sampling_params(self.evaluation, self.eval_max_completion_length, self.seed, stop)

    @property
    def eval_max_completion_length(self) -> int:
        """Tokens an answer may have in evaluation."""
        return self.evaluation.max_completion_length or self.training.max_completion_length

    def __getattr__(self, name: str) -> Any:  # only where there is no such field
        path = READ_THROUGH.get(name)
        if path is None:
            meaning = "" if name.startswith("_") else probably((name,))
            raise AttributeError(
                f"{type(self).__name__} has no key {name!r}; {meaning}".strip("; ")
            )
        section, _, key = path.partition(".")
        return getattr(getattr(self, section), key)


_READ = (
    *("model.max_seq_length", "model.load_in_4bit", "model.lora_r", "model.lora_alpha"),
    *("training.learning_rate", "training.beta", "training.num_generations"),
    *("training.prompts_per_step", "training.max_completion_length", "training.max_steps"),
    "training.num_train_epochs",
)
READ_THROUGH = {path.rpartition(".")[2]: path for path in _READ} | {
    name: OTHER_NAMES[name].key for name in ("model_name", "train_data", "eval_data", "lr")
}
"""Keys that can be read without their section. All others are read as `config.section.key`."""
