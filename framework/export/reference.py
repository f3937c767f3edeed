"""What the tuned policy answers, and how likely it and the base model find it: asked before export.

    reference = refer(policy, examples, config, sampler, on_progress)

The policy is asked as it was in the run, by Unsloth's model and our engine; the export is asked in
a process of its own (`check.py`), when the policy's memory is free again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.sampler import Prompt, Sampler
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.export.answerer import Question, Reply
from groupwise.framework.policy import Policy
from groupwise.rewards.types import Example

if TYPE_CHECKING:
    from torch import Tensor

PROMPTS = 32
"""Problems that are answered greedily."""
MOST_TOKENS = 256
"""Tokens of a greedy answer that are compared."""
CANDIDATES = 32
"""Tokens whose chances are compared at each place of an answer."""


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


def refer(
    policy: Policy,
    examples: Sequence[Example],
    config: ExperimentConfig,
    sampler: Sampler,
    on_progress: Callable[[int, int], None],
) -> Reference:
    """Asks the policy, and with its adapter off the base model; `sampler` draws greedy answers.

    A policy without an adapter has no base model in it: `base` is empty then.
    """
    from groupwise.framework.sampling import sampling_mode, stopping  # torch: not at start-up

    examples = examples[:PROMPTS]
    max_tokens = min(config.eval_max_completion_length, MOST_TOKENS)
    greedy = replace(config.eval_sampling_params, temperature=0.0, max_tokens=max_tokens, stop=())
    prompts = [Prompt(e.id, e.prompt, token_ids=e.prompt_ids) for e in examples]
    answers: dict[int, tuple[int, ...]] = {}
    for sample in sampler.sample(prompts, 1, greedy):
        answers[sample.prompt_index] = sample.token_ids
        on_progress(len(answers), 2 * len(examples))
    questions, tuned, spreads = [], [], []
    with sampling_mode(policy.model, policy.tokenizer):
        for index, example in enumerate(examples):
            logits = _logits(policy.model, example.prompt_ids, answers[index])
            candidates = _candidates(logits, answers[index])
            question = Question(example.messages, example.prompt_ids, answers[index], candidates)
            questions.append(question)
            tuned.append(_reply(logits, question))
            spreads.append(float(logits.std(-1).mean()))
            on_progress(len(examples) + index + 1, 2 * len(examples))
    base: tuple[Reply, ...] = ()
    if policy.is_adapter:
        with policy.model.disable_adapter():
            base = replies_of(policy, questions)
    return Reference(
        tuple(questions),
        tuple(tuned),
        base,
        stopping.end_of_text_ids(policy.model, policy.tokenizer),
        sum(spreads) / len(spreads),
        int(policy.model.config.get_text_config().num_hidden_layers),
        max_tokens,
    )


def replies_of(policy: Policy, questions: Sequence[Question]) -> tuple[Reply, ...]:
    """What a model that is in memory finds likely in the answers; it gives none of its own."""
    from groupwise.framework.sampling import sampling_mode  # torch: not at start-up

    with sampling_mode(policy.model, policy.tokenizer):
        return tuple(
            _reply(_logits(policy.model, question.prompt_ids, question.answer_ids), question)
            for question in questions
        )


def _logits(model: Any, prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> Tensor:
    """(T, V), in float32: before each token of the answer."""
    import torch  # slow: not at start-up

    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([[*prompt_ids, *answer_ids]], device=device)
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    behind: Tensor = logits[0, len(prompt_ids) - 1 : -1].float()
    return behind


def _candidates(logits: Tensor, answer_ids: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """(T, K): the likeliest tokens, and the answer's own, which a repetition penalty may have set
    far behind.
    """
    best = logits.topk(min(CANDIDATES, logits.shape[-1])).indices.tolist()
    for own, row in zip(answer_ids, best, strict=True):
        if own not in row:
            row[-1] = own
    return tuple(map(tuple, best))


def _reply(logits: Tensor, question: Question) -> Reply:
    import torch  # slow: not at start-up

    logprobs = logits.log_softmax(-1)
    at = torch.tensor(question.candidates, device=logits.device)
    return Reply(
        question.answer_ids,
        tuple(map(tuple, logprobs.gather(-1, at).tolist())),
        tuple(logprobs.argmax(-1).tolist()),
    )
