"""What an answer is worth: extraction, grading, and rewards that compose into a rubric.

The public face; everything else may move. Neither torch nor SymPy is imported here.

    UserError          the user can mend it
    └── RewardError    a reward raised, or returned something that is no number
"""

from rewards.correctness import Correctness, grade, grade_many
from rewards.errors import RewardError, UserError
from rewards.learned import RewardModel
from rewards.rubric import Rubric, build_rubric
from rewards.spec import RewardSpec
from rewards.types import BatchReward, Completion, Example, Grade, Reward, Score

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
