"""Proof on the user's data: does each reward rank the reference above a wrong and an empty answer?

    proof = prove(rubric, examples)

Every example gets completions whose worth is known: its reference answer, an empty text, another
example's answer; a sample of examples also the bare reference, and a long text in another script
that is cut off. What it leaves out: how good the model's own answers are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.rewards.check.missing import MissingReference
from groupwise.rewards.check.parts import (
    Evidence,
    PartProof,
    is_correct,
    mean,
    prove_part,
    skipping,
)
from groupwise.rewards.check.probes import (
    BARE,
    PROBES,
    TEMPLATES,
    Probe,
    Tokenize,
    Writer,
    by_words,
    final_answer,
    spread,
    wrong_answers,
)
from groupwise.rewards.check.references import ReferenceVerdict, judge_references
from groupwise.rewards.math.grade import Correctness, clear_caches
from groupwise.rewards.reward_model import LearnedReward, RewardModel
from groupwise.rewards.rubric import REWARDS, Rubric
from groupwise.rewards.style import Format
from groupwise.rewards.types import Completion, Example, Score

SAMPLE = 64
"""Examples for rewards that are slow (models, users' functions), and for `bare` and `strange`."""

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict on a rubric. `seconds_per_completion` is measured with empty caches."""

    num_examples: int
    template: str
    parts: tuple[PartProof, ...]
    totals: dict[Probe, float | None]
    problems: tuple[str, ...]
    notices: tuple[str, ...]
    missing: tuple[MissingReference, ...]  # references that say that there is no answer
    reference_lengths: tuple[int, ...]  # tokens of each wrapped reference answer
    seconds_per_completion: float


def prove(
    rubric: Rubric,
    examples: Sequence[Example],
    *,
    tokenize: Tokenize | None = None,
    max_tokens: int = 512,
    references: ReferenceVerdict | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Proof:
    """Probes every reward of a rubric on examples with rendered prompts.

    `max_tokens` is the length at which a completion is cut off. Without `tokenize` words count as
    tokens. A reward that fails is reported, whatever the rubric's `on_error` says. `references` is
    what was found of the references, if the examples are a part of those that were looked at.
    """
    if not examples:
        raise ValueError("no examples to probe the rewards with")
    tokenize = tokenize or by_words
    grader = _correctness(rubric)
    finals = [final_answer(example, grader) for example in examples]
    sample = spread(len(examples), SAMPLE)
    template = _best_template(rubric, [examples[i] for i in sample[:16]], finals, sample, tokenize)
    others = wrong_answers(finals, grader or Correctness(), examples)
    writer = Writer(tokenize, template, max_tokens)

    cheap, full = _cheap_part(rubric), skipping(rubric, rubric.rewards)
    on_all, lengths = _ask_of_all(cheap, writer, examples, finals, others, on_progress)
    sampled = [examples[i] for i in sample]
    probes = {
        probe: writer.write(
            probe,
            sampled,
            [(others[i] or "") if probe == "wrong" else finals[i] for i in sample],
        )
        for probe in PROBES
    }
    on_sample = _by_example(full, sampled, probes)
    evidence = Evidence(rubric, cheap, full, examples, others, sampled, on_all, on_sample)
    parts = [prove_part(name, evidence) for name in rubric.rewards]
    problems, notices = _judge_totals(rubric, sampled, [others[i] for i in sample], on_sample)
    references = references or judge_references(rubric, examples, {})
    problems[:0], notices[:0] = references.problems, references.notices
    if unknown := sum(answer is None for answer in others):
        notices.append(
            f"no wrong answer could be found for {unknown} of {len(examples)} examples: every "
            "other reference that was tried is graded as right there"
        )
    return Proof(
        len(examples),
        template,
        tuple(parts),
        {probe: mean(score.total for score in on_sample[probe]) for probe in PROBES},
        tuple(problems),
        tuple(notices),
        references.missing,
        tuple(lengths),
        _seconds(full, sampled, probes),
    )


def _ask_of_all(
    cheap: Rubric,
    writer: Writer,
    examples: Sequence[Example],
    finals: Sequence[str],
    others: Sequence[str | None],
    on_progress: Callable[[int, int], None] | None,
) -> tuple[dict[Probe, list[Score]], list[int]]:
    """The scores of every example for the first three probes, and the references' lengths."""
    columns: dict[Probe, list[Score]] = {probe: [] for probe in PROBES}
    lengths: list[int] = []
    for start in range(0, len(examples), _CHUNK):
        chunk = examples[start : start + _CHUNK]
        answers = {
            "reference": finals[start : start + _CHUNK],
            "wrong": [answer or "" for answer in others[start : start + _CHUNK]],
        }
        for probe in PROBES[:3]:
            written = writer.write(probe, chunk, answers.get(probe, [""] * len(chunk)))
            columns[probe] += cheap.score_batch(chunk, written)
        lengths += writer.lengths(chunk, answers["reference"])
        if on_progress is not None:
            on_progress(min(start + _CHUNK, len(examples)), len(examples))
    return columns, lengths


def _best_template(
    rubric: Rubric,
    examples: Sequence[Example],
    finals: Sequence[str],
    sample: Sequence[int],
    tokenize: Tokenize,
) -> str:
    """The first wrapping that correctness, format and users' functions value most.

    Each judge has a vote as large as its weight, whatever the size of its values: a function of
    lengths must not outvote what compares answers.
    """
    ours: tuple[Any, ...] = (*REWARDS.values(), RewardModel)
    judges = {
        name: reward
        for name, reward in rubric.rewards.items()
        if isinstance(reward, (Correctness, Format)) or not isinstance(reward, ours)
    }
    asked = skipping(rubric, judges)
    answers = [finals[i] for i in sample[: len(examples)]]
    means: dict[str, list[float]] = {name: [] for name in judges}
    for template in TEMPLATES:
        written = Writer(tokenize, template, 1).write("reference", examples, answers)
        scores = asked.score_batch(examples, written)
        for name in judges:
            means[name].append(mean(score.parts[name] for score in scores) or 0.0)
    votes = [0.0] * len(TEMPLATES)
    for name, values in means.items():
        low, high = min(values), max(values)
        for index, value in enumerate(values):
            if high - low > 1e-9:
                weight = rubric.specs[name].weight or 1.0  # a gate may have none
                votes[index] += weight * (value - low) / (high - low)
    best = [name for name, vote in zip(TEMPLATES, votes, strict=True) if vote > max(votes) - 1e-9]
    asks_for_form = any(isinstance(judge, Format) for judge in judges.values())
    # Where no wrapping that is known here suits a format reward, a bare answer does so least
    return next((name for name in best if not asks_for_form or name != BARE), BARE)


def _correctness(rubric: Rubric) -> Correctness | None:
    return next((r for r in rubric.rewards.values() if isinstance(r, Correctness)), None)


def _cheap_part(rubric: Rubric) -> Rubric:
    """Our own rewards that need no model: these are computed for every example."""
    ours = tuple(maker for maker in REWARDS.values() if maker is not LearnedReward)
    return skipping(rubric, {n: r for n, r in rubric.rewards.items() if type(r) in ours})


def _by_example(
    rubric: Rubric, examples: Sequence[Example], probes: dict[Probe, list[Completion]]
) -> dict[Probe, list[Score]]:
    """One call for all probes, so that the probes of an example are one group to normalise over."""
    scores = rubric.score_batch(
        [example for _ in probes for example in examples],
        [completion for written in probes.values() for completion in written],
        progress=1.0,
    )
    n = len(examples)
    return {probe: scores[i * n : (i + 1) * n] for i, probe in enumerate(probes)}


def _judge_totals(
    rubric: Rubric,
    examples: Sequence[Example],
    others: Sequence[str | None],
    scores: dict[Probe, list[Score]],
) -> tuple[list[str], list[str]]:
    """Problems and notices on the weighted totals: right must be above wrong, and above empty."""
    problems: list[str] = []
    notices: list[str] = []
    rows = [
        (example.id, gold.total, wrong.total if other is not None else -math.inf, empty.total)
        for example, other, gold, wrong, empty in zip(
            examples, others, scores["reference"], scores["wrong"], scores["empty"], strict=True
        )
        if _correctness(rubric) is None or is_correct(gold)  # a broken reference is said already
    ]
    below = [name for name, gold, wrong, _ in rows if gold < wrong - 1e-9]
    if below and _correctness(rubric) is not None:
        problems.append(
            f"a wrong answer is worth more than the right one on {len(below)} of {len(rows)} "
            f"examples ({', '.join(below[:3])}); see the weights and gates"
        )
    elif rows and all(abs(gold - wrong) < 1e-9 for _, gold, wrong, _ in rows):
        if _correctness(rubric) is None:
            notices.append("no reward tells a right answer from a wrong one")
        else:
            problems.append(
                "a wrong answer is worth as much as a right one on every example, whatever "
                "correctness says; see its weight, gates and schedule"
            )
    idle = [name for name, gold, _, empty in rows if empty >= gold]
    if idle:
        problems.append(
            f"an empty answer is worth as much as the right one, or more, on {len(idle)} of "
            f"{len(rows)} examples ({', '.join(idle[:3])}); see the weights and gates"
        )
    return problems, notices


def _seconds(
    rubric: Rubric, examples: Sequence[Example], probes: dict[Probe, list[Completion]]
) -> float:
    """Seconds a completion, with models loaded, workers started and nothing cached."""
    clear_caches()
    asked: tuple[Probe, ...] = ("reference", "wrong", "bare")
    started = time.perf_counter()
    for probe in asked:
        rubric.score_batch(examples, probes[probe])
    return (time.perf_counter() - started) / (len(asked) * len(examples))
