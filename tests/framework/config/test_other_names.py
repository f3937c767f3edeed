"""Keys as other tools name them, and right keys in the wrong place: what is meant is said."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from conftest import RunCli

from groupwise.framework.config import ConfigError, ExperimentConfig
from groupwise.framework.config.messages import known_paths, probably
from groupwise.framework.config.other_names import OTHER_NAMES, meant
from groupwise.framework.grpo_trainer import GRPOArguments

# a key as someone writes it -> what the message on it has
KEYS = {
    # names of other tools
    "batch_size": "did you mean training.prompts_per_step",
    "training.batch_size": "did you mean training.prompts_per_step",
    "training.per_device_train_batch_size": "did you mean training.completions_per_forward",
    "training.gradient_accumulation_steps": "prompts_per_step x num_generations / completions",
    "training.eval_steps": "did you mean evaluation.every_steps",
    "evaluation.eval_steps": "did you mean evaluation.every_steps",
    "training.logging_steps": "every step is logged, in the run's metrics.jsonl; leave it out",
    "log_completions": "every completion is kept, in the run's rollouts.jsonl; leave it out",
    "training.bf16": "did you mean model.dtype (bfloat16",
    "model.fp16": "did you mean model.dtype",
    "training.remove_unused_columns": "rewards get every column of the data; leave it out",
    "lr": "did you mean training.learning_rate?",
    "training.warm_start.lr": "did you mean training.warm_start.learning_rate?",
    "training.warm_start.epochs": "did you mean training.warm_start.num_train_epochs?",
    "training.max_length": "did you mean training.max_completion_length (prompt and completion",
    "evaluation.max_new_tokens": "did you mean evaluation.max_completion_length?",
    "training.use_vllm": "did you mean model.fast_inference (true, and training.sampler: vllm",
    "training.vllm_mode": "vLLM runs inside training",
    "training.report_to": "did you mean tracking.wandb",
    "training.gradient_checkpointing": "did you mean model.use_gradient_checkpointing?",
    "push_to_hub": "a run uploads nothing",
    "rewards.reward_weights": "did you mean rewards.parts (each by its name with its weight",
    "load_best_model_at_end": "evaluation.every_steps keeps the best model in best_model/",
    "model.r": "did you mean model.lora_r?",
    "lora_rank": "did you mean model.lora_r?",
    "quantization": "did you mean model.load_in_4bit",
    "train_data": "did you mean data.train",
    "base_model": "did you mean model.name?",
    "datasets": "did you mean data.train",
    "cutoff_len": "did you mean model.max_seq_length?",
    "dataset_prompt_column": "did you mean data.question_field?",
    "data.train_files": "did you mean data.train (",
    "actor_rollout_ref.rollout.n": "did you mean training.num_generations",
    "actor_rollout_ref.actor.optim.lr": "did you mean training.learning_rate?",
    "actor_rollout_ref.model.path": "did you mean model.name?",
    "data.prompt": "did you mean data.question_field?",
    "data.ground_truth": "did you mean data.answer_field?",
    "data.name": "did you mean data.config_name?",
    "evaluation.n": "did you mean evaluation.num_samples?",
    "grpo_config.bf16": "did you mean model.dtype",
    "trainer.total_epochs": "did you mean training.num_train_epochs?",
    # right keys in the wrong place
    "num_generations": "did you mean training.num_generations?",
    "temperature": "did you mean training.temperature or evaluation.temperature?",
    "training.max_prompt_length": "did you mean data.max_prompt_length?",
    "training.load_in_4bit": "did you mean model.load_in_4bit?",
    "save_steps": "did you mean training.save_steps",
    "model.num_iterations": "did you mean training.num_iterations?",
    "rewards.scale_rewards": "did you mean training.scale_rewards?",
    "mask_truncated_completions": "did you mean training.mask_truncated_completions?",
    "warm_start": "did you mean training.warm_start?",
    "rewards.parts.correctness.timeout_s": "mean rewards.parts.correctness.params.timeout_s (",
    "rewards.parts.brevity.function": "did you mean rewards.parts.brevity.use?",
    "rewards.parts.brevity.path": "did you mean rewards.parts.brevity.use?",
    "rewards.correctness": "did you mean rewards.parts.correctness?",
    # other spellings
    "model.lora-alpha": "did you mean model.lora_alpha?",
    "training.lora-alpha": "did you mean model.lora_alpha?",
    "numGenerations": "did you mean training.num_generations?",
    "training.LR": "did you mean training.learning_rate?",
    "training.gradient_acumulation_steps": "prompts_per_step x num_generations / completions",
    "training.save_stepz": "did you mean training.save_steps?",
    "trainig": "did you mean training?",
}


def nested(path: str) -> dict[str, Any]:
    """The smallest config, with this key in it."""
    settings: dict[str, Any] = {"model": {"name": "toy"}, "data": {"train": "toy"}}
    *parents, last = path.split(".")
    section = settings
    for key in parents:
        section = section.setdefault(key, {})
    section[last] = 3
    return settings


@pytest.mark.parametrize("key", KEYS)
def test_what_was_meant_is_said(key: str) -> None:
    with pytest.raises(ConfigError) as from_dict:
        ExperimentConfig.from_dict(nested(key))
    found = {problem.path: problem.message for problem in from_dict.value.problems}
    assert "there is no such key" in found[key]
    assert KEYS[key] in found[key]
    with pytest.raises(ConfigError) as from_option:
        ExperimentConfig.from_dict(nested("seed"), [f"{key}=3"])
    assert found[key] in str(from_option.value), "--set says the same as a file"


def test_keys_of_a_section_that_is_misspelt_are_not_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        ExperimentConfig.from_dict(nested("trainig.max_steps"))
    assert [problem.path for problem in caught.value.problems] == ["trainig"]


def test_every_name_leads_to_a_key_or_says_why_not() -> None:
    for name, (key, note) in OTHER_NAMES.items():
        assert key or note, name
        assert not key or key in known_paths() or key.startswith("rewards.parts."), name
        for path in re.findall(r"\b(?:model|data|rewards|training|evaluation|tracking)\.\w+", note):
            assert path in known_paths(), name


def test_a_name_is_no_key_in_its_own_section() -> None:
    for name, (key, _) in OTHER_NAMES.items():
        assert f"{key.rpartition('.')[0]}.{name}" not in known_paths(), name


@pytest.mark.stack
def test_every_argument_of_the_libraries_has_an_answer() -> None:
    import peft
    import trl

    def answered(name: str) -> bool:
        return bool(meant(name)) or any(p.rpartition(".")[2] == name for p in known_paths())

    for kind in (trl.GRPOConfig, trl.SFTConfig, trl.ModelConfig, trl.ScriptArguments,
                 peft.LoraConfig):  # fmt: skip
        # Unsloth adds arguments of its own.
        names = [f.name for f in fields(kind) if not f.name.startswith("unsloth_")]
        assert [name for name in names if not answered(name)] == [], kind.__name__


# an argument from Python -> what the message on it has
ARGUMENTS = {
    "batch_size": "did you mean prompts_per_step (",
    "per_device_train_batch_size": "did you mean completions_per_forward (",
    "gradient_checkpointing": "did you mean use_gradient_checkpointing?",
    "bf16": "did you mean model.dtype (",
    "max_prompt_length": "did you mean data.max_prompt_length? That is in a whole config",
    "remove_unused_columns": "rewards get every column of the data; leave it out",
    "learing_rate": "did you mean learning_rate?",
    "numGenerations": "did you mean num_generations?",
    "warm_start": "training.warm_start is of a whole config",
    "seeds": "did you mean seed?",
    "zzz": "it has max_steps, ",
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_from_python(name: str) -> None:
    with pytest.raises(TypeError, match=re.escape(f"has no '{name}'; {ARGUMENTS[name]}")):
        GRPOArguments(**{name: 1})
    with pytest.raises(TypeError, match=re.escape(ARGUMENTS[name])):
        setattr(GRPOArguments(), name, 1)


def test_attributes_of_a_config() -> None:
    config = ExperimentConfig.from_dict(nested("seed"))
    for name, said in {
        "batch_size": "'batch_size'; did you mean training.prompts_per_step (",
        "epsilon": "'epsilon'; did you mean training.epsilon?",
        "zzz": "'zzz'",
    }.items():
        with pytest.raises(AttributeError) as caught:
            getattr(config, name)
        assert said in str(caught.value)
    assert config.train_data == config.data.train


# words of a command line -> what is said of them
OPTIONS = {
    "train default --learning-rate 1e-5": "set by --set training.learning_rate=1e-5",
    "train --preset default --learning_rate=1e-5": "set by --set training.learning_rate=1e-5",
    "train default --per_device_train_batch_size 4": "--set training.completions_per_forward=4",
    "train default --training.beta 0.1": "set by --set training.beta=0.1",
    "train default --use-vllm": "did you mean model.fast_inference (",
    "train default --remove-unused-columns false": "rewards get every column of the data",
    "train default --num-sampels 3": "did you mean --num-samples?",
    "train default training.beta=0.1": "an override is written --set training.beta=0.1",
    "train default --set seed=1 training.beta=0.1": "written --set training.beta=0.1",
    "evaluate some --max-new-tokens 3": "set by --set training.max_completion_length=3",
    "compare one --allow-diferences": "did you mean --allow-differences?",
    "compare one --lora-r 3": "error: there is no option --lora-r",
    "train --config default": "the config is an argument by itself: groupwise train CONFIG",
    "train default --zzz": "error: there is no option --zzz",
}


@pytest.mark.parametrize("line", OPTIONS)
def test_options_that_do_not_exist(cli: RunCli, line: str) -> None:
    ended = cli(*line.split())
    assert ended.code == 2
    assert ended.err.startswith(f"usage: groupwise {line.split()[0]}")
    assert OPTIONS[line] in ended.err.splitlines()[-1]


@pytest.mark.parametrize("option", ["--train_data", "--train-data", "--train_data=mine.json"])
def test_options_may_be_written_with_underscores(cli: RunCli, option: str) -> None:
    value = [] if "=" in option else ["mine.json"]
    ended = cli("train", "default", option, *value, "--model-name", "toy", "--dry_run")
    assert ended.code == 2
    assert "data.train: there is no file mine.json" in ended.err


def test_nothing_like_it_is_nothing() -> None:
    assert probably(("zzz",)) == ""
