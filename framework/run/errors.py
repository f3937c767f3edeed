"""Weights that cannot be written: a message that says where, whatever library raises it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groupwise.rewards.errors import UserError

_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_WRITE_FAILED = re.compile(
    r"No space left|File too large|Disk quota|os error (28|27|122|5)\b|PytorchStreamWriter|"
    r"inline_container|I/O error"
)


@contextmanager
def unwritable_is_the_users(folder: Path, and_then: str = "") -> Iterator[None]:
    """Turns "cannot write the weights" into a message that says where, whatever library raises it.

    safetensors and torch write files themselves and have errors of their own for a full disk.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not isinstance(error, OSError) and not _WRITE_FAILED.search(str(error)):
            raise
        if isinstance(error, OSError) and error.errno not in _WRITE_ERRORS:
            raise
        reason = " ".join(str(error).split("\n")[0].split())[:200]
        raise UserError(
            f"{folder}: cannot be written ({reason}). Is the disk full? Free some space and go on "
            f"with the same command and --resume: what is finished is kept{and_then}."
        ) from error
