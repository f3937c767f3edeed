"""Pass@K of an export on the run's held-out problems, paired with that of the tuned model.

    tuned = tuned_evaluation(source, policy, …)       # the run's own, or made now
    comparison = measure_export(source, name, …)      # the export's, and both compared

Both draw by the same random numbers, so that an export which computes the same answers the same.
Its answers are kept as an evaluation of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.records import SAMPLES
from groupwise.evaluation.log.settings import load_settings
from groupwise.evaluation.sampler import Sampler
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.experiment.evaluate import evaluation_settings, measure, measure_sampler
from groupwise.framework.export.source import TUNED, Source
from groupwise.framework.policy import Policy
from groupwise.framework.policy.folders import digest_of, identity_of
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example

if TYPE_CHECKING:
    from groupwise.evaluation import Comparison, EvaluationSettings


def tuned_evaluation(
    source: Source,
    policy: Policy,
    held_out: tuple[Example, ...],
    asked: tuple[Example, ...],
    terminal: Terminal,
) -> Path:
    """The evaluation of the tuned model that the export is compared with.

    It is the one that the run has made of `held_out`, where it was made on the same terms; else the
    policy is evaluated now, on the problems `asked`.
    """
    config, run_dir = source.config, source.run_dir
    model = TUNED if source.label == TUNED else identity_of(config.model)
    settings = evaluation_settings(config, policy.tokenizer, model)
    theirs = run_dir.evaluation(source.label)
    made = load_settings(theirs) or {}
    as_made = replace(settings, num_samples=max(settings.num_samples, made.get("num_samples", 0)))
    if (theirs / SAMPLES).is_file() and _continues(held_out, as_made, theirs):
        return theirs
    # The run's own label is for an evaluation on all of them.
    label = source.label if asked == held_out else f"{source.label}-first-{len(asked)}"
    label = _free_label(run_dir, label, asked, settings)
    measure(label, config, policy, asked, run_dir, terminal, model=model)
    return run_dir.evaluation(label)


def measure_export(
    source: Source,
    name: str,
    folder: Path,
    sampler: Sampler,
    tokenizer: Any,
    asked: tuple[Example, ...],
    tuned: Path,
    terminal: Terminal,
) -> Comparison:
    """Samples from the export (`name`: its form), and compares with the evaluation `tuned`."""
    from groupwise.evaluation import compare  # NumPy and SciPy: not at start-up

    config, run_dir = source.config, source.run_dir
    model = f"{name} (weights {digest_of(folder)})"
    settings = evaluation_settings(config, tokenizer, model)
    label = _free_label(run_dir, f"{source.label}-{name}", asked, settings)
    made = run_dir.evaluation(label)
    measure_sampler(label, config, sampler, tokenizer, asked, run_dir, terminal, model=model)
    most = min((load_settings(log) or {}).get("num_samples", 1) for log in (tuned, made))
    return compare(
        {tuned.name: tuned, label: made},
        ks=[k for k in config.evaluation.k if k <= most],
        solved_at=config.evaluation.solved_at,
        allow_differences=True,  # in how many problems and samples; all else was looked at
    )


def _continues(examples: Sequence[Example], settings: EvaluationSettings, folder: Path) -> bool:
    """Whether an evaluation on these terms may be, or be continued, in `folder`."""
    from groupwise.evaluation.runner import check_log  # NumPy: not at start-up

    try:
        check_log(examples, settings, folder)
    except UserError:
        return False
    return True


def _free_label(
    run_dir: RunDir, label: str, examples: Sequence[Example], settings: EvaluationSettings
) -> str:
    """The label, with a number where an evaluation on other terms has it."""
    names = (label if number == 1 else f"{label}-{number}" for number in count(1))
    folders = (run_dir.evaluation(name) for name in names)
    return next(
        folder.name
        for folder in folders
        if not folder.exists() or _continues(examples, settings, folder)
    )


def with_samples(config: ExperimentConfig, num_samples: int | None) -> ExperimentConfig:
    """The config with so many answers a problem; None leaves it as it is."""
    if num_samples is None:
        return config
    ks = [k for k in config.evaluation.k if k <= num_samples] or [1]
    return config.with_values({"evaluation.num_samples": num_samples, "evaluation.k": ks})
