"""Loading a config: what it holds, how it is written back, and every message a user can get."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
import random
from operator import attrgetter
from pathlib import Path

import pytest

from groupwise.evaluation.sampler import SamplingParams
from groupwise.framework.config import (
    ConfigError,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    Override,
    Overrides,
    TrainingConfig,
    check_training,
    preset_text,
    with_values,
)
from groupwise.framework.config.experiment import READ_THROUGH
from groupwise.rewards.errors import UserError

MINIMAL = "model: {name: toy}\ndata: {train: toy}\n"


def load(tmp_path: Path, text: str, overrides: Overrides = ()) -> ExperimentConfig:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    return ExperimentConfig.from_yaml(path, overrides)


def message(tmp_path: Path, text: str, overrides: Overrides = ()) -> str:
    """What the user sees, with the folder cut off."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, overrides)
    return str(caught.value).replace(f"{tmp_path}/", "")


# The text of a config (after MINIMAL unless it starts with "!"), and the whole message.
ONE_PROBLEM = {
    "misspelt key": (
        "training:\n  num_generation: 4\n",
        "bad.yaml: line 4: training.num_generation: there is no such key; "
        "did you mean training.num_generations?",
    ),
    "misspelt section": (
        "trainig: {beta: 0.1}\n",
        "bad.yaml: line 3: trainig: there is no such key; did you mean training?",
    ),
    "key in the wrong section": (
        "training: {lora_r: 8}\n",
        "bad.yaml: line 3: training.lora_r: there is no such key; did you mean model.lora_r?",
    ),
    "key without its section": (
        "learning_rate: 1e-6\n",
        "bad.yaml: line 3: learning_rate: there is no such key; did you mean "
        "training.learning_rate or training.warm_start.learning_rate?",
    ),
    "another library's name": (
        "training: {gradient_accumulation_steps: 4}\n",
        "bad.yaml: line 3: training.gradient_accumulation_steps: there is no such key; "
        "it is training.prompts_per_step x num_generations / completions_per_forward, and derived",
    ),
    "text for a number": (
        "training: {learning_rate: fast}\n",
        'bad.yaml: line 3: training.learning_rate: "fast" is not a number',
    ),
    "text for a whole number": (
        "training: {max_steps: many}\n",
        'bad.yaml: line 3: training.max_steps: "many" is not a whole number',
    ),
    "a fraction for a whole number": (
        "training: {max_steps: 1.5}\n",
        "bad.yaml: line 3: training.max_steps: 1.5 is not a whole number",
    ),
    "true for a number": (
        "seed: true\n",
        "bad.yaml: line 3: seed: true is not a number",
    ),
    "a number for true": (
        "data: {train: toy, eval: 3}\n",
        None,  # a second `data`: see "a duplicate key"
    ),
    "not finite": (
        "training: {beta: .nan}\n",
        "bad.yaml: line 3: training.beta: NaN is not a finite number",
    ),
    "out of range": (
        "training: {num_generations: 1}\n",
        "bad.yaml: line 3: training.num_generations: 1 must be greater than or equal to 2",
    ),
    "none of the choices": (
        "training: {loss_type: gpro}\n",
        'bad.yaml: line 3: training.loss_type: "gpro" is none of grpo, dr_grpo, bnpo, dapo, '
        "cispo, sapo, luspo, vespo; did you mean grpo?",
    ),
    "none of the choices, one of them true": (
        "!model: {name: toy, use_gradient_checkpointing: sometimes}\ndata: {train: toy}\n",
        'bad.yaml: line 1: model.use_gradient_checkpointing: "sometimes" is none of auto, '
        "unsloth, true, false",
    ),
    "a list for a section": (
        "training: [1, 2]\n",
        "bad.yaml: line 3: training: [1, 2] is not a section of key: value lines",
    ),
    "a required key": (
        "!model: {max_seq_length: 1024}\ndata: {train: toy}\n",
        "bad.yaml: line 1: model.name: is required, and missing: hub name or folder of the base "
        "model; `toy` is a tiny model made on the spot",
    ),
    "a name that is no folder": (
        "name: ../elsewhere\n",
        "bad.yaml: line 3: name: \"../elsewhere\" must be letters, digits, '.', '-' and '_', "
        "and begin with one of the first",
    ),
    "no such reward": (
        "rewards:\n  parts:\n    corectness: 1.0\n",
        "bad.yaml: line 5: rewards.parts.corectness: there is no reward 'corectness'; did you mean "
        "'correctness'? (one of your own is named module:function or path/to/file.py:function)",
    ),
    "no such key of a reward": (
        "rewards: {parts: {correctness: {wieght: 1.0}}}\n",
        "bad.yaml: line 3: rewards.parts.correctness.wieght: there is no such key; did you mean "
        "rewards.parts.correctness.weight?",
    ),
    "a gate that is no part": (
        "rewards: {parts: {correctness: 1, format: {requires: [corectness]}}}\n",
        "bad.yaml: line 3: rewards.parts.format.requires: no part 'corectness'; parts to name: "
        "correctness",
    ),
    "a weight that is no number": (
        "rewards: {parts: {correctness: {weight: .inf}}}\n",
        "bad.yaml: line 3: rewards.parts.correctness.weight: weight must be a finite number, "
        "not inf",
    ),
    "a reward outside of parts": (
        "rewards: {correctness: 1.0}\n",
        "bad.yaml: line 3: rewards.correctness: there is no such key; did you mean "
        "rewards.parts.correctness?",
    ),
    "another library's name inside the warm start": (
        "training: {warm_start: {lr: 1e-4}}\n",
        "bad.yaml: line 3: training.warm_start.lr: there is no such key; did you mean "
        "training.warm_start.learning_rate?",
    ),
    "half a character": (
        'tracking: {run_name: "\\ud800"}\n',
        "bad.yaml: line 3: tracking.run_name: holds half a character",
    ),
    "no reward": (
        "rewards: {parts: {}}\n",
        "bad.yaml: line 3: rewards.parts: is empty; name at least one, or leave the key out "
        "for its default",
    ),
    "a duplicate key": (
        "training:\n  beta: 0.1\n  max_steps: 3\n  beta: 0.2\n",
        "bad.yaml: line 6: training.beta: is given twice, in lines 4 and 6; remove one",
    ),
    "a tab": (
        "training:\n\tbeta: 0.1\n",
        "bad.yaml: line 4: a tab in the indentation; YAML takes spaces only",
    ),
    "broken YAML": (
        "training: {beta: 0.1\n",
        "bad.yaml: line 4: not YAML: expected ',' or '}', but got '<stream end>' "
        "(while parsing a flow mapping)",
    ),
    "two documents": (
        "---\nseed: 1\n",
        "bad.yaml: line 3: not YAML: but found another document "
        "(expected a single document in the stream)",
    ),
    "a Python object": (
        "seed: !!python/object/apply:os.getcwd []\n",
        "bad.yaml: line 3: not YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.getcwd'",
    ),
    "empty": ("!# nothing yet\n", "bad.yaml: is empty; `groupwise configs` lists examples"),
    "a list": (
        "!- model\n- data\n",
        "bad.yaml: holds a list where sections are expected: model, data, rewards, training, "
        "evaluation, tracking",
    ),
    "a word": (
        "!quickstart\n",
        "bad.yaml: holds a single value where sections are expected: model, data, rewards, "
        "training, evaluation, tracking",
    ),
    # Rules over several keys
    "indivisible batch": (
        "training:\n  prompts_per_step: 4\n  num_generations: 8\n  completions_per_forward: 6\n",
        "bad.yaml: line 6: training.completions_per_forward: 6 does not divide prompts_per_step x "
        "num_generations = 4 x 8 = 32; 4 or 8 work",
    ),
    "a forward larger than the step": (
        "training: {prompts_per_step: 2, num_generations: 8, completions_per_forward: 64}\n",
        "bad.yaml: line 3: training.completions_per_forward: 64 does not divide prompts_per_step x "
        "num_generations = 2 x 8 = 16; 16 works",
    ),
    "too long together": (
        "training: {max_completion_length: 1024}\n",
        "bad.yaml: line 3: training.max_completion_length: 1024, with data.max_prompt_length 512, "
        "makes 1536 tokens; model.max_seq_length is 1024: raise model.max_seq_length to 1536, or "
        "lower training.max_completion_length to 512",
    ),
    "8 bits and 4 bits": (
        "!model: {name: toy, load_in_8bit: true}\ndata: {train: toy}\n",
        "bad.yaml: line 1: model.load_in_8bit: true, and model.load_in_4bit is true as well; "
        "set one of them to false",
    ),
    "all weights in 4 bits": (
        "!model: {name: toy, full_finetuning: true}\ndata: {train: toy}\n",
        "bad.yaml: line 1: model.full_finetuning: true, but quantised weights cannot be trained; "
        "set model.load_in_4bit: false",
    ),
    "k above the samples": (
        "evaluation:\n  num_samples: 4\n",
        "bad.yaml: line 4: evaluation.k: 8 is more than evaluation.num_samples 4: pass@k needs at "
        "least k answers; set num_samples: 8, or k: [1, 2, 4]",
    ),
    "greedy samples": (
        "evaluation: {temperature: 0}\n",
        "bad.yaml: line 3: evaluation.num_samples: 8 greedy answers are all the same; with "
        "temperature 0 set num_samples: 1 and k: [1]",
    ),
    "nothing to evaluate on": (
        "!model: {name: toy}\ndata:\n  train: rows.jsonl\n  eval_fraction: 0\n",
        "bad.yaml: line 4: data.eval: there is nothing to evaluate on; name a file, or set "
        "data.eval_fraction: 0.1, or do without: evaluation.before and .after false, "
        ".every_steps null",
    ),
    "a template without the question": (
        "!model: {name: toy}\ndata: {train: toy, prompt_template: Solve it}\n",
        "bad.yaml: line 2: data.prompt_template: has no {question}, so the model would not see it",
    ),
    "vllm without its engine": (
        "training: {sampler: vllm}\n",
        "bad.yaml: line 3: training.sampler: vllm needs model.fast_inference: true",
    ),
    "cispo without its clip": (
        "training: {loss_type: cispo}\n",
        "bad.yaml: line 3: training.epsilon_high: effectively 0.2, but loss_type cispo caps the "
        "probability ratio at epsilon_high itself; 5.0 is usual",
    ),
    "dr_grpo with scaling": (
        "training: {loss_type: dr_grpo}\n",
        "bad.yaml: line 3: training.scale_rewards: group, but loss_type dr_grpo is defined "
        'without it; set scale_rewards: "none"',
    ),
    "sft without a warm start": (
        "training: {method: sft}\n",
        "bad.yaml: line 3: training.method: sft is the warm start by itself; set "
        "training.warm_start.enabled: true",
    ),
    "scored groups, but problems": (
        "training: {method: group_scores}\nevaluation: {before: false, after: false}\n",
        "bad.yaml: line 2: data.train: toy has problems, but method group_scores takes completions "
        "with scores; name a file, such as `groupwise export-groups` makes from a log",
    ),
    "scored groups, and nothing to evaluate on": (
        "!model: {name: toy}\ndata: {train: groups.jsonl}\ntraining: {method: group_scores}\n",
        "bad.yaml: line 3: data.eval: null, and scored completions have no problems to hold out; "
        "name a file of problems, or set evaluation.before and evaluation.after to false",
    ),
    "scored groups after a warm start": (
        "!model: {name: toy}\ndata: {train: groups.jsonl, eval: toy}\ntraining:\n"
        "  method: group_scores\n  warm_start: {enabled: true, completion_field: s}\n",
        "bad.yaml: line 5: training.warm_start.enabled: true, but method group_scores starts from "
        "the model as it is; run the warm start by itself (method sft), and name its final_model "
        "as model.adapter",
    ),
    "an off-policy bound below the clip": (
        "!model: {name: toy}\ndata: {train: groups.jsonl, eval: toy}\ntraining:\n"
        "  method: group_scores\n  epsilon: 0.5\n  group_scores: {max_ratio: 1.4}\n",
        "bad.yaml: line 6: training.group_scores.max_ratio: 1.4 is below the clip, 1 + "
        "epsilon_high = 1.5",
    ),
    "a warm start without solutions": (
        "!model: {name: toy}\ndata: {train: me/rows}\ntraining: {warm_start: {enabled: true}}\n",
        "bad.yaml: line 3: training.warm_start.completion_field: null, and with data.answer_after "
        "null too there is no solution to imitate; name the field that holds it, or set "
        "training.warm_start.enabled: false",
    ),
}


@pytest.mark.parametrize("case", ONE_PROBLEM)
def test_one_problem(tmp_path: Path, case: str) -> None:
    text, expected = ONE_PROBLEM[case]
    text = text[1:] if text.startswith("!") else MINIMAL + text
    if expected is None:
        expected = "bad.yaml: line 3: data: is given twice, in lines 2 and 3; remove one"
    assert message(tmp_path, text) == expected


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = """\
model:
  load_in_8bit: true
  lora_rank: 8
data: {train: toy}
training:
  learning_rate: fast
  num_generations: 6
  completions_per_forward: 5
evaluation:
  k: [1, 16]
zzz: 3
"""
    assert (
        message(tmp_path, text, ("training.beta=high", "tracking.wand=off"))
        == """\
bad.yaml: 9 problems
  line 1: model.name: is required, and missing: hub name or folder of the base model; `toy` is a \
tiny model made on the spot
  line 2: model.load_in_8bit: true, and model.load_in_4bit is true as well; set one of them to \
false
  line 3: model.lora_rank: there is no such key; did you mean model.lora_r?
  line 6: training.learning_rate: "fast" is not a number
  line 8: training.completions_per_forward: 5 does not divide prompts_per_step x num_generations \
= 8 x 6 = 48; 4 or 6 work
  line 10: evaluation.k: 16 is more than evaluation.num_samples 8: pass@k needs at least k \
answers; set num_samples: 16, or k: [1]
  line 11: zzz: there is no such key; the keys here are name, seed, output_dir, model, data, \
rewards, training, evaluation, tracking
  --set training.beta=high: training.beta: "high" is not a number
  --set tracking.wand=off: tracking.wand: there is no such key; did you mean tracking.wandb?"""
    )


def test_a_rule_over_a_wrong_value_is_not_reported(tmp_path: Path) -> None:
    text = MINIMAL + "training: {num_generations: six, completions_per_forward: 7}\n"
    assert message(tmp_path, text) == (
        'bad.yaml: line 3: training.num_generations: "six" is not a whole number'
    )


OVERRIDE_PROBLEMS = {
    "training.learning_rat=1": (
        "--set training.learning_rat=1: training.learning_rat: there is no such key; "
        "did you mean training.learning_rate?"
    ),
    "training.warm.enabled=true": (
        "--set training.warm.enabled=true: training.warm: there is no such key; "
        "did you mean training.warm_start?"
    ),
    "seed": "--set seed: an override is written section.key=value",
    "=3": "--set =3: an override is written section.key=value",
    "seed.x=3": "--set seed.x=3: seed.x: seed is a value, not a section",
}


@pytest.mark.parametrize("override", OVERRIDE_PROBLEMS)
def test_a_wrong_override(tmp_path: Path, override: str) -> None:
    found = message(tmp_path, MINIMAL + "seed: 1\n", (override,))
    assert found == f"bad.yaml: {OVERRIDE_PROBLEMS[override]}"


def test_an_override_says_more_of_a_reward_that_is_a_bare_weight() -> None:
    config = ExperimentConfig.from_dict(
        {
            "model": {"name": "toy"},
            "data": {"train": "toy"},
            "rewards": {"parts": {"correctness": 1.0, "format": 0.25}},
        },
        ["rewards.parts.correctness.params.mode=number", "rewards.parts.format.weight=0.5"],
    )
    parts = config.rewards.parts
    assert (parts["correctness"].weight, parts["correctness"].params) == (1.0, {"mode": "number"})
    assert parts["format"].weight == 0.5


def test_overrides_win_in_order_and_are_read_as_yaml(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        MINIMAL + "training:\n",
        (
            "training.learning_rate=2e-6",
            "training.learning_rate=3e-6",
            "evaluation.k=[1, 2]",
            "tracking.wandb=off",
            "data.system_prompt=Think: step by step",
            "model.adapter=",
            "data.answer_after=####",
            "rewards.parts.format.weight=0.5",
        ),
    )
    assert config.training.learning_rate == 3e-6
    assert config.evaluation.k == (1, 2)
    assert config.tracking.wandb == "off"
    assert config.data.system_prompt == "Think: step by step"
    assert config.data.answer_after == "####"
    assert config.model.adapter is None
    assert config.rewards.parts["format"].weight == 0.5


def test_overrides_as_pairs_are_taken_as_they_are(tmp_path: Path) -> None:
    parts = {"format": {"weight": 1.0}}
    pairs = [("data.train", "a: b.json"), ("name", "1"), ("rewards.parts", parts)]
    config = load(tmp_path, MINIMAL, (*pairs, "rewards.parts.format.weight=2"))
    assert (config.data.train, config.name) == ("a: b.json", "1")
    assert config.rewards.parts["format"].weight == 2
    assert parts == {"format": {"weight": 1.0}}, "the caller's own is not changed"


PAIR_PROBLEMS = [
    (("training.beta", "high"), 'training.beta: "high" is not a number'),
    (("seed.x", 3), "line 3: seed.x: seed is a value, not a section"),
    (
        Override("training.beta", -1, "--kl-coef -1"),
        "--kl-coef -1: training.beta: -1 must be greater than or equal to 0",
    ),
]


@pytest.mark.parametrize(("pair", "expected"), PAIR_PROBLEMS)
def test_a_wrong_pair(tmp_path: Path, pair: tuple[str, object], expected: str) -> None:
    found = message(tmp_path, MINIMAL + "seed: 1\ntraining: {beta: 0}\n", (pair,))
    assert found == f"bad.yaml: {expected}"


# YAML 1.1 would read these otherwise.
SCALARS = [
    ("training: {learning_rate: 1e-6}", "training.learning_rate", 1e-6),
    ('training: {learning_rate: "1e-6"}', "training.learning_rate", 1e-6),
    ("training: {learning_rate: 1.e-6}", "training.learning_rate", 1e-6),
    ("tracking: {wandb: off}", "tracking.wandb", "off"),
    ("tracking: {wandb: false}", "tracking.wandb", "off"),
    ("tracking: {trackio: yes}", "tracking.trackio", True),
    ("tracking: {run_name: 2026-01-01}", "tracking.run_name", "2026-01-01"),
    ("tracking: {run_name: 12}", "tracking.run_name", "12"),
    ("tracking: {run_name: no}", "tracking.run_name", "no"),
    ("tracking: {tags: one}", "tracking.tags", ("one",)),
    ("evaluation: {k: 4}", "evaluation.k", (4,)),
    ("seed: 010", "seed", 10),
    ("training: {max_steps: ~}", "training.max_steps", None),
]


@pytest.mark.parametrize(("line", "path", "value"), SCALARS)
def test_scalars_mean_what_people_mean(tmp_path: Path, line: str, path: str, value: object) -> None:
    found = attrgetter(path)(load(tmp_path, f"{MINIMAL}{line}\n"))
    assert (found, type(found)) == (value, type(value))


def test_merge_keys_and_anchors(tmp_path: Path) -> None:
    text = "model: {name: toy}\ndata: &d {train: toy}\ntraining: &t {beta: 0.5}\n"
    assert load(tmp_path, text).beta == 0.5
    assert load(tmp_path, "model: {<<: {name: toy}, lora_r: 4}\ndata: {train: toy}").lora_r == 4


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: caf\xe9\n".encode("latin-1"))
    cases = {
        tmp_path / "none.yaml": "there is no such file; `groupwise configs` lists the presets",
        tmp_path: "is a folder; name the YAML file in it",
        tmp_path / "latin.yaml": "is not UTF-8 text",
    }
    for path, expected in cases.items():
        with pytest.raises(UserError) as caught:
            ExperimentConfig.from_yaml(path)
        assert str(caught.value) == f"{path}: {expected}"


def test_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert ExperimentConfig.from_yaml(path).model.name == "toy"


def test_the_run_is_named_after_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL).name == "bad"
    assert load(tmp_path, MINIMAL + "name: mine\n").name == "mine"
    assert load(tmp_path, MINIMAL, ("name=theirs",)).name == "theirs"


def test_a_reward_file_is_looked_for_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def score(prompts, completions): return [0.0]\n")
    config = load(tmp_path, MINIMAL + "rewards: {parts: {mine: {use: 'mine.py:score'}}}\n")
    assert config.rewards.parts["mine"].use == f"{tmp_path}/mine.py:score"


def test_a_number_is_short_for_a_weight(tmp_path: Path) -> None:
    parts = load(tmp_path, MINIMAL + "rewards: {parts: {correctness: 2, format: }}\n").rewards.parts
    assert (parts["correctness"].weight, parts["format"].weight) == (2.0, 1.0)


def test_garbled_files_are_refused_and_never_crash(tmp_path: Path) -> None:
    rng = random.Random(7)
    lines = preset_text("quickstart").splitlines()
    values = ("null", "[]", "{}", "-1", "1e400", ".inf", "[1,[2]]", "{a: b}", "&a [*a]", "*x")
    for _ in range(200):
        text = [
            line.split(":")[0] + ": " + rng.choice(values)
            if rng.random() < 0.05
            else line[: rng.randrange(80)]
            if rng.random() < 0.05
            else line
            for line in lines
        ]
        with contextlib.suppress(UserError):
            config = load(tmp_path, "\n".join(text))
            assert load(tmp_path, config.to_yaml()) == config


def test_it_survives_every_way_of_writing_it(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL + "training: {learning_rate: 1e-7}\nevaluation: {k: [1, 8]}\n")
    assert load(tmp_path, config.to_yaml()) == config
    assert load(tmp_path, json.dumps(config.to_dict())) == config
    assert ExperimentConfig.from_dict(config.to_dict()) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config


def test_keys_read_through_from_their_sections(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL + "evaluation: {temperature: 0.5}\n")
    assert config.learning_rate == config.lr == config.training.learning_rate
    assert (config.model_name, config.num_generations, config.train_data) == ("toy", 8, "toy")
    for name, path in READ_THROUGH.items():
        assert getattr(config, name) == attrgetter(path)(config)
    for name, hint in {
        "zzz": "",
        "temperature": "; did you mean training.temperature or evaluation.temperature?",
        "wandb": "; did you mean tracking.wandb?",
    }.items():
        with pytest.raises(AttributeError) as caught:
            getattr(config, name)
        assert str(caught.value) == f"ExperimentConfig has no key {name!r}{hint}"


def test_it_is_frozen_and_checked_however_it_is_made() -> None:
    config = ExperimentConfig(model=ModelConfig(name="toy"), data=DataConfig(train="toy"))
    with pytest.raises(AttributeError):
        config.seed = 1
    with pytest.raises(ConfigError, match="6 does not divide"):
        ExperimentConfig(
            model=ModelConfig(name="toy"),
            data=DataConfig(train="toy"),
            training=TrainingConfig(completions_per_forward=6),
        )
    with pytest.raises(ConfigError, match="6 does not divide"):
        config.with_values({"training.completions_per_forward": 6})
    assert config.with_values({"data.train": "rows.csv"}).data.train == "rows.csv"


def test_a_section_by_itself() -> None:
    assert with_values(TrainingConfig(), {"beta": 0.04}).beta == 0.04
    for values, expected in (
        ({"bta": 1}, "training.bta: there is no such key; did you mean training.beta?"),
        ({"beta": "x"}, 'training.beta: "x" is not a number'),
        (
            {"loss_type": "luspo"},
            "training.importance_sampling_level: token, but loss_type luspo needs sequence",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            check_training(with_values(TrainingConfig(), values))
        assert str(caught.value) == expected


def test_relative_paths_are_looked_for_here_then_beside_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "both.jsonl").touch()
    (there / "rows.jsonl").touch()
    (there / "c.yaml").write_text(
        "model: {name: org/model}\ndata: {train: rows.jsonl, eval: both.jsonl}\n"
    )
    monkeypatch.chdir(here)
    config = ExperimentConfig.from_yaml("../there/c.yaml")
    assert config.data.train == "../there/rows.jsonl"
    assert config.data.eval == "both.jsonl"
    assert config.model.name == "org/model"


def test_sampling_params() -> None:
    config = ExperimentConfig.from_dict(
        {
            "model": {"name": "toy"},
            "data": {"train": "toy"},
            "training": {"temperature": 0.9, "max_completion_length": 64},
            "evaluation": {"top_k": 20},
        }
    )
    assert config.training.sampling_params(7) == SamplingParams(
        temperature=0.9, max_tokens=64, seed=7
    )
    assert config.eval_sampling_params == SamplingParams(top_k=20, max_tokens=64, seed=42)
