"""Folders that take long to make, kept for the next time in the user's cache folder.

    kept_folder(folder, {"toy": 42, "torch": "2.13.0"}, make)   # else make(folder) fills it

The key says everything that the content depends on. A kept folder is copied, so that a run stands
by itself; one that is not as it was written is made again. The cache is `$XDG_CACHE_HOME/groupwise`
(`~/.cache/groupwise`) and may be removed at any time. Where it cannot be written to, nothing is
kept. Left out: folders inside folders, and the age of what is kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from groupwise.evaluation.log.files import replacing_folder, user_cache, write_json
from groupwise.rewards.errors import UserError

_CONTENTS = ".contents.json"  # of a kept folder: its key, and a hash of each of its files

_log = logging.getLogger(__name__)


def kept_folder(folder: Path, key: Mapping[str, object], make: Callable[[Path], None]) -> None:
    """Fills the new `folder` with what was kept under this key; else `make` fills it, to be kept.

    `folder` must not exist. Several processes may do so at once: each has a whole folder.
    """
    kept = _place(key)
    files = _read(kept, key) if kept else None
    if files is None:
        make(folder)
        if kept:
            _keep(folder, kept, key)
        return
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _place(key: Mapping[str, object]) -> Path | None:
    """Where the folder of this key is kept; None where there is no home directory."""
    cache = user_cache()
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    return cache / name if cache else None


def _read(kept: Path, key: Mapping[str, object]) -> dict[str, bytes] | None:
    """The files of a kept folder; None if it is not there, or not as it was written."""
    try:
        contents = json.loads((kept / _CONTENTS).read_bytes())
        files = {name: (kept / name).read_bytes() for name in contents["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return files if contents == _contents(key, files) else None


def _keep(folder: Path, kept: Path, key: Mapping[str, object]) -> None:
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    try:
        with replacing_folder(kept) as new:
            for name, content in files.items():
                (new / name).write_bytes(content)
            write_json(new / _CONTENTS, _contents(key, files))
    except (OSError, UserError) as error:
        # Read-only, full, or another process was quicker: it is made again the next time.
        _log.warning("%s: not kept for the next time: %s", folder, error)


def _contents(key: Mapping[str, object], files: Mapping[str, bytes]) -> dict[str, object]:
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    return {"key": dict(key), "files": hashes}
