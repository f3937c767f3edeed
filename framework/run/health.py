"""Detects a dead, collapsing or reward-hacking run early, and says what to change.

    health = RunHealth(training, parts_of(rubric))
    for finding in health.look(step, metrics): print(finding)

Plain arithmetic on the numbers of `metrics.jsonl`, step by step, without torch: it can be run over
any log. Each finding is reported once per run. The checks are in `health_checks.py`.

What it leaves out: how good the answers are, which evaluation measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.evaluation.log.jsonl import dumps_line, loads, number_or_null, read_lines
from groupwise.evaluation.log.writer import JsonlWriter, cut_log, step_of_line
from groupwise.framework.run.health_checks import CHECKS
from groupwise.framework.run.health_history import History, Metrics, RewardPart
from groupwise.rewards.math.grade import Correctness

if TYPE_CHECKING:
    from groupwise.framework.config import TrainingConfig
    from groupwise.rewards import Rubric


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of a run: its name and step, what was measured, the likely cause, the remedy."""

    name: str
    step: int
    what: str
    cause: str
    remedy: str
    numbers: Mapping[str, float | None] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} (step {self.step}): {self.what}. {self.cause}. {self.remedy}."

    @classmethod
    def from_line(cls, line: str | bytes) -> Finding:
        """The finding of a line of `health.jsonl`. ValueError says what is wrong with it."""
        row = loads(line)
        texts = ("name", "what", "cause", "remedy")
        if bad := [name for name in texts if not isinstance(row.get(name), str)]:
            raise ValueError(f"{bad[0]} is {row.get(bad[0])!r:.50}")
        numbers = row.get("numbers")
        if not isinstance(numbers, dict):
            raise ValueError(f"numbers is {numbers!r:.50}")
        known = {k: number_or_null(f"numbers.{k}", v) for k, v in numbers.items()}
        return cls(**{name: row[name] for name in texts}, step=step_of_line(line), numbers=known)


class RunHealth:
    """Checks each step's numbers; reports each finding once."""

    def __init__(
        self, config: TrainingConfig, parts: Mapping[str, RewardPart] | None = None
    ) -> None:
        self._history = History(config, parts or {})
        self._found: set[str] = set()

    def recall(self, steps: Iterable[Metrics], found: Iterable[Finding]) -> None:
        """Adds the steps and the findings of an earlier session of the run."""
        self._history.steps.extend(steps)
        self._found |= {finding.name for finding in found}

    def look(self, step: int, metrics: Metrics, *, is_last: bool = False) -> list[Finding]:
        """What this step shows; with `is_last`, also what a short run has too few steps for."""
        self._history.steps.append(metrics)
        self._history.is_over = is_last
        # Broken weights trigger other checks too; their causes and remedies would mislead.
        checks = {"non_finite": CHECKS["non_finite"]} if metrics.get("non_finite") else CHECKS
        findings = [
            Finding(name, step, d.what, d.cause, d.remedy, d.numbers)
            for name, check in checks.items()
            if name not in self._found and (d := check(self._history)) is not None
        ]
        self._found |= {finding.name for finding in findings}
        return findings


class HealthLog:
    """Logs each finding, reports it, and stops the run on those in `stop_on`.

    `stop` ends the training after the step in flight; `notify` takes a line for the user.
    """

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
        """Reads back the findings up to `last_step` and drops later ones; `steps`: the numbers."""
        cut_log(self._path, last_step)
        found = read_findings(self._path)
        self._health.recall(steps, found)
        self.stopped_by = next((f.name for f in found if f.name in self._stop_on), None)

    def look(self, step: int, metrics: Metrics, *, is_last: bool = False) -> None:
        for finding in self._health.look(step, metrics, is_last=is_last):
            with JsonlWriter(self._path) as log:  # made with the first finding
                log.append([dumps_line(asdict(finding))])
            self._notify(str(finding))
            self._on_finding(finding)
            if finding.name in self._stop_on and self.stopped_by is None:
                self.stopped_by = finding.name
                self._notify(f"training.stop_on: the training ends here, on {finding.name}")
                self._stop()


def read_findings(path: Path) -> list[Finding]:
    """The findings in `health.jsonl`; none if there is no such file.

    Raises UserError for a line that is no finding, with its number.
    """
    if not path.is_file():
        return []
    return list(read_lines(path, Finding.from_line, "a finding"))


def parts_of(rubric: Rubric) -> dict[str, RewardPart]:
    """The rubric's rewards as the checks need them."""
    return {
        name: RewardPart(rubric.weights[name], isinstance(reward, Correctness))
        for name, reward in rubric.rewards.items()
    }
