"""`groupwise evaluate`: a run's tuned model, or any model on a config's data."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from groupwise.evaluation.export import export
from groupwise.evaluation.log.files import write_json
from groupwise.evaluation.log.settings import load_settings
from groupwise.evaluation.tables import print_table, summary_table
from groupwise.framework.cli.common import overrides_of, print_json
from groupwise.framework.cli.options import add_run_options
from groupwise.framework.config import ExperimentConfig, Overrides, resolve_config_path
from groupwise.framework.experiment.data import load_held_out
from groupwise.framework.experiment.evaluate import (
    dated_as_before,
    evaluation_settings,
    measure,
)
from groupwise.framework.experiment.finished import tuned_run
from groupwise.framework.experiment.labels import data_label, free_evaluation, model_label
from groupwise.framework.experiment.less_memory import advised
from groupwise.framework.experiment.preflight import load_tokenizer, refuse_early
from groupwise.framework.experiment.template_check import notice_template
from groupwise.framework.experiment.toy import make_toy_in, toy_folder
from groupwise.framework.policy import load
from groupwise.framework.policy.folders import base_of_adapter, identity_of
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.run.directory import EVALUATION_CONFIG, RunDir, is_run
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


@dataclass(frozen=True, slots=True)
class _Target:
    """What is evaluated: the config with the model in place, the folder, the model's name."""

    config: ExperimentConfig
    run_dir: RunDir
    model: str


def run(arguments: argparse.Namespace) -> int:
    target = _target(arguments)
    config, run_dir = target.config, target.run_dir
    if settings := _settings(arguments, config):
        config = config.with_values(settings)
    if arguments.label is not None:
        run_dir.evaluation(arguments.label)  # refuses what cannot name a folder
    terminal = Terminal(quiet=arguments.quiet)
    with terminal.libraries_to():
        data = refuse_early(config, ("eval",))
    config = config.standing_alone()
    for notice in data.notices:
        terminal.notice(notice)
    given = arguments.label is not None
    label = arguments.label if given else f"{target.model}-{data_label(config.data)}"
    config = dated_as_before(config, run_dir, label)
    with terminal.libraries_to():  # what is refused leaves no folder behind
        config = make_toy_in(toy_folder(run_dir), config, terminal)
        data = data.of(config)
        load_unsloth()  # has to be imported before transformers, which the tokenizer needs
        tokenizer = load_tokenizer(config.model)
        held_out = load_held_out(data, tokenizer, terminal)
        model = identity_of(config.model)
        asked = evaluation_settings(config, tokenizer, model)
        label = free_evaluation(run_dir, label, held_out, asked, terminal, is_given=given)
    made = run_dir.evaluation(label)
    with terminal.libraries_to(run_dir.log):
        if load_settings(made) is None:  # nothing is sampled yet
            made.mkdir(parents=True, exist_ok=True)
            write_json(made / EVALUATION_CONFIG, config.to_dict())
        with terminal.stage("Load the model"):
            policy = load(config.model, config.seed, for_training=False)
        notice_template(config, policy.tokenizer, terminal.notice)
        held_out = data.prompts("eval", policy.tokenizer).examples
        with advised(config):
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


def _target(arguments: argparse.Namespace) -> _Target:
    """The model, with the data, rewards and sampling of the run or of `--config`."""
    target = Path(arguments.target)
    overrides = overrides_of(arguments)
    if is_run(target):
        run_dir, config = tuned_run(target, overrides)
        if arguments.config is not None:
            config = replace(_config_without_training(arguments, overrides), model=config.model)
        return _Target(config, run_dir, "tuned")
    if arguments.config is None and arguments.data is None:
        raise UserError(
            f"{arguments.target} is not a run directory: say which problems to use, with "
            "--config CONFIG (its data, rewards and sampling) or --data FILE"
        )
    if arguments.config is not None:
        config = _config_without_training(arguments, overrides)
    else:
        base = {"model": {"name": arguments.target}, "data": {"train": arguments.data}}
        config = ExperimentConfig.from_dict(base, overrides)
    is_adapter = base_of_adapter(target) is not None
    model_key = {"adapter": arguments.target} if is_adapter else {"name": arguments.target}
    config = replace(config, model=replace(config.model, **model_key, adapter_mode="continue"))
    for run in (*target.parents, Path(config.output_dir) / config.name):
        if is_run(run):  # a model of this run, or the run of this config: to be compared with it
            config = RunDir(run).dated(config)
    model = model_label(arguments.target)
    run_dir = RunDir(Path(config.output_dir) / (arguments.name or f"eval-{model}"))
    return _Target(config, run_dir, model)


def _config_without_training(
    arguments: argparse.Namespace, overrides: Overrides
) -> ExperimentConfig:
    """Rules about the data of other methods and of the warm start concern no evaluation."""
    no_training = [("training.method", "grpo"), ("training.warm_start.enabled", False)]
    path = resolve_config_path(arguments.config)
    config = ExperimentConfig.from_yaml(path, [*overrides, *no_training])
    # A run's own config: its prompts, and so its date.
    return RunDir(path.parent).dated(config) if is_run(path.parent) else config


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
