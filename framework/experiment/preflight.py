"""Checks before a run: files, prompts as the model sees them, rewards, memory.

    data = refuse_early(config, ("train", "eval"))            # files and rewards; no tokenizer
    found = check_sample(config, data, tokenizer, rubric)     # prompts and rewards, on a sample
    found = check(config, terminal)                           # on everything: `groupwise check`
    found = dry_run(config, terminal)                         # `groupwise train --dry-run`

`train` and `quickstart` refuse early and check a sample, a dry run adds counts and memory, `check`
looks at everything. The tokenizer is loaded, the model is not. What this leaves out: how good the
model is. How the results are shown is in `preflight_report.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from groupwise.framework.config import ExperimentConfig, ModelConfig
from groupwise.framework.config import notices as config_notices
from groupwise.framework.config.locations import where_now
from groupwise.framework.config.paths import is_missing_file, nearby
from groupwise.framework.data.conversations import SYSTEM
from groupwise.framework.data.examples import Split, check_categories, check_data_size
from groupwise.framework.data.prompts import RenderedPrompts
from groupwise.framework.experiment.data import RunData
from groupwise.framework.experiment.evaluate import evaluation_rubric, rubric_of
from groupwise.framework.experiment.groups_preflight import GroupsPreflight, check_groups
from groupwise.framework.experiment.template_check import (
    switches_thinking_on,
    template_notices_of,
)
from groupwise.framework.experiment.toy import toy_in_scratch
from groupwise.framework.memory.check import check_memory
from groupwise.framework.policy.checkpointing import checkpointing
from groupwise.framework.policy.folders import check_model_folder, read_chat_template
from groupwise.framework.policy.loading import unusable_as_user_error
from groupwise.framework.policy.targets import plan
from groupwise.framework.policy.vocabulary import check_folder_vocabulary
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards import Rubric, UserError
from groupwise.rewards.check.probes import spread
from groupwise.rewards.check.prove import SAMPLE, Proof, prove
from groupwise.rewards.check.references import (
    ReferenceVerdict,
    broken_references,
    judge_references,
)
from groupwise.rewards.options import LETTERS, options_of
from groupwise.rewards.reward_model import LearnedReward
from groupwise.rewards.style import Format
from groupwise.rewards.types import Example

# --- files: without a tokenizer --------------------------------------------------------------


def refuse_early(config: ExperimentConfig, splits: Sequence[Split]) -> RunData:
    """Checks what can be checked before a run directory exists; returns the data that it read.

    A hub data set is not loaded here: it is slow, and Unsloth has to be imported before `datasets`.

    Raises:
        UserError: rewards, model folder or data files cannot be used.
    """
    with toy_in_scratch(config) as plain:
        data = RunData(plain)
        with rubric_of(plain) as rubric:
            _check_reward_models(rubric)
        check_model_folder(plain.model)
        check_folder_vocabulary(plain.model)
        _read_files(data, splits)
    return data


def _check_reward_models(rubric: Rubric) -> None:
    for name, reward in rubric.rewards.items():
        if isinstance(reward, LearnedReward):
            key = f"rewards.parts.{name}.params.model"
            check_model_folder(ModelConfig(name=reward.model), key)


def _read_files(data: RunData, splits: Sequence[Split]) -> None:
    config = data.config
    keys = {
        split: "data.eval" if split == "eval" and config.data.eval else "data.train"
        for split in splits
    }
    sources = {key: getattr(config.data, key.removeprefix("data.")) for key in keys.values()}
    warm_start = config.training.warm_start
    warms = "train" in splits and warm_start.enabled
    if warms:
        sources["training.warm_start.data"] = warm_start.data
    for key, source in sources.items():
        if source is not None and is_missing_file(source):
            missing = f"{key}: there is no file {source}{nearby(Path(source))}"
            raise UserError(missing + where_now(key, source))
    is_offline = config.training.method == "group_scores"
    for split, key in keys.items():
        source = sources[key]
        if is_offline and source == config.data.train:
            _ = data.groups  # read now, for its errors; the run uses them later
        elif Path(source).is_file():
            found = data.examples(split)
            if split == "eval":
                check_categories(config.evaluation.category_fields, found)
    if warms and Path(warm_start.data or config.data.train).is_file():
        _ = data.demonstrations


# --- prompts and rewards: with a tokenizer ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preflight:
    """The result of a check. `problems` make training meaningless; `notices` are worth a look."""

    prompts: RenderedPrompts
    batch_shape: str
    max_completion_length: int
    step_seconds: float  # of the rewards alone
    step_completions: int
    proof: Proof
    problems: tuple[str, ...]
    notices: tuple[str, ...]
    adapter: str = ""  # what is trained; empty where the model's config does not say it
    needs: str = ""  # of memory, and whether it fits; empty where the architecture is not known


def check(config: ExperimentConfig, terminal: Terminal) -> Preflight | GroupsPreflight:
    """`groupwise check`: all training prompts, and every reward on all of them; or all groups.

    Raises:
        UserError: data, tokenizer or rewards cannot be read at all.
    """
    if config.training.method == "group_scores":
        return _check_groups(config, terminal)
    with (
        _without_model(config, terminal, _splits(config)) as (data, tokenizer),
        evaluation_rubric(config, len(data.examples("train"))) as rubric,
    ):
        with terminal.stage("Render the prompts") as stage:
            prompts = data.prompts("train", tokenizer)
            stage.summary = f"{len(prompts.examples)} prompts"
        with terminal.stage("Probe the rewards") as stage:
            references = _references(data, rubric)
            proof = _prove(config, rubric, prompts, tokenizer, references, stage.update)
            stage.summary = f"{len(proof.parts)} rewards on {proof.num_examples} examples"
        notices = [*data.notices, *template_notices_of(data.config, tokenizer)]
        planned = plan(data.config.model)
        notices += planned.notices if planned else ()
        needs = str(check_memory(data.config, prompts.longest_prompt) or "")
    found = _judge(config, tokenizer, rubric, prompts, proof, notices)
    return replace(found, adapter=str(planned or ""), needs=needs)


def _check_groups(config: ExperimentConfig, terminal: Terminal) -> GroupsPreflight:
    with _without_model(config, terminal, _splits(config)) as (data, tokenizer):
        return check_groups(data, tokenizer)


def check_sample(
    config: ExperimentConfig, data: RunData, tokenizer: Any, rubric: Rubric
) -> Preflight:
    """The same on a sample of the training data: what `train` does before it loads the model."""
    examples = data.examples("train")
    few = [examples[i] for i in spread(len(examples), SAMPLE)]
    prompts = data.rendered(few, tokenizer)
    proof = _prove(config, rubric, prompts, tokenizer, _references(data, rubric))
    return _judge(config, tokenizer, rubric, prompts, proof, data.notices)


@contextmanager
def _without_model(
    config: ExperimentConfig, terminal: Terminal, splits: Sequence[Split]
) -> Iterator[tuple[RunData, Any]]:
    """Data and tokenizer of a config; what libraries print is dropped."""
    with terminal.libraries_to(), toy_in_scratch(config) as plain:
        yield refuse_early(plain, splits), load_tokenizer(plain.model)


def load_tokenizer(model: ModelConfig) -> Any:
    """The model's tokenizer alone. Raises UserError if it cannot be loaded."""
    check_model_folder(model)
    from transformers import AutoTokenizer  # slow: not at start-up

    with unusable_as_user_error(f"model.name: the tokenizer of {model.name}"):
        tokenizer = AutoTokenizer.from_pretrained(model.adapter or model.name)
    if model.chat_template is not None:
        tokenizer.chat_template = read_chat_template(model.chat_template)
    return tokenizer


def _splits(config: ExperimentConfig) -> tuple[Split, ...]:
    """What a run reads: without an evaluation, only the training problems."""
    evaluation = config.evaluation
    measures = evaluation.before or evaluation.after or evaluation.every_steps is not None
    return ("train", "eval") if measures else ("train",)


def _references(data: RunData, rubric: Rubric) -> ReferenceVerdict:
    """What is wrong with the references of the training data, and what with the evaluation's."""
    found = judge_references(rubric, data.examples("train"), data.places("train"))
    keys = data.config.data
    if "eval" not in _splits(data.config) or keys.eval == keys.train:
        return found
    later = broken_references(rubric, data.examples("eval"), data.places("eval"))
    problems = (*found.problems, *(f"evaluation: {problem}" for problem in later))
    return replace(found, problems=problems)


def _prove(
    config: ExperimentConfig,
    rubric: Rubric,
    prompts: RenderedPrompts,
    tokenizer: Any,
    references: ReferenceVerdict,
    on_progress: Callable[[int, int], None] | None = None,
) -> Proof:
    def tokenize(texts: Sequence[str]) -> list[tuple[int, ...]]:
        if not any(texts):
            return [()] * len(texts)
        return [tuple(ids) for ids in tokenizer(list(texts), add_special_tokens=False).input_ids]

    return prove(
        rubric,
        prompts.examples,
        tokenize=tokenize,
        max_tokens=config.training.max_completion_length,
        references=references,
        on_progress=on_progress,
    )


def _judge(
    config: ExperimentConfig,
    tokenizer: Any,
    rubric: Rubric,
    prompts: RenderedPrompts,
    proof: Proof,
    more_notices: Sequence[str],
) -> Preflight:
    problems = [problem for part in proof.parts for problem in part.problems]
    problems += proof.problems
    notices = [
        *config_notices(config),
        *more_notices,
        *proof.notices,
        *_prompt_notices(config, tokenizer, rubric, prompts.examples[0]),
        *_option_notices(prompts.examples),
    ]
    if prompts.left_out:
        notices.append(str(prompts))
    limit = config.training.max_completion_length
    if too_long := sum(length > limit for length in proof.reference_lengths):
        notices.append(
            f"{too_long} of {len(proof.reference_lengths)} reference answers, written out in their "
            f"format, are longer than training.max_completion_length {limit} (up to "
            f"{max(proof.reference_lengths)} tokens): the model could not write them"
        )
    completions = config.training.prompts_per_step * config.training.num_generations
    return Preflight(
        prompts,
        str(config.training.batch_shape),
        limit,
        proof.seconds_per_completion * completions,
        completions,
        proof,
        tuple(problems),
        tuple(notices),
    )


def _prompt_notices(
    config: ExperimentConfig, tokenizer: Any, rubric: Rubric, example: Example
) -> list[str]:
    """Notices on a dropped system prompt, a format that no prompt asks for, a closed thought."""
    notices = []
    system = example.messages[0]["content"] if example.messages[0]["role"] in SYSTEM else ""
    if " ".join(system.split()) not in " ".join(example.prompt.split()):
        which = "data.system_prompt" if system == config.data.system_prompt else "system messages"
        notices.append(
            f"the chat template leaves {which} out: the model will not see it; put it in "
            "data.prompt_template instead"
        )
    for name, reward in rubric.rewards.items():
        if not isinstance(reward, Format) or reward.pattern is not None:
            continue
        tag = "\\boxed" if "boxed" in reward.template else "<answer>"
        tag = "<think>" if reward.template == "think" else tag
        if tag not in example.prompt and not config.training.warm_start.enabled:
            notices.append(
                f"reward {name!r} wants {tag}, but the prompt does not mention it and there is no "
                "warm start: the model has to find it by chance; ask for it in data.system_prompt"
            )
        closed = example.prompt.rstrip().endswith("</think>")
        if closed and "think" in reward.template:
            setting = switches_thinking_on(config.model, tokenizer, example.messages)
            remedy = f"set {setting}" if setting else "set model.chat_template to one that thinks"
            notices.append(
                f"reward {name!r} wants a thought, but the chat template has already closed one "
                f"(</think>) in the prompt; {remedy}, or use template: answer"
            )
    return notices


def _option_notices(examples: Sequence[Example]) -> list[str]:
    """A notice on prompts that ask for an option's letter and show none of the options."""
    blind = 0
    for example in examples:
        options = options_of(example.metadata)
        if options and example.answer in tuple(LETTERS[: len(options)]):
            prompt = " ".join(example.prompt.split())
            blind += not any(" ".join(option.split()) in prompt for option in options)
    if not blind:
        return []
    return [
        f"{blind} of {len(examples)} prompts ask for the letter of an option, but show none of the "
        "options: the model would have to guess; write them into data.question_field, or have them "
        'put in, with data.prompt_template: "{question}\\n{choices}" (the name of their field)'
    ]


# --- everything short of loading the model ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class DryRun:
    """The result of a dry run: counts, lengths, and a first prompt as the model would see it."""

    train: RenderedPrompts
    held_out: RenderedPrompts
    num_demonstrations: int
    batch_shape: str
    checkpointing: str  # gradient checkpointing: on or off, and why
    needs: str  # of memory, and whether it fits; empty where the architecture is not known
    adapter: str  # what is trained; empty where the model's config does not say it
    first_prompt: str
    problems: tuple[str, ...]  # what makes training meaningless, as `groupwise check` finds it
    notices: tuple[str, ...]


def dry_run(config: ExperimentConfig, terminal: Terminal) -> DryRun | GroupsPreflight:
    """Everything short of loading the model: data, prompts, rewards, batch shape, memory.

    Raises:
        UserError: what `train` would refuse.
    """
    if config.training.method == "group_scores":
        return _check_groups(config, terminal)
    training = config.training
    with (
        _without_model(config, terminal, ("train", "eval")) as (data, tokenizer),
        rubric_of(config) as rubric,
    ):
        train = data.prompts("train", tokenizer)
        held_out = data.prompts("eval", tokenizer)
        warms = training.warm_start.enabled or training.method == "sft"
        num_demonstrations = len(data.demonstrations) if warms else 0
        notices = (*data.notices, *template_notices_of(data.config, tokenizer))
        problems: tuple[str, ...] = ()
        if training.method == "grpo":
            problems = check_sample(config, data, tokenizer, rubric).problems
            check_data_size(len(train.examples), training.prompts_per_step)
        memory = str(checkpointing(data.config))
        fit = check_memory(data.config, train.longest_prompt)
        if fit and fit.cannot_fit:
            problems = (*problems, fit.remedy())
        planned = plan(data.config.model)
    return DryRun(
        train,
        held_out,
        num_demonstrations,
        str(training.batch_shape),
        memory,
        str(fit or ""),
        str(planned or ""),
        train.examples[0].prompt,
        problems,
        (*config_notices(config), *notices, *(planned.notices if planned else ())),
    )
