"""From logits to tokens: the sampling rules, and one uniform number per draw.

The rules and their order are those of `transformers` (repetition penalty, temperature, top-k,
top-p, min-p), so that a recipe means the same here as there. A token is drawn by inverting the
cumulative distribution: one uniform number per row. Gumbel noise would need a random number for
each word of the vocabulary, 150,000 per row and step.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from groupwise.evaluation.sampler import SamplingParams
from groupwise.rewards.errors import UserError

NUCLEUS_FIRST = 1024
BLOCK = 64
BLOCKS_ABOVE = 1024  # below, one running sum is faster than two smaller ones
ALMOST_ONE = 1 - 2**-50


def check_params(params: SamplingParams) -> None:
    """Raise UserError if a sampling parameter is out of range."""
    problems = [
        (params.temperature < 0, "temperature", params.temperature, "0 (greedy) or more"),
        (params.top_k < 0, "top_k", params.top_k, "0 (off) or more"),
        (not 0 < params.top_p <= 1, "top_p", params.top_p, "above 0, at most 1 (off)"),
        (not 0 <= params.min_p < 1, "min_p", params.min_p, "0 (off) or more, below 1"),
        (
            not params.repetition_penalty > 0,
            "repetition_penalty",
            params.repetition_penalty,
            "above 0 (1 is off)",
        ),
        (params.max_tokens < 1, "max_tokens", params.max_tokens, "1 or more"),
        (any(not s for s in params.stop), "stop", params.stop, "strings that are not empty"),
    ]
    for wrong, field, value, remedy in problems:
        if wrong:
            raise UserError(f"sampling: {field} is {value!r}; it must be {remedy}.")


def draw(
    logits: Tensor, uniform: Tensor, params: SamplingParams, seen: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Draw a token for each row.

    Args:
        logits: (B, V), any float type, as the model gave them.
        uniform: (B,), float64 in [0, 1); not looked at when greedy.
        seen: (B, V) bool, the tokens of prompt and completion so far; needed with a repetition
            penalty.

    Returns:
        Tokens (B,) int64, and with `params.logprobs` their log-probabilities (B,) float32 under the
        model's own distribution at the temperature (at 1 when greedy), before any other rule.
    """
    if len(logits) == 1:
        # One sum over a large vocabulary would be cut among the threads: two rows are not.
        twice = None if seen is None else seen.expand(2, -1)
        tokens, logprobs = draw(logits.expand(2, -1), uniform.expand(2), params, twice)
        return tokens[:1], None if logprobs is None else logprobs[:1]
    scores = logits.float()
    if params.repetition_penalty != 1.0:
        assert seen is not None
        scores = penalise(scores, seen, params.repetition_penalty)
    if params.temperature == 0:
        tokens = scores.argmax(dim=-1)
    else:
        if params.temperature != 1.0:
            scores = scores / params.temperature
        top = scores.amax(dim=-1, keepdim=True)  # (B, 1)
        weights = (scores - top).exp_()  # (B, V)
        threshold = _threshold(scores, top, params)
        if threshold is not None:
            weights.masked_fill_(scores < threshold, 0.0)
        tokens = _invert(weights, uniform)
    if not params.logprobs:
        return tokens, None
    return tokens, token_logprobs(logits, tokens, params.temperature)


def penalise(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make seen tokens less likely, each once (Keskar et al., CTRL, 2019): (B, V)."""
    return torch.where(
        seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores
    )  # (B, V)


def token_logprobs(logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of `tokens` (B,) under softmax(logits / temperature): (B,) float32."""
    scores = logits.float() / (temperature or 1.0)
    chosen = scores.gather(-1, tokens[:, None]).squeeze(-1)
    return chosen - scores.logsumexp(dim=-1)


def _threshold(scores: Tensor, top: Tensor, params: SamplingParams) -> Tensor | None:
    """The least score that top-k, top-p and min-p leave in, in this order: (B, 1).

    Each of the rules keeps the tokens above some score, so that together they are one number per
    row. Tokens with exactly the least score are all kept; transformers' top-p keeps some of them,
    by their place in a sort.
    """
    threshold = None
    if 0 < params.top_k < scores.shape[-1] or params.top_p < 1.0:
        kept = scores  # (B, V), or (B, k) in descending order
        if 0 < params.top_k < scores.shape[-1]:
            kept = scores.topk(params.top_k).values
            threshold = kept[:, -1:]
        if params.top_p < 1.0:
            threshold = _nucleus(kept, params.top_p)
    if params.min_p > 0:
        floor = top + math.log(params.min_p)  # probability above min_p times the highest
        threshold = floor if threshold is None else torch.maximum(threshold, floor)
    return threshold


def _nucleus(scores: Tensor, top_p: float) -> Tensor:
    """The least score among the likeliest tokens that make up `top_p`: (B, 1).

    Looks at the 1,024 likeliest first: sorting 150,000 scores per row takes longer than a forward.
    """
    whole = scores.logsumexp(dim=-1, keepdim=True)  # (B, 1)
    for count in (min(NUCLEUS_FIRST, scores.shape[-1]), scores.shape[-1]):
        ordered = scores.topk(count).values  # (B, count), descending
        probs = (ordered - whole).exp()
        above = probs.cumsum(dim=-1) - probs  # the mass of the likelier tokens
        keep = (above < top_p).sum(dim=-1, keepdim=True)  # (B, 1), at least 1
        if count == scores.shape[-1] or bool((keep < count).all()):
            break
    return ordered.gather(-1, keep - 1)


def _invert(weights: Tensor, uniform: Tensor) -> Tensor:
    """The first token at which the running sum of the weights passes `uniform` of the total: (B,).

    A token of weight 0 is never drawn. Over a large vocabulary the block of 64 tokens is found
    first and the token in it second: sums of blocks are several times faster than running sums.
    Running sums are in float64: float32 would swallow the rare tokens after the frequent ones.
    """
    rows, vocabulary = weights.shape
    if vocabulary <= BLOCKS_ABOVE:
        cumulative = weights.cumsum(dim=-1, dtype=torch.float64)  # (B, V)
        return _first_above(cumulative, uniform[:, None]).squeeze(-1)
    if vocabulary % BLOCK:
        weights = F.pad(weights, (0, BLOCK - vocabulary % BLOCK))
    blocks = weights.view(rows, -1, BLOCK)  # (B, N, 64)
    sums = blocks.sum(dim=-1, dtype=torch.float32).double()  # (B, N)
    cumulative = sums.cumsum(dim=-1)
    block = _first_above(cumulative, uniform[:, None])  # (B, 1)
    size = sums.gather(1, block)
    before = cumulative.gather(1, block) - size
    rest = ((uniform[:, None] * cumulative[:, -1:] - before) / size).clamp(0.0, ALMOST_ONE)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, BLOCK))[:, 0]  # (B, 64)
    within = _first_above(inside.cumsum(dim=-1, dtype=torch.float64), rest)  # (B, 1)
    return (block * BLOCK + within).squeeze(-1).clamp_(max=vocabulary - 1)


def _first_above(cumulative: Tensor, fraction: Tensor) -> Tensor:
    """Index of the first running sum above `fraction` (B, 1) of the last: (B, 1)."""
    target = fraction * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, target, right=True)
    return index.clamp_(max=cumulative.shape[-1] - 1)  # NaN sorts last
