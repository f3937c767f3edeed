"""`groupwise export-groups`: a log becomes data for the method group_scores."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from groupwise.framework.cli.common import print_json
from groupwise.framework.cli.options import add_json, add_overwrite, refuse_to_replace
from groupwise.framework.data.scored_groups import export_groups


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="LOG", help="samples.jsonl, rollouts.jsonl, or its folder")
    parser.add_argument(
        "--to", "-o", "--output", required=True, metavar="FILE", help="file to write, .jsonl"
    )
    parser.add_argument(
        "--score",
        default="score",
        metavar="NAME",
        help="score (the total, default), correct, or a reward's name",
    )
    parser.add_argument(
        "--keep-equal", action="store_true", help="keep groups whose scores are all equal"
    )
    add_overwrite(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    log = Path(arguments.run)
    refuse_to_replace(Path(arguments.to), overwrite=arguments.overwrite, logs=[log])
    found = export_groups(
        arguments.run, arguments.to, score=arguments.score, keep_equal=arguments.keep_equal
    )
    if arguments.json:
        print_json({"to": arguments.to, **asdict(found)})
    else:
        print(f"{arguments.to}: {found}")
    return 0
