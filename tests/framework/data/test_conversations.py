"""Chat messages and nested fields in data: what is read, and what is refused with which words."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from groupwise.framework.config import DataConfig, WarmStartConfig
from groupwise.framework.data.conversations import NoConversationError, conversation
from groupwise.framework.data.demonstrations import load_demonstrations
from groupwise.framework.data.examples import check_categories, load_examples, overlap
from groupwise.framework.data.fields import MISSING, field_of, text_of
from groupwise.framework.data.rows import answer_of, read_examples
from groupwise.framework.grpo_trainer.inputs import as_examples
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example

USER = {"role": "user", "content": "2+2?"}
SYSTEM = {"role": "system", "content": "Be brief."}
SAYS_4 = {"role": "assistant", "content": "It is 4."}
GETS_4 = {"role": "tool", "content": "4"}
BEFORE = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]


def written(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(
    folder: Path, rows: list[dict[str, Any]], **keys: Any
) -> tuple[tuple[Example, ...], list[str]]:
    notices: list[str] = []
    source = written(folder, rows)
    data = DataConfig(train=source, eval=source, **{"question_field": "prompt", **keys})
    items = read_examples(data, source, "train", notices.append)
    return tuple(item.example for item in items), notices


# The value, and what is asked of it: the messages, the question, the solution.
READ: dict[str, tuple[Any, list[Any], str | None]] = {
    "one turn": ([USER], [USER], None),
    "a system message": ([SYSTEM, USER], [SYSTEM, USER], None),
    "several turns": ([*BEFORE, USER], [*BEFORE, USER], None),
    "an answer at the end": ([USER, SAYS_4], [USER], "It is 4."),
    "both": ([SYSTEM, *BEFORE, USER, SAYS_4], [SYSTEM, *BEFORE, USER], "It is 4."),
    "one message": (USER, [USER], None),
    "as JSON": (json.dumps([SYSTEM, USER]), [SYSTEM, USER], None),
    "as pandas writes it": (str([SYSTEM, USER]), [SYSTEM, USER], None),
    "parts of text": (
        [{"role": "user", "content": [{"type": "text", "text": t} for t in ("2+", "2?")]}],
        [USER],
        None,
    ),
    "ShareGPT": (
        [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "It is 4."}],
        [USER],
        "It is 4.",
    ),
    "keys that are null": ([{**USER, "name": None, "tool_calls": None}], [USER], None),
    "further keys": ([{**USER, "name": "Ann"}], [{**USER, "name": "Ann"}], None),
    "tools": (
        [USER, {"role": "assistant", "content": None, "tool_calls": [1]}, GETS_4],
        [USER, {"role": "assistant", "content": "", "tool_calls": [1]}, GETS_4],
        None,
    ),
    "roles in capitals": ([{"role": "User", "content": "2+2?"}], [USER], None),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_what_is_read(case: str) -> None:
    value, messages, solution = READ[case]
    found = conversation(value)
    assert found is not None
    assert list(found.messages) == messages
    assert (found.question, found.solution) == ("2+2?", solution)


@pytest.mark.parametrize(
    "value",
    [
        "2+2?",
        "[1, 2]",
        r"['\d', 1()]",
        '{"role": 3}',
        [],
        {},
        [1],
        ["a"],
        {"text": "x"},
        None,
        4,
        '{"from": "A"}',
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_conversation(value: Any) -> None:
    assert conversation(value) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"role": "teacher", "content": "x"}], "a turn of the unknown role 'teacher'"),
        ([{"from": "narrator", "value": "x"}], "the unknown role 'narrator' (known: system, "),
        ([SYSTEM], "messages without a user's turn"),
        ([SAYS_4], "messages without a user's turn"),
        ([USER, SYSTEM], "messages that end with a turn of role 'system'"),
        ([USER, SAYS_4, SAYS_4], "messages that end with a turn of role 'assistant'"),
        ([{"role": "user", "content": " "}], "messages whose last user's turn is empty"),
        ([{"role": "user", "content": None}], "turn 1 has nothing in place of text"),
        ([{"role": "user", "content": 4}], "turn 1 has a value of type int in place of text"),
        (
            [{"role": "user", "content": [{"type": "image", "image": "x.png"}]}],
            "turn 1 has a part of type 'image', where only text can be read",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(NoConversationError) as caught:
        conversation(value)
    assert message in str(caught.value)
    with pytest.raises(UserError, match=r"rows.jsonl: 1 of 2 rows has messages .*\(line 2\)"):
        read(tmp_path, [{"prompt": [USER], "answer": 4}, {"prompt": value, "answer": 4}])
    with pytest.raises(UserError, match=r"train_dataset: row 0 has messages .* in `prompt`"):
        as_examples([{"prompt": value, "answer": 4}], None)  # type: ignore[arg-type]


def test_conversations_become_prompts_and_differ(tmp_path: Path) -> None:
    prompts = [[USER], [SYSTEM, USER], [*BEFORE, USER], "2+2?"]
    found, notices = read(tmp_path, [{"prompt": value, "answer": 4} for value in prompts])
    assert [list(e.messages) for e in found] == [*prompts[:3], [USER]]
    assert {example.question for example in found} == {"2+2?"}
    ids = [example.id for example in found]
    assert ids[3] == f"{ids[0]}-2", "a single turn is the same problem as its text"
    assert len(set(ids)) == 4
    assert not notices


def test_a_conversation_is_never_on_both_sides(tmp_path: Path) -> None:
    chats = [[{"role": "system", "content": f"Add {n}."}, USER] for n in range(20)]
    source = written(tmp_path, [{"prompt": chat, "answer": 4} for chat in [*chats, *chats]])
    data = DataConfig(train=source, question_field="prompt", eval_fraction=0.25)
    train, held_out = (load_examples(data, split) for split in ("train", "eval"))
    assert (len(train), len(held_out)) == (30, 10)
    assert not {str(e.messages) for e in train} & {str(e.messages) for e in held_out}
    assert overlap(train, held_out) == [e.id for e in held_out], "but for the instructions the same"


def test_the_systems_message_of_a_row_stays(tmp_path: Path) -> None:
    rows = [{"prompt": [SYSTEM, USER], "answer": 4}, {"prompt": "3+3?", "answer": 6}]
    found, notices = read(tmp_path, rows, system_prompt="Think.")
    assert [e.messages[0]["content"] for e in found] == ["Be brief.", "Think."]
    assert notices == [
        f"{tmp_path}/rows.jsonl: 1 of 2 prompts begin with a system message of their own, which "
        "stays; data.system_prompt is put before the others only"
    ]


def test_the_template_is_for_the_last_users_turn(tmp_path: Path) -> None:
    rows = [{"prompt": [SYSTEM, *BEFORE, USER], "answer": 4}]
    (example,), _ = read(tmp_path, rows, prompt_template="Solve {question} now")
    assert list(example.messages) == [
        SYSTEM,
        *BEFORE,
        {"role": "user", "content": "Solve 2+2? now"},
    ]


@pytest.mark.parametrize(("field", "says"), [("messages", 0), ("prompt", 1), ("chat.messages", 0)])
def test_the_last_turn_is_the_solution(tmp_path: Path, field: str, says: int) -> None:
    value = [SYSTEM, USER, SAYS_4]
    row = {"chat": {"messages": value}} if "." in field else {field: value}
    keys = {"question_field": field, "answer_field": field}
    (example,), notices = read(tmp_path, [row], **keys)
    assert list(example.messages) == [SYSTEM, USER]
    assert example.answer == "It is 4."
    assert len(notices) == says
    source = str(tmp_path / "rows.jsonl")
    warm = WarmStartConfig(
        enabled=True, completion_field=field, completion_template="{solution} ({answer})"
    )
    data = DataConfig(train=source, eval=source, **keys)
    assert [text for _, text in load_demonstrations(data, warm)] == ["It is 4. (It is 4.)"]


VERL = {
    "data_source": "made",
    "prompt": [USER],
    "reward_model": {"style": "rule", "ground_truth": ["4"]},
    "extra_info": {"index": 7, "split": "train", "tries": [{"n": 1}, {"n": 2}]},
    "a.b": "literal",
    "a": {"b": "nested", "c.d": "both"},
    "text": '{"inner": [1, 2]}',
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reward_model.ground_truth", ["4"]),
        ("reward_model.ground_truth.0", "4"),
        ("extra_info.index", 7),
        ("extra_info.tries.-1.n", 2),
        ("prompt.0.content", "2+2?"),
        ("a.b", "literal"),
        ("a.c.d", "both"),
        ("text.inner.1", 2),
        ("text", '{"inner": [1, 2]}'),
        ("reward_model.truth", MISSING),
        ("extra_info.tries.2.n", MISSING),
        ("data_source.x", MISSING),
        ("nothing", MISSING),
    ],
)
def test_nested_fields(name: str, value: Any) -> None:
    assert field_of(VERL, name) == value


def test_a_data_set_of_verl(tmp_path: Path) -> None:
    (example,), _ = read(
        tmp_path,
        [VERL],
        answer_field="reward_model.ground_truth",
        id_field="extra_info.index",
        metadata_fields=["data_source", "extra_info.split"],
    )
    assert (example.id, example.answer, example.messages) == ("7", "4", (USER,))
    assert example.metadata == {"data_source": "made", "extra_info.split": "train"}


def test_categories_may_be_nested(tmp_path: Path) -> None:
    found, _ = read(tmp_path, [VERL], answer_field="a.b")
    check_categories(("data_source", "extra_info.split"), found)
    with pytest.raises(
        UserError, match=r"no problem has a field 'extra.split'; did you mean 'extra_"
    ):
        check_categories(("extra.split",), found)
    check_categories(("anything",), ())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"answer_field": "reward_model"}, "a dict instead of text in 'reward_model' (line 1); fix "
         "or remove them, or set data.answer_field to what is in it: reward_model.style, "
         "reward_model.ground_truth"),
        ({}, "no row has a field 'answer'; did you mean 'reward_model.ground_truth'? The fields"),
        ({"answer_field": "ground_truth"}, "did you mean 'reward_model.ground_truth'?"),
        ({"answer_field": "a.b", "metadata_fields": ["extra_info.indx"]}, "no row has "
         "data.metadata_fields 'extra_info.indx'; did you mean 'extra_info.index'?"),
        ({"answer_field": "extra_info.tries"}, "a list instead of text in 'extra_info.tries'"),
    ],
)  # fmt: skip
def test_names_that_are_wrong(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, [VERL], **keys)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4, "4"), (2.5, "2.5"), (True, "True"), (" x ", "x"), (Decimal("2.50"), "2.50"),
        (Decimal("1E+3"), "1000"), (Fraction(1, 2), "1/2"), (dt.date(2024, 3, 5), "2024-03-05"),
        (dt.datetime(2024, 3, 5), "2024-03-05"), (dt.time(12, 30), "12:30:00"),
        (dt.datetime(2024, 3, 5, 12, 30), "2024-03-05 12:30:00"),
        (np.int64(4), "4"), (np.float32(0.5), "0.5"), (np.str_("x"), "x"), (np.array(4), "4"),
        (pd.Timestamp("2024-03-05"), "2024-03-05"),
        (None, None), (float("nan"), None), (Decimal("NaN"), None), (pd.NaT, None), (pd.NA, None),
        ("", None), ([4], None), ({}, None), (b"x", None), (np.array([4]), None),
    ],
)  # fmt: skip
def test_values_as_text(value: Any, text: str | None) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["4"], "4"), ([[4.5]], "4.5"), (np.array(["4"]), "4"), ((Decimal("2.50"),), "2.50"),
        ([SAYS_4], "It is 4."), ([USER, SAYS_4], "It is 4."), (SAYS_4, "It is 4."), ("[4]", "[4]"),
        (json.dumps([SAYS_4]), "It is 4."), ('{"a": 1}', '{"a": 1}'), ("{1, 2}", "{1, 2}"),
        ([], None), (["4", "5"], None), ({"x": 1}, None), ([USER], None), ([None], None),
    ],
)  # fmt: skip
def test_answers_as_text(value: Any, text: str | None) -> None:
    assert answer_of(value) == text


class Template:
    """Stands for a tokenizer: what a chat template does with messages is all that matters."""

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return " | ".join(f"{m['role']}: {m['content']}" for m in messages)


def test_rows_from_python() -> None:
    rows = [
        {"prompt": [SYSTEM, *BEFORE, USER], "answer": ["4"], "level": np.int64(3)},
        {"messages": [USER, SAYS_4]},
        {"question": "2+2?", "answer": Decimal("4.0"), "id": 7},
        {"prompt": "2+2?", "answer": None},
        {"prompt": "2+2?", "answer": ["4", "four"]},
    ]
    made = as_examples(rows, Template())  # type: ignore[arg-type]
    assert made[0].prompt == "system: Be brief. | user: 1+1? | assistant: 2 | user: 2+2?"
    assert [e.answer for e in made] == ["4", "It is 4.", "4.0", "", "['4', 'four']"]
    assert {e.question for e in made} == {"2+2?"}
    assert [e.id for e in made] == ["0", "1", "7", "3", "4"]
    assert made[0].metadata == {"level": 3}
    assert made[4].columns["answer"] == ["4", "four"]
    with pytest.raises(UserError, match="`prompt` ends with an assistant's turn"):
        as_examples([{"prompt": [USER, SAYS_4]}], Template())  # type: ignore[arg-type]
