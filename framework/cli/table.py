"""`groupwise table`: the answers of a run or an evaluation as a table, without a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from groupwise.evaluation.export import export
from groupwise.framework.cli.common import print_json
from groupwise.framework.cli.options import add_json, add_overwrite, refuse_to_replace
from groupwise.rewards.errors import UserError, as_user_error

DEFAULT = "samples.csv"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run (all its evaluations), evaluation, or log")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"x.csv or x.parquet; default: {DEFAULT} in RUN, or beside the log",
    )
    add_overwrite(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    source = Path(arguments.run)
    default = source / DEFAULT if source.is_dir() else source.with_suffix(".csv")
    output = default if arguments.output is None else Path(arguments.output)
    if output.is_dir():
        raise UserError(
            f"{output}: is a folder; name the file to write, such as {output / DEFAULT}"
        )
    refuse_to_replace(output, overwrite=arguments.overwrite)
    with as_user_error(lambda error: f"{output}: {error}", FileExistsError, NotADirectoryError):
        rows = export(source, output)
    if arguments.json:
        print_json({"table": str(output), "rows": rows})
    else:
        print(f"{output}: {rows:,} answers")
    return 0
