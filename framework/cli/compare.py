"""`groupwise compare`: a run's base against its tuned model, or any evaluations."""

from __future__ import annotations

import argparse
from pathlib import Path

from groupwise.evaluation import compare
from groupwise.evaluation.tables import comparison_table, print_table
from groupwise.framework.cli.common import print_json
from groupwise.framework.cli.options import add_json
from groupwise.framework.run.directory import RunDir
from groupwise.rewards.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="run directory, or the folder of an evaluation"
    )
    parser.add_argument(
        "--allow-differences", action="store_true", help="compare what was not made alike"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    comparison = compare(_labelled(arguments.runs), allow_differences=arguments.allow_differences)
    if arguments.json:
        print_json(comparison.to_json())
    else:
        print_table(comparison_table(comparison))
    return 0


def _labelled(runs: list[str]) -> dict[str, Path]:
    """Evaluation folders by label: base and tuned of a single run; of several, one of each."""
    if len(runs) == 1:
        folders = {label: RunDir(Path(runs[0])).evaluation(label) for label in ("base", "tuned")}
        missing = [str(f) for f in folders.values() if not (f / "samples.jsonl").is_file()]
        if missing:
            lacks = " and no ".join(missing)
            raise UserError(f"{runs[0]}: comparing takes two evaluations; there is no {lacks}")
        return folders
    labelled: dict[str, Path] = {}
    for run in runs:
        path = Path(run)
        tuned = path / "evaluations" / "tuned"
        label = f"{path.parent.name}/{path.name}" if path.name in labelled else path.name
        labelled[label] = tuned if tuned.is_dir() else path
    return labelled
