"""`groupwise rewards`: a log's answers under a config's rewards."""

from __future__ import annotations

import argparse
from pathlib import Path

from groupwise.evaluation.tables import print_table
from groupwise.framework.cli.common import print_json
from groupwise.framework.cli.options import (
    add_json,
    add_overrides,
    add_overwrite,
    refuse_to_replace,
)
from groupwise.framework.config import ExperimentConfig, resolve_config_path
from groupwise.framework.experiment.rescore import find_logs, rescore_all, sections_of_log
from groupwise.framework.experiment.score_change import change_table
from groupwise.framework.run.terminal import Terminal


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log", required=True, metavar="LOG", help="samples.jsonl, rollouts.jsonl, or a run"
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="CONFIG",
        help="the rewards; sections that it leaves out are those that the log was made with",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the re-scored log to this file"
    )
    add_overwrite(parser)
    add_overrides(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    logs = find_logs(Path(arguments.log))
    path = resolve_config_path(arguments.config)
    configs = {
        log: ExperimentConfig.from_yaml(path, arguments.overrides, sections_of_log(log))
        for log in logs
    }
    output = Path(arguments.output) if arguments.output else None
    if output is not None:
        refuse_to_replace(output, overwrite=arguments.overwrite, logs=logs)
    with Terminal().libraries_to():
        changes = rescore_all(configs, output)
    if arguments.json:
        print_json({"logs": [change.to_json() for change in changes]})
        return 0
    print_table("\n".join(change_table(change) for change in changes))
    if output is not None:
        print(f"\nre-scored log: {output}")
    return 0
