"""`groupwise plan`: what a run needs of memory, whether it fits a card, and a config that does."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from groupwise.evaluation.text import folded_line, width_of
from groupwise.framework.cli.common import print_json
from groupwise.framework.cli.options import add_json, add_overrides, refuse_to_replace
from groupwise.framework.config import ExperimentConfig, resolve_config_path
from groupwise.framework.experiment.timing import planned_time
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.chart import COLUMNS, Line, plain, without_bar
from groupwise.framework.memory.fitted_file import write_fitted
from groupwise.framework.memory.report import card_of, make_report, report_json, report_lines
from groupwise.framework.run.directory import is_run
from groupwise.framework.run.machine import Memory, card, free_disk, main_memory
from groupwise.framework.run.screen import say
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", metavar="CONFIG", help="YAML file, the name of a preset, or the folder of a run"
    )
    parser.add_argument(
        "--vram", metavar="GB", help="memory of the card (1e9 bytes); else that of the card here"
    )
    parser.add_argument("--fit", metavar="FILE", help="write a config that fits")
    add_overrides(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.config)
    path = folder / "config.resolved.json"
    if not is_run(folder):
        path = resolve_config_path(arguments.config)
    config = ExperimentConfig.from_yaml(path, arguments.overrides)
    there = card() if arguments.vram is None else _asked_card(arguments.vram)
    target = None if arguments.fit is None else Path(arguments.fit)
    if target is not None:
        refuse_to_replace(target, overwrite=None)
        if arguments.fit == "-":
            raise UserError("--fit -: name the file to write, such as fits.yaml")
        if there is None:
            raise UserError("--fit: there is no card here; say how much memory it has: --vram 8")
    terminal = Terminal()
    architecture = read_architecture(config.model, terminal)
    is_here = arguments.vram is None
    time = planned_time(config, architecture, notify=terminal.notice) if is_here else None
    disk = free_disk(Path(config.output_dir).expanduser())
    report = make_report(config, architecture, there, main_memory(), str(time or ""), disk)
    if arguments.json:
        seconds = time and {"low": time.seconds.low, "high": time.seconds.high}
        print_json({**report_json(report), "seconds": seconds})
    else:
        _print(report_lines(report))
    if target is None or report.fitted.config is None:
        return 0 if report.fit.verdict != "too large" and target is None else 2
    has_comments = write_fitted(target, path, report.fitted, report.card.name)
    said = "" if has_comments else "; the comments could not be kept"
    say(f"{target}: written{said}. `groupwise train {shlex.quote(str(target))}` runs it.")
    return 0


def _asked_card(text: str) -> Memory:
    """The card of `--vram`. Raises UserError where that is no size."""
    try:
        size = float(text.lower().removesuffix("gb"))
    except ValueError:
        size = 0.0
    if not 0 < size < 1e6:
        raise UserError(f"--vram {text}: give the card's memory in GB, such as 8")
    return card_of(size)


def _print(lines: Iterable[Line]) -> None:
    width = width_of(sys.stdout)
    if width is None:
        ascii_only = not _can_draw(sys.stdout.encoding)
        for line in lines:
            print(plain(line, ascii_only=ascii_only))
        return
    from rich.console import Console  # slow: not at start-up
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    ascii_only = not _can_draw(console.encoding)
    for whole in lines:
        line = without_bar(whole) if width < COLUMNS else whole
        text = plain(line, ascii_only=ascii_only)
        if ascii_only or len(text) > width:
            style = line[0].style if len(line) == 1 else ""
            console.print(Text(folded_line(text, width), style))
        else:
            console.print(Text.assemble(*line))


def _can_draw(encoding: str | None) -> bool:
    try:
        "█╍│".encode(encoding or "utf-8")  # none: a stream in memory
    except (UnicodeEncodeError, LookupError):
        return False
    return True
