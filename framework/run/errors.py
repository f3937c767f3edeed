"""Weights that cannot be written: a message that says where, whatever library raises it.

    with unwritable_as_user_error(folder):
        model.save_pretrained(folder)

safetensors and torch raise errors of their own for a full disk; they are recognised by type and
text. Plain files are covered by `evaluation.log.files`.
"""

from __future__ import annotations

import errno
import re
from contextlib import AbstractContextManager
from pathlib import Path

from groupwise.rewards.errors import as_user_error

_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_WRITE_FAILED = re.compile(
    r"No space left|File too large|Disk quota|os error (28|27|122|5)\b|PytorchStreamWriter|"
    r"inline_container|I/O error"
)


def unwritable_as_user_error(
    folder: Path, and_then: str = "", *, resumes: bool = True
) -> AbstractContextManager[None]:
    """Turns "cannot write the weights" into a UserError that names the folder.

    `and_then` ends the sentence on what is kept, such as ", and checkpoint-10 with it"; nothing is
    by a command that does not resume.
    """
    again = f" with --resume: what is finished is kept{and_then}" if resumes else " again"
    from safetensors import SafetensorError  # a compiled library: not at start-up

    def message(error: Exception) -> str:
        reason = " ".join(str(error).split("\n")[0].split())[:200]
        return (
            f"{folder}: cannot be written ({reason}). Is the disk full? Free some space and run "
            f"the same command{again}."
        )

    return as_user_error(message, OSError, RuntimeError, SafetensorError, when=_is_failed_write)


def _is_failed_write(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _WRITE_ERRORS
    return bool(_WRITE_FAILED.search(str(error)))
