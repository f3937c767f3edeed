"""`groupwise report`: a run as one HTML page."""

from __future__ import annotations

import argparse

from groupwise.evaluation.report import write_report
from groupwise.rewards.errors import as_user_error


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run directory, evaluation, or folder of runs")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="x.html; default: report.html in the run"
    )


def run(arguments: argparse.Namespace) -> int:
    with as_user_error(
        lambda error: f"--output {arguments.output}: {error}",
        FileExistsError,
        FileNotFoundError,
        NotADirectoryError,
    ):
        print(f"report: {write_report(arguments.run, arguments.output)}")
    return 0
