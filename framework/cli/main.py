"""The `groupwise` command: arguments in, exit code out. Nothing heavy is imported before it runs.

`options.py` says what may be asked; the module of a command, imported only when it is asked for,
does it.

Exit codes: 0 done; 2 the user can mend it; 1 anything else. Results go to standard output, progress
and notices to standard error; `--json` prints one JSON object instead of the table.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from groupwise.evaluation.text import folded
from groupwise.framework.cli.options import build_parser
from groupwise.framework.run import processes
from groupwise.rewards.errors import UserError

DONE, USERS_TO_MEND, INTERRUPTED = 0, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # as standard error has it from the start
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = build_parser().parse_args(argv)
    # Spinning threads can slow two processes on few cores down a hundredfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Bars of libraries would fill the log file; the stages show how far a run is.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        if processes.count() > 1 and arguments.command not in ("train", "quickstart"):
            raise UserError(
                f"{processes.count()} processes were launched, and only `train` shares its work "
                "among them; start this command without a launcher"
            )
        command = import_module(f"groupwise.framework.cli.{arguments.command.replace('-', '_')}")
        code: int = command.run(arguments)
        sys.stdout.flush()
        return code
    except UserError as error:
        _say(f"groupwise: {error}")
        return USERS_TO_MEND
    except KeyboardInterrupt:
        if processes.is_main():
            kept = "; what was finished is kept" if arguments.how_to_go_on else ""
            _say(f"groupwise: stopped{kept}{arguments.how_to_go_on}")
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
        text = text if processes.is_main() else f"[{processes.index()}] {text}"
        print(folded(text, sys.stderr), file=sys.stderr)


def _forget_output() -> None:
    """What could not be written is not tried again when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
