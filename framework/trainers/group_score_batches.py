"""Scored groups as tensors: tokenised, without those that are too long, padded to (B, K, T).

    features, left_out = tokenized_groups(groups, tokenizer, max_length=1024)
    batch = Collator(pad_token_id(tokenizer))(features[:8])   # (B, K, T)

Left out: the loss over these (`group_scores.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from groupwise.framework.data.prompts import apply_chat_template
from groupwise.framework.data.scored_groups import ScoredCompletion, ScoredGroup
from groupwise.framework.sampling import turn_end
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Collator:
    """Features -> padded tensors: tokens (B, K, T), scores (B, K), and a mask for each.

    `attention_mask` is 1 on tokens, `completion_mask` on those of the completion, `group_mask` on
    completions. Padding is on the right.
    """

    pad_token_id: int

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> Batch:
        B = len(features)
        K = max(len(feature["scores"]) for feature in features)
        T = max(
            len(feature["prompt_ids"]) + len(ids)
            for feature in features
            for ids in feature["completion_ids"]
        )
        batch = {
            "input_ids": torch.full((B, K, T), self.pad_token_id),
            "attention_mask": torch.zeros(B, K, T, dtype=torch.long),
            "completion_mask": torch.zeros(B, K, T, dtype=torch.long),
            "scores": torch.zeros(B, K),
            "group_mask": torch.zeros(B, K, dtype=torch.long),
            "old_logps": torch.zeros(B, K),
        }
        for b, feature in enumerate(features):
            prompt, size = feature["prompt_ids"], len(feature["scores"])
            batch["scores"][b, :size] = torch.tensor(feature["scores"])
            batch["group_mask"][b, :size] = 1
            if feature["old_logps"] is not None:
                batch["old_logps"][b, :size] = torch.tensor(feature["old_logps"])
            for k, completion in enumerate(feature["completion_ids"]):
                length = len(prompt) + len(completion)
                batch["input_ids"][b, k, :length] = torch.tensor([*prompt, *completion])
                batch["attention_mask"][b, k, :length] = 1
                batch["completion_mask"][b, k, len(prompt) : length] = 1
        return batch


def tokenized_groups(
    groups: Iterable[ScoredGroup],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    stored_logps: Literal["sum", "mean"] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Features for `Collator`, and how many completions were left out: too long, or alone.

    Prompt and completion are tokenised apart, as they are when the model samples; together they
    have at most `max_length` tokens. With `stored_logps`, the features' `old_logps` are those that
    come with the completions, as sums or means over tokens; else they are None. `variables` are the
    chat template's (`template_variables`).

    Raises:
        UserError: no group has two completions left, or a completion has no log-probability.
    """
    features, total = [], 0
    end = turn_end.end_token_id(tokenizer)
    for group in groups:
        total += len(group.completions)
        prompt = group.prompt
        if not isinstance(prompt, str):
            prompt = apply_chat_template(tokenizer, prompt, variables or {})
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        kept = []
        for completion in group.completions:
            ids = tokenizer(completion.text, add_special_tokens=False)["input_ids"]
            ids = [*ids, end] if completion.finished else ids
            if ids and len(prompt_ids) + len(ids) <= max_length:
                kept.append((ids, completion))
        if len(kept) < 2:
            continue
        features.append(
            {
                "prompt_ids": prompt_ids,
                "completion_ids": [ids for ids, _ in kept],
                "scores": [completion.score for _, completion in kept],
                "old_logps": stored_logps and _stored(kept, stored_logps),
            }
        )
    if not features:
        raise UserError(
            f"none of the groups has two completions within {max_length} tokens: raise "
            "model.max_seq_length"
        )
    return features, total - sum(len(feature["scores"]) for feature in features)


def _stored(
    kept: list[tuple[list[int], ScoredCompletion]], unit: Literal["sum", "mean"]
) -> list[float]:
    if any(completion.logprob is None for _, completion in kept):
        raise UserError(
            "training.group_scores.old_logps: stored, but there are completions without `logprob`; "
            "recomputed takes those of the model as it is before training"
        )
    return [
        completion.logprob / (len(ids) if unit == "mean" else 1)
        for ids, completion in kept
        if completion.logprob is not None
    ]


def pad_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The padding token; for tokenizers without one (GPT-2), end-of-text: it is masked anyway."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
