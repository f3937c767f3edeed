"""`groupwise train-reward`: a reward model from preferences."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from groupwise.evaluation.tables import print_table
from groupwise.framework.cli.common import print_json
from groupwise.framework.cli.options import add_json, add_quiet
from groupwise.framework.run.terminal import Terminal
from groupwise.framework.trainers.reward_model import RewardTraining, result_table, train_reward


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="pairs or scored answers: file or hub name")
    parser.add_argument("--model", required=True, metavar="NAME", help="model folder or hub name")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the result")
    parser.add_argument("--epochs", type=float, default=1.0, metavar="N", help="passes (1)")
    parser.add_argument("--lr", type=float, metavar="X", help="learning rate (1e-5; LoRA 1e-4)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="pairs a step (8)")
    parser.add_argument("--max-length", type=int, default=1024, metavar="N", help="tokens (1024)")
    parser.add_argument(
        "--eval-fraction", type=float, default=0.1, metavar="X", help="questions held out (0.1)"
    )
    parser.add_argument(
        "--lora-r", type=int, default=0, metavar="N", help="LoRA rank; 0 trains every weight (0)"
    )
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="seed (42)")
    add_json(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = RewardTraining(
        epochs=arguments.epochs,
        learning_rate=arguments.lr,
        batch_size=arguments.batch_size,
        max_length=arguments.max_length,
        eval_fraction=arguments.eval_fraction,
        lora_r=arguments.lora_r,
        seed=arguments.seed,
    )
    terminal = Terminal(quiet=arguments.quiet)
    output = Path(arguments.output)
    result = train_reward(arguments.data, arguments.model, output, terminal, settings)
    if arguments.json:
        print_json(asdict(result))
    else:
        print_table(result_table(result))
    return 0
