"""Prefix sharing: log-probabilities of completions, with one forward over each prompt.

    if can_share_prompts(model):
        log_probs, entropy = completion_log_probs(model, input_ids, attention_mask, length)

The completions of a group share their prompt. Its keys and values are computed once and used by all
of them, and the gradients of all flow back into it: the same numbers as a forward over whole rows,
up to rounding, with fewer tokens. A group of eight answers as long as their prompt takes 9/16 of
the work; with very long prompts it approaches an eighth.

The idea is that of "Prefix Grouper", https://arxiv.org/abs/2506.05433, which uses one sequence with
a block mask. Here the prompt's part is a KV cache that carries gradients, so that every decoder's
own forward can be used. Left out: models whose layers take no cache in training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from groupwise.framework.sampling.support import base_model, mask_kinds, why_not_slots

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def can_share_prompts(model: PreTrainedModel) -> bool:
    """Whether `completion_log_probs` can be used for this model in its current state.

    It cannot with gradient checkpointing (layers then take no cache), with sliding windows, or with
    dropout, which would be drawn once for a shared prompt and not once per row.
    """
    config = base_model(model).config
    drops = getattr(config, "attention_dropout", 0.0) or any(
        isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules()
    )
    return (
        why_not_slots(model) is None
        and mask_kinds(config) == (True, False)
        and not base_model(model).is_gradient_checkpointing
        and not (drops and model.training)
    )


def unique_prompts(ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The U different prompts of a batch: their first rows (U,), and each row's prompt (B,).

    `ids`, `mask`: (B, P), padded alike. The second result indexes the first.
    """
    both = torch.cat([ids, mask.to(ids.dtype)], dim=1)
    prompts, prompt_of = torch.unique(both, dim=0, return_inverse=True)
    first = torch.full((len(prompts),), len(ids), device=ids.device)
    rows = torch.arange(len(ids), device=ids.device)
    return first.scatter_reduce(0, prompt_of, rows, "amin"), prompt_of


def completion_log_probs(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_length: int,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probabilities (B, C) of the last C = `completion_length` tokens, and entropies or None.

    `input_ids`, `attention_mask`: (B, P + C), prompts padded on the left, completions on the right;
    P is at least 2. `model` has TRL's fused head (`trl.trainer.utils.add_fused_lm_head`), which
    also knows the temperature. Values at padding are 0.
    """
    from transformers import DynamicCache  # slow: not at start-up

    shared = input_ids.shape[1] - completion_length - 1  # the last token of a prompt predicts
    first, prompt_of = unique_prompts(input_ids[:, :shared], attention_mask[:, :shared])
    prompts = input_ids[first, :shared]  # (U, P - 1)
    cache = DynamicCache()
    model(
        input_ids=prompts,
        attention_mask=attention_mask[first, :shared],
        past_key_values=cache,
        labels=torch.full_like(prompts, -100),
        fused_lm_head=True,
    )
    cache.reorder_cache(prompt_of)  # an index_select: from U prompts to B rows
    rest = input_ids[:, shared:]  # (B, 1 + C)
    labels = rest.masked_fill(attention_mask[:, shared:] == 0, -100)
    labels[:, 0] = -100
    output = model(
        input_ids=rest,
        attention_mask=attention_mask,
        past_key_values=cache,
        labels=labels,
        fused_lm_head=True,
    )
    return output.log_probs, output.entropy
