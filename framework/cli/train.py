"""`groupwise train`: opens or resumes the run of a config, runs it, and prints its results."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from groupwise.evaluation.tables import comparison_table, print_table, summary_table
from groupwise.evaluation.text import folded
from groupwise.framework.cli.aliases import PRESETS, add_aliases, fitting_forward
from groupwise.framework.cli.common import overrides_of, print_json
from groupwise.framework.cli.options import add_run_options
from groupwise.framework.config import (
    ExperimentConfig,
    check_processes,
    list_presets,
    notices,
    resolve_config_path,
)
from groupwise.framework.experiment.data import RunData
from groupwise.framework.experiment.preflight import dry_run, refuse_early
from groupwise.framework.experiment.preflight_report import dry_run_json, dry_run_table
from groupwise.framework.memory.check import check_memory
from groupwise.framework.run import processes
from groupwise.framework.run.directory import (
    RunDir,
    check_run_dir,
    check_writable,
    create_run_dir,
    is_run,
    open_run_dir,
)
from groupwise.framework.run.health import read_findings
from groupwise.framework.run.resume import check_resumable, resume_run_dir
from groupwise.framework.run.screen import say
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from groupwise.framework.experiment.run import Outcome

_STOPPED = 130  # the exit code after Ctrl-C


def add_options(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "config", metavar="CONFIG", nargs="?", help="YAML file, or the name of a preset"
    )
    which.add_argument(
        "--preset",
        choices=PRESETS,
        metavar="NAME",
        help=f"the same as CONFIG: {', '.join(PRESETS)}",
    )
    add_run_options(parser)
    parser.add_argument(
        "--force", action="store_true", help="start even where the memory is predicted not to do"
    )
    add_aliases(parser)


def run(arguments: argparse.Namespace) -> int:
    return train(arguments, arguments.config or arguments.preset)


def train(
    arguments: argparse.Namespace, config_name: str | None, *, name_if_taken: bool = False
) -> int:
    """Runs the config of that name; with `name_if_taken` a second run gets another name."""
    terminal = Terminal(quiet=arguments.quiet)
    if arguments.dry_run:
        if not processes.is_main():
            return 0
        asked = _asked(arguments, config_name, terminal, name_if_taken=name_if_taken)
        if arguments.resume:
            for line in check_resumable(asked.config, asked.run)[1]:
                terminal.notice(f"would resume with {line}")
        return _dry_run(asked.config, terminal, as_json=arguments.json)

    def opened() -> tuple[ExperimentConfig, RunDir, RunData]:
        asked = _asked(arguments, config_name, terminal, name_if_taken=name_if_taken)
        with terminal.libraries_to():  # rewards may import some
            data = refuse_early(asked.config, ("train", "eval"))
        config = asked.config.standing_alone()
        memory = _memory_notices(config, config_name or asked.config.name, force=arguments.force)
        for notice in (*notices(config), *data.notices, *memory):
            terminal.notice(notice)
        if arguments.resume:
            return config, resume_run_dir(config, terminal.notice, asked.run), data
        return config, create_run_dir(config, asked.text), data

    config, run_dir, data = processes.from_main(opened)
    arguments.how_to_resume = _how_to_resume(run_dir)
    with run_dir:
        terminal.line(f"groupwise: {config.name} in {run_dir.path}")
        # numpy: not at start-up
        from groupwise.framework.experiment import less_memory
        from groupwise.framework.experiment import run as experiment

        with less_memory.advised(config):
            outcome = experiment.run(config, run_dir, terminal, data)
    if processes.is_main():
        if outcome.was_stopped:
            _say_stopped(outcome, arguments)
        elif arguments.json:
            _print_as_json(outcome, run_dir)
        else:
            _print_as_text(outcome, run_dir)
    return _STOPPED if outcome.was_stopped else 0


def _memory_notices(config: ExperimentConfig, name: str, *, force: bool) -> list[str]:
    """Notices on memory that may not do. Raises UserError, unless forced, if it cannot do."""
    found = check_memory(config)
    if found is None or found.fits:
        return []
    if force or not found.cannot_fit:
        return [str(found)]
    plan = f"`groupwise plan {shlex.quote(name)}` shows what takes it, with --fit FILE it writes a "
    plan = f"{plan}config that fits; " if found.on_card else ""
    raise UserError(f"{found.remedy()}\n{plan}--force starts all the same")


def _dry_run(config: ExperimentConfig, terminal: Terminal, *, as_json: bool) -> int:
    """Prints what was found; the exit code is 2 where training would be meaningless."""
    check_writable(config)
    found = dry_run(config, terminal)
    if as_json:
        print_json(dry_run_json(found))
    else:
        print(folded(dry_run_table(found), sys.stdout), end="")
    return 2 if found.problems else 0


class _Asked(NamedTuple):
    """The config of the run, its text as the user wrote it, and the folder of a run by folder."""

    config: ExperimentConfig
    text: str | None = None
    run: Path | None = None


def _asked(
    arguments: argparse.Namespace,
    config_name: str | None,
    terminal: Terminal,
    *,
    name_if_taken: bool,
) -> _Asked:
    """What to run: the run of a folder, or that of a config under a name that is not taken."""
    name, folder = _config_or_run(arguments, config_name)
    if folder is not None:
        path = open_run_dir(folder).config_resolved
        asked = _Asked(ExperimentConfig.from_yaml(path, overrides_of(arguments)), run=folder)
    else:
        path = resolve_config_path(name)
        overrides = overrides_of(arguments)
        if fitting := fitting_forward(arguments, path, overrides):
            said = f"{fitting.key} is {fitting.value}, to divide the step of {fitting.origin}"
            terminal.notice(said)
            overrides = [*overrides, fitting]
        config = ExperimentConfig.from_yaml(path, overrides)
        if name_if_taken and arguments.name is None and not arguments.resume:
            config = _with_free_name(config)
        if not arguments.resume:
            check_run_dir(config)
        asked = _Asked(config, path.read_text(encoding="utf-8"))
    if processes.count() > 1:
        check_processes(asked.config, processes.count())
    return asked


def _config_or_run(
    arguments: argparse.Namespace, config_name: str | None
) -> tuple[str, Path | None]:
    """The config's name, and the folder of the run if that is what is named.

    Both `train RUN --resume` and `train --resume RUN` are understood, and both forms of a config.
    """
    after_resume = arguments.resume if isinstance(arguments.resume, str) else None
    if arguments.command == "quickstart" and after_resume:
        config_name = None
    if config_name and after_resume:
        raise UserError(
            f"--resume {after_resume}: name the run or the config {config_name}, not both; "
            "a run has its config in it"
        )
    name = config_name or after_resume
    if name is None:
        raise UserError(
            "train needs a config: a YAML file or a preset (`groupwise configs` lists them); or "
            "--resume RUN, to continue the run in a folder"
        )
    folder = Path(name)
    if name in list_presets():  # which a folder of the same name does not hide
        return name, None
    if arguments.resume and not folder.is_file() and folder.suffix not in (".yaml", ".yml"):
        folder = open_run_dir(folder).path  # says so if there is none
    if not is_run(folder):
        return name, None
    if not arguments.resume:
        raise UserError(f"{name}: holds a run; `groupwise train {name} --resume` continues it")
    for option in ("name", "output_dir"):
        if (value := getattr(arguments, option)) is not None:
            shown = f"--{option.replace('_', '-')} {value}"
            raise UserError(f"{shown}: the run is the one in {name}; leave this out")
    return name, folder


def _how_to_resume(run_dir: RunDir) -> str:
    if processes.count() > 1:  # a launcher's command
        return ". Continue with the same command and --resume"
    return f". Continue with: groupwise train {shlex.quote(str(run_dir.path))} --resume"


def _with_free_name(config: ExperimentConfig) -> ExperimentConfig:
    name, number = config.name, 2
    while (Path(config.output_dir) / name).exists():
        name, number = f"{config.name}-{number}", number + 1
    return config.with_values({"name": name})


def _say_stopped(outcome: Outcome, arguments: argparse.Namespace) -> None:
    steps = outcome.training.steps if outcome.training else 0
    said = f"stopped after step {steps}, with a checkpoint{arguments.how_to_resume}"
    say(f"groupwise: {said}")
    if arguments.json:
        print_json({"error": said, "exit_code": _STOPPED, "run": str(outcome.run.path)})


def _print_as_json(outcome: Outcome, run_dir: RunDir) -> None:
    print_json(
        {
            "run": str(run_dir.path),
            "evaluations": {k: s.to_json() for k, s in outcome.summaries.items()},
            "comparison": outcome.comparison.to_json() if outcome.comparison else None,
            "health": [asdict(finding) for finding in read_findings(run_dir.health)],
        }
    )


def _print_as_text(outcome: Outcome, run_dir: RunDir) -> None:
    """The numbers, the findings, and where each file is."""
    print()
    if outcome.comparison:
        print_table(comparison_table(outcome.comparison))
    else:
        for label, summary in outcome.summaries.items():
            print_table(summary_table(summary, label))
    print()
    for finding in read_findings(run_dir.health):
        print(f"health: {finding}")
    shown = (
        ("tuned model", run_dir.final_model),
        ("best model", run_dir.path / "best_model"),
        ("every answer", run_dir.path / "evaluations"),
        ("every rollout", run_dir.rollouts),
        ("numbers by step", run_dir.metrics),
        ("findings", run_dir.health),
        ("comparison", run_dir.comparison),
        ("report", run_dir.report),
        ("library output", run_dir.log),
    )
    for name, path in shown:
        if path.exists():
            print(f"{name + ':':<17} {path}")
