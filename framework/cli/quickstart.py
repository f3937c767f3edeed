"""`groupwise quickstart`: trains the preset of that name, each time under a new run name."""

from __future__ import annotations

import argparse

from groupwise.framework.cli.options import add_run_options
from groupwise.framework.cli.train import train
from groupwise.framework.config import preset_path


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run_options(parser)
    parser.set_defaults(force=False)


def run(arguments: argparse.Namespace) -> int:
    return train(arguments, str(preset_path("quickstart")), name_if_taken=True)
