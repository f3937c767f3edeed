"""Does an export answer like the tuned policy? What is compared, and how much may differ.

    reference = refer(policy, base, examples, …)      # the policy's greedy answers
    findings = compare_with(reference, loaded, …)     # an export's, in a process of its own

The policy answers some of the held-out problems greedily. The export gets the same prompts, and
then the policy's answers token by token: at each place its log-probabilities of the policy's K
likeliest tokens are compared, as the divergence KL(policy || export) over these tokens and all
others taken together, which is at most the divergence over the whole vocabulary.

What may differ (`tolerance`): weights rounded to a precision, and sums made in it, move each logit
by about `sigma = rounding * sqrt(2 * layers) * spread`: each of a model's 2 * layers branches adds
a part with a relative error of `rounding`, and `spread` is the deviation of the logits over the
vocabulary. Independent errors of that size make a divergence of sigma^2 / 2. The export's own
greedy answers may leave the policy's only at a token that was a near tie to the policy. In both,
four sigma are allowed. docs/decisions/export.md has what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.prompts import template_variables
from groupwise.framework.export.answerer import Question, Reply
from groupwise.framework.export.process import Loaded
from groupwise.framework.policy import Policy
from groupwise.rewards.types import Example

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]

PROMPTS = 32
"""Held-out problems that are answered greedily."""
MOST_TOKENS = 256
"""Tokens of a greedy answer that are compared."""
CANDIDATES = 32
_FACTOR = 4.0  # of sigma: how much further apart than expected an export may be
_LEAST = 1e-6  # nats: less is the rounding of float32's log-probabilities


@dataclass(frozen=True, slots=True)
class Reference:
    """The policy's answers, and what it and the base model give as the candidates' chances.

    `end_ids` end its answers. `spread` is the mean deviation of its logits over the vocabulary.
    """

    questions: tuple[Question, ...]
    tuned: tuple[Reply, ...]
    base: tuple[Reply, ...]
    end_ids: frozenset[int]
    spread: float
    layers: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Findings:
    """How an export answers beside the policy. `failures` is empty if the check has passed.

    `other_prompts` of `prompts` were rendered to other tokens. `same_answers`: greedy answers that
    are equal to the last token; `other_answers` those that leave the policy's where it was no near
    tie; `greedy_agreement`: the share of the policy's tokens up to the
    first that differs in each; `token_agreement`: the share of places at which both find the same
    token likeliest, behind the same text. `divergence` is the mean KL(policy || export) of a
    place in nats, `tolerance` the most that it may be, `base_divergence` KL(policy || base), and
    `from_base` KL(base || export). `largest_difference` is that of the log-probabilities of the
    policy's own tokens.
    """

    loader: str
    prompts: int
    tokens: int
    other_prompts: int
    same_answers: int
    other_answers: int
    greedy_agreement: float
    token_agreement: float
    divergence: float
    tolerance: float
    base_divergence: float
    from_base: float
    largest_difference: float
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failures


def expected_error(rounding: float, layers: int, spread: float) -> float:
    """Sigma: how far rounding moves a logit. `rounding`: the relative error of a rounded weight."""
    return rounding * math.sqrt(2 * layers) * spread


def refer(
    policy: Policy,
    base: Policy | None,
    examples: Sequence[Example],
    config: ExperimentConfig,
    sampler: Any,
    on_progress: Callable[[int, int], None],
) -> Reference:
    """Asks the policy, and the base model: the policy with its adapter off, unless `base` is given.

    `sampler` draws the policy's greedy answers.
    """
    from groupwise.framework.sampling import sampling_mode, stopping  # torch: not at start-up

    examples = examples[:PROMPTS]
    max_tokens = min(config.eval_max_completion_length, MOST_TOKENS)
    prompts = [Prompt(e.id, e.prompt, token_ids=e.prompt_ids) for e in examples]
    greedy = SamplingParams(temperature=0.0, max_tokens=max_tokens)
    answers: dict[int, tuple[int, ...]] = {}
    for sample in sampler.sample(prompts, 1, greedy):
        answers[sample.prompt_index] = sample.token_ids
        on_progress(len(answers), 2 * len(examples))
    questions, tuned, others, spreads = [], [], [], []
    with sampling_mode(policy.model, policy.tokenizer):
        for index, example in enumerate(examples):
            ids = example.prompt_ids
            logits = _logits(policy.model, ids, answers[index])
            best = logits.topk(min(CANDIDATES, logits.shape[-1])).indices
            question = Question(
                example.messages, ids, answers[index], tuple(map(tuple, best.tolist()))
            )
            questions.append(question)
            tuned.append(_reply(logits, question))
            spreads.append(float(logits.std(-1).mean()))
            other = (base or policy).model
            with other.disable_adapter() if base is None else nullcontext():
                others.append(_reply(_logits(other, ids, answers[index]), question))
            on_progress(len(examples) + index + 1, 2 * len(examples))
    text = policy.model.config.get_text_config()
    return Reference(
        tuple(questions),
        tuple(tuned),
        tuple(others),
        stopping.end_of_text_ids(policy.model, policy.tokenizer),
        sum(spreads) / len(spreads),
        int(text.num_hidden_layers),
        max_tokens,
    )


def compare_with(
    reference: Reference,
    loaded: Loaded,
    config: ExperimentConfig,
    rounding: float,
    on_progress: Callable[[int, int], None],
) -> Findings:
    """Asks a loaded export what the policy was asked."""
    variables = template_variables(config.model)
    variables["strftime_now"] = variables["strftime_now"].now.isoformat()
    replies, other_prompts = [], 0
    for index, question in enumerate(reference.questions):
        rendered = loaded.render(question.messages, variables)
        other_prompts += rendered != question.prompt_ids
        replies.append(loaded.answer(question, reference.max_tokens))
        on_progress(index + 1, len(reference.questions))
    most = _FACTOR * expected_error(rounding, reference.layers, reference.spread)
    findings = _count(reference, replies, loaded, other_prompts, most)
    missing = sorted(reference.end_ids - loaded.end_ids)
    return replace(findings, failures=tuple(_failures(findings, missing)))


def _count(
    reference: Reference, replies: Sequence[Reply], loaded: Loaded, other_prompts: int, most: float
) -> Findings:
    """`most`: how far a logit may move."""
    questions = reference.questions
    tokens = sum(len(question.answer_ids) for question in questions)
    own, theirs = (_of_answers(questions, replies) for replies in (reference.tuned, replies))
    same = [q.answer_ids == r.greedy_ids for q, r in zip(questions, replies, strict=True)]
    common = [_common(q.answer_ids, r.greedy_ids) for q, r in zip(questions, replies, strict=True)]
    best = zip(reference.tuned, replies, strict=True)
    agreeing = sum(int(np.sum(np.array(a.best_ids) == np.array(b.best_ids))) for a, b in best)
    return Findings(
        loader=loaded.loader,
        prompts=len(questions),
        tokens=tokens,
        other_prompts=other_prompts,
        same_answers=sum(same),
        other_answers=sum(
            not alike and _gap(question, tuned, reply, at) > math.sqrt(2) * most
            for alike, question, tuned, reply, at in zip(
                same, questions, reference.tuned, replies, common, strict=True
            )
        ),
        greedy_agreement=sum(common) / tokens,
        token_agreement=agreeing / tokens,
        divergence=mean_divergence(reference.tuned, replies),
        tolerance=max(most**2 / 2, _LEAST),
        base_divergence=mean_divergence(reference.tuned, reference.base),
        from_base=mean_divergence(reference.base, replies),
        largest_difference=float(np.abs(own - theirs).max()),
        failures=(),
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


def _failures(found: Findings, missing: Sequence[int]) -> Iterator[str]:
    """A sentence for each thing that an export like the policy would not do."""
    if found.other_prompts:
        yield (
            f"{found.other_prompts} of {found.prompts} prompts have other tokens than in the run: "
            "it has another chat template or another tokenizer"
        )
    if missing:
        yield (
            f"it does not end an answer at token {', '.join(map(str, missing))}, as the tuned "
            "model does (eos_token_id)"
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
    if found.base_divergence > _LEAST and not found.divergence < found.from_base:
        yield (
            "it answers like the model before training, and not like the tuned one: a divergence "
            f"of {found.from_base:.2g} from the one, {found.divergence:.2g} from the other"
        )


def mean_divergence(of: Sequence[Reply], to: Sequence[Reply]) -> float:
    """The mean over all places of KL(of || to), in nats."""
    places = [
        _divergences(np.array(a.logprobs), np.array(b.logprobs))
        for a, b in zip(of, to, strict=True)
    ]
    return float(np.concatenate(places).mean())


def _divergences(p: Floats, q: Floats) -> Floats:
    """KL at each place over K tokens and the rest: log-probabilities (T, K) -> (T,)."""
    rest_p, rest_q = (np.clip(1 - np.exp(x).sum(-1), 1e-12, 1) for x in (p, q))
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


def _logits(model: Any, prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> Tensor:
    """(T, V), in float32: before each token of the answer."""
    import torch  # slow: not at start-up

    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([[*prompt_ids, *answer_ids]], device=device)
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    behind: Tensor = logits[0, len(prompt_ids) - 1 : -1].float()
    return behind


def _reply(logits: Tensor, question: Question) -> Reply:
    import torch  # slow: not at start-up

    logprobs = logits.log_softmax(-1)
    at = torch.tensor(question.candidates, device=logits.device)
    return Reply(
        question.answer_ids,
        tuple(map(tuple, logprobs.gather(-1, at).tolist())),
        tuple(logprobs.argmax(-1).tolist()),
    )
