"""`groupwise export`: a tuned model in the forms that others load, checked."""

from __future__ import annotations

import argparse
from pathlib import Path

from groupwise.framework.cli.common import base_config, print_json, tuned_run
from groupwise.framework.cli.options import add_json, add_overrides, add_quiet
from groupwise.framework.export.formats import FORMATS, gguf
from groupwise.framework.export.gguf import QUANTISATIONS
from groupwise.framework.export.run import export
from groupwise.framework.export.source import Source
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run directory, or a model in it")
    parser.add_argument("--format", choices=[*FORMATS, "gguf"], required=True)
    parser.add_argument(
        "--quantization", choices=[*QUANTISATIONS], help="type of the weights (gguf; q8_0)"
    )
    parser.add_argument("--to", "-o", metavar="DIR", help="folder to make")
    add_overrides(parser)
    add_json(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    run_dir, config = tuned_run(Path(arguments.run), arguments.overrides)
    if arguments.format == "gguf":
        format = gguf(arguments.quantization or "q8_0")
    elif arguments.quantization:
        raise UserError(f"--quantization is for --format gguf, not for {arguments.format}")
    else:
        format = FORMATS[arguments.format]
    to = Path(arguments.to) if arguments.to else run_dir.path / "exports" / format.name
    if to.exists():
        raise UserError(f"{to}: is there already")
    base = base_config(run_dir, arguments.overrides).model
    source = Source(run_dir, config, run_dir.final_model, "tuned", base)
    outcome = export(source, format, to, Terminal(quiet=arguments.quiet))
    if arguments.json:
        print_json(outcome.to_json())
    else:
        print(outcome)
    return 0 if outcome.findings.passed else 1
