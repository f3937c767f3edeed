"""What several commands share."""

from __future__ import annotations

import argparse
import json
from typing import Any

from groupwise.framework.cli.aliases import alias_overrides
from groupwise.framework.config import Override, Overrides


def overrides_of(arguments: argparse.Namespace) -> Overrides:
    """The overrides of `--set` and of the options that set a key; the options win."""
    first, last = alias_overrides(arguments)
    overrides: list[str | Override] = [*first, *arguments.overrides, *last]
    for key in ("output_dir", "name", "seed"):
        value = getattr(arguments, key)
        if value is not None:
            overrides.append(Override(key, value, f"--{key.replace('_', '-')} {value}"))
    return overrides


def print_json(value: dict[str, Any]) -> None:
    """Prints JSON in ASCII: safe in any terminal encoding, and with lone surrogates in a prompt."""
    print(json.dumps(value, allow_nan=False))
