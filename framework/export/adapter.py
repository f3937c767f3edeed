"""The tuned model as a plain PEFT adapter, with the base model named as others can find it."""

from __future__ import annotations

import shutil
from pathlib import Path

from groupwise.framework.export.source import Source
from groupwise.framework.policy.folders import base_of_adapter
from groupwise.rewards.errors import UserError

_FILES = ("adapter_config.json", "adapter_model.safetensors")


def write_adapter(source: Source, folder: Path) -> list[str]:
    """Copies the adapter to `folder`; returns what its users have to know.

    Raises UserError for a run that has trained all weights.
    """
    if not source.is_adapter:
        raise UserError(
            f"{source.folder}: this run has trained all weights, there is no adapter; "
            "use --format merged"
        )
    for name in _FILES:
        shutil.copyfile(source.folder / name, folder / name)
    base = base_of_adapter(folder)
    if base is not None and Path(base).is_dir():
        return [
            f"the adapter names its base model by a folder of this machine, {base}: elsewhere it "
            "loads only where base_model_name_or_path in its adapter_config.json is changed"
        ]
    return []
