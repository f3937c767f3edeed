"""What may be asked of `groupwise`: its commands, and their options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from groupwise.framework.cli.aliases import PRESETS, add_aliases

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="groupwise",
        formatter_class=_Help,
        description="Teach a language model by reward on one GPU: one YAML file, GRPO, and Pass@K "
        "before and after.",
        epilog="Start with `groupwise quickstart`: two minutes on a CPU, no download, no account.",
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    _add_training(commands)
    _add_rewards(commands)
    _add_evaluation(commands)
    _add_others(commands)
    return parser


def _add_training(commands: _Commands) -> None:
    quickstart = _add(commands, "quickstart", "train a tiny model, as a first look")
    _add_run_options(quickstart)

    train = _add(commands, "train", "train as a config says")
    which = train.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "config", metavar="CONFIG", nargs="?", help="YAML file, or the name of a preset"
    )
    which.add_argument(
        "--preset",
        choices=PRESETS,
        metavar="NAME",
        help=f"the same as CONFIG: {', '.join(PRESETS)}",
    )
    _add_run_options(train)
    add_aliases(train)

    check = _add(commands, "check", "prove the rewards and show the prompts, no model")
    check.add_argument("config", metavar="CONFIG", help="YAML file, or the name of a preset")
    _add_run_options(check, dry_run=False)


def _add_rewards(commands: _Commands) -> None:
    rescore = _add(commands, "rewards", "score a log's answers under other rewards")
    rescore.add_argument(
        "--log", required=True, metavar="LOG", help="samples.jsonl, rollouts.jsonl, or a run"
    )
    rescore.add_argument(
        "--config", required=True, metavar="CONFIG", help="where rewards and problems come from"
    )
    rescore.add_argument("--output", metavar="FILE", help="write the re-scored log to this file")
    _add_overrides(rescore)
    rescore.add_argument("--json", action="store_true", help="print one JSON object")

    reward = _add(commands, "train-reward", "train a reward model from preferences")
    reward.add_argument("data", metavar="DATA", help="pairs or scored answers: file or hub name")
    reward.add_argument("--model", required=True, metavar="NAME", help="model folder or hub name")
    reward.add_argument("--output", required=True, metavar="DIR", help="folder for the result")
    reward.add_argument("--epochs", type=float, default=1.0, metavar="N", help="passes (1)")
    reward.add_argument("--lr", type=float, metavar="X", help="learning rate (1e-5; LoRA 1e-4)")
    reward.add_argument("--batch-size", type=int, default=8, metavar="N", help="pairs a step (8)")
    reward.add_argument("--max-length", type=int, default=1024, metavar="N", help="tokens (1024)")
    reward.add_argument(
        "--eval-fraction", type=float, default=0.1, metavar="X", help="questions held out (0.1)"
    )
    reward.add_argument(
        "--lora-r", type=int, default=0, metavar="N", help="LoRA rank; 0 trains every weight (0)"
    )
    reward.add_argument("--seed", type=int, default=42, metavar="N", help="seed (42)")
    reward.add_argument("--json", action="store_true", help="print one JSON object")
    reward.add_argument("--quiet", action="store_true", help="no progress, notices only")


def _add_evaluation(commands: _Commands) -> None:
    evaluate = _add(commands, "evaluate", "measure the Pass@K of a model or a run")
    evaluate.add_argument(
        "target", metavar="MODEL", help="folder of a run, model or adapter, or hub name"
    )
    evaluate.add_argument(
        "--config", metavar="CONFIG", help="where data, rewards and sampling come from"
    )
    evaluate.add_argument("--data", metavar="FILE", help="problems: a file or a hub name")
    evaluate.add_argument("--num-samples", type=int, metavar="N", help="answers for each problem")
    evaluate.add_argument("--k", metavar="1,2,4", help="which pass@k, separated by commas")
    evaluate.add_argument(
        "--export",
        choices=["parquet", "csv"],
        help="write the answers as a table, too",
    )
    evaluate.add_argument("--label", help="name of this evaluation, and of its folder")
    _add_run_options(evaluate, dry_run=False)
    evaluate.set_defaults(how_to_go_on=". The same command goes on with the rest")

    compare = _add(commands, "compare", "compare evaluations, paired by problem")
    compare.add_argument(
        "runs", metavar="RUN", nargs="+", help="run directory, or the folder of an evaluation"
    )
    compare.add_argument(
        "--allow-differences", action="store_true", help="compare what was not made alike"
    )
    compare.add_argument("--json", action="store_true", help="print one JSON object")

    view = _add(commands, "view", "read every answer in the browser")
    view.add_argument(
        "runs", metavar="RUN", nargs="*", default=["runs"],
        help="run directories, evaluations, or folders of runs (default: runs)",
    )  # fmt: skip
    view.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")
    view.add_argument("--no-browser", action="store_true", help="print the address, open nothing")

    report = _add(commands, "report", "write a run as one HTML page, to keep or mail")
    report.add_argument("run", metavar="RUN", help="run directory, evaluation, or folder of runs")
    report.add_argument("--output", metavar="FILE", help="default: report.html in the run")


def _add_others(commands: _Commands) -> None:
    groups = _add(commands, "export-groups", "turn a log's answers into data for group_scores")
    groups.add_argument("run", metavar="LOG", help="samples.jsonl, rollouts.jsonl, or its folder")
    groups.add_argument("--to", required=True, metavar="FILE", help="file to write, .jsonl")
    groups.add_argument(
        "--score",
        default="score",
        metavar="NAME",
        help="score (the total, default), correct, or a reward's name",
    )
    groups.add_argument(
        "--keep-equal", action="store_true", help="keep groups whose scores are all equal"
    )
    groups.add_argument("--json", action="store_true", help="print one JSON object")

    configs = _add(commands, "configs", "list the presets, or print one")
    configs.add_argument("name", metavar="NAME", nargs="?", help="preset to print")

    chat = _add(commands, "chat", "talk to a run's tuned model")
    chat.add_argument("run", metavar="RUN", help="run directory")
    chat.add_argument("--compare", choices=["base"], help="let the base model answer too")
    chat.add_argument(
        "--temperature", type=float, default=0.0, metavar="X", help="0 takes the likeliest tokens"
    )
    chat.add_argument("--max-tokens", type=int, metavar="N", help="length of an answer, at most")

    doctor = _add(commands, "doctor", "compare what is installed with what was tested")
    doctor.add_argument(
        "--rows",
        metavar="CONFIG",
        help="measure how many answers at once are fastest here, with this config's model",
    )
    _add_overrides(doctor)
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.add_argument("--quiet", action="store_true", help="no progress, notices only")


def _add(
    commands: _Commands,
    name: str,
    summary: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:],
        formatter_class=_Help,
    )
    parser.set_defaults(command=name, how_to_go_on="")
    return parser


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a key of the config; any number of times",
    )


def _add_run_options(parser: argparse.ArgumentParser, *, dry_run: bool = True) -> None:
    _add_overrides(parser)
    parser.add_argument("--output-dir", metavar="DIR", help="folder in which the run is made")
    parser.add_argument("--name", help="name of the run, and of its folder")
    if dry_run:
        parser.add_argument(
            "--dry-run", action="store_true", help="check everything short of loading the model"
        )
        parser.add_argument(
            "--resume", action="store_true", help="go on with the run of this name where it stopped"
        )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress, notices only")


class _Version(argparse.Action):
    """Like argparse's own, but the version is looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        try:
            version = metadata.version("groupwise")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"groupwise {version}")
        parser.exit()


class _Help(argparse.HelpFormatter):
    """Help with the texts beside the options, where argparse would begin a line for each."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        # Commands are indented once more, which argparse's own measure leaves out.
        for command in self._iter_indented_subactions(action):
            length = len(self._format_action_invocation(command)) + self._current_indent
            self._action_max_length = max(self._action_max_length, length)
