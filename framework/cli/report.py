"""`groupwise report`: a run as one HTML page."""

from __future__ import annotations

import argparse

from groupwise.evaluation.report import write_report


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run directory, evaluation, or folder of runs")
    parser.add_argument("--output", metavar="FILE", help="default: report.html in the run")


def run(arguments: argparse.Namespace) -> int:
    print(f"report: {write_report(arguments.run, arguments.output)}")
    return 0
