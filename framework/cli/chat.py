"""`groupwise chat`: a conversation with a run's tuned model."""

from __future__ import annotations

import argparse
from pathlib import Path

from groupwise.framework.cli.options import add_overrides
from groupwise.framework.experiment.chat import chat
from groupwise.framework.experiment.finished import tuned_run
from groupwise.framework.policy import load
from groupwise.framework.run.terminal import Terminal


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run directory")
    parser.add_argument("--compare", choices=["base"], help="let the base model answer too")
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="X", help="0 takes the likeliest tokens"
    )
    parser.add_argument("--max-tokens", type=int, metavar="N", help="length of an answer, at most")
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    run_dir, config = tuned_run(Path(arguments.run), arguments.overrides)
    terminal = Terminal()
    with terminal.libraries_to(run_dir.log), terminal.stage("Load the model"):
        policy = load(config.model, config.seed, for_training=False)
    chat(
        config,
        policy,
        with_base=arguments.compare == "base",
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens or config.eval_max_completion_length,
        terminal=terminal,
        log=run_dir.log,
    )
    return 0
