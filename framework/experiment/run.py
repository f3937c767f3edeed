"""The stages of a run: load, preflight, warm start, evaluate, train, evaluate, compare, report.

    outcome = run(config, create_run_dir(config), Terminal())

`run` calls one function per stage, each defined below it. The mechanics are in `data.py` (data and
prompts), `preflight.py` (checks without the model), `evaluate.py` (Pass@K) and the trainers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.evaluation import Comparison, Summary, compare, write_comparison
from groupwise.evaluation.log.settings import load_settings
from groupwise.evaluation.report import write_report
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.experiment.data import (
    Problems,
    RunData,
    evaluates,
    load_data,
    load_held_out,
)
from groupwise.framework.experiment.evaluate import (
    measure,
    num_steps,
    periodic_evaluation,
    report_skipped,
    rubric_of,
)
from groupwise.framework.experiment.preflight import check_sample, load_tokenizer
from groupwise.framework.experiment.template_check import notice_template
from groupwise.framework.experiment.timing import keep_speed_of, run_clock
from groupwise.framework.experiment.toy import make_toy_in, toy_folder
from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
from groupwise.framework.grpo_trainer.rollout_metrics import training_numbers
from groupwise.framework.policy import Policy, load
from groupwise.framework.policy.checkpointing import checkpointing, with_checkpointing
from groupwise.framework.policy.folders import as_saved, check_model_folder
from groupwise.framework.policy.merge import merged, requantised
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.run import processes
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.memory import free_memory
from groupwise.framework.run.processes import from_main
from groupwise.framework.run.terminal import Stage, Terminal
from groupwise.framework.run.time_left import RunClock
from groupwise.framework.run.tracking import Tracker
from groupwise.framework.trainers.common import TrainResult
from groupwise.framework.trainers.sft import warm_start as train_supervised
from groupwise.rewards import Rubric

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from groupwise.framework.experiment.periodic_evaluation import PeriodicEvaluation

BASE, TUNED = "base", "tuned"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run. `comparison` is None unless it was evaluated before and after.

    A run that was stopped in training has no final model and no evaluation after it; the same
    config resumes it.
    """

    run: RunDir
    summaries: Mapping[str, Summary]
    comparison: Comparison | None
    training: TrainResult | None

    @property
    def was_stopped(self) -> bool:
        return self.training is not None and self.training.was_stopped


def run(
    config: ExperimentConfig, run_dir: RunDir, terminal: Terminal, data: RunData | None = None
) -> Outcome:
    """Runs every stage that a config asks for; what libraries print goes to the run's log.

    A finished stage leaves its result on disk: called again on the same directory, the run resumes
    where it was, with the same results as if it had never stopped. `data` is what `refuse_early`
    has read.

    Several processes share the supervised training and GRPO, each with its copy of the model;
    everything else is done by the main process while the others wait.
    """
    with terminal.libraries_to(run_dir.log), rubric_of(config) as rubric:
        config = run_dir.dated(config)
        config = from_main(lambda: make_toy_in(toy_folder(run_dir), config, terminal))
        data = data.of(config) if data else RunData(config)
        check_model_folder(config.model)
        config = from_main(lambda: merge_adapter(config, run_dir, terminal))
        if config.training.method == "grpo":
            rubric.num_steps = num_steps(config.training, len(data.examples("train")))
            from_main(lambda: check_rewards(config, data, rubric, terminal))
        config = from_main(lambda: plan_checkpointing(config, terminal))
        is_trained = run_dir.final_model.is_dir()
        if is_trained and lacks_samples(config, run_dir):
            from_main(lambda: evaluate_base_again(config, data, run_dir, terminal))
        policy = load_policy(config, run_dir, terminal, trained=is_trained)
        from_main(lambda: notice_template(config, policy.tokenizer, terminal.notice))
        problems = load_data(data, policy.tokenizer, terminal)
        clock = run_clock(config, len(problems.held_out))

        def measured(label: str) -> Callable[[], Summary]:
            asked = (label, config, policy, problems.held_out, run_dir, terminal)
            return lambda: measure(*asked, num_problems=len(problems.train), clock=clock)

        summaries: dict[str, Summary] = {}
        training = None
        if not is_trained:
            if config.training.method == "grpo":
                warm_start(config, policy, data, run_dir, terminal)
            if config.evaluation.before:
                summaries[BASE] = from_main(measured(BASE))
            if config.training.method == "sft":
                warm_start(config, policy, data, run_dir, terminal, clock)
            else:
                training = train(config, policy, problems, rubric, run_dir, terminal, clock)
                if training.was_stopped:
                    return Outcome(run_dir, summaries, None, training)
            from_main(lambda: policy.save(run_dir.final_model))
        if config.evaluation.after:
            summaries[TUNED] = from_main(measured(TUNED))
        comparison = from_main(lambda: compare_both(config, run_dir))
        if evaluates(config) or config.training.method == "grpo":  # else no answer was sampled
            from_main(lambda: report(run_dir, terminal))
        return Outcome(run_dir, summaries, comparison, training)


def merge_adapter(
    config: ExperimentConfig, run_dir: RunDir, terminal: Terminal
) -> ExperimentConfig:
    """With `model.adapter_mode: merge`, the base model with the earlier adapter in its weights."""
    if config.model.adapter_mode != "merge":
        return config
    with terminal.stage("Merge the earlier adapter"):
        model = merged(config.model, run_dir.merged_base)
    if note := requantised(config.model):
        terminal.notice(note)
    return replace(config, model=model)


def check_rewards(
    config: ExperimentConfig, data: RunData, rubric: Rubric, terminal: Terminal
) -> None:
    """`groupwise check` on a few examples; problems are reported and do not stop the run."""
    with terminal.stage("Check the rewards") as stage:
        load_unsloth()  # has to be imported before transformers, which the tokenizer needs
        found = check_sample(config, data, load_tokenizer(config.model), rubric)
        count, rewards = len(found.problems), len(found.proof.parts)
        works = "1 reward works" if rewards == 1 else f"{rewards} rewards work"
        stage.summary = f"{count} problem{'s'[: count > 1]}" if count else works
    for problem in found.problems:
        terminal.notice(problem)
    if found.problems:
        terminal.notice("`groupwise check` with this config says more")


def plan_checkpointing(config: ExperimentConfig, terminal: Terminal) -> ExperimentConfig:
    """Resolves `model.use_gradient_checkpointing: auto` for this model and this machine."""
    if config.model.use_gradient_checkpointing != "auto":
        return config
    load_unsloth()  # has to be imported before transformers, which reads the model's shape
    choice = checkpointing(config)
    terminal.line(f"  {choice}")
    return with_checkpointing(config, choice)


def load_policy(
    config: ExperimentConfig, run_dir: RunDir, terminal: Terminal, *, trained: bool
) -> Policy:
    """The model as this run has left it: `trained`, or as it is before GRPO."""
    model = config.model
    if trained:
        model = as_saved(model, run_dir.final_model)
    elif warm_started(run_dir).is_dir():
        model = as_saved(model, warm_started(run_dir))
    needs_template = config.training.method != "group_scores" or evaluates(config)
    with terminal.stage("Load the model"):
        policy = load(model, config.seed, needs_chat_template=needs_template)
    if not trained:
        adapted = policy.adapted
        terminal.line(f"  {adapted}")
        for notice in adapted.notices:
            terminal.notice(notice)
    return policy


def lacks_samples(config: ExperimentConfig, run_dir: RunDir) -> bool:
    """Whether more answers are asked for now than the evaluation before training has."""
    made = load_settings(run_dir.evaluation(BASE)) if config.evaluation.before else None
    return made is not None and made.get("num_samples", 0) < config.evaluation.num_samples


def evaluate_base_again(
    config: ExperimentConfig, data: RunData, run_dir: RunDir, terminal: Terminal
) -> None:
    """Draws what the evaluation before training lacks, with the model as it was then."""
    policy = load_policy(config, run_dir, terminal, trained=False)
    held_out = load_held_out(data, policy.tokenizer, terminal)
    measure(BASE, config, policy, held_out, run_dir, terminal)
    del policy
    free_memory()  # the trained model is loaded next, into the same memory


def warm_started(run_dir: RunDir) -> Path:
    """The folder of the model after the warm start."""
    return run_dir.path / "warm_start" / "model"


def warm_start(
    config: ExperimentConfig,
    policy: Policy,
    data: RunData,
    run_dir: RunDir,
    terminal: Terminal,
    clock: RunClock | None = None,
) -> None:
    """Supervised training on demonstrations; `policy` changes in place. A resumed run skips it.

    `clock`: that of the run, if this is all its training.
    """
    # Imports transformers: not at start-up.
    from groupwise.framework.trainers.callbacks import KeepTime, ShowProgress

    if not config.training.warm_start.enabled or warm_started(run_dir).is_dir():
        return
    demonstrations = data.rendered_demonstrations(policy.tokenizer)
    with terminal.stage("Warm start (SFT)") as stage:

        def show(step: int, steps: int, numbers: Mapping[str, float | None]) -> None:
            loss = f"loss {numbers['policy_loss'] or 0:.3f}"
            stage.update(step, steps, loss, str(clock.left or "") if clock else "")

        train_supervised(
            policy,
            demonstrations,
            config.training.warm_start,
            seed=config.seed,
            max_length=config.model.max_seq_length,
            folder=run_dir.path / "warm_start",
            callbacks=[*([KeepTime(clock)] if clock else []), ShowProgress(show)],
        )
    from_main(lambda: policy.save(warm_started(run_dir)))
    if not policy.is_adapter:
        # TRL loads the reference model from the folder that the model's config names; after a warm
        # start of all weights that has to be the warm-started model, or the KL starts above 0.
        policy.model.config._name_or_path = str(warm_started(run_dir))


def train(
    config: ExperimentConfig,
    policy: Policy,
    problems: Problems,
    rubric: Rubric,
    run_dir: RunDir,
    terminal: Terminal,
    clock: RunClock,
) -> TrainResult:
    """GRPO, or its offline form on scored groups; `policy` changes in place."""
    if config.training.method == "group_scores":
        # Imports transformers: not at start-up.
        from groupwise.framework.trainers.group_scores import train_on_groups

        return train_on_groups(config, policy, problems.groups, run_dir, terminal, clock)
    terminal.line(f"  {config.training.batch_shape.shared_by(processes.count())}")
    tracker = Tracker(config, run_dir.path, terminal.notice) if processes.is_main() else None
    evaluation = periodic_evaluation(config, policy, problems, run_dir, terminal, clock)
    try:
        with terminal.stage("Train (GRPO)") as stage:
            trainer = GRPOTrainer(
                policy,
                rubric,
                GRPOArguments(
                    config.training,
                    seed=config.seed,
                    output_dir=str(run_dir.path),
                    use_gradient_checkpointing=config.model.use_gradient_checkpointing,
                ),
                problems.train,
                callbacks=training_callbacks(terminal, stage, clock, tracker, evaluation),
            )
            # The folder is this run's: from its last checkpoint, or from the start without one.
            result = trainer.train(resume_from_checkpoint=True)
            if result.was_stopped:
                stage.ended = "stopped"
    finally:
        if tracker:
            tracker.finish()
        if processes.is_main():
            keep_speed_of(clock, run_dir.config(), terminal.notice)
    report_skipped(rubric, terminal)
    return result


def training_callbacks(
    terminal: Terminal,
    stage: Stage,
    clock: RunClock,
    tracker: Tracker | None,
    evaluation: PeriodicEvaluation | None,
) -> list[TrainerCallback]:
    """What is told of each step of GRPO, in this order."""
    # Imports transformers: not at start-up.
    from groupwise.framework.trainers import callbacks

    def show(step: int, steps: int, numbers: Mapping[str, float | None]) -> None:
        stage.update(step, steps, training_numbers(numbers), str(clock.left or ""))

    return [
        callbacks.Notices(terminal.notice),
        *([callbacks.TrackerCallback(tracker)] if tracker else []),
        callbacks.ShowProgress(show),
        *([evaluation.callback()] if evaluation else []),
        callbacks.KeepTime(clock),
    ]


def compare_both(config: ExperimentConfig, run_dir: RunDir) -> Comparison | None:
    """Base against tuned, paired by problem, written to `comparison.json`."""
    if not (config.evaluation.before and config.evaluation.after):
        return None
    comparison = compare(
        {label: run_dir.evaluation(label) for label in (BASE, TUNED)},
        ks=config.evaluation.k,
        solved_at=config.evaluation.solved_at,
    )
    write_comparison(run_dir.path, comparison)
    return comparison


def report(run_dir: RunDir, terminal: Terminal) -> None:
    """Writes the run as one HTML page."""
    with terminal.stage("Write the report"):
        write_report(run_dir.path)
