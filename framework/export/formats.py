"""The forms of an export: what each writes, how it is loaded again, and what rounding it brings.

    FORMATS["merged"].write(tuned, folder)

A new form is a file with these functions and a line in `FORMATS`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.framework.export.adapter import write_adapter
from groupwise.framework.export.merged import write_merged
from groupwise.framework.export.precision import Precision, rounding
from groupwise.framework.export.source import Source


@dataclass(frozen=True, slots=True)
class Tuned:
    """A tuned model and what was seen of it when it was loaded."""

    source: Source
    precision: Precision
    tokenizer: Any
    generation_config: Any


@dataclass(frozen=True, slots=True)
class Format:
    """`write(tuned, folder)` gives sentences for the user; `command` loads what it wrote, and
    serves an `Answerer`. `rounding`: the relative error of a weight beside the policy's.
    """

    name: str
    write: Callable[[Tuned, Path], list[str]]
    command: Callable[[Tuned, Path], list[str]]
    rounding: Callable[[Tuned], float]


def _write_adapter(tuned: Tuned, folder: Path) -> list[str]:
    notices = write_adapter(tuned.source, folder)
    _write_beside(tuned, folder)
    return notices


def _write_merged(tuned: Tuned, folder: Path) -> list[str]:
    share = write_merged(tuned.source, tuned.precision, folder)
    _write_beside(tuned, folder)
    return [f"share {share}"]


def _write_beside(tuned: Tuned, folder: Path) -> None:
    """Tokenizer, chat template and end-of-text tokens, as the policy had them."""
    tuned.tokenizer.save_pretrained(str(folder))
    tuned.generation_config.save_pretrained(str(folder))


def _plain(tuned: Tuned, folder: Path) -> list[str]:
    """transformers, and peft for an adapter: its base model as in training."""
    is_adapter = (folder / "adapter_config.json").is_file()
    model = tuned.source.config.model
    options = {
        "folder": str(folder),
        "base": model.name if is_adapter else None,
        "precision": tuned.precision.to_json() if is_adapter else None,
        "max_rows": tuned.source.config.evaluation.max_rows,
        "trust_remote_code": model.trust_remote_code,
    }
    return [sys.executable, "-m", "groupwise.framework.export.plain", json.dumps(options)]


def _of_adapter(tuned: Tuned) -> float:
    return rounding(tuned.precision.dtype)


def _of_merged(tuned: Tuned) -> float:
    return math.hypot(rounding(tuned.precision.dtype), rounding(tuned.source.dtype_16bit))


FORMATS: Mapping[str, Format] = {
    "adapter": Format("adapter", _write_adapter, _plain, _of_adapter),
    "merged": Format("merged", _write_merged, _plain, _of_merged),
}
