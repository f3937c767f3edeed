"""Offline GRPO: learns from completions that come with scores, without sampling any.

    args = GroupScoreArguments("runs/offline", num_train_epochs=2, learning_rate=1e-5)
    GroupScoreTrainer(model, args, read_groups("scored.jsonl"), tokenizer).train()

A subclass of transformers' `Trainer`: its batches are of groups, (B, K, T) with masks, and a loss
over each group takes the place of the loss over tokens. Any causal LM will do, with LoRA or whole.

Memory: the completions go through the model `completions_per_forward` at a time, and where that is
not all of them each such forward is recomputed for its gradient. So neither the (B, K, T, V) logits
nor the activations of a whole batch are ever there at once; the result is the same.

Left out: a reference model (the old log-probabilities tie the policy down in the `advantage` form,
the finite target in the `kl` form), and log-probabilities of the writer by token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from groupwise.framework.policy.unsloth import load_unsloth

load_unsloth()  # before transformers, which it patches

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PrinterCallback, Trainer, TrainingArguments

from groupwise.framework.data.scored_groups import ScoredGroup
from groupwise.framework.objective import (
    KLDirection,
    group_score_kl,
    group_score_surrogate,
    token_logps,
)
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Batch = dict[str, Tensor]


@dataclass
class GroupScoreArguments(TrainingArguments):  # type: ignore[misc]
    """`TrainingArguments` with other defaults, and what the loss takes.

    `per_device_train_batch_size` counts groups. The meaning of the rest is in the config's section
    `training.group_scores`, and under the same names in `training`.
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


class GroupScoreTrainer(Trainer):  # type: ignore[misc]
    """Trains `model` in place on scored groups; `.train()`, `.save_model()` as `Trainer` has them.

    What does not fit into `args.max_length` tokens is left out and counted in `left_out`. Raises
    UserError where nothing is left, or where stored log-probabilities are asked for and not there.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: GroupScoreArguments,
        groups: Iterable[ScoredGroup],
        tokenizer: PreTrainedTokenizerBase,
        **options: Any,
    ) -> None:
        _unfreeze_adapter(model)
        features, self.left_out = tokenized_groups(groups, tokenizer, args)
        super().__init__(
            model=model,
            args=args,
            train_dataset=features,
            data_collator=Collator(_padding(tokenizer)),
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
        """Sequence log-probabilities (B, K), a sum or a mean over tokens; 0 where there is none."""
        present = inputs["group_mask"].bool()  # (B, K)
        ids = inputs["input_ids"][present]  # (N, T)
        attention = inputs["attention_mask"][present]
        learned = inputs["completion_mask"][present]
        size = self.args.completions_per_forward
        in_pieces = len(ids) > size and torch.is_grad_enabled()
        sums = []
        for start in range(0, len(ids), size):
            piece = slice(start, start + size)
            length = int(attention[piece].sum(1).max())  # the rest is padding
            tensors = (ids[piece, :length], attention[piece, :length], learned[piece, :length])
            if in_pieces:
                sums.append(checkpoint(_sequence_logps, model, *tensors, use_reentrant=False))
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


def _sequence_logps(model: Any, ids: Tensor, attention: Tensor, learned: Tensor) -> Tensor:
    """Tokens (N, T) -> the log-probability of each row's learned tokens, (N,)."""
    logits = model(input_ids=ids, attention_mask=attention).logits  # (N, T, V)
    sums = []
    for row, tokens, mask in zip(logits, ids, learned, strict=True):  # one row in float32 at a time
        kept = mask[1:].bool()
        row = row[:-1][kept]
        row = row.to(torch.promote_types(row.dtype, torch.float32))
        sums.append(token_logps(row, tokens[1:][kept]).sum())
    return torch.stack(sums)


@dataclass(frozen=True)
class Collator:
    """Features -> padded tensors: tokens (B, K, T), scores (B, K), and a mask for each.

    `attention_mask` is 1 on tokens, `completion_mask` on those of the completion, `group_mask` on
    completions. Padding stands on the right.
    """

    pad_token_id: int

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> Batch:
        B = len(features)
        K = max(len(feature["scores"]) for feature in features)
        T = max(
            len(feature["prompt_ids"]) + len(ids)
            for feature in features
            for ids in feature["completion_ids"]
        )
        batch = {
            "input_ids": torch.full((B, K, T), self.pad_token_id),
            "attention_mask": torch.zeros(B, K, T, dtype=torch.long),
            "completion_mask": torch.zeros(B, K, T, dtype=torch.long),
            "scores": torch.zeros(B, K),
            "group_mask": torch.zeros(B, K, dtype=torch.long),
            "old_logps": torch.zeros(B, K),
        }
        for b, feature in enumerate(features):
            prompt, size = feature["prompt_ids"], len(feature["scores"])
            batch["scores"][b, :size] = torch.tensor(feature["scores"])
            batch["group_mask"][b, :size] = 1
            if feature["old_logps"] is not None:
                batch["old_logps"][b, :size] = torch.tensor(feature["old_logps"])
            for k, completion in enumerate(feature["completion_ids"]):
                length = len(prompt) + len(completion)
                batch["input_ids"][b, k, :length] = torch.tensor([*prompt, *completion])
                batch["attention_mask"][b, k, :length] = 1
                batch["completion_mask"][b, k, len(prompt) : length] = 1
        return batch


def tokenized_groups(
    groups: Iterable[ScoredGroup], tokenizer: PreTrainedTokenizerBase, args: GroupScoreArguments
) -> tuple[list[dict[str, Any]], int]:
    """Features for `Collator`, and how many completions were left out as too long, or as alone.

    Prompt and completion are tokenised apart, as they are when the model samples.
    """
    features, total = [], 0
    for group in groups:
        total += len(group.completions)
        prompt = group.prompt
        if not isinstance(prompt, str):
            prompt = tokenizer.apply_chat_template(
                [dict(turn) for turn in prompt], add_generation_prompt=True, tokenize=False
            )
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        kept = []
        for completion in group.completions:
            ids = tokenizer(completion.text, add_special_tokens=False)["input_ids"]
            ids = [*ids, tokenizer.eos_token_id] if completion.finished else ids
            if ids and len(prompt_ids) + len(ids) <= args.max_length:
                kept.append((ids, completion))
        if len(kept) < 2:
            continue
        features.append(
            {
                "prompt_ids": prompt_ids,
                "completion_ids": [ids for ids, _ in kept],
                "scores": [completion.score for _, completion in kept],
                "old_logps": _stored(kept, args),
            }
        )
    if not features:
        raise UserError(
            f"none of the groups has two completions within {args.max_length} tokens: raise "
            "model.max_seq_length"
        )
    return features, total - sum(len(feature["scores"]) for feature in features)


def _stored(kept: list[tuple[list[int], Any]], args: GroupScoreArguments) -> list[float] | None:
    if args.loss != "advantage" or args.old_logps != "stored":
        return None
    if any(completion.logprob is None for _, completion in kept):
        raise UserError(
            "training.group_scores.old_logps: stored, but there are completions without `logprob`; "
            "recomputed takes those of the model as it is before training"
        )
    by_token = args.sequence_logps == "mean"
    return [completion.logprob / (len(ids) if by_token else 1) for ids, completion in kept]


def _padding(tokenizer: PreTrainedTokenizerBase) -> int:
    """GPT-2 has no padding token; what is masked may be any."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def _unfreeze_adapter(model: Any) -> None:
    """`PeftModel.from_pretrained` freezes the adapter unless told otherwise: it would not learn."""
    if any(parameter.requires_grad for parameter in model.parameters()):
        return
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.requires_grad_(True)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("nothing of the model can be trained: every weight is frozen")
