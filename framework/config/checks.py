"""Rules that concern several keys, each with the values found and a remedy that works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from framework.config.batch_shape import nearest_divisors
from framework.data_files import is_missing_file
from rewards.errors import UserError

if TYPE_CHECKING:
    from framework.config.schema import ExperimentConfig, TrainingConfig
    from rewards import RewardSpec


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config.

    `path` is the key at fault and `others` the keys it clashes with: a rule over a key that is
    itself wrong is not reported. `where` is the line of the file, or the override.
    """

    path: str
    message: str
    others: tuple[str, ...] = ()
    where: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{self.where}: {text}" if self.where else text


class ConfigError(UserError):
    """A config that cannot be used. `problems` lists all that is wrong with it."""

    def __init__(self, problems: list[Problem], source: str = "") -> None:
        self.problems = problems
        self.source = source
        super().__init__(_render(problems, source))


def _render(problems: list[Problem], source: str) -> str:
    if len(problems) == 1:
        return f"{source}: {problems[0]}" if source else str(problems[0])
    head = f"{source or 'config'}: {len(problems)} problems"
    return "\n".join([head, *(f"  {problem}" for problem in problems)])


def refuse_contradictions(config: ExperimentConfig) -> None:
    """Raise a ConfigError with every rule that the config breaks."""
    if problems := list(contradictions(config)):
        raise ConfigError(problems)


def contradictions(config: ExperimentConfig) -> Iterator[Problem]:
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


def _model(config: ExperimentConfig) -> Iterator[Problem]:
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


def _data(config: ExperimentConfig) -> Iterator[Problem]:
    from framework.config.schema import TOY

    data, evaluation, warm = config.data, config.evaluation, config.training.warm_start
    if "{question}" not in data.prompt_template:
        yield Problem("data.prompt_template", "has no {question}, so the model would not see it")
    if (
        (evaluation.before or evaluation.after or evaluation.every_steps)
        and data.eval is None
        and data.eval_fraction == 0
        and data.train != TOY
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
            "has no {solution}; {solution} is the worked answer, {answer} the final one",
        )
    if (
        warm.enabled
        and warm.completion_field is None
        and data.answer_after is None
        and TOY not in (data.train, warm.data)
        and not is_missing_file(warm.data or data.train)  # that is what is said of it then
    ):
        yield Problem(
            "training.warm_start.completion_field",
            "null, and with data.answer_after null too there is no worked answer to imitate; name "
            "the field that holds it, or set training.warm_start.enabled: false",
            ("data.answer_after", "training.warm_start.enabled"),
        )


def _group_scores(config: ExperimentConfig) -> Iterator[Problem]:
    from framework.config.schema import TOY

    if config.training.method != "group_scores":
        return
    data, evaluation, method = config.data, config.evaluation, "training.method"
    if data.train == TOY:
        yield Problem(
            "data.train",
            "toy are problems, and method group_scores takes completions with scores; name a file, "
            "such as `groupwise export-groups` makes from a log",
            (method,),
        )
    if (evaluation.before or evaluation.after) and data.eval is None:
        yield Problem(
            "data.eval",
            "null, and scored completions are no problems to hold out; name a file of problems, or "
            "set evaluation.before and evaluation.after to false",
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


def _rewards(config: ExperimentConfig) -> Iterator[Problem]:
    """What the built-in rewards say of their parameters. A user's own code is not loaded here."""
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
    from rewards.rubric import build_rubric  # the rewards' own modules: only where they are asked

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
    """A checkpoint between two iterations could not be continued: their completions are gone."""
    every, iterations = training.save_steps, training.num_iterations
    if every % iterations:
        works = -(-every // iterations) * iterations
        yield Problem(
            "training.save_steps",
            f"{every} is no multiple of num_iterations {iterations}, and within the iterations on "
            f"one batch of completions no checkpoint can be made; {works} works",
            ("training.num_iterations",),
        )


def _lengths(config: ExperimentConfig) -> Iterator[Problem]:
    room, prompt = config.model.max_seq_length, config.data.max_prompt_length
    lengths = {"training.max_completion_length": config.training.max_completion_length}
    if config.evaluation.max_completion_length is not None:
        lengths["evaluation.max_completion_length"] = config.evaluation.max_completion_length
    for path, completion in lengths.items():
        if prompt + completion <= room:
            continue
        mend = f"raise model.max_seq_length to {prompt + completion}"
        if room > prompt:
            mend += f", or lower {path} to {room - prompt}"
        yield Problem(
            path,
            f"{completion}, with data.max_prompt_length {prompt}, makes {prompt + completion} "
            f"tokens; model.max_seq_length is {room}: {mend}",
            ("data.max_prompt_length", "model.max_seq_length"),
        )


def _loss(training: TrainingConfig) -> Iterator[Problem]:
    loss, level = training.loss_type, training.importance_sampling_level
    # Unsloth's trainer turns the scaling off by itself there; what runs must be what is written.
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
            f"{training.clip_high:g} in force, but loss_type cispo caps the probability ratio at "
            "epsilon_high itself; 5.0 is usual",
            ("training.loss_type", "training.epsilon"),
        )


def _sampling(config: ExperimentConfig) -> Iterator[Problem]:
    for section in ("training", "evaluation"):
        if getattr(config, section).sampler == "vllm" and not config.model.fast_inference:
            yield Problem(
                f"{section}.sampler",
                "vllm needs model.fast_inference: true",
                ("model.fast_inference",),
            )


def _evaluation(config: ExperimentConfig) -> Iterator[Problem]:
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
