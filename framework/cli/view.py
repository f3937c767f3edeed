"""`groupwise view`: every answer in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path

from groupwise.evaluation.viewer import serve
from groupwise.rewards.errors import UserError


def run(arguments: argparse.Namespace) -> int:
    if arguments.runs == ["runs"] and not Path("runs").is_dir():
        raise UserError(
            "there is no folder runs here: name a run's folder; `groupwise quickstart` makes one"
        )
    serve(arguments.runs, port=arguments.port, open_browser=not arguments.no_browser)
    return 0
