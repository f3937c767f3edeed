"""`groupwise report`: a run as one HTML page."""

from __future__ import annotations

import argparse

from groupwise.evaluation.report import write_report


def run(arguments: argparse.Namespace) -> int:
    print(f"report: {write_report(arguments.run, arguments.output)}")
    return 0
