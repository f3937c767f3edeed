"""The `groupwise` command: arguments in, exit code out. Nothing heavy is imported before it runs.

Exit codes: 0 done; 2 the user can mend it; 1 anything else. Results go to standard output, progress
and notices to standard error; `--json` prints one JSON object instead of the table.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from framework import processes
from framework.aliases import PRESETS, add_aliases
from rewards.errors import UserError

DONE, FAILED, USERS_TO_MEND, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = build_parser().parse_args(argv)
    # Spinning threads can slow two processes on few cores down a hundredfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Bars of libraries would fill the log file; the stages show how far a run is.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        command: Callable[[argparse.Namespace], int] = arguments.command
        if processes.count() > 1 and command not in (_train, _quickstart):
            raise UserError(
                f"{processes.count()} processes were launched, and only `train` shares its work "
                "among them; start this command without a launcher"
            )
        code = command(arguments)
        sys.stdout.flush()
        return code
    except UserError as error:
        _say(f"groupwise: {error}")
        return USERS_TO_MEND
    except KeyboardInterrupt:
        if processes.is_main():
            _say(f"groupwise: stopped; what was finished is kept{arguments.how_to_go_on}")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return DONE
    except OSError as error:
        if error.errno not in _USERS_ERRORS:
            raise
        where = error.filename or "standard output, or a file of the run"
        _say(f"groupwise: {where}: {_USERS_ERRORS[error.errno] or error.strerror}")
        _forget_output()
        return USERS_TO_MEND


_USERS_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EACCES: "",
    errno.EPERM: "",
    errno.EROFS: "",
}
"""Errors of the system that are the user's to mend; an empty text takes the system's own words."""


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody reads it any more
        # Each says its own: the launcher ends them all at once, and some may be cut off.
        print(text if processes.is_main() else f"[{processes.index()}] {text}", file=sys.stderr)


def _forget_output() -> None:
    """What could not be written is not tried again when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="groupwise",
        description="Teach a language model by reward on one GPU: one YAML file, GRPO, and Pass@K "
        "before and after.",
        epilog="Start with `groupwise quickstart`: two minutes on a CPU, no download, no account.",
    )
    parser.add_argument("--version", action="version", version=f"groupwise {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    quickstart = _add(commands, "quickstart", _quickstart, "train a tiny model, as a first look")
    _add_run_options(quickstart)

    train = _add(commands, "train", _train, "train as a config says")
    which = train.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "config", metavar="CONFIG", nargs="?", help="YAML file, or the name of a preset"
    )
    which.add_argument("--preset", choices=PRESETS, help="the same as CONFIG, for these presets")
    _add_run_options(train)
    add_aliases(train)

    check = _add(commands, "check", _check, "prove the rewards and show the prompts, no model")
    check.add_argument("config", metavar="CONFIG", help="YAML file, or the name of a preset")
    _add_run_options(check, dry_run=False)

    rescore = _add(commands, "rewards", _rescore, "score a log's answers under other rewards")
    rescore.add_argument(
        "--log", required=True, metavar="LOG", help="samples.jsonl, rollouts.jsonl, or a run"
    )
    rescore.add_argument(
        "--config", required=True, metavar="CONFIG", help="where rewards and problems come from"
    )
    rescore.add_argument("--output", metavar="FILE", help="write the re-scored log to this file")
    _add_overrides(rescore)
    rescore.add_argument("--json", action="store_true", help="print one JSON object")

    reward = _add(commands, "train-reward", _train_reward, "train a reward model from preferences")
    reward.add_argument(
        "data", metavar="DATA", help="pairs (chosen, rejected) or scored answers: file or hub name"
    )
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

    evaluate = _add(commands, "evaluate", _evaluate, "measure the Pass@K of a model or a run")
    evaluate.add_argument(
        "target", metavar="MODEL", help="model folder, adapter folder, hub name, or run directory"
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

    compare = _add(commands, "compare", _compare, "compare evaluations, paired by problem")
    compare.add_argument(
        "runs", metavar="RUN", nargs="+", help="run directory, or the folder of an evaluation"
    )
    compare.add_argument(
        "--allow-differences", action="store_true", help="compare what was not made alike"
    )
    compare.add_argument("--json", action="store_true", help="print one JSON object")

    view = _add(commands, "view", _view, "read every answer in the browser")
    view.add_argument(
        "runs", metavar="RUN", nargs="*", default=["runs"],
        help="run directories, evaluations, or folders of runs (default: runs)",
    )  # fmt: skip
    view.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")
    view.add_argument("--no-browser", action="store_true", help="print the address, open nothing")

    report = _add(commands, "report", _report, "write a run as one HTML page, to keep or mail")
    report.add_argument("run", metavar="RUN", help="run directory, evaluation, or folder of runs")
    report.add_argument("--output", metavar="FILE", help="default: report.html in the run")

    groups = _add(
        commands, "export-groups", _export_groups, "turn a log's answers into data for group_scores"
    )
    groups.add_argument("run", metavar="LOG", help="samples.jsonl, rollouts.jsonl, or its folder")
    groups.add_argument("--to", required=True, metavar="FILE", help="file to write, .jsonl")
    groups.add_argument(
        "--score",
        default="score",
        metavar="NAME",
        help="what counts: score (the total), correct (1 or 0), or the name of a reward (score)",
    )
    groups.add_argument(
        "--keep-equal", action="store_true", help="keep groups whose scores are all equal"
    )
    groups.add_argument("--json", action="store_true", help="print one JSON object")

    configs = _add(commands, "configs", _configs, "list the presets, or print one")
    configs.add_argument("name", metavar="NAME", nargs="?", help="preset to print")

    chat = _add(commands, "chat", _chat, "talk to a run's tuned model")
    chat.add_argument("run", metavar="RUN", help="run directory")
    chat.add_argument("--compare", choices=["base"], help="let the base model answer too")
    chat.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest tokens")
    chat.add_argument("--max-tokens", type=int, metavar="N", help="length of an answer, at most")

    doctor = _add(commands, "doctor", _doctor, "compare what is installed with what was tested")
    doctor.add_argument(
        "--rows",
        metavar="CONFIG",
        help="measure how many answers at once are fastest here, with this config's model",
    )
    _add_overrides(doctor)
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.add_argument("--quiet", action="store_true", help="no progress, notices only")
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Callable[[argparse.Namespace], int],
    summary: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:])
    parser.set_defaults(command=command, how_to_go_on="")
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


def _quickstart(arguments: argparse.Namespace) -> int:
    from framework.commands import train

    return train(arguments, "quickstart", name_if_taken=True)


def _train(arguments: argparse.Namespace) -> int:
    from framework.commands import train

    return train(arguments, arguments.config or arguments.preset)


def _rescore(arguments: argparse.Namespace) -> int:
    from framework.commands import rescore

    return rescore(arguments)


def _train_reward(arguments: argparse.Namespace) -> int:
    from framework.commands import train_reward

    return train_reward(arguments)


def _check(arguments: argparse.Namespace) -> int:
    from framework.commands import check

    return check(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    from framework.commands import evaluate

    return evaluate(arguments)


def _compare(arguments: argparse.Namespace) -> int:
    from framework.commands import compare

    return compare(arguments)


def _view(arguments: argparse.Namespace) -> int:
    from evaluation.viewer import serve

    if arguments.runs == ["runs"] and not Path("runs").is_dir():
        raise UserError(
            "there is no folder runs here: name a run's folder; `groupwise quickstart` makes one"
        )
    serve(arguments.runs, port=arguments.port, open_browser=not arguments.no_browser)
    return DONE


def _report(arguments: argparse.Namespace) -> int:
    from evaluation.report import write_report

    print(f"report: {write_report(arguments.run, arguments.output)}")
    return DONE


def _export_groups(arguments: argparse.Namespace) -> int:
    from framework.commands import export_groups

    return export_groups(arguments)


def _configs(arguments: argparse.Namespace) -> int:
    from framework.commands import configs

    return configs(arguments)


def _chat(arguments: argparse.Namespace) -> int:
    from framework.commands import chat

    return chat(arguments)


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.rows is not None:
        from framework.row_probe import command

        return command(arguments)
    from framework.commands import doctor

    return doctor(arguments)


def _version() -> str:
    try:
        return metadata.version("groupwise")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
