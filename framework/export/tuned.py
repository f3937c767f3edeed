"""The tuned model as it was in the run: loaded once, and asked all that its export is measured by.

    tuned = load_tuned(source, Asked(), terminal)      # the policy's memory is free again

What is not in the model's files is read from the loaded policy: its precision, its tokens that end
an answer, its tokenizer with the config's chat template.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.scored_groups import ScoredGroup
from groupwise.framework.experiment.data import RunData, load_held_out
from groupwise.framework.experiment.evaluate import evaluation_sampler
from groupwise.framework.export.pass_at_k import tuned_evaluation
from groupwise.framework.export.precision import Precision, precision_of
from groupwise.framework.export.reference import PROMPTS, Reference, refer, replies_of
from groupwise.framework.export.source import Source
from groupwise.framework.policy import Policy, load
from groupwise.framework.run.memory import free_memory
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.types import Example


@dataclass(frozen=True, slots=True)
class Asked:
    """How an export is checked: not at all without `answers`, and by Pass@K on the first
    `num_problems` of the held-out problems (None: all; 0 leaves Pass@K out).
    """

    answers: bool = True
    num_problems: int | None = None


@dataclass(frozen=True, slots=True)
class Tuned:
    """A tuned model and what was seen of it when it was loaded.

    `generation_config` has the tokens that end its answers, and samples as the run's evaluation
    does. `reference` is None where nothing is to be checked; `evaluation` holds the model's answers
    to `problems`, and is None where there are none to measure Pass@K on.
    """

    source: Source
    precision: Precision
    tokenizer: Any
    generation_config: Any
    reference: Reference | None = None
    problems: tuple[Example, ...] = ()
    evaluation: Path | None = None


def load_tuned(source: Source, asked: Asked, terminal: Terminal) -> Tuned:
    """Loads the policy, asks it, and frees its memory."""
    config = source.config
    with terminal.stage("Load the model"):
        policy = load(config.model, config.seed, for_training=False, needs_chat_template=False)
    precision, generation = precision_of(policy), _generation_config(policy, config)
    tuned = Tuned(source, precision, policy.tokenizer, generation)
    if asked.answers:
        tuned = _ask(tuned, policy, asked, terminal)
    del policy
    free_memory()
    if tuned.reference is not None and not source.is_adapter:
        with terminal.stage("Ask the base model"):
            base = load(source.base, config.seed, for_training=False, needs_chat_template=False)
            replies = replies_of(base, tuned.reference.questions)
        tuned = replace(tuned, reference=replace(tuned.reference, base=replies))
        del base
        free_memory()
    return tuned


def _ask(tuned: Tuned, policy: Policy, asked: Asked, terminal: Terminal) -> Tuned:
    """With the policy's answers, and its evaluation on the problems for Pass@K."""
    source, config = tuned.source, tuned.source.config
    data = RunData(config)
    held_out = load_held_out(data, policy.tokenizer, terminal) if _holds_out(config) else ()
    examples = held_out or _training_prompts(data, policy.tokenizer)
    if not held_out:
        terminal.notice("no problems are held out: it is asked those of the training, no Pass@K")
    problems = held_out[: asked.num_problems]
    evaluation = None
    if problems:
        evaluation = tuned_evaluation(source, policy, held_out, problems, terminal)
    with terminal.stage("Ask the tuned model") as stage:
        sampler = evaluation_sampler(config, policy)
        reference = refer(policy, examples, config, sampler, stage.update)
    return replace(tuned, reference=reference, problems=problems, evaluation=evaluation)


def _holds_out(config: ExperimentConfig) -> bool:
    """Whether the config says which problems to evaluate on; a file of groups holds none."""
    has_rows = config.training.method != "group_scores" and config.data.eval_fraction > 0
    return config.data.eval is not None or has_rows


def _training_prompts(data: RunData, tokenizer: Any) -> tuple[Example, ...]:
    if data.config.training.method != "group_scores":
        return data.prompts("train", tokenizer).examples
    groups = data.groups[:PROMPTS]
    rendered = [_of_group(i, group, tokenizer) for i, group in enumerate(groups)]
    chats = [example for example in rendered if not example.prompt]
    return (
        *(example for example in rendered if example.prompt),
        *(data.rendered(chats, tokenizer).examples if chats else ()),
    )


def _of_group(index: int, group: ScoredGroup, tokenizer: Any) -> Example:
    """A group's prompt: a text as the model sees it, or messages that are still to be rendered."""
    if not isinstance(group.prompt, str):
        question = str(group.prompt[-1]["content"])
        return Example(str(index), question, "", messages=group.prompt)
    ids = tokenizer(group.prompt, add_special_tokens=False)["input_ids"]
    return Example(str(index), group.prompt, "", prompt=group.prompt, prompt_ids=tuple(ids))


def _generation_config(policy: Policy, config: ExperimentConfig) -> Any:
    """The model's own, but with all ends of an answer, and sampling as in the run's evaluation.

    A `repetition_penalty` that a model's authors advise would change greedy answers, too.
    """
    from groupwise.framework.sampling import stopping  # imports torch: not at start-up

    params = config.eval_sampling_params
    made = copy.deepcopy(policy.model.generation_config)
    made.update(
        eos_token_id=sorted(stopping.end_of_text_ids(policy.model, policy.tokenizer)) or None,
        pad_token_id=policy.tokenizer.pad_token_id,
        do_sample=params.temperature > 0,
        temperature=params.temperature or None,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p or None,
        repetition_penalty=params.repetition_penalty,
        max_length=None,
        max_new_tokens=config.eval_max_completion_length,
    )
    return made
