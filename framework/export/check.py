"""Does an export answer like the tuned policy? What is compared, and how much may differ.

    reference = refer(policy, examples, …)            # the policy's greedy answers
    findings = compare_with(reference, loaded, …)     # an export's, in a process of its own

The policy answers some of the held-out problems greedily. The export gets the same prompts, and
then the policy's answers token by token: at each place its log-probabilities of the policy's K
likeliest tokens are compared, as the divergence KL(policy || export) over these tokens and all
others taken together, which is at most the divergence over the whole vocabulary.

What may differ: rounding moves a logit by about

    sigma = spread * sqrt(10 * weights^2 + 4 * (layers + 5) * arithmetic^2)

with the deviation of the logits over the vocabulary (`spread`) and the relative errors of a rounded
weight and of a number in the arithmetic. Errors of weights reach the logits through some ten
products, however deep the model is, because each layer adds only a part to what is there; but the
sums of each layer are rounded, all of what is there. Errors of size sigma make a divergence of
sigma^2 / 2: four times that is allowed. A greedy answer may leave the policy's only at a near tie,
of 4 sqrt(2) sigma. docs/decisions/export.md has what was measured beside these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from groupwise.evaluation.text import rounded
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.prompts import template_variables
from groupwise.framework.export.answerer import Question, Reply
from groupwise.framework.export.precision import Rounding
from groupwise.framework.export.process import Loaded
from groupwise.framework.export.reference import Reference

if TYPE_CHECKING:
    from groupwise.evaluation.comparison import Comparison, Pair

Floats = NDArray[np.float64]

NO_TRAINING_SHOWS = (
    "training has changed nothing that these answers show, so that the model before training would "
    "pass this check, too"
)
MOST_LOST = 0.05
"""The share of problems, in pass@1, that an export may have lost for certain: the interval's end
that is better for it."""
_MORE = 4.0  # times the divergence that is expected
_TIE = 4.0 * math.sqrt(2)  # sigma: the difference of two logits, four deviations of it
_LEAST = 1e-6  # nats: less is the rounding of float32's log-probabilities


@dataclass(frozen=True, slots=True)
class Findings:
    """How an export answers beside the policy.

    `other_prompts` of `prompts` were rendered to other tokens, and `missing_ends` are tokens that
    end the policy's answers and not the export's. `same_answers`: greedy answers equal to the last
    token; `other_answers`: those that leave the policy's where it was no near tie;
    `greedy_agreement`: the share of the policy's tokens before the first that differs in each.

    Behind the same text: `token_agreement` is the share of places at which both find the same token
    likeliest, `divergence` the mean KL(policy || export) of a place in nats, `tolerance` the most
    that rounding explains, `base_divergence` KL(policy || base), `from_base` KL(base || export),
    and `largest_difference` that of the log-probabilities of the policy's own tokens.
    """

    loader: str
    prompts: int
    tokens: int
    other_prompts: int
    missing_ends: tuple[int, ...]
    same_answers: int
    other_answers: int
    greedy_agreement: float
    token_agreement: float
    divergence: float
    tolerance: float
    base_divergence: float
    from_base: float
    largest_difference: float

    @property
    def shows_training(self) -> bool:
        """Whether the tuned model differs from the base in these answers, so that an export of the
        base alone would fail.
        """
        return self.base_divergence > _LEAST


@dataclass(frozen=True, slots=True)
class Check:
    """What a check has found: it has passed if there are no `failures`.

    `findings` is None where the export did not load, `comparison` where Pass@K was not measured.
    """

    findings: Findings | None
    comparison: Comparison | None
    failures: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": not self.failures,
            "failures": list(self.failures),
            "answers": asdict(self.findings) if self.findings else None,
            "pass_at_k": self.comparison.to_json() if self.comparison else None,
        }


def expected_error(rounding: Rounding, layers: int, spread: float) -> float:
    """Sigma: how far rounding moves a logit."""
    weights, arithmetic = 10 * rounding.weights**2, 4 * (layers + 5) * rounding.arithmetic**2
    return spread * math.sqrt(weights + arithmetic)


def compare_with(
    reference: Reference,
    loaded: Loaded,
    config: ExperimentConfig,
    rounding: Rounding,
    on_progress: Callable[[int, int], None],
) -> Findings:
    """Asks a loaded export what the policy was asked."""
    variables = template_variables(config.model)
    variables["strftime_now"] = variables["strftime_now"].now.isoformat()
    replies, other_prompts = [], 0
    for index, question in enumerate(reference.questions):
        if question.messages:  # else the prompt is a text of the data, and no template's
            other_prompts += loaded.render(question.messages, variables) != question.prompt_ids
        replies.append(loaded.answer(question, reference.max_tokens))
        on_progress(index + 1, len(reference.questions))
    sigma = expected_error(rounding, reference.layers, reference.spread)
    return findings_of(reference, replies, loaded.end_ids, other_prompts, sigma, loaded.loader)


def findings_of(
    reference: Reference,
    replies: Sequence[Reply],
    end_ids: frozenset[int],
    other_prompts: int,
    sigma: float,
    loader: str,
) -> Findings:
    """The numbers of an export's replies. `sigma`: how far rounding moves a logit."""
    questions = reference.questions
    tokens = sum(len(question.answer_ids) for question in questions)
    own, theirs = (_of_answers(questions, replies) for replies in (reference.tuned, replies))
    same = [q.answer_ids == r.greedy_ids for q, r in zip(questions, replies, strict=True)]
    common = [_common(q.answer_ids, r.greedy_ids) for q, r in zip(questions, replies, strict=True)]
    best = zip(reference.tuned, replies, strict=True)
    agreeing = sum(int(np.sum(np.array(a.best_ids) == np.array(b.best_ids))) for a, b in best)
    return Findings(
        loader=loader,
        prompts=len(questions),
        tokens=tokens,
        other_prompts=other_prompts,
        missing_ends=tuple(sorted(reference.end_ids - end_ids)),
        same_answers=sum(same),
        other_answers=sum(
            not alike and _gap(question, tuned, reply, at) > _TIE * sigma
            for alike, question, tuned, reply, at in zip(
                same, questions, reference.tuned, replies, common, strict=True
            )
        ),
        greedy_agreement=sum(common) / tokens,
        token_agreement=agreeing / tokens,
        divergence=mean_divergence(reference.tuned, replies),
        tolerance=max(_MORE * sigma**2 / 2, _LEAST),
        base_divergence=mean_divergence(reference.tuned, reference.base),
        from_base=mean_divergence(reference.base, replies),
        largest_difference=float(np.abs(own - theirs).max()),
    )


def _gap(question: Question, tuned: Reply, reply: Reply, at: int) -> float:
    """By how much the policy prefers its own token to the export's where they part, in nats.

    Infinite where one of the answers has ended, or the export's token is no candidate.
    """
    if at >= min(len(question.answer_ids), len(reply.greedy_ids)):
        return math.inf
    chances = dict(zip(question.candidates[at], tuned.logprobs[at], strict=True))
    other = chances.get(reply.greedy_ids[at], -math.inf)
    return chances[question.answer_ids[at]] - other


def failures(found: Findings) -> Iterator[str]:
    """A sentence for each thing that an export like the policy would not do."""
    if found.other_prompts:
        yield (
            f"{found.other_prompts} of {found.prompts} prompts have other tokens than in the run: "
            "it has another chat template or another tokenizer"
        )
    if found.missing_ends:
        yield (
            f"it does not end an answer at token {', '.join(map(str, found.missing_ends))}, as the "
            "tuned model does (eos_token_id)"
        )
    if not found.divergence <= found.tolerance:  # NaN fails too
        yield (
            f"its probabilities are not the tuned model's: a divergence of {found.divergence:.2g} "
            f"nats a token, where rounding explains {found.tolerance:.2g}"
        )
    if found.other_answers:
        yield (
            f"{found.other_answers} of {found.prompts} greedy answers differ from the tuned "
            "model's where it was sure of its token"
        )
    if found.shows_training and not found.divergence < found.from_base:
        yield (
            "it is nearer to the model before training than to the tuned one: a divergence of "
            f"{found.from_base:.2g} from the one, {found.divergence:.2g} from the other"
        )


def lost(pair: Pair) -> str:
    """A sentence on what the export has lost in pass@1 (or the least K), with its interval.

    There is no interval where no problem differs, or there is but one.
    """
    k, row = min(pair.pass_at_k.items())
    change = row.difference
    verb, sign = ("gained", 1) if change.value > 0 else ("lost", -1)
    # Adding 0 makes 0 of a negative zero.
    value, one, other = (100 * sign * x + 0.0 for x in (change.value, change.low, change.high))
    low, high = sorted((one, other))
    interval = "" if math.isnan(low + high) else f" [{rounded(low)}, {rounded(high)}]"
    return (
        f"pass@{k}: the export {verb} {rounded(value)} points{interval} "
        f"on {pair.num_examples} problems"
    )


def pass_at_k_failure(pair: Pair) -> Iterator[str]:
    """A sentence where an export has certainly lost more than `MOST_LOST`."""
    _, row = min(pair.pass_at_k.items())
    if row.difference.high < -MOST_LOST:
        yield f"{lost(pair)}, of which {rounded(100 * MOST_LOST, 0)} would pass"


def mean_divergence(of: Sequence[Reply], to: Sequence[Reply]) -> float:
    """The mean over all places of KL(of || to), in nats."""
    pairs = [(np.array(a.logprobs), np.array(b.logprobs)) for a, b in zip(of, to, strict=True)]
    return float(np.concatenate([_divergences(p, q) for p, q in pairs]).mean())


def _divergences(p: Floats, q: Floats) -> Floats:
    """KL at each place over K tokens and the rest: log-probabilities (T, K) -> (T,)."""
    rest_p, rest_q = (np.clip(1 - np.exp(x).sum(-1), 1e-6, 1) for x in (p, q))
    kl: Floats = (np.exp(p) * (p - q)).sum(-1) + rest_p * np.log(rest_p / rest_q)
    return kl


def _of_answers(questions: Sequence[Question], replies: Sequence[Reply]) -> Floats:
    """The log-probability of each token of the policy's answers."""
    found = []
    for question, reply in zip(questions, replies, strict=True):
        for token, candidates, row in zip(
            question.answer_ids, question.candidates, reply.logprobs, strict=True
        ):
            found.append(row[candidates.index(token)])
    return np.array(found)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens are equal before the first that differs."""
    for at, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return at
    return min(len(first), len(second))
