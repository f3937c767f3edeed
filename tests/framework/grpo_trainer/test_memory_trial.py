"""The longest step first: it changes nothing, and what does not fit is said with what would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import EMULATES_GPU, Toy, lines
from grpo_toys import trainer_for

from groupwise.framework.config import TrainingConfig
from groupwise.framework.grpo_trainer.memory_trial import (
    longest_batch,
    refuse_too_long,
    smaller_settings,
    training_out_of_memory,
    try_longest,
)
from groupwise.rewards.errors import UserError

pytestmark = pytest.mark.stack

CLOCK = re.compile(r"seconds|per_second|memory/")


def trained(toy: Toy, folder: Path, **changes: Any) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Weights and numbers after a short run; with dropout, so that random states matter.

    Not with Unsloth's trainer: it compares its packed forward with the plain one when it makes the
    first, with or without a trial, and that draws dropout, too.
    """
    from groupwise.framework.policy import load

    dropout = 0.0 if EMULATES_GPU else 0.2
    config = toy.config(training__max_steps=2, model__lora_dropout=dropout, **changes)
    policy = load(config.model, config.seed)
    trainer_for(config, policy, folder).train()
    numbers = [
        {key: value for key, value in line.items() if not CLOCK.search(key)}
        for line in lines(folder / "metrics.jsonl")
    ]
    return {n: p.detach().clone() for n, p in policy.model.named_parameters()}, numbers


# With the KL, without it, with old log-probabilities: what a forward is given differs.
KINDS: dict[str, dict[str, Any]] = {
    "KL": {"training__beta": 0.05},
    "no KL": {"training__beta": 0.0},
    "two iterations": {"training__beta": 0.0, "training__num_iterations": 2},
    "every weight": {"model__full_finetuning": True, "training__warm_start__enabled": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_changes_nothing(kind: str, toy: Toy, tmp_path: Path) -> None:
    changes = KINDS[kind]
    plain = trained(toy, tmp_path / "plain", **changes)
    tried = trained(toy, tmp_path / "tried", training__longest_first=True, **changes)
    assert plain[1] == tried[1]
    assert [n for n, p in plain[0].items() if not p.equal(tried[0][n])] == []


def test_the_batch_is_the_worst_that_can_come() -> None:
    config = TrainingConfig(max_completion_length=7, beta=0.1, num_iterations=2, save_steps=2)
    batch = longest_batch([[5] * 4, [6] * 3, [7]], 2, config, 0, "cpu")
    assert batch["prompt_ids"].tolist() == [[5, 5, 5, 5], [0, 6, 6, 6]]
    assert batch["prompt_mask"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    assert batch["completion_mask"].sum() == 2 * 7
    assert (batch["advantages"] != 0).all()
    assert batch["ref_per_token_logps"].shape == batch["old_per_token_logps"].shape == (2, 7)
    shifted = longest_batch([[5] * 4, [6] * 3, [7]], 2, config, 0, "cpu", shift=3)
    assert shifted["ref_per_token_logps"].shape == shifted["old_per_token_logps"].shape == (2, 10)
    assert shifted["max_left_pad"].tolist() == [[3], [3]]


def too_much() -> None:
    """More than any machine has: the allocator's own error."""
    torch.empty(2**50)


CONFIG = TrainingConfig(
    prompts_per_step=2, num_generations=8, completions_per_forward=8, max_completion_length=512
)
TRY = "Try, one after the other:\n"
# how many completions fit, and what the user reads after the first words
FITS: dict[int, str] = {
    5: "\n{}  training.completions_per_forward: 4 (now 8; tried: it fits; the result is the same)",
    1: "\n{}  training.completions_per_forward: 1 (now 8; tried: it fits; the result is the same)",
    0: ", nor does a single one\n{}"
    "  model.use_gradient_checkpointing: unsloth (the result is the same)\n"
    "  training.max_completion_length: 256 (now 512; not in this run: it changes the result)",
}


@pytest.mark.parametrize("fit", FITS)
def test_what_does_not_fit_is_said_with_what_would(fit: int) -> None:
    tried: list[int] = []

    def attempt(size: int) -> None:
        tried.append(size)
        if size > fit:
            too_much()

    with pytest.raises(UserError) as caught:
        refuse_too_long(attempt, [4, 2, 1], CONFIG, checkpointing=False)
    assert str(caught.value) == (
        "out of memory in the longest step: 8 of the longest prompts with completions of 512 "
        f"tokens do not fit{FITS[fit].format(TRY)}"
    )
    assert tried == [size for size in (4, 2, 1) if size >= fit or size == tried[-1]]


def test_other_errors_are_not_taken_for_it() -> None:
    def attempt(_: int) -> None:
        torch.zeros(2) @ torch.zeros(3)

    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        refuse_too_long(attempt, [1], CONFIG)


def test_a_step_that_does_not_fit_ends_the_run_before_it_begins(toy: Toy, tmp_path: Path) -> None:
    """Through the trainer: completions so long that no machine holds them."""
    from groupwise.framework.policy import load

    config = toy.config()
    trainer = trainer_for(config, load(config.model, config.seed), tmp_path)
    prompt_ids = [trainer.rollouts.prompt_ids(example.prompt) for example in trainer.examples]
    vast = TrainingConfig(
        prompts_per_step=4, num_generations=4, completions_per_forward=8,
        max_completion_length=2**46,
    )  # fmt: skip
    with pytest.raises(UserError, match="nor does a single one"):
        try_longest(trainer.trl_trainer, vast, prompt_ids)


def test_out_of_memory_in_training_names_what_to_turn() -> None:
    with pytest.raises(UserError) as caught, training_out_of_memory(CONFIG, False):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB"
            " of which 1.00 GiB is free.\nMore."
        )
    assert str(caught.value) == (
        "out of memory in training: 2.1 GB were asked for, 1.1 GB of 8.6 GB were free on GPU 0\n"
        "  CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB "
        "of which 1.00 GiB is free.\n"
        "The last checkpoint is kept.\nTry, one after the other:\n"
        "  training.completions_per_forward: 4 (now 8; the result is the same)\n"
        "  model.use_gradient_checkpointing: unsloth (the result is the same)\n"
        "  training.max_rows: 8 (now 16; completions sampled at once; the result is the same)\n"
        "  training.max_completion_length: 384 (now 512; not in this run: it changes the result)"
    )
    with pytest.raises(UserError, match="DefaultCPUAllocator"), training_out_of_memory(CONFIG):
        too_much()
    with pytest.raises(RuntimeError, match="other"), training_out_of_memory(CONFIG):
        raise RuntimeError("other")


# the keys that are named where completions were drawn, and elsewhere
KEYS: dict[bool, list[str]] = {
    True: ["max_rows", "max_completion_length"],
    False: ["completions_per_forward", "max_rows", "max_completion_length"],
}


@pytest.mark.parametrize("in_sampling", KEYS)
def test_what_sampling_needs_is_not_what_training_needs(in_sampling: bool) -> None:
    found = smaller_settings(CONFIG, True, in_sampling=in_sampling)
    assert [setting.key for setting in found] == [f"training.{key}" for key in KEYS[in_sampling]]
