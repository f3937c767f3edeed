"""The one subclass of TRL's GRPOTrainer: what it tells the rollouts, and what work it leaves out.

Methods are overridden where no hook exists:

- `_generate_and_score_completions`: tells `Rollouts` which rows a rollout is for, and the advantage
  that each completion got; `Rollouts` may put in other rows;
- `_prepare_inputs`: puts the completions that carry a gradient into as few forwards as possible,
  and cuts off the padding that a forward does not need;
- `_get_per_token_logps_and_entropies`: runs each prompt once (`shared_prompts.py`), and takes the
  log-probabilities that the completions were drawn with from the sampler, where these are exact;
- `_save` and `_load_from_checkpoint`: a checkpoint holds the trained adapter, and it is loaded;
- `_save_checkpoint`: a full disk leaves the last whole checkpoint, and a clear message;
- `compute_loss`: leaves out what contributes no gradient. With `beta = 0`, a completion whose
  advantage is zero has a loss of exactly zero, and late in a run that is most of them: every
  group whose answers are all right or all wrong.

Skipping a whole forward gives the same weights to the bit. Dropping single rows of a forward gives
the same up to rounding, and is left to TRL's own trainer: Unsloth's, on a GPU, compiles for shapes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from groupwise.framework.grpo_trainer.batching import Batch, loss_share, packed, rows, trimmed
from groupwise.framework.grpo_trainer.prefix_sharing import can_share_prompts, completion_log_probs
from groupwise.framework.policy.loading import compute_dtype
from groupwise.framework.run import processes
from groupwise.framework.run.checkpoints import step_of, whole_checkpoints
from groupwise.framework.run.errors import unwritable_is_the_users
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from groupwise.framework.grpo_trainer.rollouts import Rollouts


REFERENCE = "ref"


"""TRL's name of the frozen copy of the adapter that the KL divergence is measured from."""


def groupwise_trainer(trainer_class: type) -> type:
    """A subclass of `trainer_class`, which is TRL's GRPOTrainer as it is after Unsloth's import."""
    from transformers import PrinterCallback

    is_stock = not trainer_class.__name__.startswith("Unsloth")

    class GroupwiseTrainer(trainer_class):  # type: ignore[misc]
        def __init__(self, *, rollouts: Rollouts, skip_zero_advantage: bool, **kwargs: Any) -> None:
            self._rollouts = rollouts
            self._has_new_completions = False
            super().__init__(**kwargs)
            self.remove_callback(PrinterCallback)  # metrics.jsonl has it all
            # Several processes wait for each other in every backward: none may leave one out.
            alone = self.accelerator.num_processes == 1
            # In less than float32, sampling and training round differently, by more than a clip.
            self._is_exact = is_stock and compute_dtype(self.model) == torch.float32
            self._wants_old = False
            self._skips = skip_zero_advantage and alone and self.beta == 0.0
            self._drops_rows = self._skips and is_stock and self.args.top_entropy_quantile == 1.0

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Any:
            # TRL's first pass over new completions asks for the policy's own log-probabilities, if
            # steps with changed weights are to learn from them.
            every = self.args.steps_per_generation * self.num_iterations
            self._wants_old = self.args.gradient_accumulation_steps % every != 0
            rows = self._rollouts.begin(inputs, self, log_probs=self._wants_old and self._is_exact)
            output = super()._generate_and_score_completions(rows)
            self._rollouts.finish(output["advantages"])
            self._has_new_completions = True
            return output

        def _prepare_inputs(self, generation_batch: Any) -> Any:
            inputs = super()._prepare_inputs(generation_batch)
            if not (self._has_new_completions and self.model.training):
                return inputs
            self._has_new_completions = False
            batches = packed(self._buffered_inputs, trim=is_stock)
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
            has_gradient = inputs["advantages"] != 0  # (B,)
            self._rollouts.count_forward(skipped=not bool(has_gradient.any()))
            if not has_gradient.any():
                return _no_loss(model)
            scale = 1.0
            if self._drops_rows and not has_gradient.all():
                kept = rows(inputs, has_gradient)
                scale = loss_share(inputs, kept, self.loss_type)
                inputs = trimmed(kept)
            return scale * super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

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
                drawn = self._rollouts.log_probs(logits_to_keep)
                return drawn.to(input_ids.device), None, None
            size = kwargs.get("batch_size") or len(input_ids)
            has_prefix = input_ids.shape[1] - logits_to_keep > 1
            # DDP, around the model of several processes, awaits one forward for each backward.
            alone = self.accelerator.num_processes == 1
            if not (is_stock and alone and has_prefix and can_share_prompts(model)):
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
            """A forward and backward that teaches nothing: only whether it fits into memory."""
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
                with unwritable_is_the_users(folder / f"checkpoint-{step}", stays):
                    super()._save_checkpoint(model, trial)
            except UserError:
                shutil.rmtree(folder / f"checkpoint-{step}", ignore_errors=True)
                raise

        def _save_rng_state(self, output_dir: str) -> None:
            """Waits for that of each process: the file after it marks a checkpoint as whole."""
            super()._save_rng_state(output_dir)
            processes.wait()

        def _save(self, output_dir: str | None = None, **kwargs: Any) -> None:
            """Without the reference adapter: it is the same in each checkpoint, and not trained."""
            super()._save(output_dir, **kwargs)
            shutil.rmtree(Path(output_dir or self.args.output_dir) / REFERENCE, ignore_errors=True)

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            """Loads the trained adapter, which transformers 5.17 passes over.

            Where a checkpoint has an adapter in a sub-folder (the reference), it loads that one and
            not the one beside it, and goes on from the weights before training, in silence.
            """
            model = self.model if model is None else model
            if not hasattr(model, "peft_config"):
                super()._load_from_checkpoint(resume_from_checkpoint, model)
                return
            from peft import set_peft_model_state_dict
            from safetensors.torch import load_file

            weights = load_file(Path(resume_from_checkpoint) / "adapter_model.safetensors")
            unexpected = set_peft_model_state_dict(model, weights, "default").unexpected_keys
            if unexpected:
                raise RuntimeError(f"{resume_from_checkpoint}: unknown weights {unexpected[:3]}")

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            """No model card: a run directory says more, and the card looks up the hub."""

    return GroupwiseTrainer


def _no_loss(model: torch.nn.Module) -> torch.Tensor:
    """A loss of zero, with the gradients that its backward would have left: zeros, not None.

    An optimiser passes over parameters without a gradient, but moves those whose gradient is zero
    (momentum, weight decay): that must go on as if the forward had been made.
    """
    device = None
    for parameter in model.parameters():
        if parameter.requires_grad:
            device = parameter.device
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    return torch.zeros((), device=device, requires_grad=True)
