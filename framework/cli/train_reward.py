"""`groupwise train-reward`: a reward model from preferences."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from groupwise.evaluation.tables import print_table
from groupwise.framework.cli.common import print_json
from groupwise.framework.run.terminal import Terminal
from groupwise.framework.trainers.reward_model import RewardTraining, result_table, train_reward


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
