"""The memory trial: a run that will not fit into memory fails in its first minute, with a remedy.

Before step 1, one forward and backward is made of the longest prompts with completions of full
length (`training.longest_first`). No optimiser step follows, the gradients are dropped and the
random states restored, so that the run's results are the same to the bit. (With dropout under
Unsloth's trainer they are not: it compares its packed forward with the plain one at the first
forward, which draws dropout too, and is the trial's then.)

Left out: the optimiser's state, which the first step allocates, and the sampling engine's KV cache,
which the free memory and `training.max_rows` bound.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from groupwise.framework.config import TrainingConfig
from groupwise.framework.run.out_of_memory import (
    CHECKPOINTING,
    Setting,
    Shortage,
    ShortOfMemoryError,
    is_memory_error,
    out_of_memory_as_user_error,
)
from groupwise.framework.trainers.callbacks import RunCallback
from groupwise.rewards.types import Example

Attempt = Callable[[int], None]
"""Makes a forward and backward of a number of completions; raises if memory runs out."""


class MemoryTrial(RunCallback):
    """Tries the longest step of `trainer`, a `GroupwiseTrainer`, before its first one."""

    def __init__(
        self,
        trainer: Any,
        config: TrainingConfig,
        examples: Sequence[Example],
        prompt_ids: Callable[[str], Sequence[int]],
    ) -> None:
        self.trainer, self.config = trainer, config
        self.examples, self.prompt_ids = examples, prompt_ids

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        prompt_ids = [self.prompt_ids(example.prompt) for example in self.examples]
        try_longest(self.trainer, self.config, prompt_ids)


def try_longest(trainer: Any, config: TrainingConfig, prompt_ids: Sequence[Sequence[int]]) -> None:
    """Raises ShortOfMemoryError, with a setting that fits, if the longest step does not.

    `trainer` is a GroupwiseTrainer whose training is about to begin; `prompt_ids` are those of all
    problems.
    """
    longest = sorted(prompt_ids, key=len, reverse=True)
    size = config.completions_per_forward
    # Of a step that has the shortest prompt beside the longest.
    shift = len(longest[0]) - len(longest[-1]) if trainer.shifts_rows else None

    def attempt(count: int) -> None:
        batch = longest_batch(
            longest, count, config, trainer._tokenizer.pad_token_id, trainer.args.device, shift
        )
        trainer.try_forward(batch)

    with nothing_changed(trainer):
        if is_out_of_memory(attempt, size):
            total = config.batch_shape.completions_per_step
            smaller = [d for d in range(size - 1, 0, -1) if total % d == 0]
            refuse_too_long(attempt, smaller, config, trainer.args.gradient_checkpointing)


def refuse_too_long(
    attempt: Attempt, smaller: Sequence[int], config: TrainingConfig, checkpointing: bool = True
) -> None:
    """Tries the smaller settings, largest first; raises ShortOfMemoryError with one that fits."""
    wanted, length = config.completions_per_forward, config.max_completion_length
    reason = f"{wanted} of the longest prompts with completions of {length} tokens do not fit"
    fits = next((size for size in smaller if not is_out_of_memory(attempt, size)), None)
    if fits is not None:
        note = "tried: it fits"
        tries = [Setting("training.completions_per_forward", fits, wanted, note=note)]
    else:
        reason += ", nor does a single one"
        tries = [] if checkpointing else [Setting(CHECKPOINTING, "unsloth")]
        tries.append(_shorter(length, max(1, length // 2)))
    raise ShortOfMemoryError("the longest step", reason, Shortage(), tries)


def is_out_of_memory(attempt: Attempt, size: int) -> bool:
    try:
        attempt(size)
    except (RuntimeError, MemoryError) as error:
        if not is_memory_error(error):
            raise
        short = True
    else:
        short = False
    gc.collect()  # the frames of the error hold tensors
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return short


def longest_batch(
    longest: Sequence[Sequence[int]],
    count: int,
    config: TrainingConfig,
    pad_token_id: int,
    device: Any,
    shift: int | None = None,
) -> dict[str, Any]:
    """TRL's inputs of one forward: B = `count` rows of the longest prompts, completions full.

    `shift`: the columns that Unsloth's trainer adds to log-probabilities (`batching.shifted_left`);
    None for TRL's own.
    """
    prompts = [list(longest[i % len(longest)]) for i in range(count)]
    width = max(map(len, prompts))
    shape = (count, config.max_completion_length)
    mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
    ids = [[pad_token_id] * (width - len(p)) + p for p in prompts]
    completion_ids = torch.full(shape, prompts[0][0], device=device)  # (B, C): any token
    batch: dict[str, Any] = {
        "prompt_ids": torch.tensor(ids, device=device),  # (B, P)
        "prompt_mask": torch.tensor(mask, device=device),
        "completion_ids": completion_ids,
        "completion_mask": torch.ones_like(completion_ids),
        "advantages": torch.ones(count, device=device),  # (B,)
        "num_items_in_batch": completion_ids.new_tensor(float(completion_ids.numel())).float(),
    }
    wide = (count, config.max_completion_length + (shift or 0))
    if shift is not None:
        batch["max_left_pad"] = torch.full((count, 1), shift)
    if config.beta > 0:
        batch["ref_per_token_logps"] = torch.zeros(wide, device=device)
    if config.num_iterations > 1:
        batch["old_per_token_logps"] = torch.zeros(wide, device=device)
    return batch


@contextmanager
def nothing_changed(trainer: Any) -> Iterator[None]:
    """Restores random states and the numbers that a forward logs, and drops the gradients."""
    metrics = copy.deepcopy(trainer._metrics)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        trainer._metrics = metrics
        trainer.model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def training_out_of_memory(
    config: TrainingConfig, checkpointing: bool | str = True
) -> AbstractContextManager[None]:
    """Turns "out of memory" in training into the settings that need less, with values to try."""
    return out_of_memory_as_user_error(
        "training",
        lambda in_sampling: smaller_settings(config, checkpointing, in_sampling=in_sampling),
        "The last checkpoint is kept.",
    )


def smaller_settings(
    config: TrainingConfig, checkpointing: bool | str, *, in_sampling: bool
) -> list[Setting]:
    """Settings that need less than the present ones, those that leave the result alone first."""
    total, size = config.batch_shape.completions_per_step, config.completions_per_forward
    found: list[Setting] = []
    if size > 1 and not in_sampling:
        less = max(d for d in range(1, size // 2 + 1) if total % d == 0)
        found.append(Setting("training.completions_per_forward", less, size))
    if not checkpointing and not in_sampling:
        found.append(Setting(CHECKPOINTING, "unsloth"))
    rows = min(config.max_rows or total, total)
    if rows > 1:
        found.append(
            Setting(
                "training.max_rows", max(1, rows // 2), rows, note="completions sampled at once"
            )
        )
    length = config.max_completion_length
    found.append(_shorter(length, max(1, length * 3 // 4)))
    return found


def _shorter(now: int, length: int) -> Setting:
    return Setting("training.max_completion_length", length, now, same_result=False)
