"""`groupwise quickstart`: the preset of that name, each time under a name that is free."""

from __future__ import annotations

import argparse

from groupwise.framework.cli.train import train


def run(arguments: argparse.Namespace) -> int:
    return train(arguments, "quickstart", name_if_taken=True)
