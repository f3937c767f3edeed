"""`groupwise compare`: a run's base against its tuned model, or any evaluations."""

from __future__ import annotations

import argparse
from pathlib import Path

from groupwise.evaluation import compare
from groupwise.evaluation.log.evaluations import FoundEvaluation, find_evaluations, names_of
from groupwise.evaluation.tables import comparison_table, print_table
from groupwise.framework.cli.common import print_json
from groupwise.framework.cli.options import add_json
from groupwise.rewards.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="run directory, evaluation, or samples.jsonl"
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


def _labelled(paths: list[str]) -> dict[str, Path]:
    """Logs by name: base and tuned of a single run; of several, one of each by run and label."""
    if len(paths) == 1:
        (path,) = paths
        found = find_evaluations(path)
        logs = {one.label: one.log for one in found}
        if missing := [label for label in ("base", "tuned") if label not in logs]:
            raise UserError(
                f"{path}: comparing takes two evaluations; there is no "
                f"{' and no '.join(missing)}. {_choice(found)}"
            )
        return {label: logs[label] for label in ("base", "tuned")}
    chosen = [_the_one(path) for path in paths]
    return dict(zip(names_of(chosen), (one.log for one in chosen), strict=True))


def _the_one(path: str) -> FoundEvaluation:
    """The evaluation that a path stands for beside others: a run's tuned one, or its only one."""
    found = find_evaluations(path)
    tuned = [one for one in found if one.label == "tuned"]
    if len(found) > 1 and not tuned:
        raise UserError(f"{path}: has {len(found)} evaluations, so say which. {_choice(found)}")
    return (tuned or found)[0]


def _choice(found: list[FoundEvaluation]) -> str:
    there = ", ".join(str(one.log.parent) for one in found)
    return f"Name two or more, such as: {there}" if len(found) > 1 else f"There is {there}"
