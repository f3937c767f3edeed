"""`groupwise doctor`: checks installation and machine, and tries both out; `--rows` measures.

It has to work where nothing else does, so that only the standard library is imported at the top.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from groupwise.evaluation.text import folded, width_of
from groupwise.framework.cli.options import add_json, add_overrides, add_quiet
from groupwise.framework.experiment.self_test import SELF_TEST, STEPS, self_test_findings
from groupwise.framework.run.doctor.children import run_child, scratch_environment
from groupwise.framework.run.doctor.diagnosis import Diagnosis, diagnose
from groupwise.framework.run.doctor.reading import torch_findings
from groupwise.framework.run.doctor.report import as_json, as_markdown, as_text
from groupwise.framework.run.terminal import Terminal

_TORCH_LIMIT_S, _SELF_TEST_LIMIT_S = 120, 600  # a cold disk and a first compilation are slow


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick", action="store_true", help="in a second: nothing is imported or tried out"
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="print Markdown for an issue, without names, paths and tokens",
    )
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
    if not arguments.quick and platform.system() == "Linux":
        terminal = _terminal(arguments.quiet)
        diagnosis = _tried_out(diagnosis, terminal)
        terminal.line("")
    if arguments.json:
        print(json.dumps(as_json(diagnosis)))
    elif arguments.report:
        print(as_markdown(diagnosis))
    else:
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(as_text(diagnosis, width_of(sys.stdout), colours=colours))
    return 0 if diagnosis.healthy else 2


def _terminal(quiet: bool) -> Terminal:
    """Without a moving bar where rich, which draws it, cannot be imported."""
    terminal = Terminal(quiet=quiet)
    if terminal.is_interactive:
        try:
            importlib.import_module("rich.progress")
        except Exception:  # whatever a broken package raises
            terminal.is_interactive = False
    return terminal


def _tried_out(diagnosis: Diagnosis, terminal: Terminal) -> Diagnosis:
    """With what torch sees, and what a self-test of the whole stack shows."""
    with terminal.stage("Import torch"):
        ended = run_child("groupwise.framework.run.doctor.torch_probe", limit_s=_TORCH_LIMIT_S)
    diagnosis = diagnosis.joined(torch_findings(ended, diagnosis.cards), ended)
    if ended.error is not None:
        return diagnosis  # nothing else can work
    try:
        scratch = tempfile.TemporaryDirectory()
    except OSError:  # no space, or no rights: that is among the findings already
        return diagnosis
    with terminal.stage("Self-test") as stage, scratch:
        ended = run_child(
            SELF_TEST,
            limit_s=_SELF_TEST_LIMIT_S,
            on_step=lambda step: stage.update(STEPS.index(step), len(STEPS), step),
            environment=scratch_environment(Path(scratch.name)),
        )
        stage.summary = "passed" if ended.error is None else "failed"
    diagnosis = diagnosis.joined(self_test_findings(ended), ended)
    return replace(diagnosis, was_tested=ended.error is None)


def _measure_rows(arguments: argparse.Namespace) -> int:
    """Prints how many rows are fastest for training's rollouts and for evaluation."""
    # Needs the whole installation, the rest of this command does not: not at start-up.
    from groupwise.framework.cli.common import print_json
    from groupwise.framework.config import ExperimentConfig, resolve_config_path
    from groupwise.framework.experiment.tune_rows import tune_rows

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
