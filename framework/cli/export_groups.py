"""`groupwise export-groups`: a log becomes data for the method group_scores."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from groupwise.framework.cli.common import print_json
from groupwise.framework.data.scored_groups import export_groups


def run(arguments: argparse.Namespace) -> int:
    found = export_groups(
        arguments.run, arguments.to, score=arguments.score, keep_equal=arguments.keep_equal
    )
    if arguments.json:
        print_json({"to": arguments.to, **asdict(found)})
    else:
        print(f"{arguments.to}: {found}")
    return 0
