"""The exceptions whose message is for the user, who can fix the cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class UserError(Exception):
    """A mistake in a config, a data file, an argument or a user's own function.

    The command line prints its message without a traceback and exits with code 2. A good message
    gives the path of the setting or file, the value that was found, and the remedy.
    """


class RewardError(UserError):
    """A reward raised, or returned something that is no number.

    The message names the reward, the example, and an escaped excerpt of the completion.
    """


@contextmanager
def as_user_error(
    message: str | Callable[[Any], str],
    *errors: type[Exception],
    when: Callable[[Any], bool] = lambda _: True,
) -> Iterator[None]:
    """Turns errors of a library or of the system into a UserError; every other error passes.

    `errors` are the types to look at, `when` decides which of them the user can fix (all, by
    default), and `message` is the text, or makes it from the error. The original error stays as
    the cause. For a failure that several callers know, wrap it once in a function:

        def full_disk_as_user_error(path: Path) -> AbstractContextManager[None]:
            return as_user_error(f"{path}: the disk is full", OSError, when=is_full_disk)

        with full_disk_as_user_error(path):
            path.write_bytes(data)
    """
    try:
        yield
    except errors as error:
        if not when(error):
            raise
        raise UserError(message if isinstance(message, str) else message(error)) from error
