"""`groupwise evaluate`: a run's tuned model, or any model on a config's data."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from groupwise.evaluation.export import export
from groupwise.evaluation.tables import print_table, summary_table
from groupwise.framework.cli.common import is_run, overrides_of, print_json, tuned_run
from groupwise.framework.cli.options import add_run_options
from groupwise.framework.config import ExperimentConfig, resolve_config_path
from groupwise.framework.experiment.data import load_held_out
from groupwise.framework.experiment.evaluate import dated_as_before, measure
from groupwise.framework.experiment.preflight import refuse_early
from groupwise.framework.experiment.toy import make_toy_in, toy_folder
from groupwise.framework.policy import load
from groupwise.framework.policy.folders import base_of_adapter, identity_of
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", metavar="MODEL", help="folder of a run, model or adapter, or hub name"
    )
    parser.add_argument(
        "--config", metavar="CONFIG", help="where data, rewards and sampling come from"
    )
    parser.add_argument("--data", metavar="FILE", help="problems: a file or a hub name")
    parser.add_argument("--num-samples", type=int, metavar="N", help="answers for each problem")
    parser.add_argument("--k", metavar="1,2,4", help="which pass@k, separated by commas")
    parser.add_argument(
        "--export",
        choices=["parquet", "csv"],
        help="write the answers as a table, too",
    )
    parser.add_argument("--label", help="name of this evaluation, and of its folder")
    add_run_options(parser, dry_run=False)
    parser.set_defaults(how_to_resume=". The same command continues with the rest")


def run(arguments: argparse.Namespace) -> int:
    config, folder, label = _what_to_evaluate(arguments)
    if settings := _settings(arguments, config):
        config = config.with_values(settings)
    data = refuse_early(config, ("eval",))
    config = config.standing_alone()

    terminal = Terminal(quiet=arguments.quiet)
    for notice in data.notices:
        terminal.notice(notice)
    run_dir = RunDir(folder)
    made = run_dir.evaluation(label)  # refuses what cannot name a folder
    config = dated_as_before(config, run_dir, label)
    with terminal.libraries_to(run_dir.log):
        config = make_toy_in(toy_folder(run_dir), config, terminal)
        with terminal.stage("Load the model"):
            policy = load(config.model, config.seed, for_training=False)
        held_out = load_held_out(data.of(config), policy.tokenizer, terminal)
        model = identity_of(config.model)
        summary = measure(label, config, policy, held_out, run_dir, terminal, model=model)
    table = made / f"samples.{arguments.export}"
    if arguments.export:
        export(made, table)
    if arguments.json:
        print_json({"evaluation": str(made), "summary": summary.to_json()})
        return 0
    print()
    print_table(summary_table(summary, label))
    print(f"\nevery answer: {made / 'samples.jsonl'}")
    if arguments.export:
        print(f"as a table:   {table}")
    return 0


def _what_to_evaluate(arguments: argparse.Namespace) -> tuple[ExperimentConfig, Path, str]:
    """The config with the model in place, the folder for the evaluation, and its label."""
    target = Path(arguments.target)
    overrides = overrides_of(arguments)
    if is_run(target):
        run_dir, config = tuned_run(target, overrides)
        return config, run_dir.path, "tuned-again" if arguments.label is None else arguments.label
    if arguments.config is None and arguments.data is None:
        raise UserError(
            f"{arguments.target} is not a run directory: say which problems to use, with "
            "--config CONFIG (its data, rewards and sampling) or --data FILE"
        )
    if arguments.config is not None:
        path = resolve_config_path(arguments.config)
        # Rules about the data of other methods and of the warm start do not concern an evaluation.
        no_training = [("training.method", "grpo"), ("training.warm_start.enabled", False)]
        config = ExperimentConfig.from_yaml(path, [*overrides, *no_training])
        if (path.parent / "config.resolved.json").is_file():  # a run's own config: its prompts
            config = RunDir(path.parent).dated(config)
    else:
        base = {"model": {"name": arguments.target}, "data": {"train": arguments.data}}
        config = ExperimentConfig.from_dict(base, overrides)
    is_adapter = base_of_adapter(target) is not None
    model_key = {"adapter": arguments.target} if is_adapter else {"name": arguments.target}
    config = replace(config, model=replace(config.model, **model_key, adapter_mode="continue"))
    name = arguments.name or f"eval-{target.resolve().name if target.exists() else target.name}"
    folder = Path(config.output_dir) / name
    return config, folder, "base" if arguments.label is None else arguments.label


def _settings(arguments: argparse.Namespace, config: ExperimentConfig) -> dict[str, Any]:
    """Keys of the config that the command line sets."""
    settings: dict[str, Any] = {}
    if arguments.data is not None:
        settings["data.eval"] = arguments.data
    if arguments.num_samples is not None:
        settings["evaluation.num_samples"] = arguments.num_samples
        ks = [k for k in config.evaluation.k if k <= arguments.num_samples]
        settings["evaluation.k"] = ks or [1]
    if arguments.k is not None:
        settings["evaluation.k"] = _numbers(arguments.k)
    return settings


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--k: {text!r} must be whole numbers separated by commas: 1,2,4") from None
