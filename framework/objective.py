"""GRPO in plain tensors: group advantages, the clipped surrogate, KL estimators, normalisations.

Functions of tensors and nothing else, for reading, for `minimal_grpo` and as the reference of the
tests, which compare TRL's loss and gradient with them. GRPO itself runs TRL's loss; training on
scored groups (`trainers/group_scores.py`) runs `group_score_kl` and `group_score_surrogate`.

Shapes: P prompts, G completions of each, B = P * G completions, T completion tokens (padded).
`mask` (B, T) is 1 on completion tokens, the end-of-text token included, and 0 on padding.

Left out: the sampler's own log-probabilities (vLLM importance sampling), and VESPO.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo"]
ScaleRewards = Literal["group", "batch", "none"]
KLEstimator = Literal["k1", "k2", "k3"]
KLDirection = Literal["forward", "reverse"]

TRL_EPSILON = 1e-4  # TRL's, in the denominator of the advantage


def compute_advantages(
    rewards: Tensor | ArrayLike,
    scale: ScaleRewards = "group",
    epsilon: float = TRL_EPSILON,
    correction: int = 0,
) -> Tensor:
    """Rewards -> advantages, in the same shape: (r - mean of the group) / (deviation + epsilon).

    One group (G,), or groups of equal size (P, G): a tensor, a NumPy array, or lists of numbers.
    `scale` names the deviation: the group's, the whole batch's, or none (Dr. GRPO). It is the
    population's; `correction=1` gives the sample's (n - 1), which is TRL's, and makes advantages
    smaller by sqrt((G - 1) / G). Equal rewards give zero, and no gradient. GRPO: arXiv 2402.03300,
    section 4.1.2; Dr. GRPO: arXiv 2503.20783.

    Four answers to "What is 2+2?", the first and the third right:

    >>> compute_advantages([1.0, 0.0, 1.0, 0.0], epsilon=0.0).tolist()
    [1.0, -1.0, 1.0, -1.0]

    Raises:
        ValueError: the rewards are no such groups of numbers.
    """
    given = _as_tensor(rewards)
    groups = given.unsqueeze(0) if given.dim() == 1 else given
    if groups.dim() != 2:
        raise ValueError(
            f"rewards must be one group, (generations,), or (prompts, generations), not of shape "
            f"{tuple(given.shape)}"
        )
    return _advantages(groups, scale, epsilon, correction).view_as(given)


def _as_tensor(rewards: Tensor | ArrayLike) -> Tensor:
    """In floating point: as given, or float32 for lists and whole numbers."""
    if not isinstance(rewards, torch.Tensor):
        kept = isinstance(rewards, np.ndarray)
        try:
            rewards = torch.from_numpy(np.array(rewards, dtype=None if kept else np.float32))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"rewards must be numbers, in groups of one size: {str(error).splitlines()[0]}"
            ) from error
    return rewards if rewards.is_floating_point() else rewards.float()


def _advantages(rewards: Tensor, scale: ScaleRewards, epsilon: float, correction: int) -> Tensor:
    centred = rewards - rewards.mean(dim=1, keepdim=True)  # (P, G)
    if scale == "none":
        return centred
    if rewards.shape[1] == 1:
        return torch.zeros_like(rewards)  # nothing to compare with, and no deviation
    if scale == "batch":
        return centred / (rewards.std(correction=correction) + epsilon)
    return centred / (rewards.std(dim=1, keepdim=True, correction=correction) + epsilon)


def compute_kl_penalty(logps: Tensor, ref_logps: Tensor, estimator: KLEstimator = "k3") -> Tensor:
    """An estimate of KL(policy || reference) for each token, in the shape of the inputs.

    With r = reference / policy: k1 = -log r (unbiased, may be negative), k2 = (log r)^2 / 2
    (biased, small variance), k3 = r - 1 - log r (unbiased, never negative).
    Source: http://joschu.net/blog/kl-approx.html
    """
    log_ratio = ref_logps - logps
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    return log_ratio.exp() - 1 - log_ratio


@dataclass(frozen=True, slots=True)
class Objective:
    """The settings of a loss, with TRL's names; `epsilon_high=None` takes `epsilon`.

    `sequence_level` takes the ratio of whole sequences, length-normalised (GSPO, arXiv 2507.18071).
    `kl_times_ratio` multiplies the KL term by the probability ratio, which makes its gradient that
    of the reverse KL (DeepSeek-V3.2, arXiv 2512.02556; TRL's `use_bias_correction_kl`).
    """

    loss_type: LossType = "dapo"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    beta: float = 0.0
    kl_times_ratio: bool = True
    sequence_level: bool = False
    max_completion_length: int = 512
    sapo_temperature_pos: float = 1.0
    sapo_temperature_neg: float = 1.05


def policy_loss(
    logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    objective: Objective,
    *,
    old_logps: Tensor | None = None,
    ref_logps: Tensor | None = None,
    num_items_in_batch: Tensor | float | None = None,
) -> Tensor:
    """The loss (a scalar) of one batch that is one optimiser step.

    Args:
        logps: (B, T), log-probabilities of the sampled tokens under the policy, with gradient.
        advantages: (B,).
        old_logps: (B, T), under the policy that sampled; None if that is this policy: then the
            ratio is 1, and its gradient is that of log-probability.
        ref_logps: (B, T), under the reference; needed with beta > 0.
        num_items_in_batch: completion tokens of the whole step, for `dapo` and `cispo`; None takes
            this batch's.
    """
    old_logps = logps.detach() if old_logps is None else old_logps
    log_ratio = logps - old_logps  # (B, T)
    if objective.sequence_level:
        log_ratio = masked_mean(log_ratio, mask).unsqueeze(1)  # (B, 1)
    ratio = log_ratio.exp()
    per_token = _surrogate(logps, ratio, advantages.unsqueeze(1), objective)
    if objective.beta > 0:
        if ref_logps is None:
            raise ValueError("beta > 0 needs ref_logps")
        kl = compute_kl_penalty(logps, ref_logps)
        per_token = per_token + objective.beta * (kl * ratio if objective.kl_times_ratio else kl)
    return _normalised(per_token * mask, mask, objective, num_items_in_batch)


def _surrogate(logps: Tensor, ratio: Tensor, advantages: Tensor, objective: Objective) -> Tensor:
    """The loss of each token before it is averaged: (B, T), or (B, 1) by sequence.

    Clipped surrogate: PPO, arXiv 1707.06347; two different bounds: DAPO, arXiv 2503.14476.
    """
    high = objective.epsilon if objective.epsilon_high is None else objective.epsilon_high
    if objective.loss_type == "cispo":
        # Clips the weight of the gradient, not the update: MiniMax-M1, arXiv 2506.13585.
        return -ratio.clamp(max=high).detach() * advantages * logps
    if objective.loss_type == "sapo":
        # A soft gate in place of the clip: arXiv 2511.20347.
        temperature = torch.where(
            advantages > 0, objective.sapo_temperature_pos, objective.sapo_temperature_neg
        )
        return -torch.sigmoid(temperature * (ratio - 1)) * 4 / temperature * advantages
    clipped = ratio.clamp(1 - objective.epsilon, 1 + high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def _normalised(
    per_token: Tensor, mask: Tensor, objective: Objective, num_items: Tensor | float | None
) -> Tensor:
    """Masked token losses (B, T) -> the loss, a scalar: what differs between GRPO's variants.

    - `grpo`, `sapo`: mean over a completion's tokens, then over completions;
    - `bnpo`: mean over all tokens of the batch;
    - `dapo`, `cispo`: sum over tokens, divided by the tokens of the whole step;
    - `dr_grpo`: sum over tokens, divided by completions x max_completion_length: no length bias;
    - `luspo`: sum over a completion's tokens, mean over completions (arXiv 2602.05261).
    """
    kind = objective.loss_type
    if kind in ("grpo", "sapo"):
        return (per_token.sum(1) / mask.sum(1).clamp(min=1)).mean()
    if kind == "bnpo":
        return per_token.sum() / mask.sum().clamp(min=1)
    if kind == "dr_grpo":
        return per_token.sum() / (len(mask) * objective.max_completion_length)
    if kind == "luspo":
        return per_token.sum(1).mean()
    total = mask.sum() if num_items is None else num_items
    return per_token.sum() / torch.as_tensor(total, device=mask.device).clamp(min=1)


def group_score_kl(
    logps: Tensor,
    scores: Tensor,
    mask: Tensor,
    temperature: float = 1.0,
    direction: KLDirection = "forward",
) -> Tensor:
    """KL divergence between the policy's and the scores' distribution in a group; mean over groups.

    `logps` are sequence log-probabilities (P, G) with gradient, `scores` (P, G); `mask` (P, G) is 0
    where a group is smaller than the largest. Target p = softmax(scores / temperature), policy
    q = softmax(logps), each over its group; `forward` is KL(p || q), `reverse` KL(q || p).

    The target is met when two answers' log-probabilities differ by the difference of their scores
    over the temperature, so that bad answers are pushed down to a bound. Equal scores are a signal
    here: they ask for equal probabilities.
    """
    absent = mask == 0
    target = (scores.detach() / temperature).masked_fill(absent, -torch.inf).log_softmax(1)
    policy = logps.masked_fill(absent, -torch.inf).log_softmax(1)  # (P, G)
    if direction == "reverse":
        target, policy = policy, target
    difference = (target - policy).masked_fill(absent, 0.0)
    return (target.exp() * difference).sum(1).mean()


def group_score_surrogate(
    logps: Tensor,
    old_logps: Tensor,
    scores: Tensor,
    mask: Tensor,
    *,
    epsilon: float = 0.2,
    epsilon_high: float | None = None,
    max_ratio: float = 3.0,
) -> Tensor:
    """The clipped surrogate on given answers: advantages of the scores times sequence ratios.

    All are (P, G), as in `group_score_kl`; `old_logps` are under the policy that the ratio is
    counted from. A good answer has a gradient until its ratio is 1 + `epsilon_high`, a bad one
    until it is 1 - `epsilon`. Beyond `max_ratio` no answer has one: for bad answers the surrogate
    alone is not bounded there (dual clip, arXiv 1912.09729, equation 5).
    """
    count = mask.sum(1, keepdim=True)  # (P, 1)
    centred = (scores - (scores * mask).sum(1, keepdim=True) / count) * mask
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()
    advantages = centred / (deviation + TRL_EPSILON)  # (P, G)
    log_ratio = (logps - old_logps).masked_fill(mask == 0, 0.0)
    # Bounded before exp, where a ratio of infinity would make the gradient NaN.
    ratio = log_ratio.clamp(max=math.log(max_ratio)).exp()
    high = epsilon if epsilon_high is None else epsilon_high
    clipped = ratio.clamp(1 - epsilon, 1 + high)
    gain = torch.minimum(ratio * advantages, clipped * advantages)
    return -(gain.sum(1) / count.squeeze(1)).mean()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Values (B, T) -> the mean of each row over its unmasked tokens (B,); 0 for an empty row."""
    return (values * mask).sum(1) / mask.sum(1).clamp(min=1)


def token_logps(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Logits (B, T, V) and the tokens (B, T) they are to predict -> log-probabilities (B, T)."""
    chosen = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) / temperature
    return chosen - torch.logsumexp(logits / temperature, dim=-1)
