"""What an answer is worth: extraction, grading, and rewards that compose into a rubric.

    grade("The answer is 42.", "42").status                       # "correct"
    build_rubric({"correctness": 1.0, "format": 0.25}).score_batch(examples, completions)

These names are public; everything else may move. Each is imported when it is first used, and
neither torch nor SymPy with it.

    math/                    grading: whether an answer equals the reference
    check/                   proof that a config's rewards work on given examples
    rubric, spec             the table of rewards, their weighted sum; a reward in a config
    style, language, reference, reward_model   rewards: form, language, likeness, a trained model
    user/                    rewards that the user brings: functions, classes, modules
    types, errors, validation, text   shared by all: data types, errors, messages, safe text

    UserError          the user can fix it
    └── RewardError    a reward raised, or returned something that is no number
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from groupwise.rewards.errors import RewardError, UserError
    from groupwise.rewards.math.grade import Correctness, grade, grade_many
    from groupwise.rewards.reward_model import RewardModel
    from groupwise.rewards.rubric import Rubric, build_rubric
    from groupwise.rewards.spec import RewardSpec
    from groupwise.rewards.types import BatchReward, Completion, Example, Grade, Reward, Score

__all__ = [
    "Example",
    "Completion",
    "Grade",
    "Score",
    "Reward",
    "BatchReward",
    "RewardModel",
    "Correctness",
    "RewardSpec",
    "Rubric",
    "build_rubric",
    "grade",
    "grade_many",
    "RewardError",
    "UserError",
]

_MODULES = {
    "math.grade": ("Correctness", "grade", "grade_many"),
    "errors": ("RewardError", "UserError"),
    "reward_model": ("RewardModel",),
    "rubric": ("Rubric", "build_rubric"),
    "spec": ("RewardSpec",),
    "types": ("BatchReward", "Completion", "Example", "Grade", "Reward", "Score"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'groupwise.rewards' has no attribute {name!r}")
    return getattr(import_module(f"groupwise.rewards.{_MODULE_OF[name]}"), name)


if __name__ == "rewards":  # by its earlier name: the same module, not a second one
    from groupwise._earlier_names import same_module

    same_module(__name__)
