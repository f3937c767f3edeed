"""Templates of prompts and completions: which braces are places for values, and what they get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_conversations import read, written

from groupwise.framework.config import DataConfig, WarmStartConfig
from groupwise.framework.data.demonstrations import load_demonstrations
from groupwise.framework.data.templates import with_question
from groupwise.rewards.errors import UserError

ROW: dict[str, Any] = {
    "question": "Who {context} is {0}?",
    "answer": "Ann",
    "context": "It was {question} and \\1 {answer}.",
    "extra": {"hint": "A name", "n": 3},
    "choices": ["Ann", "Bob"],
    "options": "['Oslo', 'Lima']",
    "interval": "[2, 3]",
    "numbers": [2, 3],
    "one": ["single"],
    "several": [1, {"a": 2}],
    "blank": "",
    "Full name": "Ann Lee",
    "x": "EX",
}

FILLED = {
    "{question}": "Who {context} is {0}?",
    "{context}\n{question}": "It was {question} and \\1 {answer}.\nWho {context} is {0}?",
    "{extra.hint} {extra.n} {question}": "A name 3 Who {context} is {0}?",
    "{one}, {choices.1}: {question}": "single, Bob: Who {context} is {0}?",
    "{question}\n{choices}": "Who {context} is {0}?\nA. Ann\nB. Bob",
    "{question} {interval} {numbers}": "Who {context} is {0}? [2, 3] [2, 3]",
    "{question}\n{options}": "Who {context} is {0}?\nA. Oslo\nB. Lima",
    "{question} {several}": 'Who {context} is {0}? [1, {"a": 2}]',
    "{question}[{blank}]": "Who {context} is {0}?[]",
    "{Full name}: {question}": "Ann Lee: Who {context} is {0}?",
    "{x}{x} {question}": "EXEX Who {context} is {0}?",
    "Put it into \\boxed{}. {question}": "Put it into \\boxed{}. Who {context} is {0}?",
    "\\boxed{answer} {question}": "\\boxed{answer} Who {context} is {0}?",
    "\\frac{x}{y}^{n}_{i} {question}": "\\frac{x}{y}^{n}_{i} Who {context} is {0}?",
    "\\text{question}": "\\textWho {context} is {0}?",
    "\\boxed{{x}} {question}": "\\boxed{EX} Who {context} is {0}?",
    '{"answer": 1} {question}': '{"answer": 1} Who {context} is {0}?',
    "{ answer } { } {} {1} {question}": "{ answer } { } {} {1} Who {context} is {0}?",
    "{some words} {question}": "{some words} Who {context} is {0}?",
}


@pytest.mark.parametrize("template", FILLED)
def test_prompts(template: str, tmp_path: Path) -> None:
    keys = {"question_field": "question", "prompt_template": template}
    (example,), _ = read(tmp_path, [ROW], **keys)
    assert example.messages[0]["content"] == FILLED[template]
    assert example.question == ROW["question"]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Solve {question} { end }", "Solve {x}? { end }"),
        ("{problem} \\boxed{}", "{x}? \\boxed{}"),
        ("{context}\n{question}", "{x}?"),
    ],
)
def test_a_question_without_a_row(template: str, text: str) -> None:
    assert with_question(template, "problem", "{x}?") == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{question} {contex}", "data.prompt_template has {contex}, and no row has such a field; "
         "did you mean {context}? The fields are question, answer, context, extra, choices, "),
        ("{question} {hint}", "did you mean {extra.hint}?"),
        ("{question} {zzz}", "the fields are question, "),
        ("{question} {zzz}", "braces that are to stay need a space inside: { zzz }"),
        ("{question} {answer}", "data.prompt_template: {answer} is data.answer_field, and"),
    ],
)  # fmt: skip
def test_placeholders_that_are_refused(template: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, [ROW], question_field="question", prompt_template=template)
    assert message in str(caught.value)


def test_a_column_that_holds_the_answer_is_refused(tmp_path: Path) -> None:
    row = {"question": "Who?", "reward_model": {"style": "rule", "ground_truth": "Ann"}}
    keys = {"question_field": "question", "answer_field": "reward_model.ground_truth"}
    with pytest.raises(UserError, match=r"\{reward_model\} holds data\.answer_field reward_model"):
        read(tmp_path, [row], prompt_template="{question} {reward_model}", **keys)
    read(tmp_path, [row], prompt_template="{question} {reward_model.style}", **keys)
    right_first = {"question": "Who?", "choices": ["Ann", "Bob"]}  # options are shown all the same
    keys["answer_field"] = "choices.0"
    read(tmp_path, [right_first], prompt_template="{question} {choices}", **keys)


def test_rows_without_a_value_are_named(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "context": None}, {k: v for k, v in ROW.items() if k != "context"}]
    with pytest.raises(UserError) as caught:
        read(tmp_path, rows, question_field="question", prompt_template="{context} {question}")
    assert str(caught.value) == (
        f"{tmp_path}/rows.jsonl: 2 of 3 rows have null in 'context' (line 2, line 3); "
        "data.prompt_template asks for it: fix or remove them"
    )


def test_problems_that_differ_in_a_column_are_different(tmp_path: Path) -> None:
    rows = [{"instruction": "Add.", "input": f"{n}+1", "output": n + 1} for n in (1, 2, 3)]
    keys = {
        "question_field": "instruction",
        "answer_field": "output",
        "prompt_template": "{instruction}\n{input}",
    }
    ids = [[e.id for e in read(tmp_path, part, **keys)[0]] for part in (rows, rows[::-1])]
    assert ids[0] == ids[1][::-1]
    assert not any("-" in example_id for example_id in ids[0])
    assert len(set(ids[0])) == 3
    keys["prompt_template"] = "{input}: {instruction}"
    assert [e.id for e in read(tmp_path, rows, **keys)[0]] == ids[0], "whatever its wording"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{solution}|{answer}", "It is {answer}.|Ann"),
        ("{question} {solution}", "Who {context} is {0}? It is {answer}."),
        ("{solution} \\boxed{{answer}}", "It is {answer}. \\boxed{Ann}"),
        ("{solution} {extra.n} { end } {}", "It is {answer}. 3 { end } {}"),
    ],
)
def test_completions(template: str, text: str, tmp_path: Path) -> None:
    source = written(tmp_path, [{**ROW, "solved": "It is {answer}."}])
    data = DataConfig(train=source, eval=source)
    warm = WarmStartConfig(enabled=True, completion_field="solved", completion_template=template)
    assert [made for _, made in load_demonstrations(data, warm)] == [text]


def test_a_completions_placeholder_that_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path, [{**ROW, "solved": "It is Ann."}])
    data = DataConfig(train=source, eval=source)
    warm = WarmStartConfig(
        enabled=True, completion_field="solved", completion_template="{solution} {anwser}"
    )
    with pytest.raises(UserError, match=r"completion_template has \{anwser\}.* mean \{answer\}"):
        load_demonstrations(data, warm)
