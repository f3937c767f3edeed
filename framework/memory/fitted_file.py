"""Writes the config that fits: the user's own text with the changed values, comments kept.

    write_fitted(Path("fits.yaml"), source, found, "a card of 8 GB")

Where the text cannot be edited (`config/edit.py`), the whole config is written, without comments.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from groupwise.evaluation.text import printable
from groupwise.framework.config import ConfigError, ExperimentConfig
from groupwise.framework.config.edit import edited
from groupwise.framework.config.load import load_text, read_config_text
from groupwise.framework.memory.chart import amount
from groupwise.framework.memory.fit import Fitted
from groupwise.framework.memory.report import change_text
from groupwise.rewards.errors import UserError


def write_fitted(target: Path, source: Path, found: Fitted, memory: str) -> bool:
    """Writes `found.config` to a new file; whether it has the comments of `source`.

    `source` is the file that the config came from, before `--set`. Raises UserError if `target`
    exists or cannot be written.
    """
    config = found.config
    assert config is not None
    text = None if source.suffix == ".json" else _edited(source, target, config)
    kept = text is not None
    if text is None:
        whole = _whole(config.standing_alone())
        text = str(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:  # never over a file that is there
            file.write(_header(found, memory) + text)
    except OSError as error:
        why = "is there already" if target.exists() else f"cannot be written: {error}"
        raise UserError(f"{target}: {why}; name another file") from error
    return kept


def _header(found: Fitted, memory: str) -> str:
    if not found.changes:
        return ""
    head = (
        f"# Fits {memory}, as `groupwise plan` predicts: up to {amount(found.needed)}. Changed:\n"
    )
    lines = [f"#   {printable(change_text(change))}\n" for change in found.changes]
    return "".join([head, *lines, "\n"])


def _edited(source: Path, target: Path, config: ExperimentConfig) -> str | None:
    """The text, changed where it says something else than the config; None if that cannot be.

    In another folder a relative path would lead elsewhere: there it becomes an absolute one.
    """
    text = read_config_text(source)
    stays = source.parent.resolve() == target.parent.resolve()
    try:
        there = load_text(ExperimentConfig, text, target)
        there_now = _whole(there.standing_alone() if stays else there)
        text = edited(text, dict(_differing(there_now, _whole(config.standing_alone()))))
        there = load_text(ExperimentConfig, text, target)
    except (ConfigError, ValueError):
        return None
    same = _whole(there.standing_alone()) == _whole(config.standing_alone())
    return text if same else None


def _whole(config: ExperimentConfig) -> dict[str, Any]:
    """All keys without the name, which is that of the file."""
    found = config.to_dict()
    del found["name"]
    return found


def _differing(there: Any, wanted: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The keys, as far down as both have the same, with the values that are wanted."""
    if isinstance(there, dict) and isinstance(wanted, dict) and there.keys() == wanted.keys():
        for name, value in wanted.items():
            yield from _differing(there[name], value, f"{key}.{name}".lstrip("."))
    elif there != wanted:
        yield key, wanted
