"""What a run was made from, told apart by content: so that a file may move, and not change.

    fingerprints(config)       # {"data.train": "9f2c…"}: kept in the run's manifest

A large file, and each file of a folder (a model), counts with its size and both its ends, which any
training changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.config.locations import exists, paths_in

IMPORT_FROM = "rewards.import_from"
"""A folder of code, and of whatever else lies there: what it holds is no input of a run."""
_WHOLE = 1 << 26  # bytes up to which a file is read from end to end
_END = 1 << 20


def fingerprints(config: ExperimentConfig) -> dict[str, str]:
    """A hash of each file and folder that the config names and that is there, by dotted key."""
    found = sorted(paths_in(config.to_dict()).items())
    return {k: _fingerprint(Path(path)) for k, path in found if exists(path) and k != IMPORT_FROM}


@dataclass(frozen=True, slots=True)
class InputChange:
    """A file or folder of a run that lies elsewhere now, or has other content, than it began with.

    `is_same` is about the content. In a run of an earlier version, which kept no hashes, that of a
    file which is no longer there is taken to be the same.
    """

    key: str
    before: str
    now: str
    is_same: bool

    @property
    def is_moved(self) -> bool:
        return self.before != self.now

    def __str__(self) -> str:
        if not self.is_moved:
            return f"{self.key}: {self.now} has been changed since the run began"
        other = "" if self.is_same else ", with other content"
        return f"{self.key}: {self.before} when it began, {self.now} now{other}"


def input_changes(
    began: ExperimentConfig, now: ExperimentConfig, manifest: Mapping[str, Any]
) -> list[InputChange]:
    """What became of the files that the config names, between two configs of one run."""
    kept: Mapping[str, str] = manifest.get("inputs", {})
    before, here = paths_in(began.to_dict()), paths_in(now.to_dict())
    changes = []
    for key, fingerprint in fingerprints(now).items():
        if key not in before or ("inputs" in manifest and key not in kept):
            continue  # not a file of the run: it named none there, or something on the hub
        old = kept.get(key)
        if old is None and exists(before[key]):
            old = _fingerprint(Path(before[key]))
        change = InputChange(key, before[key], here[key], old in (None, fingerprint))
        if change.is_moved or not change.is_same:
            changes.append(change)
    return changes


def _fingerprint(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    is_folder = path.is_dir()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if is_folder else [path]:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path) if is_folder else ''} {size}\n".encode())
        with file.open("rb") as content:
            if size <= _WHOLE and not is_folder:
                digest.update(content.read())
            else:
                digest.update(content.read(_END))
                content.seek(max(0, size - _END))
                digest.update(content.read())
    return digest.hexdigest()
