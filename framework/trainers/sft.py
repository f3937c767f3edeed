"""The warm start: supervised training on demonstrations, through TRL's SFTTrainer.

    steps = warm_start(policy, demonstrations, config.training.warm_start, seed=0, max_length=512,
                       folder=run_dir / "warm_start")

The loss is over completions only. Left out: packing several demonstrations into one row, which a
warm start of a few hundred rows does not need, and checkpoints: if interrupted, it starts again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.framework.policy import Policy
from groupwise.framework.policy.unsloth import (
    adapter_precision,
    load_unsloth,
    plain_precision,
    without_router_logits,
)
from groupwise.framework.run import processes
from groupwise.framework.run.metrics import TrainingLog
from groupwise.framework.run.out_of_memory import (
    CHECKPOINTING,
    Setting,
    out_of_memory_as_user_error,
)
from groupwise.framework.trainers.common import machine_arguments, training_dtype
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback

    from groupwise.framework.config import WarmStartConfig

IGNORED = -100  # label of a token that is not learned from: PyTorch's cross-entropy ignores it


def warm_start(
    policy: Policy,
    demonstrations: Sequence[tuple[Example, str]],
    config: WarmStartConfig,
    *,
    seed: int,
    max_length: int,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> int:
    """Trains `policy` in place on (example with rendered prompt, completion); returns the steps.

    `max_length` counts tokens of prompt and completion together; longer demonstrations are left
    out, since a truncated one teaches not to end. `metrics.jsonl` is written to `folder`. Several
    processes share each batch.
    """
    from groupwise.framework.sampling import turn_end  # imports torch: not at start-up

    end = turn_end.end_token_id(policy.tokenizer)
    rows = [tokenized(policy.tokenizer, example, text, end) for example, text in demonstrations]
    kept = [row for row in rows if len(row["input_ids"]) <= max_length]
    if not kept:
        raise UserError(
            f"training.warm_start: none of the {len(rows)} demonstrations fits into "
            f"{max_length} tokens. Raise model.max_seq_length, or shorten the demonstrations."
        )
    log = TrainingLog(folder / "metrics.jsonl")
    trainer = _trainer(policy, kept, config, seed, folder, log, callbacks)
    log.open()
    try:
        tries = _tries(config, max_length, policy.config.use_gradient_checkpointing)
        with out_of_memory_as_user_error("supervised training", tries):
            steps = int(trainer.train().global_step)
        processes.wait()  # the others may still look into the folder that goes now
    finally:
        log.close()
        shutil.rmtree(folder / "trainer", ignore_errors=True)
    return steps


def _tries(config: WarmStartConfig, max_length: int, checkpointing: bool | str) -> list[Setting]:
    size, key = config.batch_size, "training.warm_start.batch_size"
    shorter = max(1, max_length * 3 // 4)
    left_out = "longer demonstrations are left out"
    return [
        *([] if checkpointing else [Setting(CHECKPOINTING, "unsloth")]),
        *([Setting(key, size // 2, size, same_result=False)] if size > 1 else []),
        Setting("model.max_seq_length", shorter, max_length, same_result=False, note=left_out),
    ]


def _trainer(
    policy: Policy,
    rows: list[dict[str, Any]],
    config: WarmStartConfig,
    seed: int,
    folder: Path,
    log: TrainingLog,
    callbacks: Sequence[TrainerCallback],
) -> Any:
    """TRL's SFTTrainer over rows of `tokenized`."""
    load_unsloth()  # before TRL, which it patches
    from datasets import Dataset  # slow, all of these: not at start-up
    from trl import SFTConfig, SFTTrainer

    from groupwise.framework.trainers.callbacks import LogMetrics, RecordConfig

    dtype = training_dtype(policy.model)
    with adapter_precision(policy.model), plain_precision(dtype):
        trainer = SFTTrainer(
            model=policy.model,
            processing_class=policy.tokenizer,
            train_dataset=Dataset.from_list(rows),
            callbacks=[
                LogMetrics(log),
                RecordConfig(folder, config, demonstrations=len(rows)),
                *callbacks,
            ],
            args=SFTConfig(
                output_dir=str(folder / "trainer"),
                seed=seed,
                num_train_epochs=config.num_train_epochs,
                max_steps=-1 if config.max_steps is None else config.max_steps,
                per_device_train_batch_size=config.batch_size // processes.count(),
                gradient_accumulation_steps=1,
                learning_rate=config.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=0.1,  # below 1: a share of all steps
                max_grad_norm=1.0,
                weight_decay=0.0,
                gradient_checkpointing=bool(policy.config.use_gradient_checkpointing),
                dataset_kwargs={"skip_prepare_dataset": True},  # tokenised above, labels and all
                max_length=None,
                save_strategy="no",
                logging_steps=1,
                **machine_arguments(dtype, "adamw_8bit"),
            ),
        )
    without_router_logits(policy.model)
    # Unsloth's wish; nothing is evaluated by this trainer.
    trainer.args.bf16_full_eval = trainer.args.fp16_full_eval = False
    return trainer


def tokenized(
    tokenizer: PreTrainedTokenizerBase,
    example: Example,
    completion: str,
    end_id: int | None = None,
) -> dict[str, Any]:
    """`input_ids` and `labels` of one demonstration; the loss ignores the prompt.

    Prompt and completion are tokenised apart, as they are when the model samples, and the
    completion ends with `end_id`, so that ending is learned too. By default that is the end of a
    turn in the chat template; looked up once, it is quicker for many rows.
    """
    from groupwise.framework.sampling import turn_end  # imports torch: not at start-up

    prompt: Sequence[int] = (
        example.prompt_ids or (tokenizer(example.prompt, add_special_tokens=False)["input_ids"])
    )
    answer = tokenizer(completion, add_special_tokens=False)["input_ids"]
    answer = [*answer, turn_end.end_token_id(tokenizer) if end_id is None else end_id]
    return {"input_ids": [*prompt, *answer], "labels": [IGNORED] * len(prompt) + answer}
