"""Options that several commands share. Options of a single command are in its module."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from groupwise.rewards.errors import UserError


def add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a key of the config; any number of times",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def refuse_to_replace(output: Path, *, overwrite: bool | None, logs: Sequence[Path] = ()) -> None:
    """Raises UserError where a command would write over a file, a folder or a log that it reads.

    `overwrite`: None where the command has no such option.
    """
    if output.is_file() and any(log.is_file() and output.samefile(log) for log in logs):
        raise UserError(f"{output}: is the log itself; name another file")
    if output.is_dir():
        raise UserError(f"{output}: is a folder; name the file to write")
    if output.exists() and not overwrite:
        hint = "" if overwrite is None else ", or add --overwrite"
        raise UserError(f"{output}: is there already; name another file{hint}")


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress, notices only")


def add_run_options(parser: argparse.ArgumentParser, *, dry_run: bool = True) -> None:
    """Options of a command that takes a config and makes a run; see `common.overrides_of`."""
    add_overrides(parser)
    parser.add_argument("--output-dir", metavar="DIR", help="folder in which the run is made")
    parser.add_argument("--name", help="name of the run, and of its folder")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of everything drawn at random")
    if dry_run:
        parser.add_argument(
            "--dry-run", action="store_true", help="check everything short of loading the model"
        )
        parser.add_argument(
            "--resume",
            nargs="?",
            const=True,
            metavar="RUN",
            help="continue a run where it stopped: that of the config, or that of this folder",
        )
    add_json(parser)
    add_quiet(parser)
