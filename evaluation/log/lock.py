"""The kernel's lock (flock, by filelock) on a file that is already open.

    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if take_lock(handle) == "held":
        ...  # another process has it
    is_locked(path)  # whether another process has it now

Closing the file releases the lock; so does the end of the process, `kill -9` included. There is no
extra lock file. What it leaves out: who holds the lock. The kernel does not tell, so a caller that
names the holder writes its process id into the file (`framework.run.directory`).
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Literal

Taken = Literal["taken", "held", "unsupported"]


def take_lock(handle: int, *, wait: bool = False) -> Taken:
    """Locks an open file for this process alone.

    Returns "held" where another process (or another open file of this one) has the lock, and
    "unsupported" on network file systems without locks: callers carry on without one there. With
    `wait`, returns only when the lock is free.
    """
    from filelock import lock_descriptor  # 20 ms (asyncio, inspect): not at start-up

    try:
        return "taken" if lock_descriptor(handle, blocking=wait) else "held"
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            return "unsupported"
        raise


def is_locked(path: Path) -> bool:
    """Whether another process, or another open file of this one, has the lock; False: no file."""
    try:
        with path.open("rb") as file:  # closing it releases what was taken
            return take_lock(file.fileno()) == "held"
    except FileNotFoundError:
        return False
