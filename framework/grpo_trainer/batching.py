"""Sorts a step's rows into micro-batches: rows with a gradient first, by length, padding trimmed.

What it leaves out: micro-batches of unequal size. TRL's accumulation assumes equal ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

Batch = dict[str, Any]
"""TRL's inputs of a forward: (B, P) prompt tensors, (B, C) completion tensors, (B,) advantages."""


# Loss types that TRL averages within a forward, over its rows or over its tokens. All others are
# averaged over the whole step, and do not change when rows without a gradient are left out.
_BY_ROWS = frozenset({"grpo", "sapo", "luspo", "dr_grpo"})
_BY_TOKENS = frozenset({"bnpo"})


def sorted_batches(batches: list[Batch]) -> list[Batch]:
    """The same rows in as many equal batches: those with a gradient first, longest first.

    The last forwards then have no gradient at all and can be skipped; rows of similar length share
    a forward (length bucketing), so that it needs little padding, which is cut off.
    """
    whole = {key: _joined([batch[key] for batch in batches]) for key in batches[0]}
    length = whole["completion_mask"].sum(1)  # (B,)
    no_gradient = (~has_gradient(whole)).long()
    longest_first = length.max() - length
    order = torch.argsort(no_gradient * (length.max() + 1) + longest_first, stable=True)
    size = len(order) // len(batches)
    parts = [rows(whole, order[i * size : (i + 1) * size]) for i in range(len(batches))]
    return [trimmed(part) for part in parts]


def has_gradient(batch: Batch) -> torch.Tensor:
    """Which of B rows have a gradient without a KL: (B,) bool.

    None has one whose advantage is zero, nor one that TRL has masked as truncated.
    """
    gradient: torch.Tensor = (batch["advantages"] != 0) & batch["completion_mask"].any(1)
    return gradient


def _joined(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor) and first.dim() > 0:
        return torch.cat(values)
    return first  # one value for the whole step, such as num_items_in_batch


def rows(batch: Mapping[str, Any], which: torch.Tensor) -> Batch:
    """The rows of a batch that `which` names, by index or by mask."""
    return {
        key: value[which] if isinstance(value, torch.Tensor) and value.dim() > 0 else value
        for key, value in batch.items()
    }


def trimmed(batch: Batch) -> Batch:
    """Drops columns that are padding in every row: on the left of prompts, right of completions.

    A row that TRL has masked as truncated counts as empty: it is not part of the loss anyway.
    """
    prompt = max(1, int(batch["prompt_mask"].sum(1).max()))
    completion = max(1, int(batch["completion_mask"].sum(1).max()))
    left = batch["prompt_mask"].shape[1] - prompt  # columns that go, on either side
    right = batch["completion_mask"].shape[1] - completion
    cut = dict(batch)
    for key, value in batch.items():
        if not isinstance(value, torch.Tensor) or value.dim() < 2:
            continue
        if key.startswith("prompt"):
            cut[key] = value[:, -prompt:]
        elif value.shape[1] == batch["completion_mask"].shape[1]:
            cut[key] = value[:, :completion]
        elif key.endswith("per_token_logps"):
            # Unsloth's: of rows shifted to the left, from where the shortest prompt ends. What is
            # cut on the left is gone from each row's end then.
            cut[key] = value[:, : value.shape[1] - left - right]
    return cut


def shifted_left(log_probs: torch.Tensor, prompt_mask: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (B, C) of completions as Unsloth's trainer lays them out: (B, C + shift).

    It shifts rows to the left until their prompts begin in the first column (`prompt_mask`, (B, P),
    is padded there), and takes the columns from the end of the shortest prompt on.
    """
    padding = (prompt_mask == 0).sum(1)  # (B,)
    shift, C = int(padding.max()), log_probs.shape[1]
    columns = torch.arange(C, device=log_probs.device) + (shift - padding)[:, None]  # (B, C)
    wide = log_probs.new_zeros(len(log_probs), C + shift)
    return wide.scatter(1, columns, log_probs)


def loss_share(whole: Batch, kept: Batch, loss_type: str) -> float:
    """The factor that turns the loss's mean over the kept rows into its mean over all rows."""
    if loss_type in _BY_ROWS:
        return len(kept["advantages"]) / len(whole["advantages"])
    if loss_type in _BY_TOKENS:
        return float(kept["completion_mask"].sum() / whole["completion_mask"].sum().clamp(min=1))
    return 1.0
