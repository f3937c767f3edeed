"""Short GRPO runs on the toy, from Python as a user's script makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conftest import Toy

from rewards.types import Completion, Example

if TYPE_CHECKING:
    from framework.grpo_trainer import GRPOTrainer


def odd_problems_only(example: Example, completion: Completion) -> float:
    """Varies within the groups of every other problem, and is flat in the rest."""
    return float(completion.text[:1] < "5") if int(example.answer) % 2 else 0.0


def toy_trainer(
    toy: Toy,
    folder: Path,
    reward: Callable[..., Any],
    num_problems: int | None = None,
    **training: Any,
) -> GRPOTrainer:
    """A trainer on the toy's first problems; by default, on all of the small run's."""
    from framework.data import load_examples, render_prompts
    from framework.grpo_trainer import GRPOArguments, GRPOTrainer
    from framework.policy import load

    config = toy.config()
    policy = load(config.model, seed=0)
    examples = load_examples(config.data, "train").examples[:num_problems]
    problems = render_prompts(examples, policy.tokenizer, config.data.max_prompt_length).examples
    arguments = GRPOArguments(
        seed=0, output_dir=str(folder), use_gradient_checkpointing=False, **training
    )
    return GRPOTrainer(policy, [reward], arguments, problems)
