"""Every key of a config file: its type, its default, its meaning.

The docstring under a field is what `configs/reference.yaml` says of it. Field names are TRL's and
Unsloth's own wherever one exists. Left out: rules over several keys (`rules.py`) and loading
(`load.py`). No torch here.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from groupwise.evaluation.sampler import SamplingParams
from groupwise.framework.config.batch import BatchShape
from groupwise.framework.config.chat_template import moment, template_kwargs
from groupwise.rewards import RewardSpec

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True)
LossType = Literal["grpo", "dr_grpo", "bnpo", "dapo", "cispo", "sapo", "luspo", "vespo"]
SamplerName = Literal["auto", "slots", "generate", "vllm"]
HealthName = Literal[
    "non_finite",
    "reward_floor",
    "reward_ceiling",
    "reward_constant",
    "no_group_variance",
    "kl_exploding",
    "entropy_collapse",
    "diversity_collapse",
    "duplicate_completions",
    "length_runaway",
    "length_collapse",
    "truncation",
    "unreadable_answers",
    "grader_timeouts",
    "dominating_reward",
    "reward_hacking",
    "memory_creeping",
]
"""The findings of `run/health_checks.py`."""

TOY = "toy"
"""As `model.name` or `data.train`: a tiny model, or its problems, made on the spot."""


def _no_bool(value: object) -> object:
    """Refuse `true` where a number belongs: Python would take it as 1."""
    if isinstance(value, bool):
        raise ValueError("not a number")
    return value


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, int | str) and not isinstance(value, bool) else value


def _as_mode(value: object) -> object:
    return "off" if value is False else value


def _as_spec(value: object) -> object:
    """`correctness: 1.0` is a weight, `correctness:` a reward with its defaults."""
    if value is None:
        return {}
    is_weight = isinstance(value, int | float) and not isinstance(value, bool)
    return {"weight": value} if is_weight else value


def _as_mapping(value: object) -> object:
    return {} if value is None else value


def _not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value):
        raise ValueError("a stop string must not be empty")
    return value


def _metric(value: str) -> str:
    if not re.fullmatch(r"(pass|maj)@[1-9][0-9]*|mean_score", value):
        raise ValueError(f"{value!r} is none of pass@k, maj@k (k a number: pass@1) and mean_score")
    return value


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool)]
Ints = Annotated[tuple[Int, ...], BeforeValidator(_as_list)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
HealthNames = Annotated[tuple[HealthName, ...], BeforeValidator(_as_list)]
StopStrings = Annotated[tuple[str, ...], BeforeValidator(_as_list), AfterValidator(_not_empty)]
TemplateKwargs = Annotated[
    dict[str, Any], BeforeValidator(_as_mapping), AfterValidator(template_kwargs)
]
Moment = Annotated[str, AfterValidator(moment)]
Metric = Annotated[str, AfterValidator(_metric)]
Part = Annotated[RewardSpec, BeforeValidator(_as_spec)]


# Keys of sampling that training and evaluation share.
TOP_P: Any = Field(default=1.0, gt=0, le=1)
TOP_K: Any = Field(default=0, ge=0)
MIN_P: Any = Field(default=0.0, ge=0, lt=1)
REPETITION_PENALTY: Any = Field(default=1.0, gt=0)


def sampling_params(
    source: Any, max_tokens: int, seed: int, stop: tuple[str, ...]
) -> SamplingParams:
    """The sampler's terms of a section that has the sampling keys."""
    return SamplingParams(
        temperature=source.temperature,
        top_k=source.top_k,
        top_p=source.top_p,
        min_p=source.min_p,
        repetition_penalty=source.repetition_penalty,
        max_tokens=max_tokens,
        stop=stop,
        seed=seed,
    )


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """Which model, in which precision, and what of it is trained."""

    name: str = Field(min_length=1)
    """Hub name or folder of the base model; `toy` is a tiny model made on the spot."""
    max_seq_length: Int = Field(default=1024, gt=0)
    """Tokens of prompt and completion together that the model must hold."""
    load_in_4bit: bool = True
    """Quantise the frozen weights to 4 bits (NF4): a quarter of the memory."""
    load_in_8bit: bool = False
    """Quantise the frozen weights to 8 bits."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Precision of computations; auto takes the best that the device has."""
    full_finetuning: bool = False
    """Train every weight instead of a LoRA adapter; needs load_in_4bit: false."""
    fast_inference: bool = False
    """Start vLLM in this process for sampling; plan 12 GB of GPU memory or more."""
    gpu_memory_utilization: Float = Field(default=0.5, gt=0, lt=1)
    """Share of the GPU that vLLM may take, with fast_inference."""
    lora_r: Int = Field(default=16, gt=0)
    """Rank of the LoRA adapter."""
    lora_alpha: Float = Field(default=32.0, gt=0)
    """LoRA scale: the adapter's output is multiplied by lora_alpha/lora_r."""
    lora_dropout: Float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input; 0 is the fast path."""
    target_modules: Strings = Field(default=("all-linear",), min_length=1)
    """Layers that get an adapter, by the ends of their names; all-linear: every linear layer of
    the decoder's blocks, in most families q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and
    down_proj."""
    use_gradient_checkpointing: Literal["auto", "unsloth", True, False] = "auto"
    """Recompute activations instead of keeping them: unsloth (which also moves them to main
    memory), true, or false (faster, needs memory); auto: false where they take less than a
    quarter of the memory, else unsloth."""
    adapter: str | None = None
    """Folder of an earlier LoRA adapter on model.name to continue from, such as that of a
    supervised run (method sft)."""
    adapter_mode: Literal["continue", "merge"] = "continue"
    """continue: the earlier adapter itself is trained further; merge: it is merged into the base
    weights (16 bits, saved whole in the run's merged_base/), and a new adapter of rank lora_r is
    trained on top."""
    chat_template: str | None = None
    """Jinja file used in place of the tokenizer's own chat template."""
    chat_template_kwargs: TemplateKwargs = Field(default_factory=dict)
    """Variables for the chat template, wherever a prompt is made: {enable_thinking: false},
    {reasoning_effort: low}, tools; `check` says which of them the template does not know."""
    chat_template_date: Moment | None = None
    """The date for chat templates that write today's (`strftime_now`): 2026-11-26, or with a time,
    2026-11-26T14:30. null takes the moment at which the run was made, also when it is resumed or
    evaluated on another day."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model; only for authors you trust."""


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """Problems to train and to evaluate on."""

    train: str = Field(min_length=1)
    """File (.json, .jsonl, .csv, .tsv, .xlsx, .parquet) or hub name of the problems to train on;
    `toy` is a set made on the spot."""
    eval: str | None = None
    """The same for evaluation; null holds eval_fraction of train out."""
    train_split: str = "train"
    """Split of a hub data set to train on."""
    eval_split: str = "test"
    """Split of a hub data set to evaluate on."""
    config_name: str | None = None
    """Configuration of a hub data set, such as `main` of openai/gsm8k."""
    question_field: str = "question"
    """Field that holds the problem: a text, or chat messages. Here and below, nested fields are
    named with dots, such as `extra_info.question`; docs/data.md shows the forms that are read."""
    answer_field: str = "answer"
    """Field that holds the reference answer; beside `choices` or `options` also the position or
    label of one, which is read as its letter. Of chat messages it is the assistant's last turn."""
    id_field: str | None = None
    """Field that names each problem; null makes an id from the question's text."""
    metadata_fields: Strings | None = None
    """Further fields to keep in the logs; null keeps them all. The options of a multiple choice
    (`choices`, `options`, or A, B, C, D) are kept in any case."""
    answer_after: str | None = None
    """The reference answer is what follows the last such mark in answer_field: "####" for GSM8K;
    null takes the whole field."""
    system_prompt: str | None = None
    """System message before each question; null sends none. A system message that chat messages
    of the data begin with stays, and is sent in place of this one."""
    prompt_template: str = "{question}"
    """The user message; {question} stands for the problem, {name} for any field of its row. Other
    braces stay: \\boxed{}, { name }. Of chat messages it shapes the last user's turn."""
    max_prompt_length: Int = Field(default=512, gt=0)
    """Problems whose prompt has more tokens are counted and left out."""
    max_train_examples: Int | None = Field(default=None, gt=0)
    """Train on at most this many problems, the first ones; null takes all."""
    max_eval_examples: Int | None = Field(default=None, gt=0)
    """Evaluate on at most this many problems, the first ones; null takes all."""
    eval_fraction: Float = Field(default=0.1, ge=0, lt=1)
    """Share of train that is held out where eval is null."""
    toy_seed: Int | None = Field(default=None, ge=0, lt=2**32)
    """Seed of the toy, model and problems, where `toy` is named; null takes `seed`. With a number,
    runs with several seeds share one toy."""


def _default_parts() -> dict[str, RewardSpec]:
    return {
        "correctness": RewardSpec(weight=1.0),
        "format": RewardSpec(weight=0.25),
        "language": RewardSpec(weight=0.10),
    }


@dataclass(frozen=True, config=STRICT)
class RewardsConfig:
    """What an answer is worth."""

    on_error: Literal["stop", "skip"] = "stop"
    """When a reward raises an exception: stop the run, or skip: that reward has no opinion on that
    answer, which is counted."""
    aggregation: Literal["sum", "normalize_then_sum"] = "sum"
    """sum adds the weighted rewards, then normalises over the group; normalize_then_sum normalises
    each reward by itself first (GDPO)."""
    import_from: str | None = None
    """Folder from which rewards of your own may import, besides the folder of their file, and in
    which `use: module:function` is looked for; null is the folder of the config file."""
    parts: dict[str, Part] = Field(default_factory=_default_parts, min_length=1)
    """Rewards by the name under which they are logged; a number is short for {weight: number}."""


@dataclass(frozen=True, config=STRICT)
class WarmStartConfig:
    """Supervised training on demonstrations, so that GRPO has right answers to reinforce."""

    enabled: bool = False
    """Warm-start before GRPO."""
    data: str | None = None
    """File or hub name of demonstrations, with the fields of the data section; null takes the
    training problems' own solutions."""
    completion_field: str | None = None
    """Field that holds the solution (of chat messages: the assistant's last turn); null takes the
    part of answer_field before answer_after."""
    completion_template: str = "<think>{solution}</think><answer>{answer}</answer>"
    """The text to imitate; {solution} is the solution, {answer} the final answer, {name} any
    field of the row. Use "{solution}" where the field is complete as it is."""
    num_train_epochs: Float = Field(default=1.0, gt=0)
    """Passes over the demonstrations."""
    max_steps: Int | None = Field(default=None, gt=0)
    """Stop after this many optimiser steps; null goes by num_train_epochs."""
    learning_rate: Float = Field(default=2e-4, gt=0)
    """Peak learning rate of the warm start."""
    batch_size: Int = Field(default=8, gt=0)
    """Demonstrations per optimiser step."""
    max_examples: Int | None = Field(default=None, gt=0)
    """Use at most this many demonstrations; null takes all."""


@dataclass(frozen=True, config=STRICT)
class GroupScoresConfig:
    """Offline training on completions that come with scores, which data.train then holds.

    Of the keys of the section training it takes batch sizes, optimiser, learning rate, `epsilon`
    and `epsilon_high`.
    """

    loss: Literal["kl", "advantage"] = "kl"
    """kl: the policy's probabilities within a group are to follow the scores; advantage: the
    clipped surrogate, bounded by the old log-probabilities."""
    kl_direction: Literal["forward", "reverse"] = "forward"
    """forward, KL(scores || policy), gives every answer its share; reverse, KL(policy || scores),
    takes from what is bad, and has no gradient for answers that the policy finds unlikely beside
    others: for short answers only."""
    score_temperature: Float = Field(default=0.2, gt=0)
    """The target is softmax(score / score_temperature): two answers' log-probabilities are to
    differ by the difference of their scores over this."""
    sequence_logps: Literal["sum", "mean"] = "sum"
    """An answer's log-probability: the sum over its tokens, or the mean. For kl the sum is the real
    one; for advantage the mean keeps the ratios of long answers in bounds."""
    old_logps: Literal["recomputed", "stored"] = "recomputed"
    """For advantage, what the ratio is counted from: the model before training, or the `logprob`
    given with each completion."""
    max_ratio: Float = Field(default=3.0, gt=1)
    """For advantage: a bad answer that has become this many times likelier has no gradient, so that
    answers far from the model cannot push without bound."""
    prompt_format: Literal["text", "chat"] = "text"
    """What a prompt is that is a text, not messages. text: exactly what the model sees; chat: the
    user's message, put into the chat template after data.system_prompt, as evaluations do."""
    logging_steps: Int = Field(default=20, gt=0)
    """Steps between lines of the log."""
    save_steps: Int = Field(default=500, gt=0)
    """Steps between checkpoints, for this method."""


@dataclass(frozen=True, config=STRICT)
class TrainingConfig:
    """GRPO, and the warm start before it."""

    method: Literal["grpo", "sft", "group_scores"] = "grpo"
    """grpo; or sft: the warm start alone, as set under warm_start; or group_scores: offline, on
    completions with scores, as set under group_scores."""
    warm_start: WarmStartConfig = Field(default_factory=WarmStartConfig)
    group_scores: GroupScoresConfig = Field(default_factory=GroupScoresConfig)
    max_steps: Int | None = Field(default=None, gt=0)
    """Optimiser steps; null goes by num_train_epochs."""
    num_train_epochs: Float = Field(default=1.0, gt=0)
    """Passes over the training problems, where max_steps is null."""
    prompts_per_step: Int = Field(default=8, gt=0)
    """Different problems per optimiser step."""
    num_generations: Int = Field(default=8, ge=2)
    """Completions sampled for each problem: the group they are compared in."""
    completions_per_forward: Int = Field(default=8, gt=0)
    """Completions in one forward and backward pass. The memory knob: lower needs less and takes
    longer, the result is the same. Must divide prompts_per_step x num_generations."""
    max_completion_length: Int = Field(default=512, gt=0)
    """Tokens a completion may have; longer ones are cut off."""
    learning_rate: Float = Field(default=5e-6, gt=0)
    """Peak learning rate."""
    lr_scheduler_type: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "polynomial", "inverse_sqrt"
    ] = "cosine"
    """Shape of the learning rate over the run."""
    warmup_ratio: Float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    optim: Literal[
        "adamw_torch",
        "adamw_torch_fused",
        "adamw_8bit",
        "paged_adamw_8bit",
        "paged_adamw_32bit",
        "adafactor",
        "sgd",
    ] = "adamw_8bit"
    """Optimiser; the 8-bit ones keep their state in 8 bits."""
    weight_decay: Float = Field(default=0.001, ge=0)
    """Decoupled weight decay."""
    max_grad_norm: Float = Field(default=0.1, ge=0)
    """Clip the gradient's norm; 0 does not clip."""
    adam_beta1: Float = Field(default=0.9, ge=0, lt=1)
    """Adam: decay of the first moment."""
    adam_beta2: Float = Field(default=0.99, ge=0, lt=1)
    """Adam: decay of the second moment."""
    beta: Float = Field(default=0.0, ge=0)
    """Weight of the KL term that ties the model to what it was when GRPO began; 0 needs no
    reference pass."""
    epsilon: Float = Field(default=0.2, gt=0)
    """Clip of the probability ratio, downwards."""
    epsilon_high: Float | None = Field(default=None, gt=0)
    """Clip upwards; null takes epsilon. DAPO advises 0.28, CISPO needs about 5."""
    loss_type: LossType = "dapo"
    """How the loss is clipped and averaged."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """Probability ratios by token, or by sequence (GSPO)."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Divide advantages by the deviation in the group, in the batch, or not."""
    num_iterations: Int = Field(default=1, gt=0)
    """Optimiser steps made on each batch of completions."""
    mask_truncated_completions: bool = False
    """Leave completions that were cut off out of the loss."""
    top_entropy_quantile: Float = Field(default=1.0, ge=0, le=1)
    """Learn only from this share of tokens, the most uncertain ones."""
    skip_zero_advantage: bool = True
    """Leave out forward and backward of completions whose advantage is zero: with beta 0 they have
    no gradient, so the result is the same, in less time."""
    resample_rounds: Int = Field(default=0, ge=0)
    """Most extra rounds of sampling in a step, in which groups without variance (all right or all
    wrong: they teach nothing) are replaced by groups of other problems, as in DAPO; 0 is off."""
    temperature: Float = Field(default=1.0, gt=0)
    """Sampling temperature of the rollouts."""
    top_p: Float = TOP_P
    """Nucleus sampling; 1 is off."""
    top_k: Int = TOP_K
    """Sample among the k likeliest tokens; 0 is off."""
    min_p: Float = MIN_P
    """Drop tokens less likely than this share of the best; 0 is off."""
    repetition_penalty: Float = REPETITION_PENALTY
    """Penalty on repeated tokens; 1 is off."""
    stop: StopStrings = ()
    """Texts that end a completion, which is cut before the first of them: for models whose chat
    template ends a turn with plain text. Its tokens are trained on as sampled."""
    sampler: SamplerName = "auto"
    """Engine that samples the rollouts: slots (this project's own), generate (transformers), vllm
    (needs model.fast_inference); auto chooses."""
    max_rows: Int | None = Field(default=None, gt=0)
    """Completions sampled at once; lower needs less memory for the KV cache. null lets the
    engine decide."""
    cuda_graphs: bool = False
    """Replay the steps of the engine slots as CUDA graphs. Not yet measured on a GPU; ignored
    without one."""
    save_steps: Int = Field(default=50, gt=0)
    """Steps between checkpoints."""
    save_total_limit: Int = Field(default=2, gt=0)
    """Checkpoints kept; older ones are removed."""
    stop_on: HealthNames = ()
    """Findings of the run's health that end the training, with a checkpoint and the evaluation
    after; by their names in docs/training.md."""
    longest_first: bool | None = None
    """Before the first step, try one with the longest prompts and completions of full length, so
    that what does not fit into memory fails at once; null: on a GPU."""

    @property
    def batch_shape(self) -> BatchShape:
        """The batch sizes, and what they are in TRL's terms."""
        return BatchShape(
            prompts_per_step=self.prompts_per_step,
            num_generations=self.num_generations,
            completions_per_forward=self.completions_per_forward,
            num_iterations=self.num_iterations,
        )

    @property
    def clip_high(self) -> float:
        """The effective upper clip. Pass it on: Unsloth replaces an `epsilon_high` of None."""
        return self.epsilon if self.epsilon_high is None else self.epsilon_high

    def sampling_params(self, seed: int) -> SamplingParams:
        """How the rollouts are drawn, in the sampler's terms."""
        return sampling_params(self, self.max_completion_length, seed, self.stop)


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """How Pass@K is measured."""

    before: bool = True
    """Evaluate the model as it is before GRPO."""
    after: bool = True
    """Evaluate the tuned model."""
    every_steps: Int | None = Field(default=None, gt=0)
    """Steps between evaluations during training, which keep the best model in best_model/; null:
    no evaluation before the end."""
    every_examples: Int | None = Field(default=64, gt=0)
    """Problems of the evaluations during training; null takes all."""
    best_metric: Metric | None = None
    """What is best: pass@k, maj@k or mean_score; null takes pass@k of the least k."""
    patience: Int | None = Field(default=None, gt=0)
    """End training early when this many evaluations in a row were no better than the best;
    null never does."""
    num_samples: Int = Field(default=8, gt=0)
    """Answers sampled for each problem."""
    k: Ints = Field(default=(1, 2, 4, 8), min_length=1)
    """Report pass@k for these k, at most num_samples."""
    temperature: Float = Field(default=1.0, ge=0)
    """Sampling temperature; 0 is greedy."""
    top_p: Float = TOP_P
    """Nucleus sampling; 1 is off."""
    top_k: Int = TOP_K
    """Sample among the k likeliest tokens; 0 is off."""
    min_p: Float = MIN_P
    """Drop tokens less likely than this share of the best; 0 is off."""
    repetition_penalty: Float = REPETITION_PENALTY
    """Penalty on repeated tokens; 1 is off."""
    max_completion_length: Int | None = Field(default=None, gt=0)
    """Tokens an answer may have; null takes training's."""
    stop: StopStrings | None = None
    """Texts that end an answer; null takes training's."""
    sampler: SamplerName = "auto"
    """Engine that samples; as in training."""
    max_rows: Int | None = Field(default=None, gt=0)
    """Answers sampled at once; null lets the engine decide."""
    cuda_graphs: bool = False
    """As in training."""
    solved_at: Float | None = None
    """Count an answer as solved when its score reaches this; null: when it is correct. For tasks
    that have no reference answer."""
    category_fields: Strings = ()
    """Fields of the data by which results are also broken down."""


@dataclass(frozen=True, config=STRICT)
class TrackingConfig:
    """Where metrics are sent, in addition to the files of the run. Nothing needs an account."""

    wandb: Annotated[Literal["off", "offline", "online"], BeforeValidator(_as_mode)] = "off"
    """Weights & Biases: off, offline (a folder in the run), online."""
    trackio: bool = False
    """Log to trackio, where it is installed."""
    project: str = Field(default="groupwise", min_length=1)
    """Project to log to."""
    entity: str | None = None
    """W&B team or user; null takes the account's own."""
    run_name: str | None = None
    """Name of the run there; null takes `name`."""
    tags: Strings = ()
    """Labels of the run there."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Experiment:
    """Every section of a config; `ExperimentConfig` adds the rules and how it is loaded."""

    name: str = Field(default="run", pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run, and of its folder; by default the config file's own name."""
    seed: Int = Field(default=42, ge=0, lt=2**32)
    """Seed of everything that is drawn at random."""
    output_dir: str = Field(default="runs", min_length=1)
    """Folder in which the run's folder is made."""
    model: ModelConfig
    data: DataConfig
    rewards: RewardsConfig = Field(default_factory=RewardsConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "data": DataConfig,
    "rewards": RewardsConfig,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "tracking": TrackingConfig,
}
