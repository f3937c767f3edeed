"""Pass@K during training: a fixed subset, the best model kept and loadable, an early stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
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
