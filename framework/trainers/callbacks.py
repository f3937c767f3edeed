"""Logs, health checks, trackers and stopping, as `transformers.TrainerCallback`s.

    GRPOTrainer(..., callbacks=[TrackerCallback(tracker), ShowProgress(show)])

In the trainers of this project the callbacks come in this order: `LogMetrics` first, then the
caller's own in the order given, then `WatchHealth` and `StopAfterStep`. So `on_log` gives every
callback, a plain `TrainerCallback` of the caller's too, the numbers of `metrics.jsonl` as `logs`.
Findings and notices are further events, of `RunCallback`.

With several processes, each has all callbacks; only the main one has the numbers.

Left out: what the callbacks do. That is in `framework/run`, which does not depend on a trainer;
here it is attached to one. Importing this file imports Unsloth and transformers (seconds).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.run import processes
from groupwise.framework.run.health import Finding, HealthLog
from groupwise.framework.run.metrics import TrainingLog
from groupwise.framework.run.screen import say
from groupwise.framework.run.stop import StopRequest
from groupwise.framework.run.time_left import RunClock
from groupwise.framework.run.tracking import Tracker
from groupwise.framework.trainers.effective_config import write_effective_config

load_unsloth()  # before transformers, which it patches

from transformers import TrainerCallback

Numbers = Mapping[str, float | None]


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """A `TrainerCallback` with two more events, and numbers of its own for `metrics.jsonl`."""

    def metrics(self) -> Numbers:
        """Numbers to add to the line of this step; called once for each line."""
        return {}

    def on_finding(self, finding: Finding) -> None:
        """The run's health has found something (`health.jsonl`)."""

    def on_notice(self, text: str) -> None:
        """Something that the user should know."""


class LogMetrics(TrainerCallback):  # type: ignore[misc]
    """Writes the line of each step, and hands its numbers to the callbacks that come after it."""

    def __init__(self, log: TrainingLog) -> None:
        self.log = log

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.log.begin_step()

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" in logs and state.is_world_process_zero:
            numbers = self.log.write(int(state.global_step), logs)
            # In place: transformers passes this one dict to each callback, and drops it after that
            # (its own copy is in `state.log_history` already).
            logs.clear()
            logs.update(numbers)


class WatchHealth(TrainerCallback):  # type: ignore[misc]
    """Checks the numbers of each step for what can go wrong in GRPO (`run/health_checks.py`)."""

    def __init__(self, health: HealthLog) -> None:
        self.health = health

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Numbers, **_: Any) -> None:
        if _is_step(logs, state):
            is_last = state.global_step >= state.max_steps
            self.health.look(int(state.global_step), logs, is_last=is_last)


class TrackerCallback(RunCallback):
    """Sends the numbers and findings to W&B and trackio. The caller closes the tracker."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Numbers, **_: Any) -> None:
        if _is_step(logs, state):
            numbers = {name: value for name, value in logs.items() if value is not None}
            self.tracker.log(numbers, int(state.global_step))

    def on_finding(self, finding: Finding) -> None:
        self.tracker.alert(finding.name, str(finding), finding.step)


class ShowProgress(TrainerCallback):  # type: ignore[misc]
    """Calls `show(step, number of steps, numbers)` after each step, for a progress bar."""

    def __init__(self, show: Callable[[int, int, Numbers], None]) -> None:
        self.show = show

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Numbers, **_: Any) -> None:
        if _is_step(logs, state):
            self.show(int(state.global_step), int(state.max_steps), logs)


class KeepTime(RunCallback):
    """Keeps a clock of steps, and logs the seconds that are left of the run.

    It comes after the callback of evaluations, whose time it tells from that of steps.
    """

    def __init__(self, clock: RunClock) -> None:
        self.clock = clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.clock.begin()

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self.clock.end_step(int(state.global_step), int(state.max_steps))

    def metrics(self) -> Numbers:
        left = self.clock.left
        return {"seconds_left/low": left.low, "seconds_left/high": left.high} if left else {}

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Numbers, **_: Any) -> None:
        if _is_step(logs, state):
            self.clock.numbers = dict(logs)


def print_notice(text: str) -> None:
    """Prints to standard error; with several processes, only the main one prints."""
    if processes.is_main():
        say(f"note: {text}")


class Notices(RunCallback):
    """Passes notices to `tell`: `GRPOTrainer` adds one that prints, unless it is given another."""

    def __init__(self, tell: Callable[[str], None] = print_notice) -> None:
        self.tell = tell

    def on_notice(self, text: str) -> None:
        self.tell(text)


class StopAfterStep(TrainerCallback):  # type: ignore[misc]
    """Ends the training after the step in flight, with a checkpoint, once `request` is made.

    With several iterations on one batch of completions, it waits for the last one: a checkpoint in
    between could not be resumed, because the completions are not saved.
    """

    def __init__(self, request: StopRequest, num_iterations: int = 1) -> None:
        self.request, self.num_iterations = request, num_iterations

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.request.is_asked:
            self.request.announce()
        self.request.agree()
        ends = self.request.is_asked or self.request.is_over
        if ends and state.global_step % self.num_iterations == 0:
            control.should_training_stop = True
            control.should_save = True

    # `stop_on` reads a step's numbers, which are logged after its end.
    on_log = on_step_end


class RecordConfig(TrainerCallback):  # type: ignore[misc]
    """Writes `config.effective.yaml` to `folder` as the training begins.

    Values of `more` that are functions are called then.
    """

    def __init__(self, folder: Path, asked: Any, **more: Any) -> None:
        self.folder, self.asked, self.more = folder, asked, more

    def on_train_begin(
        self, args: Any, state: Any, _control: Any, model: Any = None, **_: Any
    ) -> None:
        if processes.is_main():
            more = {name: v() if callable(v) else v for name, v in self.more.items()}
            write_effective_config(self.folder, self.asked, args, int(state.max_steps), model, more)


def _is_step(logs: Mapping[str, Any], state: Any) -> bool:
    """Whether `logs` are numbers of a step: transformers also logs a summary at the end."""
    return bool(state.is_world_process_zero) and ("policy_loss" in logs or "loss" in logs)
