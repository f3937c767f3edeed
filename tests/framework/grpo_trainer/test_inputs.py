"""Rows and rewards from Python: read as a file and a config would be, or refused."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from groupwise.framework.grpo_trainer.inputs import (
    as_examples,
    as_rubric,
    refuse_ungradable,
)
from groupwise.rewards import Example, UserError, build_rubric


class Template:
    def apply_chat_template(self, turns: Any, **_: Any) -> str:
        return str(turns)


def examples(rows: Any, **more: Any) -> list[Example]:
    return as_examples(rows, Template(), **more)  # type: ignore[arg-type]


CAPITALS = ["Oslo", "Lima", "Rome", "Bern"]
POSITIONS = [
    ([1, 2, 3, 4], "ABCD"),  # from 1: "1" on its own would be read as B
    ([0, 1, 2, 3], "ABCD"),
    ([4, 4], "DD"),
    (["B", "Rome"], ["B", "Rome"]),
]


@pytest.mark.parametrize(("answers", "letters"), POSITIONS)
def test_positions_of_options_are_letters_as_in_a_file(answers: list[Any], letters: Any) -> None:
    rows = [{"prompt": f"{i}?", "choices": CAPITALS, "answer": a} for i, a in enumerate(answers)]
    made = examples(rows)
    assert [example.answer for example in made] == list(letters)
    assert [example.columns["answer"] for example in made] == answers  # for functions: as it was


def test_rows_without_answer_and_examples_stay_as_they_are() -> None:
    own = Example("own", "?", "1", metadata={"choices": CAPITALS})
    rows = [own, {"prompt": "a", "choices": CAPITALS}]
    rows += [{"prompt": "b", "choices": CAPITALS, "answer": 4}]
    assert [example.answer for example in examples(rows)] == ["1", "", "D"]


OTHER_TABLES = [
    ("train.jsonl", "is a str, where a list of rows or a Dataset is expected; read the file first"),
    ({"prompt": ["a"], "answer": ["b"]}, "is a dict, where a list of rows or a Dataset is"),
    ([{"prompt": "a", "id": 7}, {"prompt": "b", "id": "7"}], "the id '7' appears twice (row 0 and"),
    ([{"prompt": "a", "id": 1}, {"prompt": "b"}], "the id '1' appears twice (row 0 and row 1)"),
    ([{"answer": "b"}], "row 0 has none of `prompt`"),
    (
        [{"prompt": "a", "answer": [{"role": "bard", "content": "b"}]}],
        "row 0 has messages with a turn of the unknown role 'bard'",
    ),
]


@pytest.mark.parametrize(("rows", "message"), OTHER_TABLES)
@pytest.mark.parametrize("source", ["train_dataset", "eval_dataset"])
def test_what_is_refused(rows: Any, message: str, source: str) -> None:
    with pytest.raises(UserError) as caught:
        examples(rows, source=source)
    assert str(caught.value).startswith(f"{source}: {message}")


def test_a_data_frame_is_refused_with_the_way_to_its_rows() -> None:
    import pandas as pd  # slow: not at collection

    frame = pd.DataFrame({"prompt": ["a"], "answer": ["b"]})
    with pytest.raises(UserError, match=r"is a DataFrame, .* give \.to_dict\('records'\)"):
        examples(frame)
    assert examples(frame.to_dict("records"))[0].answer == "b"


UNGRADABLE = [
    ({}, "compares with the column `answer`, and no row has one; the columns are prompt"),
    ({"solution": "4"}, "no row has one; the columns are prompt, solution"),
    ({"answer": None}, "no row has one"),
    ({"answer": ["4", "5"]}, "row 0: `answer` is a list, ['4', '5']; the reward 'correctness'"),
    ({"answer": {"value": 4}}, "row 0: `answer` is a dict, {'value': 4}; "),
    ({"answer": float("nan")}, "row 0: `answer` is a float, nan; "),
]


@pytest.mark.parametrize(("answer", "message"), UNGRADABLE)
def test_correctness_needs_answers(answer: dict[str, Any], message: str) -> None:
    rows = examples([{"prompt": "2+2?", **answer}])
    with build_rubric({"correctness": 1.0}) as rubric, pytest.raises(UserError) as caught:
        refuse_ungradable(rows, rubric, "train_dataset")
    assert message in str(caught.value)
    refuse_ungradable(rows, as_rubric(scaled), "train_dataset")  # functions get the column itself


@pytest.mark.parametrize("answer", ["4", 4, ["4"], [{"role": "assistant", "content": "4"}]])
def test_answers_that_can_be_compared_with(answer: Any) -> None:
    with build_rubric({"correctness": 1.0}) as rubric:
        refuse_ungradable(examples([{"prompt": "2+2?", "answer": answer}]), rubric, "train_dataset")


def scaled(completions: list[str], scale: float) -> list[float]:
    return [scale for _ in completions]


def test_names_of_rewards_can_be_given() -> None:
    one, two = (functools.partial(scaled, scale=scale) for scale in (1.0, 2.0))
    with pytest.raises(UserError, match=r"two of them are called 'scaled'; give one .*__name__"):
        as_rubric([one, two])
    two.__name__ = "doubled"  # type: ignore[attr-defined]
    assert list(as_rubric([one, two]).rewards) == ["scaled", "doubled"]


@pytest.mark.parametrize("given", ["correctness", ["correctness"]])
def test_rewards_by_name_come_as_a_rubric(given: Any) -> None:
    with pytest.raises(UserError, match=r"not 'correctness'; .* build_rubric\("):
        as_rubric(given)
