"""Notices a dead, collapsing or cheating run while it is young, and says what to do.

    health = RunHealth(training, parts_of(rubric))
    for finding in health.look(step, metrics): print(finding)

Pure arithmetic over the numbers of `metrics.jsonl`, step by step: no torch, so that it can be run
over any log. A finding is made once a run. The checks stand in `health_checks.py`.

What it leaves out: whether the answers are any good. That is what evaluation is for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.framework.run.checkpoints import cut_log
from groupwise.framework.run.health_checks import CHECKS
from groupwise.framework.run.health_history import History, Metrics, RewardPart

if TYPE_CHECKING:
    from groupwise.framework.config import TrainingConfig
    from groupwise.rewards import Rubric


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: its name, when, in numbers, why it may be, and what to change."""

    name: str
    step: int
    what: str
    cause: str
    remedy: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} (step {self.step}): {self.what}. {self.cause}. {self.remedy}."

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Finding:
        return cls(**{name: row[name] for name in cls.__slots__})


class RunHealth:
    """Looks at each step's numbers; tells each finding once."""

    def __init__(
        self, config: TrainingConfig, parts: Mapping[str, RewardPart] | None = None
    ) -> None:
        self._history = History(config, parts or {})
        self._found: set[str] = set()

    def recall(self, steps: Iterable[Metrics], found: Iterable[Finding]) -> None:
        """The steps that an earlier session made, and what it has found."""
        self._history.steps.extend(steps)
        self._found |= {finding.name for finding in found}

    def look(self, step: int, metrics: Metrics) -> list[Finding]:
        self._history.steps.append(metrics)
        # Broken weights bring all else with them: what follows from that has no cause of its own.
        checks = {"non_finite": CHECKS["non_finite"]} if metrics.get("non_finite") else CHECKS
        findings = [
            Finding(name, step, d.what, d.cause, d.remedy, d.numbers)
            for name, check in checks.items()
            if name not in self._found and (d := check(self._history)) is not None
        ]
        self._found |= {finding.name for finding in findings}
        return findings


class HealthLog:
    """Keeps each finding in `health.jsonl`, reports it, and stops the run where it is asked to."""

    def __init__(
        self,
        path: Path,
        health: RunHealth,
        *,
        stop_on: Iterable[str] = (),
        stop: Callable[[], None] = lambda: None,
        notify: Callable[[str], None] = lambda _: None,
        on_finding: Callable[[Finding], None] = lambda _: None,
    ) -> None:
        self._path, self._health = path, health
        self._stop_on, self._stop = frozenset(stop_on), stop
        self._notify, self._on_finding = notify, on_finding
        self.stopped_by: str | None = None

    def open(self, last_step: int, steps: Iterable[Metrics]) -> None:
        """`steps`: the numbers up to `last_step`; findings after it are dropped."""
        cut_log(self._path, last_step)
        found = read_findings(self._path)
        self._health.recall(steps, found)
        self.stopped_by = next((f.name for f in found if f.name in self._stop_on), None)

    def look(self, step: int, metrics: Metrics) -> None:
        for finding in self._health.look(step, metrics):
            with self._path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(asdict(finding)) + "\n")
            self._notify(str(finding))
            self._on_finding(finding)
            if finding.name in self._stop_on and self.stopped_by is None:
                self.stopped_by = finding.name
                self._notify(f"training.stop_on: the training ends here, on {finding.name}")
                self._stop()


def read_findings(path: Path) -> list[Finding]:
    """What `health.jsonl` holds; nothing if there is none."""
    if not path.is_file():
        return []
    rows = path.read_text(encoding="utf-8").splitlines()
    return [Finding.from_json(json.loads(row)) for row in rows]


def parts_of(rubric: Rubric) -> dict[str, RewardPart]:
    """The rubric's rewards as the checks know them."""
    from groupwise.rewards.math.grade import Correctness

    return {
        name: RewardPart(rubric.weights[name], isinstance(reward, Correctness))
        for name, reward in rubric.rewards.items()
    }
