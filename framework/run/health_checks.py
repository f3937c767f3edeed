"""What can go wrong with a run, one function each: takes the numbers so far, returns a diagnosis.

Thresholds keep a margin to the numbers of healthy runs (tests/framework/run/test_run_health.py):
false alarms teach people to ignore all of them. Every remedy is a config key with a value to try.
To add a check, write a function and list it in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from groupwise.evaluation.tables import OFTEN_TRUNCATED
from groupwise.evaluation.text import percent
from groupwise.framework.run.health_history import EARLY, RECENT, START, History


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A finding before it has its name and step."""

    what: str
    cause: str
    remedy: str
    numbers: Mapping[str, float]


def non_finite(h: History) -> Diagnosis | None:
    count = h.steps[-1].get("non_finite") or 0
    if not count:
        return None
    return Diagnosis(
        f"{count:.0f} of the step's loss, gradient and KL are NaN or infinite",
        "The weights are broken, or will be with this step: the learning rate is too high, or "
        "float16 has overflowed",
        f"Lower training.learning_rate ({h.config.learning_rate:g}), set training.max_grad_norm: "
        "0.1, or model.dtype: bfloat16, and resume from a checkpoint before this step",
        {"non_finite": float(count)},
    )


def reward_floor(h: History) -> Diagnosis | None:
    if not h.all("correct", EARLY, lambda v: v == 0):
        return None
    return Diagnosis(
        f"not one right answer in the last {EARLY} steps",
        "The problems are too hard for this model, or the reward cannot read its answers",
        "Read some in rollouts.jsonl, run `groupwise check`; then take easier problems, a larger "
        "model, a warm start (training.warm_start), or a higher training.num_generations",
        {"correct": 0.0},
    )


def reward_ceiling(h: History) -> Diagnosis | None:
    window = 2 * EARLY
    correct, share = h.mean("correct", window), h.mean("zero_variance_groups", window)
    if correct is None or share is None or correct < 0.995 or share < 0.95:
        return None
    return Diagnosis(
        f"{percent(correct, 1)} of the answers of the last {window} steps are right",
        "There is nothing left to learn from these problems",
        "Stop here, or take harder problems",
        {"correct": correct, "zero_variance_groups": share},
    )


def reward_constant(h: History) -> Diagnosis | None:
    if not h.all("reward/std", EARLY, lambda v: v < 1e-6):
        return None
    reward = h.mean("reward/mean", EARLY)
    return Diagnosis(
        f"every completion of the last {EARLY} steps got the same reward, {reward or 0:.3g}",
        "The reward does not depend on the answer, or no answer has what it looks for",
        "Run `groupwise check` with this config: it shows what each reward gives to right and "
        "wrong answers. Nothing is learned as it is",
        {"reward/mean": reward or 0.0},
    )


def no_group_variance(h: History) -> Diagnosis | None:
    share, correct = h.mean("zero_variance_groups", EARLY), h.mean("correct", EARLY)
    is_solved = correct is not None and correct > 0.7  # late in a good run, most groups are right
    if share is None or share <= 0.85 or is_solved:
        return None
    return Diagnosis(
        f"in {percent(share)} of the groups all completions have the same reward, over {EARLY} "
        "steps",
        "The problems are too easy or too hard, or the completions are all alike; such a group has "
        "no advantage and teaches nothing",
        f"Raise training.num_generations ({h.config.num_generations}) or training.temperature "
        f"({h.config.temperature:g}), or choose problems that are solved now and then",
        {"zero_variance_groups": share},
    )


def kl_exploding(h: History) -> Diagnosis | None:
    now, before = h.mean("kl_divergence", 3), h.mean("kl_divergence", EARLY, upto=3)
    if now is None:
        return None
    is_sudden = before is not None and now > 0.5 and now > 10 * max(before, 0.01)
    if now <= 2.0 and not is_sudden:
        return None
    beta = h.config.beta
    return Diagnosis(
        f"the KL divergence from the model before GRPO is {now:.3g} a token",
        "The model has left the language that it knew; answers soon turn into noise",
        f"Lower training.learning_rate ({h.config.learning_rate:g}) by 3 to 10 times, or raise "
        f"training.beta ({beta:g}) to {max(0.01, 10 * beta):g}",
        {"kl_divergence": now},
    )


def _is_unsolved(h: History) -> bool:
    """Low entropy is normal once problems are solved; it is a collapse if answers are wrong."""
    correct = h.mean("correct", RECENT)
    return correct is None or correct < 0.5


def entropy_collapse(h: History) -> Diagnosis | None:
    now, early = h.mean("entropy", RECENT), h.first("entropy", EARLY)
    if now is None or early is None or len(h.steps) < 2 * EARLY or not _is_unsolved(h):
        return None
    if now > 0.15 * early:
        return None
    return Diagnosis(
        f"the entropy has fallen from {early:.3g} to {now:.3g}",
        "The model is sure of itself, and not right: there is nothing left to explore",
        "Lower training.learning_rate, raise training.epsilon_high to 0.28, or set training.beta: "
        "0.01",
        {"entropy": now, "entropy_at_first": early},
    )


def diversity_collapse(h: History) -> Diagnosis | None:
    now, early = h.mean("distinct_completions", RECENT), h.first("distinct_completions", EARLY)
    if now is None or early is None or len(h.steps) < 2 * EARLY or not _is_unsolved(h):
        return None
    least = 1 / h.config.num_generations
    if (now - least) > 0.15 * (early - least) or early < 2 * least:
        return None
    return Diagnosis(
        f"of a group's completions {percent(now)} are different; it was {percent(early)} at first",
        "The model gives the same answers again and again, and they are not right",
        f"Lower training.learning_rate ({h.config.learning_rate:g}), raise training.temperature "
        f"({h.config.temperature:g}), or raise training.epsilon_high to 0.28",
        {"distinct_completions": now, "distinct_completions_at_first": early},
    )


def duplicate_completions(h: History) -> Diagnosis | None:
    if h.config.prompts_per_step < 4 or not _is_unsolved(h):
        return None
    share = h.mean("most_common_completion", RECENT)
    if share is None or share < 0.75:
        return None
    return Diagnosis(
        f"{percent(share)} of a step's completions are one and the same text, whatever the problem",
        "The model has found an answer that pays without looking at the problem",
        "Read it in rollouts.jsonl; then fix the reward that pays for it, or raise training.beta "
        f"({h.config.beta:g}) to {max(0.01, 10 * h.config.beta):g}",
        {"most_common_completion": share},
    )


def length_runaway(h: History) -> Diagnosis | None:
    now, early = h.mean("completion_length/mean", RECENT), h.first("completion_length/mean", START)
    if now is None or early is None or len(h.steps) < EARLY + RECENT:
        return None
    limit = h.config.max_completion_length
    if now < 2 * early or now < 0.5 * limit:
        return None
    return Diagnosis(
        f"completions have grown from {early:.0f} to {now:.0f} tokens, of {limit}",
        "Length pays: a reward counts words, or the loss makes long wrong answers cheap",
        'Set training.loss_type: dr_grpo with training.scale_rewards: "none", add the reward '
        "`length`, or fix the reward that pays for it",
        {"completion_length/mean": now, "completion_length/at_first": early},
    )


def length_collapse(h: History) -> Diagnosis | None:
    now, early = h.mean("completion_length/mean", RECENT), h.first("completion_length/mean", START)
    if now is None or early is None or len(h.steps) < EARLY + RECENT or not _is_unsolved(h):
        return None
    if now > 0.25 * early:
        return None
    return Diagnosis(
        f"completions have shrunk from {early:.0f} to {now:.0f} tokens, and are not right",
        "Short answers pay: the model no longer tries",
        "Look at the rewards that favour short answers; lower training.learning_rate "
        f"({h.config.learning_rate:g})",
        {"completion_length/mean": now, "completion_length/at_first": early},
    )


def truncation(h: History) -> Diagnosis | None:
    share = h.mean_or_all("truncated", RECENT)
    if share is None or share <= OFTEN_TRUNCATED:
        return None
    limit = h.config.max_completion_length
    return Diagnosis(
        f"max_completion_length {limit} cuts off {percent(share)} of the completions",
        "What is cut off has no answer, so that long thinking is punished whatever it says",
        f"Raise training.max_completion_length to {2 * limit}, or set "
        "training.mask_truncated_completions: true",
        {"truncated": share},
    )


def unreadable_answers(h: History) -> Diagnosis | None:
    share = h.mean_or_all("status/unparseable", EARLY)
    if share is None or share <= 0.9:
        return None
    return Diagnosis(
        f"in {percent(share)} of the completions no answer is found",
        "The prompt does not ask for the form that the reward looks for, or the template has "
        "opened a tag that the reward waits for",
        "Run `groupwise check`, say the form in data.system_prompt, or teach it first with "
        "training.warm_start.enabled: true",
        {"status/unparseable": share},
    )


def grader_timeouts(h: History) -> Diagnosis | None:
    share = h.mean_or_all("status/timeout", RECENT)
    if share is None or share <= 0.1:
        return None
    return Diagnosis(
        f"{percent(share)} of the answers took the grader too long, and count as wrong",
        "The model writes formulas that are too large to compare, or the machine is overloaded",
        "Raise timeout_s of the reward, or look at such answers in rollouts.jsonl (status timeout)",
        {"status/timeout": share},
    )


def dominating_reward(h: History) -> Diagnosis | None:
    """One reward other than correctness makes up most of the spread behind the advantages."""
    spread = {
        name: abs(part.weight) * deviation
        for name, part in h.parts.items()
        if (deviation := h.mean(f"reward/{name}/std", 2 * EARLY)) is not None
    }
    total, correct = sum(spread.values()), h.mean("correct", EARLY)
    is_open = correct is not None and 0.05 < correct < 0.95
    if len(spread) < 2 or total == 0 or not is_open:
        return None
    name = max(spread, key=lambda n: spread[n])
    share = spread[name] / total
    if share <= 0.8 or h.parts[name].is_correctness:
        return None
    weight = h.parts[name].weight
    if share < 0.99:
        remedy = f"Lower rewards.parts.{name}.weight ({weight:g}) to {weight * (1 - share):.2g}"
    else:  # the others have next to no spread, or no weight at all
        others = [n for n, part in h.parts.items() if part.is_correctness] or ["NAME"]
        remedy = f"Raise rewards.parts.{others[0]}.weight above that of {name!r} ({weight:g})"
    return Diagnosis(
        f"{percent(share)} of the spread in the rewards comes from {name!r}",
        "The other parts, correctness too, hardly count in the advantages",
        f"{remedy}, or set rewards.aggregation: normalize_then_sum",
        {"share": share},
    )


def reward_hacking(h: History) -> Diagnosis | None:
    """The reward stays or rises while fewer answers are right."""
    recent = 2 * EARLY  # a bad stretch is no trend
    now, reward = h.mean("correct", recent), h.mean("reward/mean", recent)
    if now is None or reward is None or len(h.steps) < recent + EARLY:
        return None
    windows = range(recent, len(h.steps) - EARLY + 1)  # whole windows before this one
    before = [
        (c, r, upto)
        for upto in windows
        if (c := h.mean("correct", EARLY, upto=upto)) is not None
        and (r := h.mean("reward/mean", EARLY, upto=upto)) is not None
    ]
    if not before:
        return None
    best, reward_then, upto = max(before)
    if best - now < max(0.05, h.noise) or now > 0.75 * best or reward < reward_then:
        return None
    paying = _rose_most(h, recent, upto)
    return Diagnosis(
        f"right answers fell from {percent(best)} to {percent(now)}, and the reward rose from "
        f"{reward_then:.3g} to {reward:.3g}",
        f"{paying!r} pays better than being right"
        if paying
        else "Another reward pays better than being right: a format, a length, a style",
        f"Lower rewards.parts.{paying}.weight ({h.parts[paying].weight:g}), or let it count only "
        f"where the answer is right: rewards.parts.{paying}.requires"
        if paying
        else "Lower that reward's weight, or let it count only where the answer is right "
        "(rewards.parts.NAME.requires)",
        {"correct": now, "correct_at_best": best, "reward/mean": reward},
    )


def _rose_most(h: History, recent: int, upto: int) -> str | None:
    """The part, other than correctness, that added most to the reward since `upto` steps ago."""
    rise = {
        name: part.weight * (now - then)
        for name, part in h.parts.items()
        if not part.is_correctness
        and (now := h.mean(f"reward/{name}/mean", recent)) is not None
        and (then := h.mean(f"reward/{name}/mean", EARLY, upto=upto)) is not None
    }
    most = max(rise, key=lambda name: rise[name], default=None)
    return most if most is not None and rise[most] > 0 else None


def memory_creeping(h: History) -> Diagnosis | None:
    """Peak memory that keeps growing long after the first steps have shown what a step needs."""
    window = 4 * EARLY
    if len(h.steps) < EARLY + window:
        return None
    peaks = [h.steps[i].get("memory/peak_gb") for i in (-window - 1, -window // 2 - 1, -1)]
    if any(peak is None for peak in peaks):
        return None
    before, between, now = (float(peak or 0) for peak in peaks)
    if now < 1.15 * before or now - between < 0.05 * before:
        return None
    return Diagnosis(
        f"peak memory has grown from {before:.1f} to {now:.1f} GB in {window} steps",
        "Completions grow longer, or something keeps what it should let go",
        "If completion_length/max grows too, lower training.max_completion_length or "
        "training.completions_per_forward; if not, stop and continue with --resume now and then",
        {"memory/peak_gb": now, "memory/peak_gb_before": before},
    )


CHECKS: dict[str, Callable[[History], Diagnosis | None]] = {
    check.__name__: check
    for check in (
        non_finite,
        reward_floor,
        reward_ceiling,
        reward_constant,
        no_group_variance,
        kl_exploding,
        entropy_collapse,
        diversity_collapse,
        duplicate_completions,
        length_runaway,
        length_collapse,
        truncation,
        unreadable_answers,
        grader_timeouts,
        dominating_reward,
        reward_hacking,
        memory_creeping,
    )
}
