"""Pass@K during training: a fixed subset, the best model kept and loadable, an early stop."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import lines

pytestmark = pytest.mark.stack


def test_evaluates_keeps_the_best_and_stops_early(toy: Any, cli: Any, tmp_path: Path) -> None:
    settings = toy.settings()
    settings["training"] |= {"max_steps": 12, "learning_rate": 1e-9}  # nothing will get better
    settings["evaluation"] |= {"every_steps": 2, "every_examples": 5, "patience": 2}
    Path("tiny.yaml").write_text(yaml.safe_dump(settings))
    ended = cli("train", "tiny.yaml")
    assert ended.code == 0, ended.err
    run = tmp_path / "runs" / "tiny"

    metrics = lines(run / "metrics.jsonl")
    evaluated = {line["step"]: line["eval/pass@1"] for line in metrics if "eval/pass@1" in line}
    assert list(evaluated) == [2, 4, 6], "the first, and two that were no better"
    assert metrics[-1]["step"] == 6
    assert "stopped early: no better pass@1 in 2 evaluations" in ended.err
    left = [line for line in metrics if "seconds_left/low" in line]
    assert [line["step"] for line in left] == [4, 5, 6], "three steps beside the first"
    assert all(0 < line["seconds_left/low"] < line["seconds_left/high"] for line in left)
    assert re.search(r"^ +4/12  reward .*  left \S+ (s|min) at most$", ended.err, re.M)
    for step in evaluated:
        samples = lines(run / "evaluations" / f"step-{step}" / "samples.jsonl")
        assert len(samples) == 5 * 4
        first = {s["example_id"] for s in lines(run / "evaluations" / "step-2" / "samples.jsonl")}
        assert {sample["example_id"] for sample in samples} == first

    best = run / "best_model"
    assert (best / "adapter_config.json").is_file()
    assert '"step": 2' in (best / "best.json").read_text()
    again = cli("evaluate", best, "--config", "tiny.yaml", "--num-samples", "1", "--json")
    assert again.code == 0, again.err


def test_save_total_limit_spares_the_best(toy: Any, cli: Any, tmp_path: Path) -> None:
    """The best model is kept apart from the checkpoints, of which only the newest is left."""
    from safetensors.torch import load_file

    settings = toy.settings()
    settings["training"] |= {"max_steps": 7, "save_steps": 2, "learning_rate": 1e-2}
    settings["evaluation"] |= {"every_steps": 2, "every_examples": 4, "before": False}
    settings["evaluation"] |= {"after": False}
    Path("tiny.yaml").write_text(yaml.safe_dump(settings))
    kept = {}
    for limit in (1, 10):
        ended = cli(
            *("train", "tiny.yaml", "--name", f"limit-{limit}"),
            *("--set", f"training.save_total_limit={limit}"),
        )
        assert ended.code == 0, ended.err
        folder = tmp_path / "runs" / f"limit-{limit}" / "checkpoints"
        kept[limit] = {path.name for path in folder.iterdir()}
    assert kept == {1: {"checkpoint-7"}, 10: {f"checkpoint-{step}" for step in (2, 4, 6, 7)}}

    best = tmp_path / "runs" / "limit-1" / "best_model"
    step = json.loads((best / "best.json").read_text())["step"]
    then = tmp_path / "runs" / "limit-10" / "checkpoints" / f"checkpoint-{step}"
    spared, as_it_was, last = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (best, then, tmp_path / "runs" / "limit-1" / "final_model")
    )
    assert spared.keys() == as_it_was.keys()
    assert all(torch.equal(spared[name], as_it_was[name]) for name in spared)
    assert not all(torch.equal(spared[name], last[name]) for name in spared)


CONTRADICTIONS = [
    ({"best_metric": "pass@3"}, "evaluation.best_metric: pass@3 is not measured"),
    ({"patience": 2}, "evaluation.patience: 2 needs evaluation.every_steps"),
]


@pytest.mark.parametrize(("evaluation", "message"), CONTRADICTIONS)
def test_what_cannot_be_is_refused(
    toy: Any, cli: Any, evaluation: dict[str, Any], message: str
) -> None:
    settings = toy.settings()
    settings["evaluation"] |= evaluation
    Path("tiny.yaml").write_text(yaml.safe_dump(settings))
    ended = cli("train", "tiny.yaml")
    assert ended.code == 2
    assert message in ended.err
