"""Variables, date and end of turn of a chat template, from the config to what is done with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import EMULATES_GPU, RunCli, Toy, lines, write_yaml

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.experiment.data import RunData
from groupwise.framework.run.directory import create_run_dir
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.types import Example

pytestmark = pytest.mark.stack

CHATML = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}"""
START = "{%- if add_generation_prompt -%}<|im_start|>assistant\n"
THINKS = (
    CHATML + START + "{% if enable_thinking is defined and enable_thinking %}<think>\n"
    "{% else %}<think>\n\n</think>\n\n{% endif %}{% endif -%}"
)
DATED = "{{ strftime_now('%d %b %Y %H:%M:%S.%f') }}" + CHATML + START + "{% endif -%}"
OPENS = "<think>\n"
CLOSES = "<think>\n\n</think>\n\n"


def with_template(toy: Toy, folder: Path, text: str, **changes: Any) -> ExperimentConfig:
    """The toy's small run with this template."""
    (folder / "template.jinja").write_text(text)
    return toy.config(model__chat_template=str(folder / "template.jinja"), **changes)


def tokenizer_of(config: ExperimentConfig) -> Any:
    from groupwise.framework.experiment.preflight import load_tokenizer

    return load_tokenizer(config.model)


# --- variables --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "end"), [({}, CLOSES), ({"enable_thinking": True}, OPENS), ({"x": 1}, CLOSES)]
)
def test_variables_reach_every_prompt_of_a_run(
    toy: Toy, tmp_path: Path, given: dict[str, Any], end: str
) -> None:
    config = with_template(toy, tmp_path, THINKS, model__chat_template_kwargs=given)
    data, tokenizer = RunData(config), tokenizer_of(config)
    for split in ("train", "eval"):
        for example in data.prompts(split, tokenizer).examples[:3]:
            assert example.prompt.endswith(f"assistant\n{end}")
            ids = tokenizer(example.prompt, add_special_tokens=False)["input_ids"]
            assert example.prompt_ids == tuple(ids)
    for example, _ in data.rendered_demonstrations(tokenizer)[:3]:
        assert example.prompt.endswith(f"assistant\n{end}")


def test_other_variables_render_anew(toy: Toy, tmp_path: Path) -> None:
    config = with_template(toy, tmp_path, THINKS)
    data, tokenizer = RunData(config), tokenizer_of(config)
    assert data.prompts("eval", tokenizer).examples[0].prompt.endswith(CLOSES)
    thinking = config.with_values({"model.chat_template_kwargs.enable_thinking": True})
    assert data.of(thinking) is data
    assert data.prompts("eval", tokenizer).examples[0].prompt.endswith(OPENS)


def test_tools_are_a_variable_too(toy: Toy, tmp_path: Path) -> None:
    tools = [{"name": "add"}]
    text = "{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML + START + "{% endif -%}"
    config = with_template(toy, tmp_path, text, model__chat_template_kwargs={"tools": tools})
    (example, *_) = RunData(config).prompts("train", tokenizer_of(config)).examples
    assert example.prompt.startswith(f"{json.dumps(tools)}<|im_start|>user")


def test_variables_reach_scored_groups(toy: Toy, tmp_path: Path) -> None:
    from groupwise.framework.data.prompts import template_variables
    from groupwise.framework.data.scored_groups import ScoredCompletion, ScoredGroup
    from groupwise.framework.trainers.group_score_batches import tokenized_groups

    config = with_template(toy, tmp_path, THINKS)
    tokenizer = tokenizer_of(config)
    answers = tuple(ScoredCompletion(text, score) for text, score in (("4", 1.0), ("5", 0.0)))
    group = ScoredGroup(({"role": "user", "content": "2+2=?"},), answers)
    for more, end in (({}, CLOSES), ({"enable_thinking": True}, OPENS)):
        variables = template_variables(config.model, more)
        (row,), _ = tokenized_groups([group], tokenizer, max_length=96, variables=variables)
        assert tokenizer.decode(row["prompt_ids"]).endswith(f"assistant\n{end}")


def test_the_trainer_takes_the_policys_variables_and_its_arguments(
    toy: Toy, tmp_path: Path
) -> None:
    from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
    from groupwise.framework.policy import load

    changes = {"model__chat_template_kwargs": {"enable_thinking": True}}
    policy = load(with_template(toy, tmp_path, THINKS, **changes).model)
    rows = [{"question": f"{i}+1=?", "answer": str(i + 1)} for i in range(4)]
    for given, end in ((None, OPENS), ({"enable_thinking": False}, CLOSES)):
        args = GRPOArguments(
            prompts_per_step=2,
            num_generations=2,
            completions_per_forward=4,
            output_dir=tmp_path / "out",
            chat_template_kwargs=given,
        )
        trainer = GRPOTrainer(policy, [lambda prompts, **_: [0.0] * len(prompts)], args, rows, rows)
        for example in (*trainer.examples, *trainer.eval_examples):
            assert example.prompt.endswith(f"assistant\n{end}")


# --- the date -----------------------------------------------------------------------------------


def test_a_run_keeps_the_date_of_its_start(toy: Toy, tmp_path: Path) -> None:
    """Whoever reads the run's directory later gets the same prompts, to the microsecond."""
    config = with_template(toy, tmp_path, DATED, output_dir=str(tmp_path / "runs"))
    tokenizer = tokenizer_of(config)
    with create_run_dir(config) as run_dir:
        first, later = (RunData(run_dir.dated(config)) for _ in range(2))
        before = RunData(config)  # a preflight, before the run has a directory
        prompts = [data.prompts("eval", tokenizer).examples[:2] for data in (first, later, before)]
        assert prompts[0] == prompts[1] != prompts[2]
        assert (
            before.of(run_dir.dated(config)).prompts("eval", tokenizer).examples[:2] == prompts[0]
        )
        manifest = json.loads(run_dir.manifest.read_text())
        run_dir.manifest.write_text(json.dumps(manifest | {"created": "2020-02-03T23:04:05+00:00"}))
        (example, *_) = RunData(run_dir.dated(config)).prompts("eval", tokenizer).examples
        assert example.prompt.startswith("03 Feb 2020 23:04:05.000000<|im_start|>")


def test_a_date_of_the_config_comes_first(toy: Toy, tmp_path: Path) -> None:
    changes = {"output_dir": str(tmp_path / "runs"), "model__chat_template_date": "2024-05-06"}
    config = with_template(toy, tmp_path, DATED, **changes)
    with create_run_dir(config) as run_dir:
        dated = run_dir.dated(config)
    assert dated == config
    (example, *_) = RunData(dated).prompts("eval", tokenizer_of(config)).examples
    assert example.prompt.startswith("06 May 2024 00:00:00.000000<|im_start|>")


def test_an_evaluation_goes_on_with_the_date_that_it_began_with(
    toy: Toy, tmp_path: Path, cli: RunCli
) -> None:
    """The template writes microseconds: without a fixed date no two evaluations are of one text."""
    settings = with_template(toy, tmp_path, DATED, data__max_eval_examples=3).to_dict()
    path = write_yaml(tmp_path / "dated.yaml", settings)
    evaluate = ("evaluate", toy.model, "--config", path, "--name", "e", "--k", "1")
    first = (*evaluate, "--label", "first", "--num-samples")
    assert cli(*first, "1").code == 0
    ended = cli(*first, "2")
    assert ended.code == 0, ended.err
    assert cli(*evaluate, "--num-samples", "2", "--label", "again").code == 0
    (folder,) = tmp_path.glob("**/evaluations")
    asked = {label: lines(folder / label / "samples.jsonl") for label in ("first", "again")}
    assert [len(found) for found in asked.values()] == [6, 6]
    one, other = ({(r["example_id"], r["prompt"]) for r in found} for found in asked.values())
    assert len(one) == 3
    assert one == other
    identity = json.loads((folder / "first" / "settings.json").read_text())["identity"]
    assert identity["chat_template_date"]

    thinking = ("--set", "model.chat_template_kwargs.name=x")
    ended = cli(*first, "2", *thinking)
    assert ended.code == 2
    assert "identity.chat_template_kwargs.name" in ended.err


def test_a_model_is_evaluated_with_the_date_of_the_run_of_its_config(
    toy: Toy, tmp_path: Path, cli: RunCli
) -> None:
    config = with_template(
        toy, tmp_path, DATED, output_dir=str(tmp_path / "runs"), data__max_eval_examples=1
    )
    path = write_yaml(tmp_path / "tiny.yaml", config.to_dict())
    with create_run_dir(config) as run_dir:
        manifest = json.loads(run_dir.manifest.read_text())
        run_dir.manifest.write_text(json.dumps(manifest | {"created": "2020-02-03T23:04:05+00:00"}))
    ended = cli("evaluate", toy.model, "--config", path, "--num-samples", "1", "--k", "1")
    assert ended.code == 0, ended.err
    (log,) = (tmp_path / "runs").glob("eval-*/evaluations/*/samples.jsonl")
    assert lines(log)[0]["prompt"].startswith("03 Feb 2020 23:04:05.000000<|im_start|>")


# --- the end of a turn, and stop strings ----------------------------------------------------------


def with_other_ends(toy: Toy, folder: Path) -> Path:
    """The toy as a base model has it: <|im_end|> ends a turn, and nothing but its template says so.

    Its padding is its end of text; for Unsloth on a GPU, which refuses that where the embedding has
    no row to spare, another token.
    """
    import shutil

    pad, pad_id = ("<|im_start|>", 257) if EMULATES_GPU else ("<|endoftext|>", 256)

    made = folder / "other_ends"
    shutil.copytree(toy.model, made)
    changes: dict[str, dict[str, Any]] = {
        "tokenizer_config.json": {"eos_token": "<|endoftext|>", "pad_token": pad},
        "config.json": {"eos_token_id": 256, "pad_token_id": pad_id},
        "generation_config.json": {"eos_token_id": 256, "pad_token_id": pad_id},
    }
    for name, values in changes.items():
        content = json.loads((made / name).read_text())
        (made / name).write_text(json.dumps(content | values))
    return made


@pytest.fixture
def base_like(toy: Toy, tmp_path: Path) -> Any:
    """A policy on it."""
    from groupwise.framework.policy import load

    return load(toy.model_config(name=str(with_other_ends(toy, tmp_path))))


def test_samples_end_where_the_template_ends_a_turn(base_like: Any) -> None:
    """In every engine; its tokenizer and generation config name another token."""
    from groupwise.framework.sampling import make_sampler

    model, tokenizer = base_like.model, base_like.tokenizer
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    other = tokenizer.eos_token_id
    assert model.generation_config.eos_token_id == [other, end]  # weights are saved with it
    model.generation_config.eos_token_id = other  # a model that was not loaded by us
    prompt = "<|im_start|>user\n1+2=?<|im_end|>\n<|im_start|>assistant\n"
    for engine in ("slots", "generate"):
        sampler = make_sampler(model, tokenizer, engine)
        made = list(sampler.sample([Prompt("a", prompt)], 8, SamplingParams(max_tokens=40)))
        assert [s.finish_reason for s in made] == ["stop"] * 8
        assert all(s.token_ids[-1] == end and end not in s.token_ids[:-1] for s in made)
        assert not any("<|im" in s.text for s in made)


def test_a_warm_start_teaches_the_end_of_a_turn(base_like: Any) -> None:
    from groupwise.framework.sampling.turn_end import end_token_id
    from groupwise.framework.trainers.sft import IGNORED, tokenized

    tokenizer = base_like.tokenizer
    end = end_token_id(tokenizer)
    row = tokenized(tokenizer, Example("1", "?", "4", prompt="2+2=?"), "4", end)
    learned = [label for label in row["labels"] if label != IGNORED]
    assert tokenizer.decode(learned) == "4<|im_end|>"


def test_minimal_grpo_ends_at_every_end_of_text(base_like: Any) -> None:
    from groupwise.framework.minimal_grpo import MinimalGRPOTrainer

    model, tokenizer = base_like.model, base_like.tokenizer
    model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids("<answer>")]
    ends = [tokenizer.convert_tokens_to_ids(t) for t in ("<answer>", "<|im_end|>", "<|endoftext|>")]
    trainer = MinimalGRPOTrainer(model, tokenizer, num_generations=16, max_completion_length=24)
    assert trainer.drawn["eos_token_id"] == sorted(ends)
    tokens, mask = trainer.sample("1+2=?")
    completions = tokens[:, -mask.shape[1] :].tolist()
    lengths = mask.sum(1).tolist()
    for row, length in zip(completions, lengths, strict=True):
        assert not set(row[: length - 1]) & set(ends)
        assert length == len(row) or row[length - 1] in ends
    assert len(set(lengths)) > 1


@pytest.mark.parametrize("masked", [False, True])
def test_a_stop_string_ends_a_completion_that_is_trained_on(
    base_like: Any, tmp_path: Path, masked: bool
) -> None:
    """Rewards see the text before it, its tokens are in the loss, and it is not cut off.

    With mask_truncated_completions, what was cut off is not in the loss; also where padding and the
    end of text are one token.
    """
    from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer

    texts: list[str] = []

    def length(completions: list[Any], **_: Any) -> list[float]:
        texts.extend(completion[0]["content"] for completion in completions)
        return [float(len(completion[0]["content"])) for completion in completions]

    args = GRPOArguments(
        prompts_per_step=4,
        num_generations=4,
        completions_per_forward=16,
        max_completion_length=4,
        max_steps=1,
        stop=["1", "</answer>"],
        mask_truncated_completions=masked,
        skip_zero_advantage=False,
        output_dir=tmp_path / "out",
    )
    rows = [{"question": f"{i}+1=?", "answer": str(i + 1)} for i in range(4)]
    trainer = GRPOTrainer(base_like, [length], args, rows)
    seen: list[Any] = []
    compute = trainer.trl_trainer.compute_loss

    def keep(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        seen.append({key: inputs[key] for key in ("completion_mask", "num_items_in_batch")})
        return compute(model, inputs, *rest, **named)

    trainer.trl_trainer.compute_loss = keep
    trainer.train()
    records = lines(tmp_path / "out" / "rollouts.jsonl")
    reasons = [record["finish_reason"] for record in records]
    assert set(reasons) == {"stop", "length"}
    assert not any("1" in text or "</answer>" in text for text in texts)
    assert sorted(texts) == sorted(record["completion"] for record in records)
    counted = sorted(int(row.sum()) for part in seen for row in part["completion_mask"])
    in_loss = [reason == "stop" or not masked for reason in reasons]
    expected = [r["num_tokens"] * kept for r, kept in zip(records, in_loss, strict=True)]
    assert counted == sorted(expected)
    assert float(seen[0]["num_items_in_batch"]) == sum(expected)


def test_chat_ends_at_the_end_of_a_turn_and_at_a_stop_string(
    base_like: Any,
    toy: Toy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import io

    from groupwise.framework.experiment.chat import chat

    config = replace(toy.config(), model=base_like.config)
    shown = {}
    for stop in ((), ("</answer>",), ("1",)):
        monkeypatch.setattr("sys.stdin", io.StringIO("10+1=?\n"))
        made = config.with_values({"evaluation.stop": list(stop)})
        chat(
            made,
            base_like,
            with_base=False,
            temperature=0.0,
            max_tokens=40,
            terminal=Terminal(),
            log=tmp_path / "libraries.log",
        )
        shown[stop] = capfd.readouterr().out.removeprefix("tuned> ").strip()
    assert len(base_like.tokenizer(shown[()]).input_ids) < 40
    assert shown[("1",)] == shown[()].partition("1")[0] + "1"
