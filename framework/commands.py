"""What the commands do, once their arguments are known. `cli.py` holds the arguments."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evaluation import compare as compare_logs
from evaluation.escape import printable
from evaluation.export import export
from evaluation.tables import comparison_table, print_table, summary_table
from framework import processes
from framework.aliases import alias_overrides
from framework.config import (
    ExperimentConfig,
    check_processes,
    list_presets,
    notices,
    preset_text,
    resolve_config_path,
)
from framework.data import Split
from framework.resume import resume_run_dir
from framework.run_dir import (
    RunDir,
    check_run_dir,
    check_writable,
    create_run_dir,
    open_run_dir,
)
from framework.run_health import read_findings
from framework.scored_groups import read_groups
from framework.terminal import Terminal
from rewards.errors import UserError

_SHOWN_PROMPT = 600  # characters of the first prompt that a dry run shows


def train(arguments: argparse.Namespace, config_name: str, *, name_if_taken: bool = False) -> int:
    """`groupwise train`, and `quickstart` with `name_if_taken`: a second run gets another name."""
    terminal = Terminal(quiet=arguments.quiet)
    if arguments.dry_run:
        if not processes.is_main():
            return 0
        config, _ = _run_config(arguments, config_name, name_if_taken=name_if_taken)
        return _rehearse(config, arguments, terminal)

    def opened() -> tuple[ExperimentConfig, RunDir]:
        config, text = _run_config(arguments, config_name, name_if_taken=name_if_taken)
        _check_early(config, ("train", "eval"))
        for notice in notices(config):
            terminal.notice(notice)
        if arguments.resume:
            return config, resume_run_dir(config, terminal.notice)
        return config, create_run_dir(config, text)

    config, run_dir = processes.from_main(opened)
    with run_dir:
        terminal.line(f"groupwise: {config.name} in {run_dir.path}")
        from framework import experiment

        outcome = experiment.run(config, run_dir, terminal)
    if not processes.is_main():
        return 130 if outcome.was_stopped else 0
    if outcome.was_stopped:
        steps = outcome.training.steps if outcome.training else 0
        print(
            f"groupwise: stopped after step {steps}, with a checkpoint. Go on with the same "
            "command and --resume",
            file=sys.stderr,
        )
        return 130
    if arguments.json:
        _print_json(
            {
                "run": str(run_dir.path),
                "evaluations": {k: s.to_json() for k, s in outcome.summaries.items()},
                "comparison": outcome.comparison.to_json() if outcome.comparison else None,
                "health": [asdict(finding) for finding in read_findings(run_dir.health)],
            }
        )
        return 0
    print()
    if outcome.comparison:
        print_table(comparison_table(outcome.comparison))
    else:
        for label, summary in outcome.summaries.items():
            print_table(summary_table(summary, label))
    print()
    for finding in read_findings(run_dir.health):
        print(f"health: {finding}")
    _print_paths(run_dir)
    return 0


def _run_config(
    arguments: argparse.Namespace, config_name: str, *, name_if_taken: bool
) -> tuple[ExperimentConfig, str]:
    """The config of the run that is asked for, whose name is free, and the text it is from."""
    path = resolve_config_path(config_name)
    config = ExperimentConfig.from_yaml(path, _overrides(arguments))
    if name_if_taken and arguments.name is None and not arguments.resume:
        config = _with_free_name(config)
    if not arguments.resume:
        check_run_dir(config)
    if processes.count() > 1:
        check_processes(config, processes.count())
    return config, path.read_text(encoding="utf-8")


def _overrides(arguments: argparse.Namespace) -> list[str]:
    """`--set`, and the options that are short for one; the latter win."""
    first, last = alias_overrides(arguments)
    overrides = [*first, *arguments.overrides, *last]
    if arguments.output_dir is not None:
        overrides.append(f"output_dir={json.dumps(arguments.output_dir)}")
    if arguments.name is not None:
        overrides.append(f"name={json.dumps(arguments.name)}")
    return overrides


def _with_free_name(config: ExperimentConfig) -> ExperimentConfig:
    name, number = config.name, 2
    while (Path(config.output_dir) / name).exists():
        name, number = f"{config.name}-{number}", number + 1
    return config.with_values({"name": name})


def _check_early(config: ExperimentConfig, splits: tuple[Split, ...]) -> None:
    """What can be refused before a run directory exists: rewards, model folder, data files."""
    from framework.config import TOY
    from framework.data import load_examples
    from framework.data_files import is_missing_file, nearby
    from framework.measuring import rubric_of
    from framework.policy import check_model_folder

    rubric_of(config).close()
    if config.model.name != TOY:
        check_model_folder(config.model)
    offline = config.training.method == "group_scores"
    keys = {
        split: "data.eval" if split == "eval" and config.data.eval else "data.train"
        for split in splits
    }
    sources = {key: getattr(config.data, key.removeprefix("data.")) for key in keys.values()}
    if "train" in splits and config.training.warm_start.enabled:
        sources["training.warm_start.data"] = config.training.warm_start.data
    for key, source in sources.items():
        if source is not None and is_missing_file(source):
            raise UserError(f"{key}: there is no file {source}{nearby(Path(source))}")
    for split, key in keys.items():
        source = sources[key]
        if offline and source == config.data.train:
            read_groups(source)
            continue
        if Path(source).is_file():
            load_examples(config.data, split)


def _rehearse(config: ExperimentConfig, arguments: argparse.Namespace, terminal: Terminal) -> int:
    from framework.rehearsal import rehearse

    check_writable(config)
    _check_early(config, ("train", "eval"))
    if config.training.method == "group_scores":
        return _rehearse_groups(config, arguments)
    found = rehearse(config, terminal)
    if arguments.json:
        _print_json(
            {
                "train": len(found.train.examples),
                "train_left_out": len(found.train.left_out),
                "held_out": len(found.held_out.examples),
                "held_out_left_out": len(found.held_out.left_out),
                "longest_prompt": found.train.longest_prompt,
                "demonstrations": found.num_demonstrations,
                "batch_shape": found.batch_shape,
                "memory": found.checkpointing,
                "first_prompt": found.first_prompt,
                "notices": list(notices(config)),
                "problems": list(found.problems),
            }
        )
        return 2 if found.problems else 0
    print(f"train:     {found.train}")
    print(f"held out:  {found.held_out}")
    if found.num_demonstrations:
        print(f"warm start: {found.num_demonstrations} demonstrations")
    print(f"batch:     {found.batch_shape}")
    print(f"memory:    {found.checkpointing}")
    print("first prompt, as the model will see it:")
    for line in found.first_prompt[:_SHOWN_PROMPT].splitlines():
        print(f"    {printable(line)}")
    for notice in notices(config):
        print(f"note: {printable(notice, lines=True)}")
    if found.problems:
        for problem in found.problems:
            print(f"PROBLEM: {printable(problem, lines=True)}")
        print("`groupwise check` with this config says more.")
        return 2
    print("Everything short of loading the model is fine.")
    return 0


def _rehearse_groups(config: ExperimentConfig, arguments: argparse.Namespace) -> int:
    """A dry run of training on scored groups: the files are read, and counted."""
    groups = read_groups(config.data.train)
    sizes = [len(group.completions) for group in groups]
    scores = [completion.score for group in groups for completion in group.completions]
    found = {
        "groups": len(groups),
        "completions": sum(sizes),
        "smallest_group": min(sizes),
        "largest_group": max(sizes),
        "lowest_score": min(scores),
        "highest_score": max(scores),
    }
    if arguments.json:
        _print_json(found)
        return 0
    print("\n".join(f"{name.replace('_', ' ') + ':':<16} {n:g}" for name, n in found.items()))
    print("Everything short of loading the model is fine.")
    return 0


def export_groups(arguments: argparse.Namespace) -> int:
    """`groupwise export-groups`: a log becomes data for the method group_scores."""
    from dataclasses import asdict

    from framework.scored_groups import export_groups as export

    found = export(
        arguments.run, arguments.to, score=arguments.score, keep_equal=arguments.keep_equal
    )
    if arguments.json:
        _print_json({"to": arguments.to, **asdict(found)})
    else:
        print(f"{arguments.to}: {found}")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """`groupwise check`: prompts and rewards on the user's own data; 2 where they cannot work."""
    path = resolve_config_path(arguments.config)
    config = ExperimentConfig.from_yaml(path, _overrides(arguments))
    _check_early(config, ("train",))
    from framework.preflight import check as preflight
    from framework.preflight import preflight_table

    found = preflight(config, Terminal(quiet=arguments.quiet))
    if arguments.json:
        _print_json(found.to_json())
    else:
        print_table(preflight_table(found))
    return 2 if found.problems else 0


def rescore(arguments: argparse.Namespace) -> int:
    """`groupwise rewards`: a log's answers under a config's rewards."""
    from framework.rescoring import change_table, find_logs, rescore_all

    config = ExperimentConfig.from_yaml(resolve_config_path(arguments.config), arguments.overrides)
    logs = find_logs(Path(arguments.log))
    output = Path(arguments.output) if arguments.output else None
    changes = rescore_all(logs, config, output)
    if arguments.json:
        _print_json({"logs": [change.to_json() for change in changes]})
        return 0
    print_table("\n".join(change_table(change) for change in changes))
    if output is not None:
        print(f"\nre-scored log: {output}")
    return 0


def train_reward(arguments: argparse.Namespace) -> int:
    """`groupwise train-reward`: a reward model from preferences."""
    from dataclasses import asdict

    from framework.reward_trainer import RewardTraining, result_table
    from framework.reward_trainer import train_reward as train_model

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
    result = train_model(arguments.data, arguments.model, output, terminal, settings)
    if arguments.json:
        _print_json(asdict(result))
    else:
        print_table(result_table(result))
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """`groupwise evaluate`: a run's tuned model, or any model on a config's data."""
    config, folder, label = _what_to_evaluate(arguments)
    settings: dict[str, Any] = {}
    if arguments.data is not None:
        settings["data.eval"] = arguments.data
    if arguments.num_samples is not None:
        settings["evaluation.num_samples"] = arguments.num_samples
        ks = [k for k in config.evaluation.k if k <= arguments.num_samples]
        settings["evaluation.k"] = ks or [1]
    if arguments.k is not None:
        settings["evaluation.k"] = _numbers(arguments.k)
    if settings:
        config = config.with_values(settings)
    _check_early(config, ("eval",))

    from framework import experiment
    from framework.measuring import measure
    from framework.policy import identity_of, load
    from framework.run_data import load_held_out

    terminal = Terminal(quiet=arguments.quiet)
    run_dir = RunDir(folder)
    run_dir.evaluation(label)  # refuses what cannot name a folder
    with terminal.libraries_to(run_dir.log):
        config = experiment.make_toy_parts(config, folder / "toy", terminal)
        with terminal.stage("Load the model"):
            policy = load(config.model, config.seed, for_training=False)
        held_out = load_held_out(config, policy, terminal)
        model = identity_of(config.model)
        summary = measure(label, config, policy, held_out, run_dir, terminal, model=model)
    made = run_dir.evaluation(label)
    table = made / f"samples.{arguments.export}"
    if arguments.export:
        export(made, table)
    if arguments.json:
        _print_json({"evaluation": str(made), "summary": summary.to_json()})
        return 0
    print()
    print_table(summary_table(summary, label))
    print(f"\nevery answer: {made / 'samples.jsonl'}")
    if arguments.export:
        print(f"as a table:   {table}")
    return 0


def _what_to_evaluate(arguments: argparse.Namespace) -> tuple[ExperimentConfig, Path, str]:
    """The config with the model in place, the folder for the evaluation, and its label."""
    from framework.policy import as_saved, base_of_adapter

    target = Path(arguments.target)
    overrides = _overrides(arguments)
    if (target / "config.resolved.json").is_file():
        run_dir = open_run_dir(target)
        config = ExperimentConfig.from_yaml(run_dir.config_resolved, overrides)
        model = run_dir.final_model
        if not model.is_dir():
            raise UserError(f"{target}: the run has no final_model; it did not finish")
        config = _with_run_parts(config, run_dir)
        config = replace(config, model=as_saved(config.model, model))
        label = "tuned-again" if arguments.label is None else arguments.label
        return config, run_dir.path, label
    if arguments.config is None and arguments.data is None:
        raise UserError(
            f"{arguments.target} is no run directory: say which problems to use, with "
            "--config CONFIG (its data, rewards and sampling) or --data FILE"
        )
    if arguments.config is not None:
        path = resolve_config_path(arguments.config)
        no_training = ["training.method=grpo", "training.warm_start.enabled=false"]
        config = ExperimentConfig.from_yaml(path, [*overrides, *no_training])
    else:
        base = {"model": {"name": arguments.target}, "data": {"train": arguments.data}}
        config = ExperimentConfig.from_dict(base, overrides)
    is_adapter = base_of_adapter(target) is not None
    model_key = {"adapter": arguments.target} if is_adapter else {"name": arguments.target}
    config = replace(config, model=replace(config.model, **model_key, adapter_mode="continue"))
    name = arguments.name or f"eval-{target.resolve().name if target.exists() else target.name}"
    return (
        config,
        Path(config.output_dir) / name,
        "base" if arguments.label is None else arguments.label,
    )


def _with_run_parts(config: ExperimentConfig, run_dir: RunDir) -> ExperimentConfig:
    """The run's own toy model and problems, and its merged base model, where it has made some."""
    from framework.data import with_toy
    from framework.toy import ToyPaths

    if run_dir.merged_base.is_dir():
        merged = replace(
            config.model, name=str(run_dir.merged_base), adapter=None, adapter_mode="continue"
        )
        config = replace(config, model=merged)
    paths = ToyPaths.under(run_dir.path / "toy")
    return with_toy(config, paths.model, paths.train, paths.eval)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--k: {text!r} must be whole numbers separated by commas: 1,2,4") from None


def compare(arguments: argparse.Namespace) -> int:
    """`groupwise compare`: a run's base against its tuned model, or any evaluations."""
    comparison = compare_logs(
        _labelled(arguments.runs), allow_differences=arguments.allow_differences
    )
    if arguments.json:
        _print_json(comparison.to_json())
    else:
        print_table(comparison_table(comparison))
    return 0


def _labelled(runs: list[str]) -> dict[str, Path]:
    """Evaluations by label: base and tuned of a single run; else one of each that is named."""
    if len(runs) == 1:
        folders = {label: RunDir(Path(runs[0])).evaluation(label) for label in ("base", "tuned")}
        missing = [str(f) for f in folders.values() if not (f / "samples.jsonl").is_file()]
        if missing:
            lacks = " and no ".join(missing)
            raise UserError(f"{runs[0]}: comparing takes two evaluations; there is no {lacks}")
        return folders
    labelled: dict[str, Path] = {}
    for run in runs:
        path = Path(run)
        tuned = path / "evaluations" / "tuned"
        label = f"{path.parent.name}/{path.name}" if path.name in labelled else path.name
        labelled[label] = tuned if tuned.is_dir() else path
    return labelled


def configs(arguments: argparse.Namespace) -> int:
    """`groupwise configs`: the presets with their first line, or one of them whole."""
    if arguments.name is not None:
        print(preset_text(arguments.name), end="")
        return 0
    for name, summary in list_presets().items():
        print(f"{name:<24} {summary}")
    print("\nPrint one with `groupwise configs NAME`, run it with `groupwise train NAME`.")
    return 0


def chat(arguments: argparse.Namespace) -> int:
    """`groupwise chat`: a conversation with a run's tuned model."""
    run_dir = open_run_dir(Path(arguments.run))
    if not run_dir.final_model.is_dir():
        raise UserError(f"{arguments.run}: the run has no final_model; it did not finish")
    from framework.chat import chat as converse
    from framework.policy import as_saved, load

    config = run_dir.config()
    model = as_saved(_with_run_parts(config, run_dir).model, run_dir.final_model)
    terminal = Terminal()
    with terminal.libraries_to(run_dir.log), terminal.stage("Load the model"):
        policy = load(model, config.seed, for_training=False)
    converse(
        config,
        policy,
        with_base=arguments.compare == "base",
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens or config.eval_max_completion_length,
    )
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """`groupwise doctor`: versions beside those that were tested, and the GPU."""
    from framework.doctor import diagnose, report

    diagnosis = diagnose()
    if arguments.json:
        packages = {
            p.name: {"tested": p.tested, "installed": p.installed} for p in diagnosis.packages
        }
        _print_json({"healthy": diagnosis.healthy, "gpu": diagnosis.gpu, "packages": packages})
    else:
        print(report(diagnosis))
    return 0 if diagnosis.healthy else 2


def _print_paths(run_dir: RunDir) -> None:
    """Where everything lies, as far as it exists."""
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


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))
