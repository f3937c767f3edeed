"""The `groupwise` command: arguments in, exit code out.

Only the module of the command that was asked for is imported: it has the command's options
(`add_options`) beside what it does (`run`). A new command is a module and a line in `COMMANDS`.

Exit codes: 0 done; 2 the user can fix it; 130 Ctrl-C; 1 anything else. Results go to standard
output, progress and notices to standard error; `--json` prints one JSON object instead of a table,
also where a command ends in an error: `{"error": ..., "exit_code": 2}`.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from groupwise.framework.cli.parser import CommandParser, Parser, UsageError
from groupwise.framework.run import processes
from groupwise.framework.run.out_of_memory import ShortOfMemoryError
from groupwise.framework.run.screen import say
from groupwise.framework.run.stop import signals_as_interrupt
from groupwise.rewards.errors import UserError

DONE, USER_ERROR, INTERRUPTED = 0, 2, 130

COMMANDS = {
    "quickstart": "train a tiny model, as a first look",
    "train": "train as a config says",
    "plan": "predict the memory a run needs, and what fits a card",
    "check": "prove the rewards and show the prompts, no model",
    "rewards": "score a log's answers under other rewards",
    "train-reward": "train a reward model from preferences",
    "evaluate": "measure the Pass@K of a model or a run",
    "compare": "compare evaluations, paired by problem",
    "table": "write answers that exist as CSV or Parquet",
    "view": "read every answer in the browser",
    "report": "write a run as one HTML page, to keep or mail",
    "export-groups": "turn a log's answers into data for group_scores",
    "export": "write a tuned model for others, and check it",
    "configs": "list the presets, or print one",
    "chat": "talk to a run's tuned model",
    "doctor": "check the installation and try it out",
}
"""Each command with its line of `groupwise --help`."""

_ENVIRONMENT = {
    # Spinning threads can slow two processes on few cores down a hundredfold.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "TOKENIZERS_PARALLELISM": "false",
    # Progress bars of libraries would fill the log file; the stages show how far a run is.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # as standard error has it from the start
        sys.stdout.reconfigure(errors="backslashreplace")
    for name, value in _ENVIRONMENT.items():  # before the command's imports, which read it
        os.environ.setdefault(name, value)
    argv = sys.argv[1:] if argv is None else argv
    if sys.version_info < (3, 11):  # noqa: UP036 (of a checkout that was not installed)
        here = ".".join(map(str, sys.version_info[:3]))
        print(f"groupwise: needs Python 3.11 or newer; this is {here}", file=sys.stderr)
        return USER_ERROR
    arguments = argparse.Namespace(how_to_resume="", json="--json" in argv)
    try:
        # The first word is the command; argparse says what is wrong with any other.
        asked = [word for word in argv if not word.startswith("-")][:1]
        build_parser(*asked).parse_args(argv, arguments)
        if processes.count() > 1 and arguments.command not in ("train", "quickstart"):
            raise UserError(
                f"{processes.count()} processes were launched, and only `train` shares its work "
                "among them; start this command without a launcher"
            )
        with signals_as_interrupt():
            code: int = _module(arguments.command).run(arguments)
            sys.stdout.flush()
        return code
    except UsageError as error:
        return _failed(arguments, USER_ERROR, str(error), f"{error.usage}{error}")
    except ShortOfMemoryError as error:
        return _failed(arguments, USER_ERROR, f"{error}{_with_less_memory(error, arguments)}")
    except UserError as error:
        return _failed(arguments, USER_ERROR, str(error))
    except MemoryError:
        said = "this machine's memory is used up; what was written is kept. End other programs"
        return _failed(arguments, USER_ERROR, f"{said}, or choose smaller settings")
    except KeyboardInterrupt:
        kept = "; what was finished is kept" if arguments.how_to_resume else ""
        # Of several processes, which are all stopped, one says so.
        said = f"stopped{kept}{arguments.how_to_resume}" if processes.is_main() else ""
        return _failed(arguments, INTERRUPTED, said)
    except BrokenPipeError:
        _forget_output()
        return DONE
    except OSError as error:
        if error.errno not in _SYSTEM_ERRORS:
            _print_error(arguments, 1, f"{type(error).__name__}: {error}")
            raise
        where = error.filename or "standard output, or a file of the run"
        what = _SYSTEM_ERRORS[error.errno] or error.strerror
        code = _failed(arguments, USER_ERROR, f"{where}: {what}")
        _forget_output()
        return code
    except Exception as error:
        _print_error(arguments, 1, f"{type(error).__name__}: {error}")
        raise


_SYSTEM_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EACCES: "",
    errno.EPERM: "",
    errno.EROFS: "",
}
"""System errors that the user can fix, with our message; empty: the system's own message."""


def build_parser(*commands: str) -> argparse.ArgumentParser:
    """A parser that knows every command by name, and the options of these."""
    parser = Parser(
        prog="groupwise",
        description="Teach a language model by reward on one GPU: one YAML file, GRPO, and Pass@K "
        "before and after.",
        epilog="Start with `groupwise quickstart`: two minutes on a CPU, no download, no account.",
    )
    parser.add_argument("--version", action=_Version)
    group = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=CommandParser
    )
    for name, summary in COMMANDS.items():
        description = summary[0].upper() + summary[1:]
        command = group.add_parser(name, help=summary, description=description)
        command.set_defaults(command=name)
        if name in commands:
            _module(name).add_options(command)
    return parser


def _module(command: str) -> ModuleType:
    return import_module(f"groupwise.framework.cli.{command.replace('-', '_')}")


def _with_less_memory(error: ShortOfMemoryError, arguments: argparse.Namespace) -> str:
    """How to resume with the settings that are advised, where they leave the result the same."""
    settings = error.advised
    if not (arguments.how_to_resume and settings and all(s.same_result for s in settings)):
        return ""
    changed = " ".join(f"--set {setting.key}={setting.value}" for setting in settings)
    how = arguments.how_to_resume.removeprefix(". ")
    return f"\n{how}{' ' if how.endswith('--resume') else ', with '}{changed}"


def _failed(arguments: argparse.Namespace, code: int, message: str, shown: str = "") -> int:
    """Says why a command ended, on both streams if its result is JSON; returns its exit code."""
    if message:
        _say(shown or f"groupwise: {message}")
        _print_error(arguments, code, message)
    return code


def _say(text: str) -> None:
    # Every process prints its own message: the launcher ends all at once, some before they can.
    say(text if processes.is_main() else f"[{processes.index()}] {text}")


def _print_error(arguments: argparse.Namespace, code: int, message: str) -> None:
    """With `--json`, the object in place of the result."""
    if arguments.json and processes.is_main():
        with contextlib.suppress(OSError):  # the output may be what failed
            print(json.dumps({"error": message, "exit_code": code}), flush=True)


def _forget_output() -> None:
    """Redirects standard output to /dev/null: otherwise the interpreter would flush it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Version(argparse.Action):
    """Like argparse's own, but the version is looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata  # slow: not at start-up

        try:
            version = metadata.version("groupwise")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"groupwise {version}")
        parser.exit()
