"""The exceptions whose message is for the user, who can fix the cause."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in a config, a data file, an argument or a user's own function.

    The command line prints its message without a traceback and exits with code 2. A good message
    gives the path of the setting or file, the value that was found, and the remedy.
    """


class RewardError(UserError):
    """A reward raised, or returned something that is no number.

    The message names the reward, the example, and an escaped excerpt of the completion.
    """
