"""A tuned model of a run, as it is to be exported: where it lies, and how it is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from groupwise.framework.config import ExperimentConfig, ModelConfig
from groupwise.framework.policy.folders import base_of_adapter
from groupwise.framework.run.directory import RunDir


@dataclass(frozen=True, slots=True)
class Source:
    """`config.model` loads it; `folder` holds its adapter or weights; `label` names it in the run.

    `base` is the config of the model that the run began with, to be compared with.
    """

    run_dir: RunDir
    config: ExperimentConfig
    folder: Path
    label: str
    base: ModelConfig

    @property
    def is_adapter(self) -> bool:
        return base_of_adapter(self.folder) is not None

    @property
    def dtype_16bit(self) -> str:
        """The 16-bit type for its weights: that of the base model's files, or else bfloat16."""
        file = Path(self.base.name) / "config.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        is_float16 = (found.get("dtype") or found.get("torch_dtype")) == "float16"
        return "float16" if is_float16 else "bfloat16"
