"""`groupwise check`: prompts and rewards on one's own data, before anything is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import RunCli, assert_golden

pytestmark = pytest.mark.stack

OPENING = (
    "{%- for m in messages -%}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    rows = [
        {"question": f"Tom has {i} apples and buys {i} more. How many are there?", "answer": 2 * i}
        for i in range(1, 41)
    ]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "opening.jinja").write_text(OPENING)
    return {
        "model": {"name": "toy", "max_seq_length": 512},
        "data": {
            "train": "problems.jsonl",
            "eval": "problems.jsonl",
            "max_prompt_length": 256,
            "system_prompt": "Think in <think>, answer in <answer>.",
        },
        "rewards": {"parts": {"correctness": 1.0, "format": 0.25, "language": 0.1}},
        "training": {"max_completion_length": 128, "prompts_per_step": 4, "num_generations": 4},
    }


def save(config: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_what_is_well_is_shown(config: dict[str, Any], tmp_path: Path, cli: RunCli) -> None:
    ended = cli("check", save(config, tmp_path))
    assert ended.code == 0, ended.out + ended.err
    assert_shown("check.txt", ended.out)


def assert_shown(golden: str, out: str) -> None:
    """The page is that of the golden file, whatever the speed and the memory of this machine."""
    time = next(line for line in out.splitlines() if line.startswith("rewards of a step"))
    shown = re.sub(r"needs up to .+", "needs up to SOME of what there is", out)
    assert_golden(golden, shown, [(time, "rewards of a step: about SOME ms")])


def test_what_is_broken_is_shown(config: dict[str, Any], tmp_path: Path, cli: RunCli) -> None:
    with (tmp_path / "problems.jsonl").open("a") as rows:
        rows.write(json.dumps({"question": "Broken?", "answer": "so \\boxed{"}) + "\n")
        rows.write(json.dumps({"question": "Hostile\x1b[2J?", "answer": "\u202e####"}) + "\n")
    config["model"]["chat_template"] = "opening.jinja"
    config["rewards"]["parts"] |= {
        "format": {"weight": 0.25, "params": {"think_opened": False}},
        "soft_overlong": {"params": {"max_length": 4096, "buffer": 64}},
        "think": {"use": "trl.rewards:think_format_reward"},
    }
    ended = cli("check", save(config, tmp_path))
    assert ended.code == 2
    assert_shown("check_broken.txt", ended.out)
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out


def with_answers(tmp_path: Path, answers: list[Any]) -> None:
    """Appends rows with these answers to the problems, which are on lines 1 to 40."""
    with (tmp_path / "problems.jsonl").open("a") as rows:
        for number, answer in enumerate(answers, start=1):
            rows.write(json.dumps({"question": f"Extra {number}?", "answer": answer}) + "\n")


MISSING = ["N/A", "NaN", "proof.", "N/A", "-", "None", r"\text{N/A}", "We stop.\n#### null"]


def test_references_that_say_there_is_no_answer(
    config: dict[str, Any], tmp_path: Path, cli: RunCli
) -> None:
    with_answers(tmp_path, ["undefined", "no solution", *MISSING])
    ended = cli("check", save(config, tmp_path))
    assert ended.code == 2
    assert_shown("check_missing.txt", ended.out)

    found = cli("check", save(config, tmp_path), "--json", "--quiet").json
    missing = found["references"]["missing"]
    assert [item["where"] for item in missing] == [f"line {n}" for n in range(43, 51)]
    assert [item["spelling"] for item in missing] == [*MISSING[:-1], "null"]
    failures = {f["id"]: f["what"] for f in found["rewards"]["correctness"]["failures"]}
    assert [item["id"] for item in missing] == list(failures)


def test_missing_references_of_a_csv_are_named_by_row(
    config: dict[str, Any], tmp_path: Path, cli: RunCli
) -> None:
    """As a table has them: `nan` and `None` are text there, and are found as text."""
    rows = [f"Is {i} even or odd?,{'odd' if i % 2 else 'even'}" for i in range(12)]
    rows[3], rows[7] = "Is it?,nan", "Was it?,None"
    (tmp_path / "problems.csv").write_text("\n".join(["question,answer", *rows]) + "\n")
    config["data"] |= {"train": "problems.csv", "eval": "problems.csv"}
    ended = cli("check", save(config, tmp_path))
    assert ended.code == 2
    assert (
        "2 of 12 references say that there is no answer: 'nan' (1), 'None' (1), in row 5, row 9; "
        "nothing can be graded against them" in ended.out
    )


def test_references_of_the_evaluation_are_named_too(
    config: dict[str, Any], tmp_path: Path, cli: RunCli
) -> None:
    rows = [{"question": "6*7?", "answer": "42"}, {"question": "1/0?", "answer": "#DIV/0!"}]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config["data"]["eval"] = "held_out.jsonl"
    ended = cli("check", save(config, tmp_path))
    assert ended.code == 2
    assert (
        "PROBLEM: evaluation: 1 of 2 references says that there is no answer: '#DIV/0!' (1), in "
        "line 2; nothing can be graded against them" in ended.out
    )
    config["evaluation"] = {"before": False, "after": False}
    assert cli("check", save(config, tmp_path)).code == 0


def test_decimal_commas_are_found_and_the_setting_reaches_the_grader(
    config: dict[str, Any], tmp_path: Path, cli: RunCli
) -> None:
    table = [f"Was kosten {n} Karten?;{n * 1250},50" for n in range(1, 30)]
    (tmp_path / "preise.csv").write_text("\n".join(["question;answer", *table]) + "\n")
    config["data"] |= {"train": "preise.csv", "eval": None}
    key = "rewards.parts.correctness.params.decimal_comma"
    ended = cli("check", save(config, tmp_path))
    assert ended.code == 2
    assert f"set {key}: european" in ended.out
    ended = cli("check", save(config, tmp_path), "--set", f"{key}=european")
    assert ended.code == 0, ended.out


@pytest.mark.parametrize("value", [None, float("nan"), "", "  "], ids=repr)
def test_an_answer_that_is_not_there_is_refused_by_line(
    value: Any, config: dict[str, Any], tmp_path: Path, cli: RunCli
) -> None:
    with_answers(tmp_path, [value])
    ended = cli("check", save(config, tmp_path))
    assert ended.code == 2
    assert "1 of 41 rows has no text in 'answer' (line 41); fix or remove them" in ended.err


def test_false_and_zero_are_answers(config: dict[str, Any], tmp_path: Path, cli: RunCli) -> None:
    with_answers(tmp_path, [0, False, 0.0])
    assert (
        cli("check", save(config, tmp_path), "--json", "--quiet").json["references"]["missing"]
        == []
    )


def test_missing_references_are_a_note_where_nothing_is_graded(
    config: dict[str, Any], tmp_path: Path, cli: RunCli
) -> None:
    with_answers(tmp_path, ["N/A"])
    config["rewards"]["parts"] = {"format": 1.0}
    ended = cli("check", save(config, tmp_path))
    assert ended.code == 0, ended.out
    assert (
        "note: 1 of 41 references says that there is no answer: 'N/A' (1), in line 41" in ended.out
    )


def test_options_that_the_prompt_does_not_show_are_a_notice(
    config: dict[str, Any], tmp_path: Path, cli: RunCli
) -> None:
    options = ["Oslo", "Lima", "Cairo", "Quito"]
    rows = [
        {
            "question": f"Which city is meant in text {i}?" + (" " + "; ".join(options)) * (i < 5),
            "choices": options,
            "answer": i % 4,
        }
        for i in range(12)
    ]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = cli("check", save(config, tmp_path))
    assert ended.code == 0, ended.out
    assert "note: 7 of 12 prompts ask for the letter of an option, but show none" in ended.out
    assert "reference: A" in ended.out


def test_json(config: dict[str, Any], tmp_path: Path, cli: RunCli) -> None:
    ended = cli("check", save(config, tmp_path), "--json", "--quiet")
    found = ended.json
    assert found["ok"]
    assert ended.err == ""
    assert found["rewards"]["correctness"]["means"]["reference"] == 1.0
    assert found["prompts"]["count"] == 40
    assert found["step"]["completions"] == 16
    assert 0 < found["step"]["reward_seconds"] < 5


def test_a_format_that_nobody_asks_for_is_a_notice(
    config: dict[str, Any], tmp_path: Path, cli: RunCli
) -> None:
    config["data"]["system_prompt"] = None
    config["training"]["max_completion_length"] = 16
    ended = cli("check", save(config, tmp_path))
    assert ended.code == 0
    assert "reward 'format' wants <answer>, but the prompt does not mention it" in ended.out
    assert "40 of 40 reference answers" in ended.out


def test_the_preset_works_as_it_stands(cli: RunCli) -> None:
    assert cli("check", "quickstart").code == 0
