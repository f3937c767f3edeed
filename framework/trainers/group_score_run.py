"""The offline part of a run: scored groups instead of problems, `GroupScoreTrainer` for TRL's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.files import full_disk_is_the_users
from groupwise.evaluation.text import percent
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.scored_groups import ScoredGroup
from groupwise.framework.policy import Policy
from groupwise.framework.policy.loading import compute_dtype
from groupwise.framework.run import processes
from groupwise.framework.run.checkpoints import latest_checkpoint, step_of
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.metrics import TrainingLog
from groupwise.framework.run.stop import StopRequest
from groupwise.framework.run.terminal import Terminal
from groupwise.framework.run.tracking import Tracker
from groupwise.framework.trainers.common import TrainResult
from groupwise.framework.trainers.effective_config import recorder
from groupwise.rewards.types import Example

if TYPE_CHECKING:
    from groupwise.framework.trainers.group_scores import GroupScoreArguments


def notice_known_problems(
    groups: Sequence[ScoredGroup], held_out: Sequence[Example], notice: Callable[[str], None]
) -> None:
    """Says how many held-out problems the groups answer: a night's evaluation as training data."""
    texts = {group.prompt for group in groups if isinstance(group.prompt, str)}
    chats = [group.prompt for group in groups if not isinstance(group.prompt, str)]
    repeated = sum(example.prompt in texts or example.messages in chats for example in held_out)
    if repeated:
        notice(
            f"{repeated} of the held-out problems are answered in the training data: what Pass@K "
            "says of them is not about new problems"
        )


def train_on_groups(
    config: ExperimentConfig,
    policy: Policy,
    groups: Sequence[ScoredGroup],
    run_dir: RunDir,
    terminal: Terminal,
) -> TrainResult:
    """Trains `policy` in place on the groups; goes on from the run's last checkpoint."""
    from groupwise.framework.trainers.group_scores import GroupScoreTrainer

    resume_from = processes.from_main(lambda: latest_checkpoint(run_dir.checkpoints))
    tracker = Tracker(config, run_dir.path, terminal.notice) if processes.is_main() else None
    stop = StopRequest()
    with terminal.stage("Train (scored groups)") as stage:
        trainer = GroupScoreTrainer(
            policy.model,
            arguments(config, policy, run_dir),
            groups,
            policy.tokenizer,
            callbacks=[stop.callback(1)],
        )
        if trainer.left_out:
            terminal.notice(
                f"{trainer.left_out} completions left out: longer than model.max_seq_length, or "
                "alone in their group"
            )
        log = TrainingLog(
            run_dir.metrics,
            trainer,
            tracker=tracker,
            on_metrics=lambda step, steps, m: stage.update(step, steps, shown(m)),
        )
        trainer.add_callback(log.callback())
        trainer.add_callback(recorder(run_dir.path, config.training))
        log.open(step_of(resume_from) if resume_from else 0)
        try:
            with stop.listening(), full_disk_is_the_users(run_dir.path):
                output = trainer.train(
                    resume_from_checkpoint=str(resume_from) if resume_from else None
                )
        finally:
            log.close()
            if tracker:
                tracker.finish()
        steps = int(output.global_step)
        was_stopped = steps < int(trainer.state.max_steps)
        if was_stopped:
            stage.ended = "stopped"
    return TrainResult(steps, float(output.metrics["train_runtime"]), log.last, was_stopped)


def shown(metrics: Mapping[str, float | None]) -> str:
    """The numbers beside the training bar."""
    loss, best = metrics.get("policy_loss"), metrics.get("mass_on_best")
    return f"loss {loss or 0:.3f}  on the best {percent(best or 0)}"


def arguments(config: ExperimentConfig, policy: Policy, run_dir: RunDir) -> GroupScoreArguments:
    """The config in the trainer's terms."""
    import torch

    from groupwise.framework.trainers.group_scores import GroupScoreArguments

    training, groups = config.training, config.training.group_scores
    on_gpu = torch.cuda.is_available()
    in_bf16 = compute_dtype(policy.model) == torch.bfloat16
    checkpointing: dict[str, Any] = {}
    if config.model.use_gradient_checkpointing:
        checkpointing = {
            "gradient_checkpointing": True,
            # The other kind needs an input with a gradient, which frozen embeddings have not.
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
        }
    return GroupScoreArguments(
        output_dir=str(run_dir.checkpoints),
        seed=config.seed,
        max_steps=-1 if training.max_steps is None else training.max_steps,
        num_train_epochs=training.num_train_epochs,
        per_device_train_batch_size=training.prompts_per_step // processes.count(),
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler_type,
        warmup_steps=training.warmup_ratio,  # below 1: a share of all steps
        # bitsandbytes' optimisers have no CPU kernels
        optim="adamw_torch_fused" if not on_gpu and "adamw" in training.optim else training.optim,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        adam_beta1=training.adam_beta1,
        adam_beta2=training.adam_beta2,
        bf16=in_bf16,
        fp16=on_gpu and not in_bf16,
        **checkpointing,
        logging_steps=groups.logging_steps,
        logging_first_step=True,
        save_strategy="steps",
        save_steps=groups.save_steps,
        save_total_limit=training.save_total_limit,
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
        use_cpu=not on_gpu,
        loss=groups.loss,
        kl_direction=groups.kl_direction,
        score_temperature=groups.score_temperature,
        sequence_logps=groups.sequence_logps,
        old_logps=groups.old_logps,
        epsilon=training.epsilon,
        epsilon_high=training.epsilon_high,
        max_ratio=groups.max_ratio,
        completions_per_forward=training.completions_per_forward,
        max_length=config.model.max_seq_length,
    )
