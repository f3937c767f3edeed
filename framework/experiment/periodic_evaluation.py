"""Pass@K during training: on a fixed subset, with the best model kept, and early stopping.

Earlier results are read back from the evaluation folders, so that a resumed run makes the same
decisions as one that was never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.files import replacing_folder, write_json
from groupwise.evaluation.sampler import Prompt
from groupwise.evaluation.text import percent, rounded
from groupwise.framework.policy import Policy
from groupwise.framework.policy.loading import save_pretrained
from groupwise.framework.run import processes
from groupwise.framework.run.time_left import Evaluated, RunClock
from groupwise.rewards import Rubric
from groupwise.rewards.types import Example

if TYPE_CHECKING:
    from groupwise.evaluation import EvaluationSettings, Summary
    from groupwise.evaluation.sampler import Sampler
    from groupwise.framework.config import EvaluationConfig
    from groupwise.framework.trainers.callbacks import RunCallback

BEST = "best_model"
BEST_FILE = "best.json"


class PeriodicEvaluation:
    """Evaluates every `every_steps` steps, keeps the best model, and stops when it stops improving.

    The metric is `evaluation.best_metric`; by default, `pass@k` with the smallest k asked for.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        policy: Policy,
        examples: Sequence[Example],
        sampler: Sampler,
        rubric: Rubric,
        settings: EvaluationSettings,
        run_folder: Path,
        tell: Callable[[str], None],
        guard: Callable[[], AbstractContextManager[None]] = nullcontext,
        clock: RunClock | None = None,
    ) -> None:
        self.config, self.policy, self.sampler, self.rubric = config, policy, sampler, rubric
        self.examples = list(examples)[: config.every_examples]
        self.settings, self.run_folder, self.tell = settings, run_folder, tell
        self.guard = guard  # around each evaluation: makes errors of the user's out of others
        self.history: list[tuple[int, float]] = []  # (step, metric), in order
        self._is_checked = False
        self.clock = clock

    @property
    def metric(self) -> str:
        return self.config.best_metric or f"pass@{min(self.config.k)}"

    def run(self, step: int) -> dict[str, float | None]:
        """Evaluates the policy as it is now; the numbers, under the names of `metrics.jsonl`."""
        from groupwise.evaluation import evaluate  # NumPy and SciPy: not at start-up

        started = time.perf_counter()
        with self.guard():
            self._check_engine()
            summary = evaluate(
                self.examples,
                self.sampler,
                self.rubric,
                self.settings,
                self.run_folder / "evaluations" / f"step-{step}",
            )
        numbers = numbers_of(summary)
        value = numbers.get(self.metric)
        if value is not None:
            best = max((past for _, past in self.history), default=None)
            self.history.append((step, value))
            if best is None or value > best:
                self._keep(step, value)
        if value is None:
            shown = "undefined"
        else:
            shown = rounded(value, 3) if self.metric == "mean_score" else percent(value, 1)
        self.tell(f"step {step}: {self.metric} {shown}")
        if self.clock is not None:
            seconds = time.perf_counter() - started
            self.clock.evaluated(Evaluated.of(summary, seconds), seconds)
        return {f"eval/{name}": number for name, number in numbers.items()}

    def _check_engine(self) -> None:
        """Before the log is opened, which says what engine its samples are from."""
        from groupwise.framework.sampling.self_check import check_engine  # torch: not at start-up

        if self._is_checked:
            return
        prompts = [Prompt(e.id, e.prompt, token_ids=e.prompt_ids or None) for e in self.examples]
        check_engine(self.sampler, prompts, self.settings.params.max_tokens, self.tell)
        self._is_checked = True

    @property
    def is_exhausted(self) -> bool:
        """Whether the last `patience` evaluations were no better than the best before them."""
        patience = self.config.patience
        if patience is None or len(self.history) <= patience:
            return False
        values = [value for _, value in self.history]
        return max(values[-patience:]) <= max(values[:-patience])

    def recall(self, last_step: int) -> None:
        """Reads back the results of earlier sessions of this run, up to `last_step`."""
        from groupwise.evaluation import summarise  # NumPy and SciPy: not at start-up

        self.history = []
        every = self.config.every_steps or last_step + 1  # None: nothing to read back
        for step in range(every, last_step + 1, every):
            log = self.run_folder / "evaluations" / f"step-{step}"
            if (log / "samples.jsonl").is_file():
                summary = summarise(log, ks=self.settings.ks, solved_at=self.settings.solved_at)
                value = numbers_of(summary).get(self.metric)
                if value is not None:
                    self.history.append((step, value))

    def _keep(self, step: int, value: float) -> None:
        with replacing_folder(self.run_folder / BEST) as new:
            save_pretrained(self.policy.model, self.policy.tokenizer, new)
            write_json(new / BEST_FILE, {"step": step, "metric": self.metric, "value": value})

    def callback(self) -> RunCallback:
        """The callback that evaluates, adds its numbers to the step's, and ends a stalled run."""
        # Imports transformers: not at start-up.
        from groupwise.framework.trainers.callbacks import RunCallback

        evaluation = self

        class EvaluationCallback(RunCallback):
            numbers: Mapping[str, float | None] = {}  # of an evaluation after this step

            def metrics(self) -> Mapping[str, float | None]:
                numbers, self.numbers = self.numbers, {}
                return numbers

            def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
                evaluation.recall(int(state.global_step))

            def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
                step, every = int(state.global_step), evaluation.config.every_steps
                if not every or step % every or step == state.max_steps:
                    return
                self.numbers, is_exhausted = processes.from_main(
                    lambda: (evaluation.run(step), evaluation.is_exhausted)
                )
                if is_exhausted:
                    control.should_training_stop = True
                    evaluation.tell(
                        f"stopped early: no better {evaluation.metric} in "
                        f"{evaluation.config.patience} evaluations"
                    )

        return EvaluationCallback()


def numbers_of(summary: Summary) -> dict[str, float | None]:
    """A summary in a few numbers: pass@k, maj@k, mean score, share of truncated answers."""
    numbers: dict[str, float | None] = {}
    for prefix, by_k in (("pass", summary.pass_at_k), ("maj", summary.maj_at_k)):
        for k, estimate in by_k.items():
            numbers[f"{prefix}@{k}"] = _known(estimate.value)
    numbers["mean_score"] = _known(summary.mean_score)
    numbers["truncated"] = summary.truncated / max(1, summary.num_samples)
    return numbers


def _known(value: float) -> float | None:
    return None if value != value else value  # NaN differs from itself
