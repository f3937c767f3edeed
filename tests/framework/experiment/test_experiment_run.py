"""Warm start and GRPO on the toy: what is learned from, what is logged, what stops a run."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from conftest import EMULATES_GPU, ROOT, Toy, lines, on_the_cpu_backend
from grpo_toys import METRICS, NULL_ON_A_GPU, trainer_for

from groupwise.evaluation.log.records import read_rollouts
from groupwise.framework.config import ExperimentConfig, TrainingConfig
from groupwise.framework.data.demonstrations import load_demonstrations, render_demonstrations
from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
from groupwise.framework.grpo_trainer.inputs import as_rubric
from groupwise.framework.grpo_trainer.rollouts import step_seed
from groupwise.framework.grpo_trainer.trl_config import refuse_dropped
from groupwise.framework.policy import Policy, load
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example

stack = pytest.mark.stack

MODES: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora_4bit": {"model__load_in_4bit": True},
    "full": {"model__full_finetuning": True},
}


def warm_started(config: ExperimentConfig, folder: Path) -> Policy:
    """A policy after the few steps of the config's warm start, as a run would have it."""
    from groupwise.framework.experiment.data import RunData
    from groupwise.framework.experiment.run import warm_start
    from groupwise.framework.run.directory import RunDir
    from groupwise.framework.run.terminal import Terminal

    folder.mkdir(parents=True, exist_ok=True)
    policy = load(config.model, config.seed)
    warm_start(config, policy, RunData(config), RunDir(folder), Terminal(quiet=True))
    return policy


@pytest.fixture(scope="module", params=MODES)
def trained(
    request: pytest.FixtureRequest, toy: Toy, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ExperimentConfig, Path]:
    """Warm start and three steps of GRPO with KL, in each mode; the folder of the logs."""
    folder = tmp_path_factory.mktemp(request.param)
    config = toy.config(**MODES[request.param])
    policy = warm_started(config, folder)
    before = {n: p.detach().clone() for n, p in policy.model.named_parameters()}
    result = trainer_for(config, policy, folder).train()
    assert result.steps == config.training.max_steps
    after = {n: p for n, p in policy.model.named_parameters() if ".ref." not in n}
    assert [n for n, p in after.items() if not p.equal(before[n])] == [
        n for n, p in after.items() if p.requires_grad
    ]
    assert {str(p.dtype) for p in after.values() if p.requires_grad} == {"torch.float32"}
    return request.param, config, folder


@stack
def test_the_warm_start_lowers_the_loss(trained: tuple[str, ExperimentConfig, Path]) -> None:
    _, config, folder = trained
    found = lines(folder / "warm_start" / "metrics.jsonl")
    assert [line["step"] for line in found] == list(
        range(1, config.training.warm_start.max_steps + 1)
    )
    loss = [line["policy_loss"] for line in found]
    assert sum(loss[-3:]) < 0.97 * sum(loss[:3])
    assert all(line["grad_norm"] > 0 for line in found)
    assert not (folder / "warm_start" / "trainer").exists()


@stack
def test_the_warm_start_learns_from_completions_only(toy: Toy) -> None:
    from groupwise.framework.data.toy import make_tokenizer
    from groupwise.framework.trainers.sft import IGNORED, tokenized

    config, tokenizer = toy.config(), make_tokenizer()
    pairs = load_demonstrations(config.data, config.training.warm_start)
    for example, completion in render_demonstrations(pairs[:20], tokenizer, 48):
        row = tokenized(tokenizer, example, completion)
        learned = [i for i, label in enumerate(row["labels"]) if label != IGNORED]
        assert tokenizer.decode(row["input_ids"][: learned[0]]) == example.prompt
        assert tokenizer.decode([row["labels"][i] for i in learned]) == f"{completion}<|im_end|>"
        assert learned == list(range(learned[0], len(row["labels"])))
        assert [row["input_ids"][i] for i in learned] == [row["labels"][i] for i in learned]


@stack
def test_no_demonstration_fits(toy: Toy, tmp_path: Path) -> None:
    config = toy.config(data__max_prompt_length=40, training__max_completion_length=24)
    config = config.with_values({"model.max_seq_length": 64})
    from groupwise.framework.trainers.sft import warm_start

    policy = load(config.model)
    pairs = [(Example("1", "1+1=?", "2", prompt="1+1=?"), "x" * 100)]
    with pytest.raises(UserError, match=r"^training\.warm_start: none of the 1 demonstrations"):
        warm_start(
            policy, pairs, config.training.warm_start, seed=0, max_length=64, folder=tmp_path
        )
    assert not list(tmp_path.iterdir())


# Every name that issue trackers, dashboards and scripts may rely on.

ROLLOUT_FIELDS = set(
    """
    schema example_id sample_index prompt completion num_tokens finish_reason answer extracted
    status correct score parts seed seconds metadata step advantage
    """.split()  # noqa: SIM905
)


@stack
def test_every_number_is_logged_every_step(trained: tuple[str, ExperimentConfig, Path]) -> None:
    _, config, folder = trained
    found = lines(folder / "metrics.jsonl")
    assert [line["step"] for line in found] == [1, 2, 3]
    for line in found:
        assert set(line) >= METRICS
        missing = {name for name in METRICS if line[name] is None}
        assert missing == (NULL_ON_A_GPU if EMULATES_GPU else set())
        assert 0 <= line["truncated"] <= 1
        assert 0 <= line["zero_variance_groups"] <= 1
        assert 0 < line["step_seconds"] < 60
        assert line["rollout_seconds"] + line["reward_seconds"] < line["step_seconds"]
        assert 0 < line["completion_length/mean"] <= line["completion_length/max"]
        assert line["completion_length/max"] <= config.training.max_completion_length
        assert 0.1 < line["memory/peak_gb"] < 100
    assert max(line["learning_rate"] for line in found) == config.training.learning_rate


@stack
def test_the_kl_starts_at_zero(trained: tuple[str, ExperimentConfig, Path]) -> None:
    """The reference is the policy as GRPO found it, warm start included."""
    mode, _, folder = trained
    kl = [line["kl_divergence"] for line in lines(folder / "metrics.jsonl")]
    assert kl[0] == pytest.approx(0, abs=1e-6), mode
    assert max(kl) > 1e-6, "and then it moves"


@stack
def test_every_completion_is_kept(trained: tuple[str, ExperimentConfig, Path]) -> None:
    _, config, folder = trained
    training = config.training
    per_step = training.prompts_per_step * training.num_generations
    records = list(read_rollouts(folder))
    assert len(records) == training.max_steps * per_step
    fields = set(lines(folder / "rollouts.jsonl")[0])
    assert fields == ROLLOUT_FIELDS
    groups: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for record in records:
        groups[record.step, record.example_id].append(record)
        assert record.answer == str(sum(map(int, re.findall(r"\d+", record.prompt))))
        assert record.finish_reason in ("stop", "length")
        assert record.num_tokens <= training.max_completion_length
        assert set(record.parts) == {"correctness", "format", "language"}
        assert record.seed == step_seed(config.seed, record.step - 1)
        assert record.metadata["category"] in ("carry", "no carry")
    assert len(groups) == training.max_steps * training.prompts_per_step
    for group in groups.values():
        assert [r.sample_index for r in group] == list(range(training.num_generations))
        assert sum(r.advantage for r in group) == pytest.approx(0, abs=1e-4)
        in_order = sorted(group, key=lambda r: r.score)
        assert [r.advantage for r in in_order] == sorted(r.advantage for r in in_order)


@stack
def test_the_page_explains_every_number(trained: tuple[str, ExperimentConfig, Path]) -> None:
    _, _, folder = trained
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    logged = {
        re.sub(r"^reward/[^/]+/(mean|std)$", r"reward/NAME/\1", key)
        for line in lines(folder / "metrics.jsonl")
        for key in line
    }
    assert [name for name in sorted(logged) if f"`{name}`" not in page] == []


@stack
def test_the_numbers_are_those_of_the_completions(
    trained: tuple[str, ExperimentConfig, Path],
) -> None:
    _, _, folder = trained
    records = list(read_rollouts(folder))
    for line in lines(folder / "metrics.jsonl"):
        rows = [record for record in records if record.step == line["step"]]
        mean = sum(r.score for r in rows) / len(rows)
        variance = sum((r.score - mean) ** 2 for r in rows) / (len(rows) - 1)
        assert line["reward/mean"] == pytest.approx(mean)
        assert line["reward/std"] == pytest.approx(variance**0.5)
        assert line["correct"] == pytest.approx(sum(r.correct for r in rows) / len(rows))
        assert line["completion_tokens"] == sum(r.num_tokens for r in rows)
        truncated = sum(r.finish_reason == "length" for r in rows) / len(rows)
        assert line["truncated"] == pytest.approx(truncated)
        formats = [r.parts["format"] for r in rows]
        assert line["reward/format/mean"] == pytest.approx(sum(formats) / len(rows))


@stack
@on_the_cpu_backend("models/rl.py cuts TRL's cast to bfloat16 out of its trainers")
def test_trl_would_round_the_adapter_of_a_quantised_model(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `adapter_precision` is for: without it, all of it is in bfloat16."""
    import groupwise.framework.grpo_trainer.trainer as module

    config = toy.config(**MODES["lora_4bit"])
    policy = load(config.model)

    def dtypes() -> set[str]:
        return {str(p.dtype) for p in policy.model.parameters() if p.requires_grad}

    def build(name: str) -> None:
        trainer = trainer_for(config, policy, tmp_path / name)
        trainer.rollouts.close()
        trainer.log.close()

    build("kept")
    assert dtypes() == {"torch.float32"}
    monkeypatch.setattr(module, "adapter_precision", lambda _: nullcontext())
    build("rounded")
    assert dtypes() == {"torch.bfloat16"}


@stack
def test_a_second_training_starts_from_where_the_first_ended(toy: Toy, tmp_path: Path) -> None:
    """As in a notebook: the same model again; its anchor is the model as it is by then."""
    config = toy.config(training__max_steps=2, training__warmup_ratio=0.0)
    policy = load(config.model)
    kl = []
    for name in ("first", "second"):
        trainer_for(config, policy, tmp_path / name).train()
        kl.append([line["kl_divergence"] for line in lines(tmp_path / name / "metrics.jsonl")])
    for first, second in kl:
        assert abs(first) < 1e-6 < second


@stack
def test_checkpoints_are_of_safetensors(trained: tuple[str, ExperimentConfig, Path]) -> None:
    mode, _, folder = trained
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {"checkpoint-2", "checkpoint-3"}
    weights = "model.safetensors" if mode == "full" else "adapter_model.safetensors"
    assert (folder / "checkpoints" / "checkpoint-3" / weights).is_file()


@stack
def test_the_same_seed_draws_the_same(toy: Toy, tmp_path: Path) -> None:
    def completions(folder: Path, **changes: Any) -> list[str]:
        config = toy.config(training__max_steps=1, training__beta=0.0, **changes)
        policy = load(config.model, config.seed)
        trainer_for(config, policy, folder).train()
        return [record.completion for record in read_rollouts(folder)]

    first = completions(tmp_path / "first")
    assert completions(tmp_path / "second", training__completions_per_forward=16) == first
    assert completions(tmp_path / "other", seed=7) != first


@stack
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("log", ["rollouts.jsonl", "metrics.jsonl"])
def test_a_disk_that_fills_up_while_it_trains(toy: Toy, tmp_path: Path, log: str) -> None:
    config = toy.config(training__beta=0.0)
    policy = load(config.model)
    (tmp_path / log).symlink_to("/dev/full")
    trainer = trainer_for(config, policy, tmp_path)
    with pytest.raises(UserError, match=rf"{log}: the disk is full\. Free some space"):
        trainer.train()


# What a config cannot say, or what the library would change without a word.
@stack
def test_a_changed_argument_is_refused() -> None:
    class Effective:
        beta, learning_rate, report_to = 0.04, 1e-6, []

    refuse_dropped({"beta": 0.04, "learning_rate": 1e-6, "report_to": []}, Effective)
    with pytest.raises(UserError) as caught:
        refuse_dropped({"beta": 0.1, "learning_rate": 1e-6, "min_p": 0.1}, Effective)
    assert str(caught.value) == (
        "The installed TRL/Unsloth did not take these training settings as given:\n"
        "  beta: asked for 0.1, the library has 0.04\n"
        "  min_p: asked for 0.1, the library has None"
    )


@stack
def test_less_data_than_a_step(toy: Toy, tmp_path: Path) -> None:
    config = toy.config(data__max_train_examples=3)
    policy = load(config.model)
    with pytest.raises(UserError) as caught:
        trainer_for(config, policy, tmp_path)
    assert str(caught.value) == (
        "training.prompts_per_step: 4 problems per step, but the training data has 3. Set "
        "prompts_per_step to 3 or less, or add data."
    )


# The rewards below are written as TRL's documentation has them.


def correctness_reward(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    texts = [completion[0]["content"] for completion in completions]
    found = [re.findall(r"\d+", text) for text in texts]
    return [float(bool(n) and n[-1] == a) for n, a in zip(found, answer, strict=True)]


def format_reward(completions: list[Any], **_: Any) -> list[float]:
    texts = [completion[0]["content"] for completion in completions]
    return [0.25 * bool(re.search(r"<answer>.*</answer>", text, re.S)) for text in texts]


def raising_reward(**_: Any) -> list[float]:
    raise ZeroDivisionError("nothing to divide by")


def short_reward(**_: Any) -> list[float]:
    return [1.0]


@stack
def test_the_lines_of_the_documentation(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user would write them, with a `datasets.Dataset` and functions of TRL's form."""
    from datasets import Dataset

    monkeypatch.chdir(tmp_path)
    config = toy.config()
    policy = load(config.model)
    rows = lines(toy.train)[:8]
    dataset = Dataset.from_list([{k: r[k] for k in ("question", "answer")} for r in rows])

    args = GRPOArguments()
    args.lr = config.learning_rate
    args.max_steps = 2
    args.prompts_per_step = 2
    args.num_generations = config.num_generations
    args.max_completion_length = 16
    args.use_gradient_checkpointing = False
    trainer = GRPOTrainer(
        model=policy.model,
        reward_funcs=[correctness_reward, format_reward],
        args=args,
        train_dataset=dataset,
        eval_dataset=dataset,
        tokenizer=policy.tokenizer,
    )
    before = trainer.evaluate(num_samples=2, k=[1, 2])
    result = trainer.train()
    assert result.steps == 2
    after = trainer.evaluate(num_samples=2, k=[1, 2])
    logs = [tmp_path / f"runs/grpo/evaluations/step-{n}/samples.jsonl" for n in (0, 2)]
    for summary, log in zip((before, after), logs, strict=True):
        assert summary.num_examples == len(rows)
        assert summary.pass_at_k[1].value == mean(line["correct"] for line in lines(log))
    made = logs[1].read_bytes()
    assert trainer.evaluate(num_samples=2, k=[1, 2]) == after
    assert logs[1].read_bytes() == made, "nothing is sampled twice"
    assert args.learning_rate == config.training.learning_rate == 1e-3
    line = lines(tmp_path / "runs" / "grpo" / "metrics.jsonl")[-1]
    assert {"reward/correctness_reward/mean", "reward/format_reward/std"} <= set(line)
    trainer.save_model("tuned")
    assert (tmp_path / "tuned" / "adapter_model.safetensors").is_file()


# what is wrong: the reward functions, and what the user reads
BAD_REWARDS: dict[str, tuple[list[Callable[..., Any]], str]] = {
    "raises": (
        [format_reward, raising_reward],
        r"raising_reward.*ZeroDivisionError: nothing to divide by",
    ),
    "wrong length": ([short_reward], r"short_reward.* 1 .*8"),
    "the same twice": ([format_reward, format_reward], r"two of them are called 'format_reward'"),
    "none": ([], r"at least one reward is needed"),
    "no function": ([3], r"^reward_funcs: a function is expected, not 3; "),
}


@stack
@pytest.mark.parametrize("wrong", BAD_REWARDS)
def test_a_bad_reward_stops_the_run_with_its_name(toy: Toy, tmp_path: Path, wrong: str) -> None:
    functions, message = BAD_REWARDS[wrong]
    config = toy.config(training__max_steps=1, training__prompts_per_step=2, training__beta=0.0)
    policy = load(config.model)

    def run() -> None:
        trainer_for(config, policy, tmp_path, reward_funcs=as_rubric(functions)).train()

    with pytest.raises(UserError, match=re.compile(message, re.S)):
        run()


def test_arguments_are_checked() -> None:
    args = GRPOArguments(lr=2e-6, beta=0.04)
    assert args.learning_rate == args.lr == 2e-6
    with pytest.raises(TypeError, match="has no 'learning_rat'; did you mean learning_rate"):
        args.learning_rat = 1
    with pytest.raises(AttributeError, match="GRPOArguments has no 'gamma'"):
        _ = args.gamma
    assert {"lr", "learning_rate", "num_generations"} <= set(dir(args))
    args.completions_per_forward = 7
    with pytest.raises(UserError, match="7 does not divide prompts_per_step x num_generations"):
        args.training_config()
    with pytest.raises(UserError, match=r"training\.beta: -1 "):
        GRPOArguments(beta=-1)
    with pytest.raises(UserError, match=r"training\.beta: -1 "):
        args.beta = -1
    assert args.beta == 0.04
    assert GRPOArguments(TrainingConfig(beta=0.5)) == GRPOArguments(beta=0.5)


def test_rows_as_users_have_them() -> None:
    from groupwise.framework.grpo_trainer.inputs import as_examples

    class Template:
        """Stands for a tokenizer: what a chat template does with messages is all that matters."""

        def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
            return " | ".join(f"{m['role']}: {m['content']}" for m in messages)

    messages = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1"}]
    made = as_examples(
        [
            {"question": "1+1", "answer": 2, "level": "easy"},
            {"prompt": messages, "answer": "2", "id": "x"},
            ("1+1", "2"),
            Example("done", "1+1", "2", prompt="as it is"),
        ],
        Template(),
    )
    assert [e.prompt for e in made] == [
        "user: 1+1",
        "system: Add. | user: 1+1",
        "user: 1+1",
        "as it is",
    ]
    assert [e.id for e in made] == ["0", "x", "2", "done"]
    assert [e.answer for e in made] == ["2", "2", "2", "2"]
    assert made[0].metadata == {"level": "easy"}
    for row, message in [({"answer": "2"}, "none of `prompt`, "), ("text", "is a str")]:
        with pytest.raises(UserError, match=f"train_dataset: row 0 .*{message}"):
            as_examples([row], Template())
