"""The message about a reward that failed: what, where in the user's code, on which completion.

failure("brevity", reward, error, example, completion)
"""

from __future__ import annotations

from groupwise.rewards.reward_model import RewardModel
from groupwise.rewards.text import excerpt, printable
from groupwise.rewards.types import Completion, Example
from groupwise.rewards.user.forms import UserFunction
from groupwise.rewards.user.places import named, place_of, place_of_function
from groupwise.rewards.user.returned import ReturnedError

_MOST_CHARS = 500


def failure(
    name: str,
    reward: object,
    error: Exception,
    example: Example,
    completion: Completion,
    on_error: str,
) -> str:
    """Several lines; what the model wrote is escaped in them.

    The first has the file and line: of the user's frame in which an error was raised, or of the
    function that returned what is no value.
    """
    place, hint = place_of(error), ""
    if isinstance(reward, UserFunction):
        place = place or place_of_function(reward.function)
        hint = reward.hint(error, example)
    elif isinstance(reward, RewardModel):
        place = place or place_of_function(reward.compute_reward)
    # The type of an error of our own says nothing
    is_ours = isinstance(error, ReturnedError) or (isinstance(error, ValueError) and not place)
    what = excerpt(str(error) if is_ours else named(error), _MOST_CHARS)[1:-1]
    lines = [
        f"reward {name!r} failed on example {example.id!r}: {what}{printable(place)}",
        f"completion: {excerpt(completion.text)}",
        hint,
        "fix the reward"
        + (
            ", or set rewards.on_error: skip to leave such values out" if on_error == "stop" else ""
        ),
    ]
    return "\n  ".join(filter(None, lines))
