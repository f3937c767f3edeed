"""`groupwise train-reward`: preferences read, learned, saved, and used as a reward."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCli, Toy

from groupwise.framework.data.preferences import MAX_PAIRS, Pair, load_pairs, paired, split_pairs
from groupwise.rewards import Completion, Example, UserError, build_rubric


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q"}]
BETTER, WORSE = ([{"role": "assistant", "content": text}] for text in ("good", "bad"))

FORMS: list[tuple[list[dict[str, Any]], list[Pair]]] = [
    ([{"question": "Q", "chosen": "good", "rejected": "bad"}], [Pair("Q", "good", "bad")]),
    ([{"prompt": "Q", "chosen": "good", "rejected": "bad"}], [Pair("Q", "good", "bad")]),
    ([{"prompt": ASKED, "chosen": BETTER, "rejected": WORSE}], [Pair("Q", "good", "bad")]),
    ([{"chosen": ASKED + BETTER, "rejected": ASKED + WORSE}], [Pair("Q", "good", "bad")]),
    (
        [
            {
                "prompt": "Q",
                "completions": [{"text": "bad", "score": 0}, {"text": "good", "score": 1}],
            }
        ],
        [Pair("Q", "good", "bad")],
    ),
    (
        [
            {"question": "Q", "completion": "bad", "score": 0.1},
            {"question": "R", "completion": "x", "score": 0.1},
            {"question": "Q", "completion": "good", "score": 0.7},
            {"question": "Q", "completion": "fair", "score": 0.5},
        ],
        [Pair("Q", "good", "bad"), Pair("Q", "fair", "bad"), Pair("Q", "good", "fair")],
    ),
]


@pytest.mark.parametrize(("rows", "pairs"), FORMS)
def test_forms_of_preferences(
    rows: list[dict[str, Any]], pairs: list[Pair], tmp_path: Path
) -> None:
    assert load_pairs(write(tmp_path / "data.jsonl", rows)) == pairs


def test_preferences_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("question;completion;score\nQ;bad;0.1\nQ;good;1\n;;\n")
    said: list[str] = []
    assert load_pairs(str(path), said.append) == [Pair("Q", "good", "bad")]
    assert said == [f"{path}: 1 blank row (row 4) is left out"]


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"question": "Q", "chosen": "same", "rejected": "same"}, "line 1: 'chosen' and 'rejected'"),
    ({"question": "Q", "chosen": "good", "rejected": None}, "line 1 has no text in 'rejected'"),
    ({"chosen": "good", "rejected": "bad"}, "line 1 has no text in 'question'"),
    ({"question": "Q", "answer": "A"}, "line 1 has no preference"),
    ({"question": "Q", "completion": "A", "score": "high"}, "(found 'high')"),
    ({"question": "Q", "completion": "A", "score": float("nan")}, "score is nan"),
    ({"question": "Q", "completions": ["A"]}, "a completion is not an object"),
    ({"question": "Q", "completion": "A", "score": 1}, "no preference in it"),
    ({"example_id": "1", "prompt": "P", "completion": "A", "score": 1}, "a log holds prompts"),
    ({"text": "A", "score": 1}, "line 1 has neither 'question' nor 'prompt'"),
]


@pytest.mark.parametrize(("row", "message"), BROKEN)
def test_rows_without_a_preference_are_refused(
    row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        load_pairs(write(tmp_path / "data.jsonl", [row]))
    assert message in str(error.value)


def test_many_scored_answers_give_their_widest_differences() -> None:
    found = paired([(i / 10, f"answer {i}") for i in range(10)])
    assert len(found) == MAX_PAIRS
    assert found[0] == ("answer 9", "answer 0")
    assert paired([(1.0, "a"), (1.0, "b")]) == []


def test_no_question_stands_on_both_sides() -> None:
    pairs = [Pair(f"Q{i % 20}", f"good {i}", "bad") for i in range(100)]
    train, held_out = split_pairs(pairs, 0.2)
    assert len(train) == 80
    assert {p.question for p in train}.isdisjoint(p.question for p in held_out)
    with pytest.raises(UserError, match="one question"):
        split_pairs(pairs[:1], 0.2)


def even_is_better(path: Path, count: int = 160) -> str:
    """Answers of which the even one is preferred, whatever the question."""
    rng = random.Random(0)
    rows = [
        {
            "question": f"{rng.randrange(40)}+{rng.randrange(40)}=?",
            "chosen": f"<answer>{rng.randrange(0, 80, 2)}</answer>",
            "rejected": f"<answer>{rng.randrange(1, 80, 2)}</answer>",
        }
        for _ in range(count)
    ]
    return write(path, rows)


@pytest.mark.stack
@pytest.mark.parametrize("lora", [[], ["--lora-r", "8"]], ids=["all weights", "LoRA"])
def test_a_preference_is_learned_and_becomes_a_reward(
    lora: list[str], toy: Toy, tmp_path: Path, cli: RunCli
) -> None:
    data = even_is_better(tmp_path / "even.jsonl", 300)
    ended = cli(
        *("train-reward", data, "--model", toy.model, "--output", tmp_path / "judge"),
        *("--epochs", "4", "--lr", "2e-3", "--batch-size", "16", "--eval-fraction", "0.2"),
        *("--json", "--quiet", *lora),
    )
    assert ended.code == 0, ended.err
    assert ended.json["accuracy_before"] < 0.75
    assert ended.json["accuracy_after"] > 0.9
    assert not (tmp_path / "judge" / "adapter_config.json").exists()
    judge = {"weight": 0.5, "params": {"model": str(tmp_path / "judge"), "squash": "sigmoid"}}
    example = Example("1", "3+4=?", "7")
    texts = [f"<answer>{number}</answer>" for number in (20, 31, 42, 53)]
    with build_rubric({"correctness": 1.0, "reward_model": judge}) as rubric:
        scores = rubric.score_batch([example] * 4, [Completion(text, 3) for text in texts])
    values = [score.parts["reward_model"] for score in scores]
    assert min(values[0], values[2]) > max(values[1], values[3])
    assert scores[0].total == pytest.approx(0.5 * values[0])


REFUSED = [
    (["--epochs", "0"], "--epochs: 0.0 must be above 0"),
    (["--eval-fraction", "1"], "--eval-fraction: 1.0 must be between 0 and 1"),
    (["--batch-size", "0"], "--batch-size: 0 must be at least 1"),
    (["--lr", "5"], "--lr: 5.0 must be between 0 and 1"),
    (["--output", "full"], "--output full: exists and is not empty"),
    (["--model", "./nowhere"], "no such folder: ./nowhere"),
    (["--model", "adapter"], "--model adapter: is a LoRA adapter"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_trained_is_said(
    arguments: list[str], message: str, tmp_path: Path, cli: RunCli
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    data = even_is_better(tmp_path / "even.jsonl", 4)
    options = {"--model": "./nowhere", "--output": "new"} | dict([arguments])
    ended = cli("train-reward", data, *(part for pair in options.items() for part in pair))
    assert ended.code == 2
    assert message in ended.err
