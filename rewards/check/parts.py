"""The verdict on one reward of a rubric, from its scores on the probes.

    prove_part("format", evidence)   # PartProof(means, failures, problems, …)

Correctness and format have a full score that the reference must get. For other rewards no score is
known in advance: only a constant value, a failure or a clash with the chat template is a problem.
What it leaves out: scoring the probes, and the weighted totals (`prove`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from groupwise.rewards.check.missing import what_is_missing
from groupwise.rewards.check.probes import PROBES, TEMPLATES, Probe, wrap
from groupwise.rewards.math.grade import Correctness
from groupwise.rewards.reference import ReferenceQuality
from groupwise.rewards.reward_model import LearnedReward, RewardModel
from groupwise.rewards.rubric import REWARDS, AnyReward, GradedReward, Rubric
from groupwise.rewards.style import Format, opens_thought
from groupwise.rewards.text import excerpt
from groupwise.rewards.types import Completion, Example, Score
from groupwise.rewards.user.forms import UserFunction


@dataclass(frozen=True, slots=True)
class Failure:
    """An example on which a reward is not what it has to be.

    `is_missing`: its reference says that there is no answer; these are summed up by row elsewhere.
    """

    example_id: str
    question: str  # an excerpt, safe to print
    reference: str  # likewise
    what: str
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class PartProof:
    """The verdict on one reward.

    `means`: mean value by probe, None if it had no opinion. `failures`: examples on which the
    value is wrong. `problems` make the reward useless. `note` says what could not be proved.
    """

    name: str
    weight: float
    num_examples: int
    means: dict[Probe, float | None]
    failures: tuple[Failure, ...]
    problems: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The scores of every probe, and the rubrics and examples that they belong to.

    `others[i]` is a wrong answer to `examples[i]`, None if none was found. `on_all` has the scores
    of the `cheap` rewards on all examples (for the first three probes), `on_sample` those of the
    `full` rubric on `sampled`.
    """

    rubric: Rubric
    cheap: Rubric
    full: Rubric
    examples: Sequence[Example]
    others: Sequence[str | None]
    sampled: Sequence[Example]
    on_all: dict[Probe, list[Score]]
    on_sample: dict[Probe, list[Score]]


def prove_part(name: str, evidence: Evidence) -> PartProof:
    """The proof of one reward of the rubric."""
    reward = evidence.rubric.rewards[name]
    on_all = evidence.on_all if name in evidence.cheap.rewards else {}
    scores = {probe: on_all.get(probe) or evidence.on_sample[probe] for probe in PROBES}
    values = {probe: [score.parts[name] for score in scores[probe]] for probe in PROBES}
    failures: list[Failure] = []
    note = ""
    if evidence.full.skipped[name]:
        note = "it fails"
    elif isinstance(reward, Correctness):
        failures = _correctness_failures(evidence)
    elif isinstance(reward, Format):
        failures = _format_failures(evidence.examples, values)
        if reward.pattern is not None and failures:
            note = "no wrapping that is known here fits the pattern"
            failures = []
    else:
        note = _note(reward, values)
    return PartProof(
        name,
        evidence.rubric.specs[name].weight,
        len(evidence.examples) if on_all else len(evidence.sampled),
        {probe: mean(column) for probe, column in values.items()},
        tuple(failures),
        tuple(_problems(name, evidence, values, failures)),
        note,
    )


def _correctness_failures(evidence: Evidence) -> list[Failure]:
    columns, others = evidence.on_all, evidence.others
    graders = [r for r in evidence.rubric.rewards.values() if isinstance(r, Correctness)]
    labels = any(grader.mode == "text" for grader in graders)
    failures = []
    for i, example in enumerate(evidence.examples):
        grade = columns["reference"][i].grade
        assert grade is not None
        if missing := what_is_missing(example, labels=labels):
            failures.append(replace(_failure(example, missing), is_missing=True))
        elif grade.status == "bad_reference":
            failures.append(_failure(example, "the reference cannot be read"))
        elif grade.status == "timeout":
            failures.append(_failure(example, "checking the reference takes too long"))
        elif not grade.correct:
            found = "nothing" if grade.extracted is None else excerpt(grade.extracted, 60)
            failures.append(
                _failure(example, f"the reference itself is graded wrong (found: {found})")
            )
        elif others[i] is not None and is_correct(columns["wrong"][i]):
            failures.append(
                _failure(example, f"the answer {excerpt(others[i] or '', 60)} is graded right")
            )
        elif is_correct(columns["empty"][i]):
            failures.append(_failure(example, "an empty answer is graded right"))
    # Missing references are summed up elsewhere, so that the few which are shown are the others
    return sorted(failures, key=lambda failure: failure.is_missing)


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
    """The note on a reward for which no full score is known."""
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


def _problems(
    name: str,
    evidence: Evidence,
    values: dict[Probe, list[float | None]],
    failures: Sequence[Failure],
) -> list[str]:
    """What makes a reward useless: only the most certain cause."""
    if evidence.full.skipped[name]:
        return [evidence.full.errors[name]]
    if not evidence.rubric.specs[name].weight:
        return []
    if mismatch := _mismatch(name, evidence.rubric, evidence.sampled[:8]):
        return [mismatch]
    if named := [failure for failure in failures if not failure.is_missing]:
        ids = ", ".join(failure.example_id for failure in named[:3])
        ids += ", …" if len(named) > 3 else ""
        count = f"{len(named)} of {len(values['reference'])} examples"
        return [f"reward {name!r}: {named[0].what} ({count}: {ids})"]
    known = [v for column in values.values() for v in column if v is not None]
    if not known:
        return [f"reward {name!r} has no opinion on any probe: it would teach nothing"]
    if max(known) - min(known) < 1e-9:
        remedy = _differs_as_text(name, evidence) or "see its parameters, or remove it"
        return [
            f"reward {name!r} is {known[0] + 0.0:g} on every probe, right, wrong, empty, cut off: "
            f"a constant reward teaches nothing; {remedy}"
        ]
    return []


def _differs_as_text(name: str, evidence: Evidence) -> str:
    """The remedy for a function that takes chat messages for text: `len` of a message list is 1."""
    reward, examples = evidence.rubric.rewards[name], evidence.sampled[:8]
    if not isinstance(reward, UserFunction) or not reward.settable:
        return ""
    if not reward.gives_messages(examples[0]):
        return ""
    alone = skipping(evidence.rubric, {name: replace(reward, completions="text")})
    scores = [
        alone.score_batch(examples, [Completion(text, 1, token_ids=(0,))] * len(examples))
        for text in ("7", "<think>7 it is</think> <answer>7</answer>")
    ]
    values = [score.parts[name] for column in scores for score in column]
    if None in values or len(set(values)) == 1:
        return ""
    return (
        "it is not when it gets text: completions are lists of chat messages here, as TRL gives "
        f"them for chat prompts; set rewards.parts.{name}.completions: text, or annotate the "
        "parameter (completions: list[str])"
    )


def _mismatch(name: str, rubric: Rubric, examples: Sequence[Example]) -> str:
    """A reward that wants `<think>` where the prompt has opened it, or not where it has not."""
    reward = rubric.rewards[name]
    if isinstance(reward, RewardModel):
        return ""
    alone = skipping(rubric, {name: reward})
    opened = [opens_thought(example.prompt) for example in examples]
    # A text of the same length as with <think>: what a reward of lengths tells no more apart
    best = {"natural": -math.inf, "flipped": -math.inf, "neutral": -math.inf}
    for template in (template for template, form in TEMPLATES.items() if "<think>" in form):
        texts = [wrap(e, e.answer.rpartition("####")[2].strip(), template) for e in examples]
        other = [
            "<think>" + text if is_open else text.removeprefix("<think>")
            for text, is_open in zip(texts, opened, strict=True)
        ]
        tagged = other if opened[0] else texts
        neutral = [text.replace("<think>", "(think)") for text in tagged]
        for way, written in (("natural", texts), ("flipped", other), ("neutral", neutral)):
            # An unknown length is 1: nothing here depends on it
            scores = alone.score_batch(
                examples, [Completion(t, 1, token_ids=(0,)) for t in written]
            )
            value = mean(score.parts[name] for score in scores)
            best[way] = max(best[way], -math.inf if value is None else value)
    if best["flipped"] <= best["natural"] + 0.2:
        return ""
    gain = best["flipped"] - best["neutral"] if opened[0] else best["neutral"] - best["natural"]
    if gain <= 0.2:
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


def skipping(rubric: Rubric, rewards: Mapping[str, AnyReward]) -> Rubric:
    """These rewards of a rubric, with failures counted in place of stopping."""
    specs = {
        name: spec if len(rewards) == len(rubric.rewards) else replace(spec, requires={})
        for name, spec in rubric.specs.items()
        if name in rewards
    }
    return Rubric(
        dict(rewards),
        specs,
        "skip",
        rubric.aggregation,
        folders=rubric.folders,
        num_steps=rubric.num_steps,
    )


def is_correct(score: Score) -> bool:
    """Whether the grader called it correct; False without a grade."""
    return score.grade is not None and score.grade.correct


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the known values; None if there are none."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return fmean(known) if known else None
