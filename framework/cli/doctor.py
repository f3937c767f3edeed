"""`groupwise doctor`: versions beside those that were tested, and the GPU; `--rows` measures."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from groupwise.evaluation.text import folded
from groupwise.framework.cli.common import print_json
from groupwise.framework.cli.options import add_json, add_overrides, add_quiet
from groupwise.framework.config import ExperimentConfig, resolve_config_path
from groupwise.framework.experiment.tune_rows import tune_rows
from groupwise.framework.run.doctor import diagnose, report
from groupwise.framework.run.terminal import Terminal


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows",
        metavar="CONFIG",
        help="measure how many answers at once are fastest here, with this config's model",
    )
    add_overrides(parser)
    add_json(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.rows is not None:
        return _measure_rows(arguments)
    diagnosis = diagnose()
    if arguments.json:
        packages = {
            p.name: {"tested": p.tested, "installed": p.installed} for p in diagnosis.packages
        }
        print_json({"healthy": diagnosis.healthy, "gpu": diagnosis.gpu, "packages": packages})
    else:
        print(report(diagnosis))
    return 0 if diagnosis.healthy else 2


def _measure_rows(arguments: argparse.Namespace) -> int:
    """Prints how many rows are fastest for training's rollouts and for evaluation."""
    path = resolve_config_path(arguments.rows)
    config = ExperimentConfig.from_yaml(path, arguments.overrides)
    found = tune_rows(config, Terminal(quiet=arguments.quiet))
    if arguments.json:
        print_json(
            {key: {**asdict(rows), "best": asdict(rows.best)} for key, rows in found.items()}
        )
        return 0
    for setting, rows in found.items():
        print(f"{'rows':>6} {'tokens/s':>10}   {setting}")
        for tried in rows.tried:
            print(f"{tried.rows:>6} {tried.tokens_per_second:>10,.0f}")
    for setting, rows in found.items():
        print(folded(rows.advice(setting), sys.stdout))
    return 0
