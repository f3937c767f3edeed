"""Pass@K of a config's model, with the engine, rubric and settings that the config asks for.

    summary = measure("base", config, policy, held_out, run_dir, terminal)

Sampling, scoring and counting themselves are in `groupwise.evaluation`; the evaluation while a
training runs is in `periodic_evaluation.py`.
"""

from __future__ import annotations

import json
import math
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.settings import load_settings
from groupwise.evaluation.sampler import Prompt
from groupwise.evaluation.tables import OFTEN_TRUNCATED
from groupwise.evaluation.text import percent
from groupwise.framework.config import ExperimentConfig, TrainingConfig
from groupwise.framework.data.prompts import DATE, template_identity
from groupwise.framework.experiment.data import Problems
from groupwise.framework.experiment.periodic_evaluation import PeriodicEvaluation
from groupwise.framework.policy import Policy
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.out_of_memory import Setting, out_of_memory_as_user_error
from groupwise.framework.run.terminal import Terminal
from groupwise.framework.run.time_left import Evaluated, RunClock
from groupwise.rewards import Rubric, build_rubric
from groupwise.rewards.types import Example

if TYPE_CHECKING:
    from groupwise.evaluation import EvaluationSettings, Progress, Summary
    from groupwise.evaluation.sampler import Sampler


def rubric_of(config: ExperimentConfig, num_problems: int | None = None) -> Rubric:
    """The rewards of a config as one rubric.

    `num_problems` in training give its length, which rewards may ask for, where
    `training.max_steps` is null.
    """
    return build_rubric(
        config.rewards.parts,
        on_error=config.rewards.on_error,
        aggregation=config.rewards.aggregation,
        base_dir=config.rewards.import_from,
        num_steps=num_steps(config.training, num_problems),
    )


def num_steps(training: TrainingConfig, num_problems: int | None) -> int | None:
    """The optimiser steps of a training, as transformers counts them; None if unknown."""
    if training.max_steps is not None or num_problems is None:
        return training.max_steps
    steps = num_problems // training.prompts_per_step * training.num_iterations
    return max(1, math.ceil(training.num_train_epochs * steps))


def evaluation_rubric(config: ExperimentConfig, num_problems: int | None = None) -> Rubric:
    """The same with aggregation `sum`: scores normalised within a group rate no single answer."""
    return replace(rubric_of(config, num_problems), aggregation="sum")


def measure(
    label: str,
    config: ExperimentConfig,
    policy: Policy,
    held_out: tuple[Example, ...],
    run_dir: RunDir,
    terminal: Terminal,
    *,
    model: str | None = None,
    num_problems: int | None = None,
    clock: RunClock | None = None,
) -> Summary:
    """Pass@K of a policy on the held-out problems; every answer goes to the log of `label`.

    `model` identifies the model in the log's settings (default: the label, which is enough within
    a run): a log made with another model is refused. `num_problems`: those of the training.
    `clock` is told what it takes.
    """
    started = time.perf_counter()
    summary = measure_sampler(
        label,
        config,
        evaluation_sampler(config, policy),
        policy.tokenizer,
        held_out,
        run_dir,
        terminal,
        model=model,
        num_problems=num_problems,
    )
    if clock is not None:
        seconds = time.perf_counter() - started
        clock.evaluated(Evaluated.of(summary, seconds), seconds)
    return summary


def measure_sampler(
    label: str,
    config: ExperimentConfig,
    sampler: Sampler,
    tokenizer: Any,
    held_out: tuple[Example, ...],
    run_dir: RunDir,
    terminal: Terminal,
    *,
    model: str | None = None,
    num_problems: int | None = None,
) -> Summary:
    """The same of whatever a sampler draws from."""
    from groupwise.evaluation import evaluate  # NumPy and SciPy: not at start-up
    from groupwise.framework.sampling.self_check import check_engine  # torch: not at start-up

    prompts = [Prompt(e.id, e.prompt, token_ids=e.prompt_ids or None) for e in held_out]
    with (
        evaluation_rubric(config, num_problems) as rubric,
        terminal.stage(f"Evaluate: {label}") as stage,
        evaluation_out_of_memory(config),
    ):
        if rubric.num_steps is None:
            rubric.num_steps = _last_step(run_dir.metrics)
        check_engine(sampler, prompts, config.eval_sampling_params.max_tokens, terminal.notice)
        summary = evaluate(
            held_out,
            sampler,
            rubric,
            evaluation_settings(config, tokenizer, model or label),
            run_dir.evaluation(label),
            on_progress=lambda p: stage.update(p.done, p.total, progress_numbers(p)),
        )
        stage.summary = f"pass@1 {percent(summary.pass_at_k[min(summary.pass_at_k)].value, 1)}"
        report_skipped(rubric, terminal)
    if cut_off := truncation_notice(config, summary):
        terminal.notice(f"{label}: {cut_off}")
    return summary


def truncation_notice(config: ExperimentConfig, summary: Summary) -> str:
    """A sentence where many answers were cut off at the token limit, else an empty text."""
    share = summary.truncated / summary.num_samples
    if share <= OFTEN_TRUNCATED:
        return ""
    section = "evaluation" if config.evaluation.max_completion_length else "training"
    limit = config.eval_max_completion_length
    return (
        f"{percent(share)} of the answers were cut off at {section}.max_completion_length {limit}: "
        f"they have no end to be graded by; raise it to {2 * limit}, or read in samples.jsonl why "
        "they do not end"
    )


def dated_as_before(config: ExperimentConfig, run_dir: RunDir, label: str) -> ExperimentConfig:
    """The config with the date that an evaluation's prompts have, for templates that write today's.

    It is that of the same evaluation on an earlier day, so that it can be resumed; or of others of
    this folder, so that they can be compared; or now.
    """
    if config.model.chat_template_date is not None:
        return config
    folders = [run_dir.evaluation(label), *sorted((run_dir.path / "evaluations").glob("*"))]
    identities = [(load_settings(folder) or {}).get("identity", {}) for folder in folders]
    dates = [identity[DATE] for identity in identities if identity.get(DATE)]
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    return replace(config, model=replace(config.model, chat_template_date=(dates or [now])[0]))


def evaluation_out_of_memory(config: ExperimentConfig) -> AbstractContextManager[None]:
    """Turns "out of memory" in an evaluation into the settings that need less."""
    rows, length = config.evaluation.max_rows, config.eval_max_completion_length
    return out_of_memory_as_user_error(
        "an evaluation",
        [
            *([] if rows == 1 else [_fewer_rows(rows)]),
            Setting(
                "evaluation.max_completion_length",
                max(1, length * 3 // 4),
                length,
                same_result=False,
            ),
            "data.max_prompt_length, which leaves out the problems with longer prompts",
        ],
        "What was sampled is kept.",
    )


def _fewer_rows(rows: int | None) -> Setting:
    note = "answers sampled at once"
    if rows is None:
        return Setting("evaluation.max_rows", 16, note=f"{note}; the engine decides now")
    return Setting("evaluation.max_rows", rows // 2, rows, note=note)


def report_skipped(rubric: Rubric, terminal: Terminal) -> None:
    """Reports what `on_error: skip` has left out, with the first failure of each reward."""
    for name, count in rubric.skipped.items():
        terminal.notice(f"{count} values were left out; the first: {rubric.errors[name]}")


def evaluation_sampler(config: ExperimentConfig, policy: Policy) -> Sampler:
    """The engine that samples the answers of an evaluation."""
    from groupwise.framework.sampling import make_sampler  # torch: not at start-up

    return make_sampler(
        policy.model,
        policy.tokenizer,
        engine=config.evaluation.sampler,
        max_rows=config.evaluation.max_rows,
        cuda_graphs=config.evaluation.cuda_graphs,
    )


def evaluation_settings(config: ExperimentConfig, tokenizer: Any, model: str) -> EvaluationSettings:
    """The evaluation settings of a config; `model` identifies the model in the log's settings."""
    from groupwise.evaluation import EvaluationSettings  # NumPy and SciPy: not at start-up

    evaluation = config.evaluation
    rewards = config.to_dict()["rewards"]
    del rewards["import_from"]  # where code lies does not change what it computes
    return EvaluationSettings(
        num_samples=evaluation.num_samples,
        ks=evaluation.k,
        params=config.eval_sampling_params,
        model=model,
        identity={
            "rewards": rewards,
            **template_identity(config.model, tokenizer),
        },
        solved_at=evaluation.solved_at,
        category_fields=evaluation.category_fields,
    )


def progress_numbers(progress: Progress) -> str:
    """The numbers beside an evaluation's bar."""
    if not progress.made:
        return ""
    speed = progress.num_tokens / progress.seconds if progress.seconds else 0
    return f"right {percent(progress.correct / progress.made)}  {speed:,.0f} tokens/s"


def _last_step(metrics: Path) -> int | None:
    """The last step of a training that has been made; None without one."""
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError):  # the last line may be torn
            return int(json.loads(line)["step"])
    return None


def periodic_evaluation(
    config: ExperimentConfig,
    policy: Policy,
    problems: Problems,
    run_dir: RunDir,
    terminal: Terminal,
    clock: RunClock | None = None,
) -> PeriodicEvaluation | None:
    """The evaluation during training that a config asks for; None without `every_steps`.

    `clock` is told what it takes.
    """
    if config.evaluation.every_steps is None:
        return None
    return PeriodicEvaluation(
        config.evaluation,
        policy,
        problems.held_out,
        evaluation_sampler(config, policy),
        evaluation_rubric(config, len(problems.train)),
        evaluation_settings(config, policy.tokenizer, "in training"),
        run_dir.path,
        lambda text: terminal.line(f"      {text}"),
        lambda: evaluation_out_of_memory(config),
        clock,
    )
