"""Rules that concern several keys: errors with a remedy that works, and notices.

`contradictions` are errors; `notices` are about values that are allowed and rarely meant;
`check_processes` has the rules for several processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from groupwise.framework.config.batch import (
    BatchShape,
    either,
    nearest_divisors,
    nearest_multiples,
)
from groupwise.framework.config.errors import ConfigError, Problem
from groupwise.framework.config.paths import is_missing_file
from groupwise.framework.config.schema import TOY, Experiment, ModelConfig, TrainingConfig
from groupwise.rewards import RewardSpec
from groupwise.rewards.errors import UserError

SFT_RATE = {"LoRA": 1e-4, "all weights": 1e-5}
"""Learning rates from which on a rate is one of supervised training, by what is trained."""
GRPO_RATE = {"LoRA": "5e-6", "all weights": "1e-6"}
"""Usual learning rates for GRPO: of the published Unsloth notebooks; TRL's default."""
_TINY_BYTES = 100_000_000  # weights of some 50 million parameters in 16 bits


def refuse_contradictions(config: Experiment) -> None:
    """Raise a ConfigError with every rule that the config breaks."""
    if problems := list(contradictions(config)):
        raise ConfigError(problems)


def check_training(training: TrainingConfig) -> None:
    """Raise a ConfigError with every rule that the section `training` breaks by itself."""
    if problems := list(training_contradictions(training)):
        raise ConfigError(problems)


def contradictions(config: Experiment) -> Iterator[Problem]:
    """Every rule over several keys that the config breaks."""
    yield from _model(config)
    yield from _data(config)
    yield from _group_scores(config)
    yield from _rewards(config)
    yield from _lengths(config)
    yield from training_contradictions(config.training)
    yield from _sampling(config)
    yield from _evaluation(config)


def training_contradictions(training: TrainingConfig) -> Iterator[Problem]:
    """The rules that need no other section than training."""
    yield from _batch(training)
    yield from _iterations(training)
    yield from _loss(training)


def _model(config: Experiment) -> Iterator[Problem]:
    model = config.model
    if model.load_in_4bit and model.load_in_8bit:
        yield Problem(
            "model.load_in_8bit",
            "true, and model.load_in_4bit is true as well; set one of them to false",
            ("model.load_in_4bit",),
        )
    if model.full_finetuning:
        for key in ("load_in_4bit", "load_in_8bit"):
            if getattr(model, key):
                yield Problem(
                    "model.full_finetuning",
                    f"true, but quantised weights cannot be trained; set model.{key}: false",
                    (f"model.{key}",),
                )
        if model.adapter is not None and model.adapter_mode == "continue":
            yield Problem(
                "model.full_finetuning",
                f"true, and model.adapter is {model.adapter!r}; an adapter is trained further only "
                "with full_finetuning: false; or merge it first, with model.adapter_mode: merge",
                ("model.adapter", "model.adapter_mode"),
            )
    if model.adapter_mode == "merge" and model.adapter is None:
        yield Problem(
            "model.adapter_mode",
            "merge, but model.adapter is null: name the folder of the adapter to merge",
            ("model.adapter",),
        )


def _data(config: Experiment) -> Iterator[Problem]:
    data, evaluation, warm = config.data, config.evaluation, config.training.warm_start
    named = ("{question}", f"{{{data.question_field}}}")
    if not any(name in data.prompt_template for name in named):
        yield Problem("data.prompt_template", "has no {question}, so the model would not see it")
    if (
        (evaluation.before or evaluation.after or evaluation.every_steps)
        and data.eval is None
        and data.eval_fraction == 0
    ):
        yield Problem(
            "data.eval",
            "there is nothing to evaluate on; name a file, or set data.eval_fraction: 0.1, or do "
            "without: evaluation.before and .after false, .every_steps null",
            (
                "data.eval_fraction",
                "evaluation.before",
                "evaluation.after",
                "evaluation.every_steps",
            ),
        )
    if config.training.method == "sft" and not warm.enabled:
        yield Problem(
            "training.method",
            "sft is the warm start by itself; set training.warm_start.enabled: true",
            ("training.warm_start.enabled",),
        )
    if warm.enabled and "{solution}" not in warm.completion_template:
        yield Problem(
            "training.warm_start.completion_template",
            "has no {solution}; {solution} is the solution, {answer} the final answer",
        )
    if (
        warm.enabled
        and warm.completion_field is None
        and data.answer_after is None
        and not is_missing_file(warm.data or data.train)  # a missing file is reported instead
    ):
        yield Problem(
            "training.warm_start.completion_field",
            "null, and with data.answer_after null too there is no solution to imitate; name "
            "the field that holds it, or set training.warm_start.enabled: false",
            ("data.answer_after", "training.warm_start.enabled"),
        )


def _group_scores(config: Experiment) -> Iterator[Problem]:
    if config.training.method != "group_scores":
        return
    data, evaluation, method = config.data, config.evaluation, "training.method"
    if data.train == TOY:
        yield Problem(
            "data.train",
            "toy has problems, but method group_scores takes completions with scores; name a file, "
            "such as `groupwise export-groups` makes from a log",
            (method,),
        )
    if (evaluation.before or evaluation.after) and data.eval is None:
        yield Problem(
            "data.eval",
            "null, and scored completions have no problems to hold out; name a file of problems, "
            "or set evaluation.before and evaluation.after to false",
            (method, "evaluation.before", "evaluation.after"),
        )
    if config.training.warm_start.enabled:
        yield Problem(
            "training.warm_start.enabled",
            "true, but method group_scores starts from the model as it is; run the warm start by "
            "itself (method sft), and name its final_model as model.adapter",
            (method,),
        )
    highest = 1 + config.training.clip_high
    if config.training.group_scores.max_ratio < highest:
        yield Problem(
            "training.group_scores.max_ratio",
            f"{config.training.group_scores.max_ratio:g} is below the clip, 1 + epsilon_high = "
            f"{highest:g}",
            ("training.epsilon_high", "training.epsilon"),
        )


def _rewards(config: Experiment) -> Iterator[Problem]:
    """Wrong parameters of built-in rewards. A user's own code is not loaded here."""
    parts = config.rewards.parts
    built_in = {
        name: replace(spec, requires={})
        for name, spec in parts.items()
        if ":" not in (spec.use or name)
    }
    found = [problem for name, spec in built_in.items() for problem in _built({name: spec})]
    yield from found or _built(built_in)
    for name, spec in parts.items():
        for gate in spec.requires:
            if gate == name or gate not in parts:
                why = "a part cannot require itself" if gate == name else f"no part {gate!r}"
                others = ", ".join(part for part in parts if part != name) or "none"
                yield Problem(f"rewards.parts.{name}.requires", f"{why}; parts to name: {others}")


def _built(specs: dict[str, RewardSpec]) -> list[Problem]:
    if not specs:
        return []
    # Slow, with a hundred patterns: not at start-up, and only where there is a reward to check.
    from groupwise.rewards.rubric import build_rubric

    try:
        build_rubric(specs)
    except UserError as error:
        lines = [line.partition(": ") for line in str(error).splitlines()]
        return [Problem(path, message) for path, _, message in lines]
    return []


def _batch(training: TrainingConfig) -> Iterator[Problem]:
    prompts, generations = training.prompts_per_step, training.num_generations
    wanted = training.completions_per_forward
    total = prompts * generations
    if total % wanted == 0 or training.method == "group_scores":  # groups differ in size there
        return
    works = nearest_divisors(total, wanted)
    numbers = " or ".join(map(str, works))
    yield Problem(
        "training.completions_per_forward",
        f"{wanted} does not divide prompts_per_step x num_generations = {prompts} x {generations} "
        f"= {total}; {numbers} {'work' if len(works) > 1 else 'works'}",
        ("training.prompts_per_step", "training.num_generations"),
    )


def _iterations(training: TrainingConfig) -> Iterator[Problem]:
    """Nothing could resume from a checkpoint between two iterations: the completions are gone."""
    every, iterations = training.save_steps, training.num_iterations
    if every % iterations:
        works = -(-every // iterations) * iterations
        yield Problem(
            "training.save_steps",
            f"{every} is not a multiple of num_iterations {iterations}, and no checkpoint can be "
            f"made between the iterations on one batch of completions; {works} works",
            ("training.num_iterations",),
        )


def _lengths(config: Experiment) -> Iterator[Problem]:
    room, prompt = config.model.max_seq_length, config.data.max_prompt_length
    lengths = {"training.max_completion_length": config.training.max_completion_length}
    if config.evaluation.max_completion_length is not None:
        lengths["evaluation.max_completion_length"] = config.evaluation.max_completion_length
    for path, completion in lengths.items():
        if prompt + completion <= room:
            continue
        remedy = f"raise model.max_seq_length to {prompt + completion}"
        if room > prompt:
            remedy += f", or lower {path} to {room - prompt}"
        yield Problem(
            path,
            f"{completion}, with data.max_prompt_length {prompt}, makes {prompt + completion} "
            f"tokens; model.max_seq_length is {room}: {remedy}",
            ("data.max_prompt_length", "model.max_seq_length"),
        )


def _loss(training: TrainingConfig) -> Iterator[Problem]:
    loss, level = training.loss_type, training.importance_sampling_level
    # Unsloth's trainer would turn the scaling off by itself; what runs must be what was asked for.
    if loss == "dr_grpo" and training.scale_rewards == "group":
        yield Problem(
            "training.scale_rewards",
            'group, but loss_type dr_grpo is defined without it; set scale_rewards: "none"',
            ("training.loss_type",),
        )
    for name, needed in (("luspo", "sequence"), ("vespo", "token")):
        if loss == name and level != needed:
            yield Problem(
                "training.importance_sampling_level",
                f"{level}, but loss_type {name} needs {needed}",
                ("training.loss_type",),
            )
    # TRL clamps the CISPO weight at epsilon_high itself, not at 1 + epsilon_high.
    if loss == "cispo" and training.clip_high < 1:
        yield Problem(
            "training.epsilon_high",
            f"effectively {training.clip_high:g}, but loss_type cispo caps the probability ratio "
            "at epsilon_high itself; 5.0 is usual",
            ("training.loss_type", "training.epsilon"),
        )


def _sampling(config: Experiment) -> Iterator[Problem]:
    for section in ("training", "evaluation"):
        if getattr(config, section).sampler == "vllm" and not config.model.fast_inference:
            yield Problem(
                f"{section}.sampler",
                "vllm needs model.fast_inference: true",
                ("model.fast_inference",),
            )


def _evaluation(config: Experiment) -> Iterator[Problem]:
    evaluation, kept = config.evaluation, config.data.metadata_fields
    for name in evaluation.category_fields:
        if kept is not None and name not in kept:
            yield Problem(
                "evaluation.category_fields",
                f'"{name}" is not among data.metadata_fields; add it there',
                ("data.metadata_fields",),
            )
    if low := [k for k in evaluation.k if k < 1]:
        yield Problem("evaluation.k", f"{low[0]} is less than 1")
    if high := [k for k in evaluation.k if k > evaluation.num_samples]:
        fits = [k for k in evaluation.k if k not in high] or [1]
        yield Problem(
            "evaluation.k",
            f"{max(high)} is more than evaluation.num_samples {evaluation.num_samples}: pass@k "
            f"needs at least k answers; set num_samples: {max(high)}, or k: {fits}",
            ("evaluation.num_samples",),
        )
    metric = evaluation.best_metric or ""
    if "@" in metric and int(metric.partition("@")[2]) not in evaluation.k:
        yield Problem(
            "evaluation.best_metric",
            f"{metric} is not measured: evaluation.k has {', '.join(map(str, evaluation.k))}",
            ("evaluation.k",),
        )
    if evaluation.patience is not None and evaluation.every_steps is None:
        yield Problem(
            "evaluation.patience",
            f"{evaluation.patience} needs evaluation.every_steps: without it nothing is evaluated "
            "during training",
            ("evaluation.every_steps",),
        )
    if evaluation.temperature == 0 and evaluation.num_samples > 1:
        yield Problem(
            "evaluation.num_samples",
            f"{evaluation.num_samples} greedy answers are all the same; with temperature 0 set "
            "num_samples: 1 and k: [1]",
            ("evaluation.temperature",),
        )


def shared_batch_shape(training: TrainingConfig, num_processes: int) -> BatchShape:
    """GRPO's shape on each of `num_processes`; UserError if they cannot share the training."""
    if num_processes > 1 and training.resample_rounds:
        raise UserError(
            f"training.resample_rounds: {training.resample_rounds} works in one process, and "
            f"there are {num_processes}; set it to 0"
        )
    return training.batch_shape.shared_by(num_processes)


def check_processes(config: Experiment, num_processes: int) -> None:
    """Raises UserError if the run cannot be shared equally by `num_processes`."""
    training = config.training
    if training.method == "grpo":
        shared_batch_shape(training, num_processes)
    elif training.method == "group_scores":
        _share("training.prompts_per_step", training.prompts_per_step, num_processes)
    if training.warm_start.enabled:
        _share("training.warm_start.batch_size", training.warm_start.batch_size, num_processes)


def _share(path: str, value: int, num_processes: int) -> None:
    if value % num_processes:
        raise UserError(
            f"{path}: {value} cannot be shared equally by {num_processes} processes; "
            f"{either(*nearest_multiples(num_processes, value))}"
        )


def notices(config: Experiment) -> Iterator[str]:
    """One sentence for each setting that is allowed and probably a mistake."""
    yield from _rate(config)


def _rate(config: Experiment) -> Iterator[str]:
    """GRPO at a learning rate of SFT: the same as the warm start's, or in that range.

    Tiny models are excepted: they learn nothing at the rates of large ones.
    """
    training, warm = config.training, config.training.warm_start
    if training.method != "grpo" or is_tiny(config.model):
        return
    rate = training.learning_rate
    trained = "all weights" if config.model.full_finetuning else "LoRA"
    if warm.enabled and rate == warm.learning_rate:
        found = "the same as training.warm_start.learning_rate, which is SFT's"
    elif rate >= SFT_RATE[trained]:
        found = f"a rate for SFT ({trained}: {SFT_RATE[trained]:g} and more)"
    else:
        return
    yield (
        f"training.learning_rate: {rate:g} is {found}; GRPO at SFT's rate soon writes noise. "
        f"{GRPO_RATE[trained]} is usual"
    )


def is_tiny(model: ModelConfig) -> bool:
    """Whether a model is the toy, or a folder with less than 100 MB of weights."""
    weights = [file.stat().st_size for file in Path(model.name).glob("*.safetensors")]
    return model.name == TOY or 0 < sum(weights) < _TINY_BYTES
