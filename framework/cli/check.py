"""`groupwise check`: prompts and rewards on the user's own data; 2 where they cannot work."""

from __future__ import annotations

import argparse

from groupwise.evaluation.tables import print_table
from groupwise.framework.cli.common import overrides_of, print_json
from groupwise.framework.cli.options import add_run_options
from groupwise.framework.config import ExperimentConfig, resolve_config_path
from groupwise.framework.experiment.preflight import check
from groupwise.framework.experiment.preflight_report import check_json, check_table
from groupwise.framework.run.terminal import Terminal


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="YAML file, or the name of a preset")
    add_run_options(parser, dry_run=False)


def run(arguments: argparse.Namespace) -> int:
    path = resolve_config_path(arguments.config)
    config = ExperimentConfig.from_yaml(path, overrides_of(arguments))
    found = check(config, Terminal(quiet=arguments.quiet))
    if arguments.json:
        print_json(check_json(found))
    else:
        print_table(check_table(found))
    return 2 if found.problems else 0
