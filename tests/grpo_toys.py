"""Short GRPO runs on the toy: from Python as a user's script makes them, and as a run does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conftest import Toy

from groupwise.rewards.types import Completion, Example

if TYPE_CHECKING:
    from groupwise.framework.config import ExperimentConfig
    from groupwise.framework.grpo_trainer import GRPOTrainer
    from groupwise.framework.policy import Policy


def odd_problems_only(example: Example, completion: Completion) -> float:
    """Varies within the groups of every other problem, and has no variance in the rest."""
    return float(completion.text[:1] < "5") if int(example.answer) % 2 else 0.0


def toy_trainer(
    toy: Toy,
    folder: Path,
    reward: Callable[..., Any],
    num_problems: int | None = None,
    **training: Any,
) -> GRPOTrainer:
    """A trainer on the toy's first problems; by default, on all of the small run's."""
    from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
    from groupwise.framework.policy import load

    config = toy.config()
    policy = load(config.model, seed=0)
    arguments = GRPOArguments(
        seed=0, output_dir=str(folder), use_gradient_checkpointing=False, **training
    )
    return GRPOTrainer(policy, [reward], arguments, problems(config, policy)[:num_problems])


def trainer_for(
    config: ExperimentConfig, policy: Policy, folder: Path, **options: Any
) -> GRPOTrainer:
    """The trainer of a run, with the config's rewards and problems unless `options` say others."""
    from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
    from groupwise.rewards import build_rubric

    return GRPOTrainer(
        policy,
        options.pop("reward_funcs", None) or build_rubric(config.rewards.parts),
        GRPOArguments(
            config.training,
            seed=config.seed,
            output_dir=str(folder),
            use_gradient_checkpointing=config.model.use_gradient_checkpointing,
        ),
        options.pop("train_dataset", None) or problems(config, policy),
        **options,
    )


def problems(config: ExperimentConfig, policy: Policy) -> tuple[Example, ...]:
    """What a config trains on, with rendered prompts."""
    from groupwise.framework.data.examples import load_examples
    from groupwise.framework.data.prompts import render_prompts

    examples = load_examples(config.data, "train")
    return render_prompts(examples, policy.tokenizer, config.data.max_prompt_length).examples


METRICS = set(
    """
    step reward/mean reward/std reward/group_std
    reward/correctness/mean reward/correctness/std reward/format/mean reward/format/std
    reward/language/mean reward/language/std
    correct status/unparseable status/timeout status/bad_reference
    policy_loss kl_divergence grad_norm learning_rate entropy clip_ratio epoch
    completion_length/mean completion_length/max truncated zero_variance_groups
    distinct_completions most_common_completion non_finite
    completion_tokens rollout_seconds rollout_tokens_per_second reward_seconds
    step_seconds tokens_per_second memory/peak_gb
    """.split()  # noqa: SIM905 (a table)
)
"""What a line of `metrics.jsonl` has in any GRPO training with the default rewards."""

NULL_ON_A_GPU = {"entropy"}
"""Unsloth's `compute_loss` does not log it."""
