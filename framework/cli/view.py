"""`groupwise view`: every answer in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path

from groupwise.evaluation.viewer import serve
from groupwise.rewards.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", metavar="RUN", nargs="*", default=["runs"],
        help="run directories, evaluations, or folders of runs (default: runs)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")
    parser.add_argument("--no-browser", action="store_true", help="print the address, open nothing")


def run(arguments: argparse.Namespace) -> int:
    if arguments.runs == ["runs"] and not Path("runs").is_dir():
        raise UserError(
            "there is no folder runs here: name a run's folder; `groupwise quickstart` makes one"
        )
    serve(arguments.runs, port=arguments.port, open_browser=not arguments.no_browser)
    return 0
