"""The subclass of TRL's GRPOTrainer: uses our rollouts, and skips work without a gradient.

Imported only when a trainer is built: its base is TRL's class as Unsloth's import left it (TRL's
own on a CPU, Unsloth's rewritten one on a GPU). Methods are overridden where TRL 1.15 has no hook:

- `_generate_and_score_completions`: `Rollouts.step` runs it, since no hook gets the rows of a batch
  and the advantages of its completions;
- `_prepare_inputs`: sorts a step's completions into as few forwards with a gradient as possible,
  and cuts off the padding that a forward does not need;
- `_get_per_token_logps_and_entropies`: shares each prompt's forward (`prefix_sharing.py`), and
  takes the old log-probabilities from the sampler if these are exact;
- `compute_loss`: skips what has no gradient. With `beta = 0`, a completion whose advantage is zero
  has a loss of exactly zero. Late in a run that is most of them: every group whose answers are all
  right or all wrong;
- `_save`, `_save_checkpoint`, `_save_rng_state`, `_load_from_checkpoint`: a checkpoint is complete
  or absent, and the trained adapter is the one that is saved and loaded.

Skipping a whole forward gives the same weights to the bit; dropping single rows of a forward, and
padding, gives the same up to rounding. Both are done under Unsloth's trainer too, whose shapes
change with every batch anyway. Left out there: sharing prompts. Unsloth packs the rows of a forward
into one sequence, and shares a prompt among consecutive rows only by a kernel that has no backward
on a CPU and whose own check lets log-probabilities differ by 0.7.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from groupwise.framework.grpo_trainer.batching import (
    Batch,
    has_gradient,
    loss_share,
    rows,
    shifted_left,
    sorted_batches,
    trimmed,
)
from groupwise.framework.grpo_trainer.prefix_sharing import can_share_prompts, completion_log_probs
from groupwise.framework.grpo_trainer.rollouts import Rollouts
from groupwise.framework.grpo_trainer.trl_config import trl_classes
from groupwise.framework.policy.loading import compute_dtype
from groupwise.framework.policy.unsloth import (
    REFERENCE_ADAPTER,
    add_reference,
    drop_reference,
    load_unsloth,
)
from groupwise.framework.run import processes
from groupwise.framework.run.checkpoints import step_of, whole_checkpoints
from groupwise.framework.run.errors import unwritable_as_user_error
from groupwise.framework.trainers.common import training_dtype
from groupwise.rewards.errors import UserError

load_unsloth()  # before the libraries that it patches

from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PrinterCallback

TRLTrainer: Any = trl_classes()[0]

CLIP_RATIO = "clip_ratio/region_mean"
IS_STOCK = not TRLTrainer.__name__.startswith("Unsloth")


# Losses for which the trainer logs it.
_WITH_CLIP_RATIO = {"grpo", "bnpo", "dr_grpo", "dapo", *(("luspo",) if IS_STOCK else ())}


class GroupwiseTrainer(TRLTrainer):  # type: ignore[misc]
    """`rollouts` samples, scores and logs; `skip_zero_advantage` is the config's key."""

    shifts_rows = not IS_STOCK
    """Whether log-probabilities are laid out as `batching.shifted_left` does it."""

    def __init__(self, *, rollouts: Rollouts, skip_zero_advantage: bool, **kwargs: Any) -> None:
        self._rollouts = rollouts
        self._has_new_completions = False
        drop_reference(kwargs["model"])
        super().__init__(**kwargs)
        if self.beta != 0.0:
            add_reference(self.model)
        # Unsloth's wish; nothing is evaluated by this trainer.
        self.args.bf16_full_eval = self.args.fp16_full_eval = False
        self.remove_callback(PrinterCallback)  # metrics.jsonl has the same numbers
        # TRL masks by the last token, and would take a stop string's, or a chat template's own end
        # of turn, for a completion that was cut off. The sampler knows.
        self._masks_truncated = bool(self.args.mask_truncated_completions)
        self.mask_truncated_completions = False
        # Several processes wait for each other in every backward: none may skip one.
        alone = self.accelerator.num_processes == 1
        # Below float32, sampling and training round differently, by more than the clip range; so
        # does vLLM.
        self._is_exact = training_dtype(self.model) == compute_dtype(
            self.model
        ) == torch.float32 and not hasattr(self.model, "vllm_engine")
        self._wants_old = False
        self._skips = skip_zero_advantage and alone and self.beta == 0.0
        self._drops_rows = self._skips and self.args.top_entropy_quantile == 1.0

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Any:
        # TRL's first pass over new completions asks for the policy's own log-probabilities, if
        # steps with changed weights are to learn from them.
        every = self.args.steps_per_generation * self.num_iterations
        self._wants_old = self.args.gradient_accumulation_steps % every != 0
        generate_and_score = super()._generate_and_score_completions

        def masked(rows: list[dict[str, Any]]) -> Batch:
            output: Batch = generate_and_score(rows)
            if self._masks_truncated:
                self._mask_truncated(output)
            return output

        output = self._rollouts.step(
            inputs, self, masked, log_probs=self._wants_old and self._is_exact
        )
        self._has_new_completions = True
        return output

    def _mask_truncated(self, output: Batch) -> None:
        """Leaves the completions that were cut off out of the loss, and of the tokens it counts."""
        finished = self._rollouts.finished().to(output["completion_mask"])  # (B,)
        output["completion_mask"] = output["completion_mask"] * finished[:, None]
        counted = self.accelerator.gather(output["completion_mask"].sum())
        output["num_items_in_batch"] = counted.sum()

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        inputs = super()._prepare_inputs(generation_batch)
        if not (self._has_new_completions and self.model.training):
            return inputs
        self._has_new_completions = False
        # TRL's own buffer, from which it takes the batch of each later forward of this step.
        batches = sorted_batches(self._buffered_inputs)
        self._buffered_inputs: list[Batch] = batches
        return batches[self._step % self.args.steps_per_generation]

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        if not (self._skips and self.model.training):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        learns = has_gradient(inputs)  # (B,)
        self._rollouts.count_forward(skipped=not bool(learns.any()))
        if not learns.any():
            self._log_skipped()
            return _no_loss(model)
        if not self._drops_rows or bool(learns.all()):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        kept = rows(inputs, learns)
        # The loss is linear in the advantages. A factor of the loss itself would not do: Unsloth's
        # backward ignores it.
        kept["advantages"] = kept["advantages"] * loss_share(inputs, kept, self.loss_type)
        loss = super().compute_loss(model, trimmed(kept), return_outputs, num_items_in_batch)
        by_rows = self.importance_sampling_level == "sequence"
        # The rows that were left out are not clipped: of an advantage of zero nothing is.
        share = loss_share(inputs, kept, "grpo" if by_rows else "bnpo")
        if values := self._metrics["train"].get(CLIP_RATIO):
            values[-1] *= share
        return loss

    def _log_skipped(self) -> None:
        """Logs what a forward without a gradient would have: TRL takes the mean over forwards."""
        if self.loss_type in _WITH_CLIP_RATIO:
            self._metrics["train"][CLIP_RATIO].append(0.0)
        if not IS_STOCK:  # which logs it without a KL, too
            self._metrics["train"]["kl"].append(0.0)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        wants_old, self._wants_old = self._wants_old, False
        if wants_old and self._is_exact:
            drawn = self._rollouts.log_probs(logits_to_keep).to(input_ids.device)
            if not IS_STOCK:
                drawn = shifted_left(drawn, attention_mask[:, :-logits_to_keep])
            return drawn, None, None
        size = kwargs.get("batch_size") or len(input_ids)
        has_prefix = input_ids.shape[1] - logits_to_keep > 1
        # DDP, which wraps the model with several processes, expects one forward per backward.
        alone = self.accelerator.num_processes == 1
        if not (IS_STOCK and alone and has_prefix and can_share_prompts(model)):
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        parts = []
        for start in range(0, len(input_ids), size):
            part = slice(start, start + size)
            with self.accelerator.autocast():
                parts.append(
                    completion_log_probs(
                        model, input_ids[part], attention_mask[part], logits_to_keep
                    )
                )
        log_probs, entropies = zip(*parts, strict=True)
        wants_entropy = kwargs.get("compute_entropy", False)
        return torch.cat(log_probs), torch.cat(entropies) if wants_entropy else None, None

    def try_forward(self, inputs: Batch) -> None:
        """A forward and backward without an optimiser step, to see whether it fits into memory."""
        self.current_gradient_accumulation_steps = self.args.gradient_accumulation_steps
        self.model.train()
        with self.compute_loss_context_manager():
            loss = super().compute_loss(self.model_wrapped, inputs)
        self.accelerator.backward(loss)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        step = int(self.state.global_step)
        last = max((step_of(path) for path in whole_checkpoints(folder)), default=None)
        stays = f", checkpoint-{last} too" if last else ""
        try:
            with unwritable_as_user_error(folder / f"checkpoint-{step}", stays):
                super()._save_checkpoint(model, trial)
        except UserError:
            shutil.rmtree(folder / f"checkpoint-{step}", ignore_errors=True)
            raise

    def _save_rng_state(self, output_dir: str) -> None:
        """Waits for every process: the file written next marks the checkpoint as complete."""
        super()._save_rng_state(output_dir)
        processes.wait()

    def _save(self, output_dir: str | None = None, **kwargs: Any) -> None:
        """Removes the reference adapter, which is never trained, from the checkpoint."""
        super()._save(output_dir, **kwargs)
        shutil.rmtree(
            Path(output_dir or self.args.output_dir) / REFERENCE_ADAPTER, ignore_errors=True
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Loads the trained adapter, which transformers 5.17 does not.

        Where a checkpoint has an adapter in a sub-folder (the reference), transformers loads that
        one and not the one beside it, without a warning: training would resume from the weights
        that it started with.
        """
        model = self.model if model is None else model
        if not hasattr(model, "peft_config"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        weights = load_file(Path(resume_from_checkpoint) / "adapter_model.safetensors")
        unexpected = set_peft_model_state_dict(model, weights, "default").unexpected_keys
        if unexpected:
            raise RuntimeError(f"{resume_from_checkpoint}: unknown weights {unexpected[:3]}")

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No model card: a run directory says more, and the card looks up the hub."""


def _no_loss(model: torch.nn.Module) -> torch.Tensor:
    """A loss of zero, with the gradients that its backward would have left: zeros, not None.

    An optimiser skips parameters without a gradient, but moves those whose gradient is zero
    (momentum, weight decay), as it would have after the forward that was skipped.
    """
    device = None
    for parameter in model.parameters():
        if parameter.requires_grad:
            device = parameter.device
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    return torch.zeros((), device=device, requires_grad=True)
