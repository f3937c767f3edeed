"""The model card: what it says of data, of a warm start, and of numbers without an interval."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_check import pair

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.export.card import card
from groupwise.framework.export.check import Check
from groupwise.framework.export.precision import Precision
from groupwise.framework.export.source import source_of
from groupwise.framework.export.tuned import Tuned
from groupwise.framework.run.directory import create_run_dir


def card_of(
    folder: Path, low: float | None = 0.4, exported: int | None = None, **training: Any
) -> str:
    """The card of a run without weights, whose base and tuned models were measured on 200 problems,
    and its export on `exported` if it was.
    """
    for name in ("base", "runs/r/final_model"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("train.jsonl", "held.jsonl"):
        (folder / name).write_text('{"question": "1+1", "answer": "2", "solution": "2"}\n')
    values = {
        "name": "r",
        "output_dir": str(folder / "new"),
        "model": {"name": str(folder / "base")},
        "data": {"train": str(folder / "train.jsonl"), "eval": str(folder / "held.jsonl")},
        "training": training,
    }
    for name in ("config.json", "tokenizer.json"):
        (folder / "base" / name).write_text("{}")
    with create_run_dir(ExperimentConfig.from_dict(values)) as run:
        run.final_model.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"):
            (run.final_model / name).write_text("{}")
        for label, asked in {"base": 200, "tuned": 200, "tuned-merged": exported or 0}.items():
            made = run.evaluation(label)
            made.mkdir(parents=True)
            found = {"value": 0.5, "low": low, "high": low and 0.6}
            summary = {"pass_at_k": {"1": found}, "num_examples": asked, "num_samples": 8 * asked}
            (made / "summary.json").write_text(json.dumps(summary))
    tuned = Tuned(source_of(run.path), Precision(16, "float32"), None, None)
    compared: Any = SimpleNamespace(pairs=[pair(0, 0, 0)])
    check = Check(None, compared, ()) if exported else None
    return card(tuned, "peft", "print()", check)


WARM = {"enabled": True, "completion_field": "solution", "max_steps": 7, "learning_rate": 3e-3}
SAID: dict[str, tuple[dict[str, Any], list[str]]] = {
    "grpo": (
        {"max_steps": 9, "learning_rate": 2e-6},
        ["| before training |", "- GRPO: 9 steps, ", "- learning rate 2e-06; seed 42"],
    ),
    "a warm start": (
        {"max_steps": 9, "warm_start": WARM},
        ["| after the warm start |", "- warm start, supervised: 7 steps, learning rate 0.003\n"],
    ),
    "sft": (
        {"method": "sft", "warm_start": WARM},
        ["| before training |", "- 7 steps, learning rate 0.003; seed 42\n"],
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_how_it_was_made(name: str, tmp_path: Path) -> None:
    training, parts = SAID[name]
    text = card_of(tmp_path, **training)
    always = ["On held-out problems of held.jsonl,", "- data: train.jsonl\n", "50.0 [40.0, 60.0]"]
    for part in [*always, *parts]:
        assert part in text, part
    assert str(tmp_path) not in text


def test_a_single_problem_has_no_interval(tmp_path: Path) -> None:
    assert "| pass@1 | 50.0 | 50.0 |" in card_of(tmp_path, low=None)


def test_an_export_that_was_asked_fewer_problems(tmp_path: Path) -> None:
    assert "only some" not in card_of(tmp_path / "all", exported=200)
    text = card_of(tmp_path / "some", exported=20)
    assert "| problems × answers | 200 × 8 | 200 × 8 | 20 × 8 |" in text
    assert "asked only some of these problems. On those: pass@1: the export lost" in text
