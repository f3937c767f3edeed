"""The command line of older GRPO scripts: presets, options, data, and what a run leaves behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCli, Toy, lines, write_yaml

from groupwise.framework.cli.aliases import PRESETS
from groupwise.framework.cli.common import overrides_of
from groupwise.framework.cli.main import build_parser
from groupwise.framework.config import ExperimentConfig, resolve_config_path

stack = pytest.mark.stack


def config_of(*options: str | Path) -> ExperimentConfig:
    """What `groupwise train` makes of its options."""
    arguments = build_parser("train").parse_args(["train", *map(str, options)])
    path = resolve_config_path(arguments.config or arguments.preset)
    return ExperimentConfig.from_yaml(path, overrides_of(arguments))


# preset: epochs, samples, batch, KL, learning rate
NUMBERS = {
    "default": (3, 4, 2, 0.1, 1e-5),
    "fast_test": (1, 2, 1, 0.1, 1e-5),
    "full_training": (5, 8, 4, 0.1, 1e-5),
    "low_memory": (3, 2, 1, 0.1, 1e-5),
    "from_sft": (3, 4, 2, 0.1, 5e-6),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset: str) -> None:
    t = config_of("--preset", preset).training
    found = (
        t.num_train_epochs,
        t.num_generations,
        t.prompts_per_step,
        t.beta,
        t.learning_rate,
    )
    assert found == NUMBERS[preset]


# option: the keys it sets
OPTIONS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "train data": (["--train-data", "a: b.json"], {"data.train": "a: b.json"}),
    "val data": (["--val-data", "v.json"], {"data.eval": "v.json"}),
    "model": (["--model-name", "gpt2"], {"model.name": "gpt2"}),
    "samples": (["--num-samples", "6"], {"training.num_generations": 6}),
    "KL": (["--kl-coef", "0"], {"training.beta": 0}),
    "epochs": (["--epochs", "0.5"], {"training.num_train_epochs": 0.5}),
    "batch": (["--batch-size", "3"], {"training.prompts_per_step": 3}),
    "lr": (["--lr", "3e-6"], {"training.learning_rate": 3e-6}),
    "length": (["--max-length", "100"], {"training.max_completion_length": 100}),
    "output": (["--output-dir", "out"], {"output_dir": "out"}),
    "16 bits": (["--no-4bit"], {"model.load_in_4bit": False}),
    "every weight": (
        ["--no-lora"],
        {"model.full_finetuning": True, "model.load_in_4bit": False},
    ),
    "heuristic": (
        ["--reward-model", "heuristic"],
        {"rewards.parts": {"reference_quality": {"weight": 1.0}}},
    ),
    "learned": (
        ["--reward-model", "learned", "--reward-model-path", "judge"],
        {"rewards.parts": {"reward_model": {"weight": 1.0, "params": {"model": "judge"}}}},
    ),
    "a whole model": (["--sft-model", "org/sft"], {"model.name": "org/sft"}),
    "the option wins": (
        ["--set", "training.beta=1", "--kl-coef", "0.2"],
        {"training.beta": 0.2},
    ),
    "more of a reward": (
        ["--reward-model", "heuristic", "--set", "rewards.parts.reference_quality.weight=2"],
        {"rewards.parts": {"reference_quality": {"weight": 2.0}}},
    ),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_are_keys(case: str) -> None:
    options, values = OPTIONS[case]
    plain = config_of("--preset", "default")
    assert config_of("--preset", "default", *options) == plain.with_values(values)


# what the config has as prompts x completions in forwards of so many, the options, and the
# completions_per_forward that follows; None: no other is needed, or it is not ours to choose
FORWARDS: list[tuple[tuple[int, int, int], str, int | None]] = [
    ((2, 4, 2), "", None),
    ((2, 4, 2), "--batch-size 3 --num-samples 4", None),
    ((2, 4, 2), "--batch-size 3 --num-samples 3", 1),
    ((2, 4, 8), "--batch-size 3 --num-samples 3", 3),
    ((8, 8, 64), "--batch-size 4", 32),
    ((8, 8, 8), "--num-samples 6", None),
    ((8, 8, 32), "--num-samples 6", 24),
    ((2, 4, 2), "--batch-size 3 --num-samples 3 --set training.completions_per_forward=9", None),
    ((2, 4, 2), "--batch-size 0", None),
]


def test_older_batch_options_with_a_config_that_has_no_section(cli: RunCli) -> None:
    Path("my.yaml").write_text("model: {name: toy}\ndata: {train: toy}\ntraining: [1]\n")
    ended = cli("train", "my.yaml", "--num-samples", "3")
    assert ended.code == 2
    assert "training is a value, not a section" in ended.err


@pytest.mark.parametrize(("shape", "options", "expected"), FORWARDS)
def test_older_batch_options_derive_what_goes_through_the_model_at_once(
    cli: RunCli, shape: tuple[int, int, int], options: str, expected: int | None
) -> None:
    names = ("prompts_per_step", "num_generations", "completions_per_forward")
    training = dict(zip(names, shape, strict=True))
    write_yaml(Path("my.yaml"), {"model": {"name": "toy"}, "data": {"train": "none.json"},
                                 "training": training})  # fmt: skip
    ended = cli("train", "my.yaml", *options.split())
    derived = [
        int(n) for n in re.findall(r"completions_per_forward is (\d+), to divide", ended.err)
    ]
    assert derived == ([] if expected is None else [expected])
    assert ended.code == 2
    if "--batch-size 0" in options:
        assert "--batch-size 0: training.prompts_per_step: 0 must be" in ended.err
    else:
        assert "data.train: there is no file none.json" in ended.err, "the batch is in order"


def test_the_seed_is_an_option_of_quickstart_too(cli: RunCli) -> None:
    assert config_of("quickstart", "--seed", "7").seed == 7
    assert config_of("quickstart", "--seed", "7").data.toy_seed == 42
    ended = cli("quickstart", "--seed", "-1")
    assert ended.code == 2
    assert "--seed -1: seed: -1 must be greater than or equal to 0" in ended.err


def test_an_adapter_brings_its_base(tmp_path: Path) -> None:
    settings = {"base_model_name_or_path": "org/base"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    model = config_of("--preset", "from_sft", "--sft-model", tmp_path).model
    assert (model.adapter, model.name) == (str(tmp_path), "org/base")
    model = config_of(
        "--preset", "from_sft", "--sft-model", tmp_path, "--model-name", "org/x"
    ).model
    assert (model.adapter, model.name) == (str(tmp_path), "org/x")


def test_help_names_the_key_of_every_option(cli: RunCli) -> None:
    shown = re.sub(r"\s+", " ", cli("train", "--help").out)
    plain = config_of("--preset", "default")
    for options, values in OPTIONS.values():
        if options[0] in ("--set", "--output-dir"):
            continue
        for key in values:
            section, _, name = key.partition(".")
            assert hasattr(getattr(plain, section), name)
            assert f"{section}.{name}" in shown, key


def test_one_config_and_no_more(cli: RunCli) -> None:
    for options in (["default", "--preset", "default"], ["--preset", "quickstart"]):
        ended = cli("train", *options)
        assert ended.code == 2
        assert "usage: groupwise train" in ended.err
    ended = cli("train", "--lr", "1")
    assert ended.code == 2
    assert ended.err.startswith("groupwise: train needs a config: a YAML file or a preset")


LEARNED = ["--preset", "default", "--train-data", "data.json", "--reward-model", "learned"]

# what is missing, and what is said of it
MISSING: dict[str, tuple[list[str], str]] = {
    "data": (["--preset", "default"], "data.train: there is no file train.json"),
    "sft model": (
        ["--preset", "from_sft", "--train-data", "data.json"],
        "model.name: no such folder: ./sft_model",
    ),
    "reward model": (
        ["--preset", "default", "--train-data", "data.json", "--reward-model", "learned"],
        "rewards.parts.reward_model.params.model: is required, and missing",
    ),
    "the reward model's folder": (
        [*LEARNED, "--reward-model-path", "./jugde"],
        "rewards.parts.reward_model.params.model: no such folder: ./jugde (did you mean judge?)",
    ),
    "the reward model's folder, by a bare name": (
        [*LEARNED, "--reward_model_path=judges"],
        "rewards.parts.reward_model.params.model: no such folder: judges (did you mean judge?)",
    ),
    "a reward model that is none": (
        [*LEARNED, "--reward-model-path", "judge"],
        "rewards.parts.reward_model.params.model: judge is not a model folder",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_said(cli: RunCli, case: str) -> None:
    options, message = MISSING[case]
    Path("data.json").write_text(json.dumps(ROWS))
    Path("judge").mkdir()
    ended = cli("train", *options)
    assert ended.code == 2
    assert message in ended.err


ROWS = [
    {
        "question": f"{a}+{b}=?",
        "answer": f"The sum is {a + b}, because {a} + {b} = {a + b}.",
        "source": "made up",
    }
    for a in range(2)
    for b in range(3)
]

JUDGE = """
from groupwise.rewards import RewardModel

class Judge(RewardModel):
    def compute_reward(self, questions, answers, references):
        assert all(text.endswith("=?") for text in questions)
        assert all(text.startswith("The sum is") for text in references)
        return [float(len(answer) % 5) for answer in answers]
"""


def make_classifier(toy: Toy, folder: Path) -> None:
    """It scores right answers above empty ones; a head just drawn does only by chance."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    judge = AutoModelForSequenceClassification.from_pretrained(toy.model, num_labels=1)
    head = judge.score.weight
    head.data = torch.linspace(-1, 1, head.numel()).view_as(head)
    judge.save_pretrained(folder)
    AutoTokenizer.from_pretrained(toy.model).save_pretrained(folder)


# how the run is asked for, beside the data: options, what must be in the log's parts
RUNS: dict[str, tuple[list[str], str]] = {
    "heuristic": (["--reward-model", "heuristic"], "reference_quality"),
    "learned": (["--reward-model", "learned", "--reward-model-path", "judge"], "reward_model"),
    "subclass": (["--set", "rewards.parts={judge: {use: 'judge.py:Judge'}}"], "judge"),
}


@stack
@pytest.mark.parametrize("case", RUNS)
def test_a_run_as_older_scripts_start_it(toy: Toy, cli: RunCli, case: str) -> None:
    """A JSON list of question, answer and source in; adapter, tokenizer and logs out."""
    Path("train.json").write_text(json.dumps(ROWS))
    Path("val.json").write_text(json.dumps(ROWS[:2]))
    Path("judge.py").write_text(JUDGE)
    if case == "learned":
        make_classifier(toy, Path("judge"))
    options, part = RUNS[case]
    command = ["train", "--preset", "fast_test", "--train-data", "train.json"]
    command += ["--val-data", "val.json", "--model-name", str(toy.model), "--no-4bit"]
    command += ["--num-samples", "4", "--batch-size", "2", "--epochs", "1", "--lr", "1e-4"]
    command += ["--kl-coef", "0.05", "--max-length", "16", "--output-dir", "out", *options]
    command += ["--set", "model.dtype=float32"]
    dry = cli(*command, "--dry-run")
    assert dry.code == 0, dry.err
    assert not Path("out").exists()
    ended = cli(*command)
    assert ended.code == 0, ended.err
    run = Path("out") / "fast_test"
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= {
        path.name for path in (run / "final_model").iterdir()
    }
    assert len(lines(run / "metrics.jsonl")) == 3
    rollouts = lines(run / "rollouts.jsonl")
    assert len(rollouts) == 3 * 2 * 4
    assert all(set(row["parts"]) == {part} for row in rollouts)
    assert all(row["metadata"] == {"source": "made up"} for row in rollouts)
    assert list((run / "checkpoints").glob("checkpoint-*"))
    tuned = cli(
        "train", "--preset", "from_sft", "--sft-model", run / "final_model", "--dry-run",
        "--train-data", "train.json", "--no-4bit",
    )  # fmt: skip
    assert tuned.code == 0, tuned.err
