"""`groupwise check`: prompts and rewards on one's own data, before anything is loaded."""

from __future__ import annotations

import json
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
    time = next(line for line in ended.out.splitlines() if line.startswith("rewards of a step"))
    assert_golden("check.txt", ended.out, [(time, "rewards of a step: about SOME ms")])


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
    time = next(line for line in ended.out.splitlines() if line.startswith("rewards of a step"))
    assert_golden("check_broken.txt", ended.out, [(time, "rewards of a step: about SOME ms")])
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out


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
