"""Callbacks of a GRPO training: what they get, in which order, and what they can add."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy, lines
from grpo_toys import trainer_for

from groupwise.framework.policy import load
from groupwise.framework.run.health import Finding
from groupwise.framework.trainers.callbacks import Notices, RunCallback, ShowProgress

pytestmark = pytest.mark.stack

Numbers = Mapping[str, float | None]


def test_callbacks_get_the_lines_of_metrics_jsonl(toy: Toy, tmp_path: Path) -> None:
    from transformers import TrainerCallback

    path = tmp_path / "metrics.jsonl"
    shown: list[tuple[int, int, dict[str, float | None]]] = []
    logged: list[dict[str, Any]] = []
    written: list[int] = []

    class Plain(TrainerCallback):
        def on_log(
            self, _args: Any, state: Any, _control: Any, logs: dict[str, Any], **_: Any
        ) -> None:
            if "policy_loss" in logs:
                logged.append({"step": state.global_step, **logs})
                written.append(len(lines(path)))  # the line is there before

    class Adds(RunCallback):
        asked = 0

        def metrics(self) -> Numbers:
            self.asked += 1
            return {"mine": float(self.asked)} if self.asked != 2 else {}

    config = toy.config()
    trainer = trainer_for(
        config,
        load(config.model, config.seed),
        tmp_path,
        callbacks=[
            Plain(),
            ShowProgress(lambda step, steps, numbers: shown.append((step, steps, {**numbers}))),
            Adds(),
        ],
    )
    result = trainer.train()
    found = lines(path)
    assert [line["step"] for line in found] == [1, 2, 3]
    assert logged == found
    assert shown == [
        (line["step"], 3, {name: value for name, value in line.items() if name != "step"})
        for line in found
    ]
    assert written == [1, 2, 3]
    assert [line.get("mine") for line in found] == [1.0, None, 3.0]
    assert list(found[0])[-1] == "mine"
    assert {"step": 3, **result.metrics} == found[-1]


def test_findings_and_notices_reach_the_callbacks(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    found: list[Finding] = []

    class Listens(RunCallback):
        def on_finding(self, finding: Finding) -> None:
            found.append(finding)

    config = toy.config()
    policy = load(config.model, config.seed)
    trainer = trainer_for(
        config, policy, tmp_path / "a", callbacks=[Listens(), Notices(said.append)]
    )
    trainer.health.look(1, {"non_finite": 1.0})
    assert [finding.name for finding in found] == ["non_finite"]
    assert said == [str(found[0])]
    assert str(found[0]) not in capsys.readouterr().err

    trainer = trainer_for(config, policy, tmp_path / "b")  # printed, where nobody takes them
    trainer.health.look(1, {"non_finite": 1.0})
    assert capsys.readouterr().err == f"  note: {found[0]}\n"
