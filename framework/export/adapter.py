"""The tuned model as a plain PEFT adapter, with the base model named as others can find it."""

from __future__ import annotations

import shutil
from pathlib import Path

from groupwise.evaluation.log.files import read_json, write_json
from groupwise.framework.export.source import Source
from groupwise.framework.policy.folders import absolute
from groupwise.rewards.errors import UserError

_FILES = ("adapter_config.json", "adapter_model.safetensors")


def refuse_without_adapter(source: Source) -> None:
    """Raises UserError for a run that has trained all weights."""
    if not source.is_adapter:
        raise UserError(
            f"{source.folder}: this run has trained all weights, so there is no adapter; export "
            "the weights: --format merged"
        )


def write_adapter(source: Source, folder: Path) -> list[str]:
    """Copies the adapter to `folder`; returns what its users have to know."""
    for name in _FILES:
        shutil.copyfile(source.folder / name, folder / name)
    settings = read_json(folder / "adapter_config.json")
    name = source.public_base or absolute(source.base.name)
    write_json(folder / "adapter_config.json", settings | {"base_model_name_or_path": name})
    if source.public_base is not None:
        return []
    if Path(name) == source.run_dir.merged_base.resolve():
        remedy = "The run has made it itself: others can use --format merged"
    else:
        remedy = "If others know the model by a name of the hub, say --base OWNER/NAME"
    return [
        f"the adapter names its base model by a folder of this machine, {name}: it loads nowhere "
        f"else. {remedy}"
    ]
