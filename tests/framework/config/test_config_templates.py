"""The keys about chat templates and stop strings: what they take, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from groupwise.framework.config import ConfigError, ExperimentConfig
from groupwise.framework.grpo_trainer.arguments import GRPOArguments
from groupwise.rewards import UserError

BASE = {"model": {"name": "m", "load_in_4bit": False}, "data": {"train": "d.jsonl"}}


def config(*overrides: Any) -> ExperimentConfig:
    return ExperimentConfig.from_dict(BASE, overrides)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.chat_template_kwargs.enable_thinking=false", {"enable_thinking": False}),
        ("model.chat_template_kwargs.reasoning_effort=low", {"reasoning_effort": "low"}),
        ("model.chat_template_kwargs={a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
        ("model.chat_template_kwargs=", {}),
        (
            ("model.chat_template_kwargs", {"tools": [{"name": "f"}], "date_string": "1 May"}),
            {"tools": [{"name": "f"}], "date_string": "1 May"},
        ),
    ],
)
def test_variables_are_kept_as_given(override: Any, expected: dict[str, Any]) -> None:
    made = config(override)
    assert made.model.chat_template_kwargs == expected
    assert ExperimentConfig.from_dict(made.to_dict()) == made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tokenize": True}, "'tokenize' cannot be set here: it is about tokens"),
        ({"return_tensors": "pt"}, "'return_tensors' cannot be set here"),
        ({"add_generation_prompt": False}, "a prompt always asks for the assistant's turn"),
        ({"continue_final_message": True}, "a prompt always asks for the assistant's turn"),
        ({"messages": []}, "the messages come from the data"),
        ({"chat_template": "x"}, "that is model.chat_template"),
        ({"strftime_now": "x"}, "that is model.chat_template_date"),
        ({"tools": "search"}, "'tools' is a list of mappings, not 'search'"),
        ({"documents": ["text"]}, "'documents' is a list of mappings"),
        ({"no name": 1}, "'no name' is not the name of a template's variable"),
        ({"x": float("nan")}, "values are what JSON can hold"),
        ({"x": {1}}, "values are what JSON can hold"),
        (["enable_thinking"], "is not a section"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_variable_of_a_template_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.chat_template_kwargs: .*") as raised:
        config(("model.chat_template_kwargs", given))
    assert message in str(raised.value)


def test_the_trainers_arguments_refuse_the_same() -> None:
    args = GRPOArguments(chat_template_kwargs={"enable_thinking": False})
    assert args.chat_template_kwargs == {"enable_thinking": False}
    with pytest.raises(UserError, match="chat_template_kwargs: 'tokenize' cannot be set here"):
        args.chat_template_kwargs = {"tokenize": False}


@pytest.mark.parametrize("date", ["2026-11-26", "2026-11-26T14:30", "2026-11-26T14:30:05+09:00"])
def test_a_date_is_kept(date: str) -> None:
    assert config(f"model.chat_template_date={date}").model.chat_template_date == date


@pytest.mark.parametrize("date", ["today", "26.11.2026", "2026-13-01", "2026"])
def test_what_is_no_date_is_refused(date: str) -> None:
    with pytest.raises(ConfigError, match="is no date such as 2026-11-26 or 2026-11-26T14:30"):
        config(f"model.chat_template_date={date}")


@pytest.mark.parametrize(
    ("overrides", "training", "evaluation"),
    [
        ([], (), ()),
        (["training.stop=</s>"], ("</s>",), ("</s>",)),
        (["training.stop=[a, b]", "evaluation.stop=[]"], ("a", "b"), ()),
        (["evaluation.stop=[c]"], (), ("c",)),
    ],
)
def test_evaluation_stops_where_training_does_unless_it_says_otherwise(
    overrides: list[str], training: tuple[str, ...], evaluation: tuple[str, ...]
) -> None:
    made = config(*overrides)
    assert made.training.sampling_params(0).stop == training
    assert made.eval_sampling_params.stop == evaluation


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.stop: a stop string must not be empty"):
        config(("training.stop", ["a", ""]))
