"""GRPOTrainer: our rollouts, rewards and logs around the GRPOTrainer of TRL and Unsloth.

    args = GRPOArguments(lr=5e-6, num_generations=8)
    GRPOTrainer(model, [correctness_reward], args, train_dataset, tokenizer=tokenizer).train()

Loss, optimiser and checkpoints are TRL's. The sampling engine (`rollout_func`), the rubric (one
reward function) and the logs (callbacks) use its own hooks; `trl_subclass.py` overrides methods
where there is no hook. `inputs.py` converts rewards and data sets given from Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation import EvaluationSettings, Summary, evaluate
from groupwise.evaluation.log.files import full_disk_as_user_error
from groupwise.evaluation.runner import digest
from groupwise.evaluation.sampler import Prompt
from groupwise.evaluation.summary import KS
from groupwise.framework.config import shared_batch_shape
from groupwise.framework.data.examples import check_data_size
from groupwise.framework.data.prompts import template_variables
from groupwise.framework.grpo_trainer.arguments import GRPOArguments
from groupwise.framework.grpo_trainer.inputs import as_examples, as_rubric, refuse_ungradable
from groupwise.framework.grpo_trainer.output_dir import Resume, claim, locked
from groupwise.framework.grpo_trainer.rollout_metrics import training_numbers
from groupwise.framework.grpo_trainer.rollouts import Rollouts
from groupwise.framework.grpo_trainer.trl_config import refuse_dropped, trl_arguments, trl_classes
from groupwise.framework.policy import Policy
from groupwise.framework.policy.folders import identity_of_loaded
from groupwise.framework.policy.loading import save_pretrained
from groupwise.framework.policy.unsloth import (
    adapter_precision,
    drop_reference,
    plain_precision,
    restore_reference,
)
from groupwise.framework.run import processes
from groupwise.framework.run.checkpoints import step_of
from groupwise.framework.run.health import Finding, HealthLog, RunHealth, parts_of
from groupwise.framework.run.memory import frozen_heap
from groupwise.framework.run.metrics import TrainingLog
from groupwise.framework.run.out_of_memory import out_of_memory_as_user_error
from groupwise.framework.run.stop import StopRequest
from groupwise.framework.run.terminal import Stage, Terminal
from groupwise.framework.trainers.common import TrainResult, training_dtype
from groupwise.rewards import Rubric, UserError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

    from groupwise.evaluation.sampler import Sampler
    from groupwise.rewards.types import Example


class GRPOTrainer:
    """Trains `model` by GRPO on `train_dataset`, with rewards from `reward_funcs`.

    `reward_funcs` is a `Rubric`, or a list of functions: of TRL's form
    (`prompts, completions, **columns -> list[float]`), or this project's rewards. `train_dataset`
    is a list of `Example` with rendered prompts, or rows (mappings, a `datasets.Dataset`) with
    `prompt` or `question`, and `answer`. `evaluate()` measures Pass@K on `eval_dataset`, in the
    same forms. `tokenizer` may be left out if `model` is a `Policy`, whose chat template keeps the
    variables of its config; `args.chat_template_kwargs` adds to them.

    `callbacks` are `transformers.TrainerCallback`s. Their `on_log` gets the numbers of
    `metrics.jsonl` as `logs`; a `trainers.callbacks.RunCallback` can also add numbers, and is told
    of findings and notices, which are printed to standard error unless a `Notices` is among them.
    `sampler` replaces the engine that `args.sampler` names. `progress`: whether `train` and
    `evaluate` show how far they are, on standard error; a `ShowProgress` takes its place.

    Raises:
        UserError: settings, rewards or data that cannot be trained with.
    """

    def __init__(
        self,
        model: PreTrainedModel | Policy,
        reward_funcs: Rubric | Sequence[Callable[..., Any]],
        args: GRPOArguments | None = None,
        train_dataset: Iterable[Any] = (),
        eval_dataset: Iterable[Any] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        callbacks: Sequence[TrainerCallback] = (),
        sampler: Sampler | None = None,
        progress: bool = True,
    ) -> None:
        self.args = args or GRPOArguments()
        variables = template_variables(None, self.args.chat_template_kwargs)
        if isinstance(model, Policy):
            tokenizer = tokenizer or model.tokenizer
            variables = template_variables(model.config, self.args.chat_template_kwargs)
            model = model.model
        if tokenizer is None:
            raise TypeError("GRPOTrainer needs tokenizer=, unless model is a Policy")
        self.model, self.tokenizer = model, tokenizer
        self.config = self.args.training_config()
        self.output_dir = Path(self.args.output_dir)
        self.examples = as_examples(train_dataset, tokenizer, variables)
        measured = () if eval_dataset is None else eval_dataset
        self.eval_examples = as_examples(measured, tokenizer, variables, source="eval_dataset")
        rubric = as_rubric(reward_funcs)
        refuse_ungradable(self.examples, rubric, "train_dataset")
        self.shape = shared_batch_shape(self.config, processes.count())
        check_data_size(len(self.examples), self.config.prompts_per_step)
        self.rollouts = Rollouts(
            sampler=sampler or self._make_sampler(),
            rubric=rubric,
            examples=self.examples,
            tokenizer=tokenizer,
            config=self.config,
            seed=self.args.seed,
            log_path=self.output_dir / "rollouts.jsonl",
        )
        self._stage: Stage | None = None  # while `train` runs
        self._callbacks = self._with_our_own(callbacks, progress)
        self._stop = StopRequest(self._notify)
        self.health = HealthLog(
            self.output_dir / "health.jsonl",
            RunHealth(self.config, parts_of(self.rollouts.rubric)),
            stop_on=self.config.stop_on,
            stop=self._stop.end,
            notify=self._notify,
            on_finding=self._on_finding,
        )
        path = self.output_dir / "metrics.jsonl"
        self.log = TrainingLog(path, self.rollouts, self._run_callbacks, self.rollouts.logged)
        self._reference: dict[str, Tensor] = {}  # between trainings: the KL's, in main memory
        with plain_precision(training_dtype(self.model)):
            self.trl_trainer = self._build()

    def _with_our_own(
        self, callbacks: Sequence[TrainerCallback], progress: bool
    ) -> list[TrainerCallback]:
        """The callbacks, and those for notices and progress that are not among them."""
        # Imports transformers: not at start-up.
        from groupwise.framework.trainers.callbacks import Notices, RunCallback, ShowProgress

        def has(kind: type[TrainerCallback]) -> bool:
            return any(isinstance(callback, kind) for callback in callbacks)

        shows = progress and not has(ShowProgress)
        self._terminal = Terminal(quiet=not shows)
        first = [] if has(Notices) else [Notices(self._terminal.notice)]
        every = [*first, *callbacks, *([ShowProgress(self._show_step)] if shows else [])]
        self._run_callbacks = [c for c in every if isinstance(c, RunCallback)]
        return every

    def train(self, resume_from_checkpoint: Resume = None) -> TrainResult:
        """Runs all steps; the trained adapter or weights are in `self.model`.

        `resume_from_checkpoint`: True continues the run in `output_dir` from its last checkpoint
        (from the start, if it has none), a path from that one; later steps are made again. Ctrl-C
        once finishes the current step and writes a checkpoint, twice stops at once.

        Raises:
            UserError: `output_dir` holds a run that is not resumed, or one of other arguments.
        """
        with locked(self.output_dir):
            checkpoint = processes.from_main(
                lambda: claim(self.output_dir, resume_from_checkpoint, self._arguments())
            )
            with self._terminal.stage("Train (GRPO)") as self._stage:
                result = self._train(checkpoint)
                if result.was_stopped:
                    self._stage.ended = "stopped"
        return result

    def _show_step(self, step: int, steps: int, numbers: Mapping[str, float | None]) -> None:
        if self._stage is not None:
            self._stage.update(step, steps, training_numbers(numbers))

    def _arguments(self) -> dict[str, Any]:
        """What decides about the results of a training, beside the model."""
        return {
            "training": asdict(self.config),
            "seed": self.args.seed,
            "rewards": self.rollouts.rubric.weights,
            "problems": digest((e.id, e.prompt, e.answer) for e in self.examples),
        }

    def _train(self, resume_from: Path | None) -> TrainResult:
        # Imports torch: not at start-up.
        from groupwise.framework.grpo_trainer.memory_trial import training_out_of_memory

        last_step = step_of(resume_from) if resume_from else 0
        # Of the first training of this trainer: a later one may resume it.
        restore_reference(self.model, self._reference)
        self.rollouts.open(last_step)
        self.log.open(last_step)
        if processes.is_main():
            self.health.open(last_step, self.log.steps())
        try:
            was_ended = processes.from_main(lambda: self.health.stopped_by is not None)
            if resume_from and (was_ended or last_step >= self._num_steps()):
                return self._as_it_ended(resume_from)
            with (
                self._stop.listening(),
                frozen_heap(),
                full_disk_as_user_error(self.output_dir),
                training_out_of_memory(self.config, self.args.use_gradient_checkpointing),
            ):
                self._check_sampler()
                output = self.trl_trainer.train(
                    resume_from_checkpoint=str(resume_from) if resume_from else None
                )
        finally:
            self.rollouts.close()
            self.log.close()
            self._reference = drop_reference(self.model) or self._reference
        steps = int(output.global_step)
        return TrainResult(
            steps,
            float(output.metrics["train_runtime"]),
            self.log.last,
            was_stopped=self._stop.is_asked and steps < int(self.trl_trainer.state.max_steps),
        )

    def _notify(self, text: str) -> None:
        for callback in self._run_callbacks:
            callback.on_notice(text)

    def _on_finding(self, finding: Finding) -> None:
        for callback in self._run_callbacks:
            callback.on_finding(finding)

    def _num_steps(self) -> int:
        """How many optimiser steps there are in all, as transformers counts them."""
        trainer = self.trl_trainer
        values = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())
        return int(values[-1])

    def _as_it_ended(self, checkpoint: Path) -> TrainResult:
        """The result of a training that had ended already: transformers would go on training."""
        self.trl_trainer._load_from_checkpoint(str(checkpoint))
        self.trl_trainer.state.global_step = step_of(checkpoint)
        return TrainResult(step_of(checkpoint), 0.0, self.log.last)

    def evaluate(
        self,
        num_samples: int = 8,
        k: Sequence[int] | None = None,
        *,
        solved_at: float | None = None,
    ) -> Summary:
        """Pass@K of the model as it is now, on `eval_dataset`.

        `k`: by default 1, 2, 4 and 8, as far as there are so many samples.
        Every answer is kept in `evaluations/step-<steps made>/` of the output directory; called
        again for the same step and weights, only missing samples are drawn; other weights need
        another output directory. An answer is right if it is graded so or, with `solved_at`, if its
        total reward is at least that.
        """
        if not self.eval_examples:
            raise TypeError("GRPOTrainer.evaluate needs eval_dataset=")
        if not isinstance(num_samples, int):
            raise UserError(f"num_samples: {num_samples!r} is not a whole number")
        if solved_at is None and not any(example.answer for example in self.eval_examples):
            raise UserError(
                "eval_dataset: no row has an `answer`, so nothing could be right; add them, or say "
                "with solved_at= which total reward solves a problem"
            )
        # A score normalised within its group rates no single answer.
        num_steps = int(self.trl_trainer.state.max_steps) or self._num_steps()
        rubric = replace(self.rollouts.rubric, aggregation="sum", num_steps=num_steps)
        label = f"step-{int(self.trl_trainer.state.global_step)}"
        settings = EvaluationSettings(
            num_samples=num_samples,
            ks=tuple(k or [k for k in KS if k <= num_samples]),
            params=self.config.sampling_params(self.args.seed),
            model=identity_of_loaded(self.model),
            identity={"training": asdict(self.config), "rewards": rubric.weights},
            solved_at=solved_at,
        )
        folder = self.output_dir / "evaluations" / label
        rows = self.config.max_rows or self.config.batch_shape.completions_per_step
        tries = [f"max_rows={max(1, rows // 2)}", "a shorter max_completion_length"]
        kept = f"What was sampled is kept in {folder}."
        with (
            out_of_memory_as_user_error("an evaluation", tries, kept),
            self._terminal.stage(f"Evaluate: {label}") as stage,
        ):
            self._check_engine(self.eval_examples)
            return evaluate(
                self.eval_examples,
                self.rollouts.sampler,
                rubric,
                settings,
                folder,
                on_progress=lambda p: stage.update(p.done, p.total),
            )

    def save_model(self, folder: Path | str) -> None:
        """Adapter or weights, and the tokenizer, as plain transformers + peft load them."""
        save_pretrained(self.model, self.tokenizer, Path(folder))

    def _check_engine(self, examples: Sequence[Example]) -> None:
        from groupwise.framework.sampling.self_check import check_engine  # torch: not at start-up

        prompts = [Prompt(e.id, e.prompt, token_ids=e.prompt_ids or None) for e in examples]
        check_engine(
            self.rollouts.sampler, prompts, self.config.max_completion_length, self._notify
        )

    def _check_sampler(self) -> None:
        """Checks the engine, and takes `generate` in all processes if it disagrees in one."""
        from groupwise.framework.sampling.self_check import CheckedSampler  # not at start-up

        self._check_engine(self.examples)
        sampler = self.rollouts.sampler
        if not isinstance(sampler, CheckedSampler):  # which kind follows from config and model
            return
        votes = processes.gathered(sampler.found)
        against = [i for i, found in enumerate(votes) if found is not None and not found.agrees]
        if against and sampler.found is not None and sampler.found.agrees:
            reason = f"slots, in process {against[0]}: {votes[against[0]]}"
            self.rollouts.sampler = sampler.generate
            sampler.generate.reason = reason
            self._notify(f"sampling with generate, which is slower, in all processes: {reason}")

    def _described_sampler(self) -> Any:
        sampler = self.rollouts.sampler
        described = getattr(sampler, "described", None)
        if described is not None:
            return described()
        return {"engine": sampler.name, "reason": getattr(sampler, "reason", "given")}

    def _make_sampler(self) -> Sampler:
        from groupwise.framework.sampling import make_sampler  # imports torch: not at start-up

        return make_sampler(
            self.model,
            self.tokenizer,
            engine=self.config.sampler,
            max_rows=self.config.max_rows,
            cuda_graphs=self.config.cuda_graphs,
        )

    def _build(self) -> Any:
        from datasets import Dataset  # slow, as what these import is: not at start-up

        from groupwise.framework.grpo_trainer.memory_trial import MemoryTrial
        from groupwise.framework.grpo_trainer.trl_subclass import GroupwiseTrainer
        from groupwise.framework.trainers.callbacks import (
            LogMetrics,
            RecordConfig,
            StopAfterStep,
            WatchHealth,
        )

        _, config_class = trl_classes()
        requested = trl_arguments(self.args, self.shape, self.model)
        trl_args = config_class(**requested)
        refuse_dropped(requested, trl_args)
        dataset = Dataset.from_list(
            [{"prompt": example.prompt, "example_id": example.id} for example in self.examples]
        )
        with adapter_precision(self.model):
            trainer = GroupwiseTrainer(
                rollouts=self.rollouts,
                skip_zero_advantage=self.config.skip_zero_advantage,
                model=self.model,
                reward_funcs=[self.rollouts.reward],
                args=trl_args,
                train_dataset=dataset,
                processing_class=self.tokenizer,
                callbacks=[
                    LogMetrics(self.log),  # first: all others get its numbers
                    RecordConfig(
                        self.output_dir,
                        self.config,
                        sampler=self._described_sampler,
                        rewards=dict(self.rollouts.rubric.weights),
                    ),
                    *self._callbacks,
                    WatchHealth(self.health),
                    StopAfterStep(self._stop, self.config.num_iterations),  # last: the others ask
                ],
                rollout_func=self.rollouts.sample,
            )
        if self._tries_memory():
            trainer.add_callback(
                MemoryTrial(trainer, self.config, self.examples, self.rollouts.prompt_ids)
            )
        return trainer

    def _tries_memory(self) -> bool:
        import torch  # slow: not at start-up

        asked = self.config.longest_first
        if processes.count() > 1:  # one short of memory would leave the others waiting
            if asked:
                self._notify("training.longest_first: left out with several processes")
            return False
        return torch.cuda.is_available() if asked is None else asked
