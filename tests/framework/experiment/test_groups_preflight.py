"""`check` of scored groups: sizes, scores, lengths, and whether prompts are in the template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCli, Toy, write_yaml

from groupwise.framework.data.scored_groups import ScoredGroup, as_chat

pytestmark = pytest.mark.stack

RIGHT, WRONG = {"text": "<answer>3</answer>", "score": 1.0}, {"text": "7", "score": 0.0}
RAW = "1+2=?"
RENDERED = "<|im_start|>user\n1+2=?<|im_end|>\n<|im_start|>assistant\n"
MESSAGES = [{"role": "user", "content": RAW}]


def group(*completions: dict[str, Any], prompt: Any = RENDERED) -> dict[str, Any]:
    return {"prompt": prompt, "completions": list(completions or (RIGHT, WRONG))}


def checked(
    cli: RunCli, toy: Toy, folder: Path, rows: list[dict[str, Any]], *options: str, **keys: Any
) -> Any:
    (folder / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = toy.settings()
    settings["data"] |= {"train": "groups.jsonl"}
    training = {"method": "group_scores", "max_steps": 1, "prompts_per_step": 2}
    settings["training"] = {**training, "max_completion_length": 24, **keys}
    config = write_yaml(folder / "c.yaml", settings)
    return cli(*(options or ("check",)), config, "--json")


# groups, and what is said of them: a notice or a problem begins or goes on so
SAID: dict[str, tuple[list[dict[str, Any]], str]] = {
    "plain texts": (
        [group(prompt=RAW), group()],
        "1 of 2 prompts are plain texts, as '1+2=?': the model is trained on them as they are",
    ),
    "some say nothing": (
        [group(), group(RIGHT, RIGHT | {"text": "three"})],
        "the scores of 1 of 2 groups are all equal: they rank nothing",
    ),
    "one text twice": ([group(RIGHT, RIGHT, WRONG)], "1 completions repeat the text of another"),
    "two scores of one text": (
        [group(RIGHT, RIGHT | {"score": 0.5})],
        "in 1 groups one and the same text has different scores",
    ),
    "one prompt twice": ([group(), group()], "1 groups have the prompt of another group"),
    "an end already": (
        [group(RIGHT | {"text": "3<|im_end|>"}, WRONG)],
        "1 completions end with <|im_end|> already and get a second one",
    ),
    "too long": (
        [group(RIGHT, WRONG, {"text": "12 " * 60, "score": 0.2})],
        "1 completions are left out: longer than model.max_seq_length 96",
    ),
    "longer than an evaluation allows": (
        [group(RIGHT, {"text": "1 + 2 is " * 4, "score": 0.2})],
        "1 of 2 completions have more than training.max_completion_length 24 tokens",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_worth_a_look_is_said(cli: RunCli, toy: Toy, tmp_path: Path, name: str) -> None:
    rows, said = SAID[name]
    ended = checked(cli, toy, tmp_path, rows)
    assert ended.code == 0, ended.err
    assert [notice for notice in ended.json["notices"] if notice.startswith(said)]


@pytest.mark.parametrize("prompt", [RENDERED, MESSAGES], ids=["rendered", "messages"])
@pytest.mark.parametrize("command", [("check",), ("train", "--dry-run")], ids=["check", "dry"])
def test_what_is_well(
    cli: RunCli, toy: Toy, tmp_path: Path, prompt: Any, command: tuple[str, ...]
) -> None:
    rows = [group(RIGHT, WRONG | {"finished": False}, WRONG | {"text": "8"}, prompt=prompt)]
    ended = checked(cli, toy, tmp_path, rows, *command)
    assert ended.code == 0, ended.err
    found = ended.json
    assert found.pop("adapter").startswith("LoRA of rank 8 on 14 layers (q_proj 2, ")
    assert 8 <= found.pop("longest_prompt") <= 48
    assert 4 <= found.pop("longest_completion") <= 24
    assert found == {
        **{"ok": True, "groups": 1, "completions": 3, "smallest_group": 3, "largest_group": 3},
        **{"lowest_score": 0.0, "highest_score": 1.0, "equal_scores": 0, "unfinished": 1},
        **{"left_out": 0, "end_of_text": "<|im_end|>", "first_prompt": RENDERED},
        **{"problems": [], "notices": []},
    }


def test_groups_that_say_nothing_are_a_problem(cli: RunCli, toy: Toy, tmp_path: Path) -> None:
    ended = checked(cli, toy, tmp_path, [group(RIGHT, RIGHT | {"text": "three"})] * 2)
    assert ended.code == 2
    assert ended.json["problems"] == [
        "the scores of each of the 2 groups are all equal: no answer is better than another, and "
        "there is nothing to learn"
    ]


def test_plain_texts_can_be_put_into_the_template(cli: RunCli, toy: Toy, tmp_path: Path) -> None:
    chat = {"prompt_format": "chat"}
    ended = checked(cli, toy, tmp_path, [group(prompt=RAW)], group_scores=chat)
    assert ended.code == 0, ended.err
    assert ended.json["first_prompt"] == RENDERED
    assert ended.json["notices"] == []


def test_a_text_becomes_the_users_message_after_the_system_prompt() -> None:
    system = {"role": "system", "content": "Be brief."}
    text, messages = ScoredGroup(RAW, ()), ScoredGroup(tuple(MESSAGES), ())  # type: ignore[arg-type]
    assert as_chat([text, messages], None) == [messages, messages]
    assert as_chat([text], "Be brief.")[0].prompt == (system, *MESSAGES)
