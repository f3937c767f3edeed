"""Offline GRPO: learns from completions that come with scores, without sampling any.

    args = GroupScoreArguments("runs/offline", num_train_epochs=2, learning_rate=1e-5)
    GroupScoreTrainer(model, args, read_groups("scored.jsonl"), tokenizer).train()

A subclass of transformers' `Trainer`: its batches are groups, (B, K, T) with masks, and a loss over
each group replaces the loss over tokens. Works with any causal LM, with LoRA or all weights.

Memory: the completions go through the model `completions_per_forward` at a time; if that is not all
of them, each forward is recomputed for its gradient. So the (B, K, T, V) logits and the activations
of a whole batch are never in memory at once; the result is the same.

Left out: a reference model (in the `advantage` form the old log-probabilities bound the policy, in
the `kl` form the finite target does), and log-probabilities of the data's own model by token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from groupwise.framework.policy.unsloth import load_unsloth, plain_precision, stock_checkpoint

load_unsloth()  # before transformers, which it patches

import torch
import torch.utils.checkpoint
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainingArguments

from groupwise.evaluation.log.files import full_disk_as_user_error
from groupwise.evaluation.text import percent
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.prompts import template_variables
from groupwise.framework.data.scored_groups import ScoredGroup
from groupwise.framework.objective import (
    KLDirection,
    group_score_kl,
    group_score_surrogate,
    token_logps,
)
from groupwise.framework.policy import Policy
from groupwise.framework.run import processes
from groupwise.framework.run.checkpoints import latest_checkpoint, step_of
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.metrics import TrainingLog
from groupwise.framework.run.out_of_memory import (
    CHECKPOINTING,
    Setting,
    out_of_memory_as_user_error,
)
from groupwise.framework.run.stop import StopRequest
from groupwise.framework.run.terminal import Terminal
from groupwise.framework.run.time_left import Evaluations, RunClock
from groupwise.framework.run.tracking import Tracker
from groupwise.framework.trainers.callbacks import (
    KeepTime,
    LogMetrics,
    RecordConfig,
    ShowProgress,
    StopAfterStep,
    TrackerCallback,
)
from groupwise.framework.trainers.common import TrainResult, machine_arguments, training_dtype
from groupwise.framework.trainers.group_score_batches import (
    Batch,
    Collator,
    pad_token_id,
    tokenized_groups,
)
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class GroupScoreArguments(TrainingArguments):  # type: ignore[misc]
    """`TrainingArguments` with other defaults, and the settings of the loss.

    `per_device_train_batch_size` counts groups. The other fields are keys of the config, of
    `training.group_scores` or `training`, and are explained there.
    """

    per_device_train_batch_size: int = 8
    logging_steps: float = 20
    save_steps: float = 500
    save_total_limit: int | None = 2
    remove_unused_columns: bool = False
    report_to: str | list[str] | None = "none"
    loss: Literal["kl", "advantage"] = "kl"
    kl_direction: KLDirection = "forward"
    score_temperature: float = 0.2
    sequence_logps: Literal["sum", "mean"] = "sum"
    old_logps: Literal["recomputed", "stored"] = "recomputed"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    max_ratio: float = 3.0
    completions_per_forward: int = 8
    max_length: int = 1024

    @property
    def stored_logps(self) -> Literal["sum", "mean"] | None:
        """How log-probabilities that come with the data are used; None if they are not."""
        is_used = self.loss == "advantage" and self.old_logps == "stored"
        return self.sequence_logps if is_used else None


class GroupScoreTrainer(Trainer):  # type: ignore[misc]
    """Trains `model` in place on scored groups; `.train()`, `.save_model()` as `Trainer` has them.

    Completions of more than `args.max_length` tokens, prompt included, are left out and counted in
    `left_out`. `variables` are the chat template's. Raises UserError if nothing is left, or if
    stored log-probabilities are missing.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: GroupScoreArguments,
        groups: Iterable[ScoredGroup],
        tokenizer: PreTrainedTokenizerBase,
        variables: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        _unfreeze_adapter(model)
        features, self.left_out = tokenized_groups(
            groups,
            tokenizer,
            max_length=args.max_length,
            stored_logps=args.stored_logps,
            variables=variables,
        )
        super().__init__(
            model=model,
            args=args,
            train_dataset=features,
            data_collator=Collator(pad_token_id(tokenizer)),
            processing_class=tokenizer,
            **options,
        )
        # Our loss is a mean over groups: the mean over a step's passes is the step's.
        self.model_accepts_loss_kwargs = False
        self._latest: dict[str, float | None] = {}
        if args.disable_tqdm:
            self.remove_callback(PrinterCallback)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        if self.args.loss == "advantage" and self.args.old_logps == "recomputed":
            self._recompute_old_logps()
        return super().train(*args, **kwargs)

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        """The mean loss of B groups; `inputs` as `Collator` makes them."""
        args: GroupScoreArguments = self.args
        logps = self.group_logps(model, inputs)  # (B, K)
        scores, mask = inputs["scores"], inputs["group_mask"]
        if args.loss == "kl":
            loss = group_score_kl(logps, scores, mask, args.score_temperature, args.kl_direction)
        else:
            loss = group_score_surrogate(
                logps,
                inputs["old_logps"],
                scores,
                mask,
                epsilon=args.epsilon,
                epsilon_high=args.epsilon_high,
                max_ratio=args.max_ratio,
            )
        self._note(logps.detach(), inputs)
        return (loss, {"logps": logps}) if return_outputs else loss

    def group_logps(self, model: Any, inputs: Batch) -> Tensor:
        """Sequence log-probabilities (B, K), a sum or a mean over tokens; 0 if there is none."""
        present = inputs["group_mask"].bool()  # (B, K)
        ids = inputs["input_ids"][present]  # (N, T)
        attention = inputs["attention_mask"][present]
        learned = inputs["completion_mask"][present]
        size = self.args.completions_per_forward
        in_pieces = len(ids) > size and torch.is_grad_enabled()
        sums = []
        alone = self.accelerator.num_processes == 1
        for start in range(0, len(ids), size):
            piece = slice(start, start + size)
            length = int(attention[piece].sum(1).max())  # the rest is padding
            tensors = (ids[piece, :length], attention[piece, :length], learned[piece, :length])
            if in_pieces:
                sums.append(_recomputed(model, *tensors, alone=alone))
            else:
                sums.append(_sequence_logps(model, *tensors))
        logps = torch.cat(sums)  # (N,)
        if self.args.sequence_logps == "mean":
            logps = logps / learned.sum(1).clamp(min=1)
        return logps.new_zeros(present.shape).masked_scatter(present, logps)

    def metrics(self) -> Mapping[str, float | None]:
        """Numbers of the latest batch, beside those that `Trainer` logs."""
        return self._latest

    @torch.no_grad()
    def _note(self, logps: Tensor, inputs: Batch) -> None:
        scores = inputs["scores"].masked_fill(inputs["group_mask"] == 0, -torch.inf)
        policy = logps.masked_fill(inputs["group_mask"] == 0, -torch.inf).softmax(1)  # (B, K)
        best = scores == scores.max(1, keepdim=True).values
        of_all = self.accelerator.gather  # several processes share a batch
        self._latest = {"mass_on_best": of_all((policy * best).sum(1)).mean().item()}
        if self.args.loss == "advantage":
            moved = (logps - inputs["old_logps"])[inputs["group_mask"].bool()]
            outside = (moved.exp() - 1).abs() > self.args.epsilon
            self._latest["clip_ratio"] = of_all(outside.float().mean()).mean().item()

    @torch.no_grad()
    def _recompute_old_logps(self) -> None:
        """The log-probabilities of all completions under the policy as it is now."""
        self.model.eval()
        size = self.args.per_device_train_batch_size
        for start in range(0, len(self.train_dataset), size):
            features = self.train_dataset[start : start + size]
            inputs = self._prepare_inputs(self.data_collator(features))
            with self.compute_loss_context_manager():
                logps = self.group_logps(self.model, inputs)
            for feature, row in zip(features, logps.tolist(), strict=True):
                feature["old_logps"] = row[: len(feature["scores"])]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No model card: a run directory says more, and the card looks up the hub."""


def _sequence_logps(
    model: Any, ids: Tensor, attention: Tensor, learned: Tensor, *_: Tensor
) -> Tensor:
    """Tokens (N, T) -> the log-probability of each row's learned tokens, (N,)."""
    logits = model(input_ids=ids, attention_mask=attention).logits  # (N, T, V)
    sums = []
    for row, tokens, mask in zip(logits, ids, learned, strict=True):  # one row in float32 at a time
        kept = mask[1:].bool()
        row = row[:-1][kept]
        row = row.to(torch.promote_types(row.dtype, torch.float32))
        sums.append(token_logps(row, tokens[1:][kept]).sum())
    return torch.stack(sums)


def _recomputed(model: Any, *tensors: Tensor, alone: bool) -> Tensor:
    """`_sequence_logps` that keeps nothing of its forward, which is made again for the gradient.

    Unsloth's own checkpointing inside it would keep the inputs of all layers of all pieces in main
    memory. A reentrant checkpoint makes its first forward without a graph, and so leaves nothing to
    keep; with several processes it cannot be had, as DDP takes a gradient once for each backward.
    """
    checkpoint = stock_checkpoint()
    reentrant = alone and torch.utils.checkpoint.checkpoint is not checkpoint
    # Reentrant, the result has a gradient only if an input has one; the weights are none.
    more = [torch.zeros((), device=tensors[0].device, requires_grad=True)] if reentrant else []
    logps: Tensor = checkpoint(_sequence_logps, model, *tensors, *more, use_reentrant=reentrant)
    return logps


def _unfreeze_adapter(model: Any) -> None:
    """`PeftModel.from_pretrained` freezes the adapter unless told otherwise: it would not learn."""
    if any(parameter.requires_grad for parameter in model.parameters()):
        return
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.requires_grad_(True)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("nothing of the model can be trained: every weight is frozen")


def train_on_groups(
    config: ExperimentConfig,
    policy: Policy,
    groups: Sequence[ScoredGroup],
    run_dir: RunDir,
    terminal: Terminal,
    clock: RunClock | None = None,
) -> TrainResult:
    """Trains `policy` in place on the groups; resumes from the run's last checkpoint."""
    clock = clock or RunClock(Evaluations())
    resume_from = processes.from_main(lambda: latest_checkpoint(run_dir.checkpoints))
    tracker = Tracker(config, run_dir.path, terminal.notice) if processes.is_main() else None
    stop = StopRequest(terminal.notice)
    with terminal.stage("Train (scored groups)") as stage:
        with plain_precision(training_dtype(policy.model)):
            trainer = GroupScoreTrainer(
                policy.model,
                arguments(config, policy, run_dir),
                groups,
                policy.tokenizer,
                template_variables(config.model),
                callbacks=[StopAfterStep(stop)],
            )
        if trainer.left_out:
            terminal.notice(
                f"{trainer.left_out} completions left out: longer than model.max_seq_length, or "
                "alone in their group"
            )
        timed = KeepTime(clock)
        log = TrainingLog(run_dir.metrics, trainer, [timed])
        for callback in (
            LogMetrics(log),  # first: the others get its numbers
            RecordConfig(run_dir.path, config.training),
            *([TrackerCallback(tracker)] if tracker else []),
            timed,
            ShowProgress(lambda step, n, m: stage.update(step, n, shown(m), str(clock.left or ""))),
        ):
            trainer.add_callback(callback)
        log.open(step_of(resume_from) if resume_from else 0)
        try:
            with (
                stop.listening(),
                full_disk_as_user_error(run_dir.path),
                out_of_memory_as_user_error(
                    "training", _tries(config), "The last checkpoint is kept."
                ),
            ):
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


def _tries(config: ExperimentConfig) -> list[Setting]:
    size, length = config.training.completions_per_forward, config.model.max_seq_length
    checkpointing = config.model.use_gradient_checkpointing
    left_out = "longer completions are left out"
    return [
        *([Setting("training.completions_per_forward", size // 2, size)] if size > 1 else []),
        *([] if checkpointing else [Setting(CHECKPOINTING, "unsloth")]),
        Setting("model.max_seq_length", length * 3 // 4, length, same_result=False, note=left_out),
    ]


def shown(metrics: Mapping[str, float | None]) -> str:
    """The numbers beside the training bar."""
    loss, best = metrics.get("policy_loss"), metrics.get("mass_on_best")
    return f"loss {loss or 0:.3f}  on the best {percent(best or 0)}"


def arguments(config: ExperimentConfig, policy: Policy, run_dir: RunDir) -> GroupScoreArguments:
    """The config in the trainer's terms."""
    training, groups = config.training, config.training.group_scores
    checkpointing: dict[str, Any] = {}
    if config.model.use_gradient_checkpointing:
        checkpointing = {
            "gradient_checkpointing": True,
            # The other kind needs an input with a gradient, and frozen embeddings give none.
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
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        adam_beta1=training.adam_beta1,
        adam_beta2=training.adam_beta2,
        **machine_arguments(training_dtype(policy.model), training.optim),
        **checkpointing,
        logging_steps=groups.logging_steps,
        logging_first_step=True,
        save_strategy="steps",
        save_steps=groups.save_steps,
        save_total_limit=training.save_total_limit,
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
