"""The checkpoints of a run, and which of them it can resume from.

The trainer writes `trainer_state.json` last, and removes older checkpoints only after that. So a
folder in which that file can be read is complete; what a kill left half-written is never used.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

_NAME = re.compile(r"^checkpoint-(\d+)$")
_WEIGHTS = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")


def step_of(checkpoint: Path) -> int:
    """The optimiser step after which a checkpoint was written."""
    found = _NAME.match(checkpoint.name)
    if found is None:
        raise ValueError(f"{checkpoint} is not named checkpoint-N")
    return int(found[1])


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written completely."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    has_weights = any((checkpoint / name).is_file() for name in _WEIGHTS)
    return has_weights and state.get("global_step") == step_of(checkpoint)


def latest_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint in `folder`, None if there is none; removes half-written ones."""
    whole = whole_checkpoints(folder)
    for path in set(_checkpoints(folder)) - set(whole):
        shutil.rmtree(path)
    return max(whole, key=step_of, default=None)


def whole_checkpoints(folder: Path) -> list[Path]:
    """Those in `folder` that a run could resume from."""
    return [path for path in _checkpoints(folder) if is_whole(path)]


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if _NAME.match(path.name)]
