"""Proof on one's own data: does each reward tell the reference answer from a wrong one and none?

    proof = prove(rubric, examples)

Every example is answered in ways whose worth is known: with its reference answer, with nothing,
with another example's answer; a sample also bare, and with a long text in a strange script that
was cut off. What this leaves out: how good the model's own answers are.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from groupwise.rewards.check.probes import (
    PROBES,
    TEMPLATES,
    Probe,
    Tokenize,
    Writer,
    by_words,
    final_answer,
    opens_thought,
    spread,
    wrap,
    wrong_answers,
)
from groupwise.rewards.math.grade import Correctness, clear_caches
from groupwise.rewards.reference import ReferenceQuality
from groupwise.rewards.reward_model import LearnedReward, RewardModel
from groupwise.rewards.rubric import REWARDS, GradedReward, Rubric
from groupwise.rewards.style import Format
from groupwise.rewards.text import excerpt
from groupwise.rewards.types import Completion, Example, Score

SAMPLE = 64
"""Examples for what is slow or needs only a few: models, users' functions, `bare`, `strange`."""

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Failure:
    """An example on which a reward is not what it has to be."""

    example_id: str
    question: str  # an excerpt, safe to print
    reference: str  # likewise
    what: str


@dataclass(frozen=True, slots=True)
class PartProof:
    """What the probes say of one reward.

    `means`: mean value by probe, None where it had no opinion. `failures`: where something that
    must hold does not. `problems` make the reward useless. `note` says what could not be asked.
    """

    name: str
    weight: float
    num_examples: int
    means: dict[Probe, float | None]
    failures: tuple[Failure, ...]
    problems: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the probes say of a rubric. `seconds_per_completion` is measured with empty caches."""

    num_examples: int
    template: str
    parts: tuple[PartProof, ...]
    totals: dict[Probe, float | None]
    problems: tuple[str, ...]
    notices: tuple[str, ...]
    reference_lengths: tuple[int, ...]  # tokens of each wrapped reference answer
    seconds_per_completion: float


def prove(
    rubric: Rubric,
    examples: Sequence[Example],
    *,
    tokenize: Tokenize | None = None,
    max_tokens: int = 512,
    on_progress: Callable[[int, int], None] | None = None,
) -> Proof:
    """Probes every reward of a rubric on examples with rendered prompts.

    `max_tokens` is the length at which a completion is cut off. Without `tokenize` words count as
    tokens. A reward that fails is reported, whatever the rubric's `on_error` says.
    """
    if not examples:
        raise ValueError("no examples to probe the rewards with")
    tokenize = tokenize or by_words
    grader = _correctness(rubric) or Correctness()
    finals = [final_answer(example, grader) for example in examples]
    sample = spread(len(examples), SAMPLE)
    template = _best_template(rubric, [examples[i] for i in sample[:16]], finals, sample, tokenize)
    others = wrong_answers(finals, grader)
    writer = Writer(tokenize, template, max_tokens)

    columns: dict[Probe, list[Score]] = {probe: [] for probe in PROBES}
    lengths: list[int] = []
    cheap = _cheap_part(rubric)
    for start in range(0, len(examples), _CHUNK):
        chunk = examples[start : start + _CHUNK]
        answers = {
            "reference": finals[start : start + _CHUNK],
            "wrong": [answer or "" for answer in others[start : start + _CHUNK]],
        }
        for probe in PROBES[:3]:
            written = writer.write(probe, chunk, answers.get(probe, [""] * len(chunk)))
            columns[probe] += cheap.score_batch(chunk, written)
            if probe == "reference":
                lengths += [completion.num_tokens for completion in written]
        if on_progress is not None:
            on_progress(min(start + _CHUNK, len(examples)), len(examples))

    full = _skipping(rubric, rubric.rewards)
    sampled = [examples[i] for i in sample]
    probes = {
        probe: writer.write(
            probe,
            sampled,
            [(others[i] or "") if probe == "wrong" else finals[i] for i in sample],
        )
        for probe in PROBES
    }
    scores = _by_example(full, sampled, probes)
    parts = [
        _part_proof(name, rubric, examples, columns, sampled, scores, others, cheap, full)
        for name in rubric.rewards
    ]
    problems, notices = _judge_totals(rubric, sampled, [others[i] for i in sample], scores)
    if unknown := sum(answer is None for answer in others):
        notices.append(
            f"no wrong answer could be found for {unknown} of {len(examples)} examples: every "
            "other reference that was tried is graded as right there"
        )
    return Proof(
        len(examples),
        template,
        tuple(parts),
        {probe: _mean(score.total for score in scores[probe]) for probe in PROBES},
        tuple(problems),
        tuple(notices),
        tuple(lengths),
        _seconds(full, sampled, probes),
    )


def _best_template(
    rubric: Rubric,
    examples: Sequence[Example],
    finals: Sequence[str],
    sample: Sequence[int],
    tokenize: Tokenize,
) -> str:
    """The first wrapping that correctness, format and users' functions value most."""
    ours: tuple[Any, ...] = (*REWARDS.values(), RewardModel)
    judges = {
        name: reward
        for name, reward in rubric.rewards.items()
        if isinstance(reward, (Correctness, Format)) or not isinstance(reward, ours)
    }
    asked = _skipping(rubric, judges)
    answers = [finals[i] for i in sample[: len(examples)]]
    best, most = next(iter(TEMPLATES)), -math.inf
    for name in TEMPLATES:
        written = Writer(tokenize, name, 1).write("reference", examples, answers)
        scores = asked.score_batch(examples, written)
        value = math.fsum(v for score in scores for v in score.parts.values() if v is not None)
        if value > most + 1e-9:
            best, most = name, value
    return best


def _correctness(rubric: Rubric) -> Correctness | None:
    return next((r for r in rubric.rewards.values() if isinstance(r, Correctness)), None)


def _skipping(rubric: Rubric, rewards: Any) -> Rubric:
    """These rewards of a rubric, with failures counted in place of stopping."""
    specs = {
        name: spec if len(rewards) == len(rubric.rewards) else replace(spec, requires={})
        for name, spec in rubric.specs.items()
        if name in rewards
    }
    return Rubric(dict(rewards), specs, "skip", rubric.aggregation, Counter())


def _cheap_part(rubric: Rubric) -> Rubric:
    """Our own rewards that need no model: these are asked about every example."""
    ours = tuple(maker for maker in REWARDS.values() if maker is not LearnedReward)
    return _skipping(rubric, {n: r for n, r in rubric.rewards.items() if type(r) in ours})


def _by_example(
    rubric: Rubric, examples: Sequence[Example], probes: dict[Probe, list[Completion]]
) -> dict[Probe, list[Score]]:
    """One call, so that rewards are normalised within the probes of an example, if at all."""
    scores = rubric.score_batch(
        [example for _ in probes for example in examples],
        [completion for written in probes.values() for completion in written],
        progress=1.0,
    )
    n = len(examples)
    return {probe: scores[i * n : (i + 1) * n] for i, probe in enumerate(probes)}


def _part_proof(
    name: str,
    rubric: Rubric,
    examples: Sequence[Example],
    columns: dict[Probe, list[Score]],
    sampled: Sequence[Example],
    scores: dict[Probe, list[Score]],
    others: Sequence[str | None],
    cheap: Rubric,
    full: Rubric,
) -> PartProof:
    reward, spec = rubric.rewards[name], rubric.specs[name]
    on_all = name in cheap.rewards
    values = {
        probe: [s.parts[name] for s in (columns if on_all and columns[probe] else scores)[probe]]
        for probe in PROBES
    }
    failures: list[Failure] = []
    note = ""
    if full.skipped[name]:
        note = "it fails"
    elif isinstance(reward, Correctness):
        failures = _correctness_failures(examples, columns, others)
    elif isinstance(reward, Format):
        failures = _format_failures(examples, values)
        if reward.pattern is not None and failures:
            note = "no wrapping that is known here fits the pattern"
            failures = []
    else:
        note = _note(reward, values)
    return PartProof(
        name,
        spec.weight,
        len(examples) if on_all else len(sampled),
        {probe: _mean(column) for probe, column in values.items()},
        tuple(failures),
        tuple(_part_problems(name, rubric, values, failures, full, sampled)),
        note,
    )


def _correctness_failures(
    examples: Sequence[Example],
    columns: dict[Probe, list[Score]],
    others: Sequence[str | None],
) -> list[Failure]:
    failures = []
    for i, example in enumerate(examples):
        grade = columns["reference"][i].grade
        assert grade is not None
        if grade.status == "bad_reference":
            failures.append(_failure(example, "the reference cannot be read"))
        elif grade.status == "timeout":
            failures.append(_failure(example, "checking the reference takes too long"))
        elif not grade.correct:
            found = "nothing" if grade.extracted is None else excerpt(grade.extracted, 60)
            failures.append(
                _failure(example, f"the reference itself is graded wrong (found: {found})")
            )
        elif others[i] is not None and _is_correct(columns["wrong"][i]):
            failures.append(
                _failure(example, f"the answer {excerpt(others[i] or '', 60)} is graded right")
            )
        elif _is_correct(columns["empty"][i]):
            failures.append(_failure(example, "an empty answer is graded right"))
    return failures


def _is_correct(score: Score) -> bool:
    return score.grade is not None and score.grade.correct


def _format_failures(
    examples: Sequence[Example], values: dict[Probe, list[float | None]]
) -> list[Failure]:
    failures = []
    for example, full, empty in zip(examples, values["reference"], values["empty"], strict=True):
        if full is None or full < 1.0:
            failures.append(_failure(example, f"the reference in its format is worth {full}"))
        elif empty:
            failures.append(_failure(example, f"an empty answer is worth {empty}"))
    return failures


def _failure(example: Example, what: str) -> Failure:
    return Failure(example.id, excerpt(example.question, 100), excerpt(example.answer, 60), what)


def _note(reward: object, values: dict[Probe, list[float | None]]) -> str:
    """What can be said of a reward for which no full mark is known."""
    pairs = list(zip(values["reference"], values["wrong"], strict=True))
    above = sum(a is not None and b is not None and a > b for a, b in pairs)
    ordered = f"the reference is above a wrong answer on {above} of {len(pairs)}"
    if isinstance(reward, LearnedReward):
        return f"a learned score has no full mark to prove; {ordered}"
    if isinstance(reward, (GradedReward, ReferenceQuality)):
        return ordered
    if type(reward) in REWARDS.values():
        return "about form: neither full nor zero can be asked of the reference"
    return f"its full mark is not known here; {ordered}"


def _part_problems(
    name: str,
    rubric: Rubric,
    values: dict[Probe, list[float | None]],
    failures: Sequence[Failure],
    full: Rubric,
    sampled: Sequence[Example],
) -> list[str]:
    """The one thing that makes a reward useless, by falling certainty of the cause."""
    if full.skipped[name]:
        return [full.errors[name]]
    if not rubric.specs[name].weight:
        return []
    if mismatch := _mismatch(name, rubric, sampled[:8]):
        return [mismatch]
    if failures:
        ids = ", ".join(failure.example_id for failure in failures[:3])
        ids += ", …" if len(failures) > 3 else ""
        count = f"{len(failures)} of {len(values['reference'])} examples"
        return [f"reward {name!r}: {failures[0].what} ({count}: {ids})"]
    known = [v for column in values.values() for v in column if v is not None]
    if not known:
        return [f"reward {name!r} has no opinion on any probe: it would teach nothing"]
    if max(known) - min(known) < 1e-9:
        return [
            f"reward {name!r} is {known[0] + 0.0:g} on every probe, right, wrong, empty, cut off: "
            "a constant reward teaches nothing; see its parameters, or remove it"
        ]
    return []


def _mismatch(name: str, rubric: Rubric, examples: Sequence[Example]) -> str:
    """A reward that wants `<think>` where the prompt has opened it, or not where it has not."""
    reward = rubric.rewards[name]
    if isinstance(reward, RewardModel):
        return ""
    alone = _skipping(rubric, {name: reward})
    opened = [opens_thought(example.prompt) for example in examples]
    best = {"natural": -math.inf, "flipped": -math.inf}
    for template in (template for template, form in TEMPLATES.items() if "<think>" in form):
        texts = [wrap(e, e.answer.rpartition("####")[2].strip(), template) for e in examples]
        other = [
            "<think>" + text if is_open else text.removeprefix("<think>")
            for text, is_open in zip(texts, opened, strict=True)
        ]
        for way, written in (("natural", texts), ("flipped", other)):
            # An unknown length is 1: nothing here depends on it
            scores = alone.score_batch(
                examples, [Completion(t, 1, token_ids=(0,)) for t in written]
            )
            mean = _mean(score.parts[name] for score in scores)
            best[way] = max(best[way], -math.inf if mean is None else mean)
    if best["flipped"] <= best["natural"] + 0.2:
        return ""
    if opened[0]:
        return (
            f"reward {name!r} wants <think> in the completion, but the chat template has already "
            "opened it in the prompt, so the model will not write it again: every completion would "
            "get too little; use the built-in format reward with think_opened: auto, or another "
            "chat template"
        )
    return (
        f"reward {name!r} counts on a chat template that opens <think>, and this one does not: "
        "every completion would get too little; set think_opened: auto, or use a template that "
        "opens it"
    )


def _judge_totals(
    rubric: Rubric,
    examples: Sequence[Example],
    others: Sequence[str | None],
    scores: dict[Probe, list[Score]],
) -> tuple[list[str], list[str]]:
    """What the weighted totals say: right above wrong, and above nothing."""
    problems: list[str] = []
    notices: list[str] = []
    rows = [
        (example.id, gold.total, wrong.total if other is not None else -math.inf, empty.total)
        for example, other, gold, wrong, empty in zip(
            examples, others, scores["reference"], scores["wrong"], scores["empty"], strict=True
        )
        if _correctness(rubric) is None or _is_correct(gold)  # a broken reference is said already
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


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return fmean(known) if known else None
