"""`groupwise configs`: lists the presets with their first line, or prints one."""

from __future__ import annotations

import argparse

from groupwise.framework.config import list_presets, preset_text


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="preset to print")


def run(arguments: argparse.Namespace) -> int:
    if arguments.name is not None:
        print(preset_text(arguments.name), end="")
        return 0
    for name, summary in list_presets().items():
        print(f"{name:<24} {summary}")
    print("\nPrint one with `groupwise configs NAME`, run it with `groupwise train NAME`.")
    return 0
