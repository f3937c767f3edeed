"""`groupwise train-reward`: a reward model from preferences, through TRL's RewardTrainer.

    result = train_reward("preferences.jsonl", "Qwen/Qwen3-0.6B", Path("judge"), Terminal())

The output folder is a plain sequence classifier with one label: the `reward_model` reward loads it
by its path. Left out: 4-bit weights. Unsloth's CPU backend has no sequence classification, and on a
GPU it loads transformers' own class, as is done here; LoRA is merged before saving, which 4-bit
weights do not allow without a loss.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.files import replacing_folder, write_json
from groupwise.evaluation.text import percent
from groupwise.framework.config import ModelConfig
from groupwise.framework.data.preferences import Pair, load_pairs, split_pairs
from groupwise.framework.policy.folders import check_model_folder
from groupwise.framework.policy.loading import unusable_as_user_error
from groupwise.framework.policy.unsloth import load_unsloth, plain_precision
from groupwise.framework.policy.vocabulary import check_folder_vocabulary
from groupwise.framework.run.out_of_memory import out_of_memory_as_user_error
from groupwise.framework.run.terminal import Stage, Terminal
from groupwise.framework.trainers.common import half_precision, machine_arguments
from groupwise.rewards.errors import UserError
from groupwise.rewards.reward_model import has_template, render

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUMMARY = "reward_training.json"


@dataclass(frozen=True, slots=True)
class RewardTraining:
    """How a reward model is trained. `batch_size` counts pairs, `max_length` tokens of question
    and answer together. `lora_r` 0 trains every weight. `learning_rate` None: 1e-5, with LoRA 1e-4.
    """

    epochs: float = 1.0
    learning_rate: float | None = None
    batch_size: int = 8
    max_length: int = 1024
    eval_fraction: float = 0.1
    lora_r: int = 0
    seed: int = 42

    def __post_init__(self) -> None:
        for flag, value, holds, must in (
            ("--epochs", self.epochs, 0 < self.epochs <= 1000, "above 0"),
            ("--batch-size", self.batch_size, self.batch_size >= 1, "at least 1"),
            ("--max-length", self.max_length, self.max_length >= 8, "at least 8"),
            ("--eval-fraction", self.eval_fraction, 0 < self.eval_fraction < 1, "between 0 and 1"),
            ("--lora-r", self.lora_r, self.lora_r >= 0, "at least 0 (0 trains every weight)"),
            ("--lr", self.learning_rate, 0 < self.rate < 1, "between 0 and 1"),
        ):
            if not holds:
                raise UserError(f"{flag}: {value} must be {must}")

    @property
    def rate(self) -> float:
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-4 if self.lora_r else 1e-5


@dataclass(frozen=True, slots=True)
class RewardResult:
    """The outcome. Accuracies: share of held-out pairs whose better answer scores higher."""

    output: str
    train_pairs: int
    held_out_pairs: int
    truncated: int  # answers that lost the beginning of their question to max_length
    steps: int
    accuracy_before: float
    accuracy_after: float


def train_reward(
    data: str, model_name: str, output: Path, terminal: Terminal, settings: RewardTraining
) -> RewardResult:
    """Trains and saves; prints through `terminal`.

    Raises:
        UserError: data, model or output cannot be used.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output {output}: exists and is not empty; choose another folder")
    _check_model(model_name)
    with tempfile.TemporaryDirectory() as scratch, terminal.libraries_to():
        train, held_out = split_pairs(load_pairs(data, terminal.notice), settings.eval_fraction)
        terminal.line(f"groupwise: {len(train)} pairs to train on, {len(held_out)} held out")
        with terminal.stage("Load the model"):
            model, tokenizer = _load(model_name, settings)
        rows = [_tokenized(tokenizer, pair, settings.max_length) for pair in train]
        tests = [_tokenized(tokenizer, pair, settings.max_length) for pair in held_out]
        with terminal.stage("Train the reward") as stage, _out_of_memory(settings):
            before = pairwise_accuracy(model, tests, settings.batch_size)
            model, steps = _train(model, tokenizer, rows, settings, Path(scratch), stage)
            after = pairwise_accuracy(model, tests, settings.batch_size)
            stage.summary = f"accuracy {percent(before, 1)} before, {percent(after, 1)} after"
        result = RewardResult(
            str(output),
            len(train),
            len(held_out),
            sum(row["truncated"] for row in (*rows, *tests)),
            steps,
            before,
            after,
        )
        with replacing_folder(output) as new:
            model.save_pretrained(str(new))
            tokenizer.save_pretrained(str(new))
            described = {"data": data, "model": model_name, **asdict(settings), **asdict(result)}
            write_json(new / SUMMARY, described)
    return result


def _check_model(name: str) -> None:
    check_model_folder(ModelConfig(name=name), "--model")
    check_folder_vocabulary(ModelConfig(name=name), "--model")
    if (Path(name) / "adapter_config.json").is_file():
        raise UserError(
            f"--model {name}: is a LoRA adapter; merge it into its base model first, or name the "
            "base model"
        )


def _load(name: str, settings: RewardTraining) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    load_unsloth()  # before transformers, which it patches
    import torch  # slow: not at start-up
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

    set_seed(settings.seed)  # the head is new, and drawn at random
    on_gpu = torch.cuda.is_available()
    # Trained weights stay in float32: Adam's small steps would be lost in bfloat16
    dtype = half_precision() if on_gpu and settings.lora_r else torch.float32
    with unusable_as_user_error(f"--model {name}:"):
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=1, dtype=dtype)
    tokenizer.truncation_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    if settings.lora_r:
        model = with_adapter(model, settings.lora_r)
    return model.to("cuda" if on_gpu else "cpu"), tokenizer


def with_adapter(model: PreTrainedModel, rank: int) -> Any:
    """Adds LoRA and trains the new head with it, both in float32 whatever the model is in.

    float16 weights cannot be trained at all: their gradients cannot be scaled back.
    """
    from peft import LoraConfig, get_peft_model  # slow: not at start-up

    lora = LoraConfig(
        task_type="SEQ_CLS",  # the new head is trained whole, and saved
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
    )
    adapted = get_peft_model(model, lora)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def _tokenized(tokenizer: Any, pair: Pair, max_length: int) -> dict[str, Any]:
    """Token ids as the `reward_model` reward makes them: a long text is cut at its beginning."""
    row: dict[str, Any] = {"truncated": 0}
    for key, answer in (("chosen_ids", pair.chosen), ("rejected_ids", pair.rejected)):
        text = render(tokenizer, pair.question, answer)
        ids = tokenizer(text, add_special_tokens=not has_template(tokenizer)).input_ids
        row["truncated"] += len(ids) > max_length
        row[key] = ids[-max_length:]
    return row


def _train(
    model: Any,
    tokenizer: Any,
    rows: Sequence[dict[str, Any]],
    settings: RewardTraining,
    folder: Path,
    stage: Stage,
) -> tuple[Any, int]:
    import torch  # slow, all of these: not at start-up
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    from groupwise.framework.trainers.callbacks import ShowProgress

    def show(step: int, num_steps: int, logs: Mapping[str, Any]) -> None:
        stage.update(step, num_steps, f"loss {float(logs['loss']):.3f}")

    on_gpu = torch.cuda.is_available()
    dtype = half_precision() if on_gpu else torch.float32
    pairs = [{key: row[key] for key in ("chosen_ids", "rejected_ids")} for row in rows]
    with plain_precision(dtype):
        trainer = RewardTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(pairs),
            callbacks=[ShowProgress(show)],
            args=RewardConfig(
                output_dir=str(folder / "trainer"),
                seed=settings.seed,
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch_size,
                gradient_accumulation_steps=1,
                learning_rate=settings.rate,
                lr_scheduler_type="linear",
                warmup_steps=0.1,  # below 1: a share of all steps
                weight_decay=0.0,
                max_grad_norm=1.0,
                max_length=None,  # cut above, as the reward cuts
                gradient_checkpointing=on_gpu,
                save_strategy="no",
                logging_steps=1,
                **machine_arguments(dtype, "adamw_torch_fused"),
                center_rewards_coefficient=0.01,  # scores of all questions around 0
            ),
        )
    steps = int(trainer.train().global_step)
    if settings.lora_r:
        dtype = model.dtype
        model = model.merge_and_unload().to(dtype)  # the head, too
    return model.eval(), steps


def _out_of_memory(settings: RewardTraining) -> AbstractContextManager[None]:
    size, length = settings.batch_size, settings.max_length
    tries = [
        *([f"--batch-size {size // 2} (now {size})"] if size > 1 else []),
        f"--max-length {max(8, length * 3 // 4)} (now {length})",
        *([] if settings.lora_r else ["--lora-r 16, which trains an adapter"]),
        "a smaller --model",
    ]
    return out_of_memory_as_user_error("training a reward", tries)


def pairwise_accuracy(model: Any, rows: Sequence[dict[str, Any]], batch_size: int) -> float:
    """Share of pairs whose chosen answer scores higher; equal scores count half."""
    import torch  # slow, both: not at start-up
    from trl.trainer.reward_trainer import DataCollatorForPreference

    collate = DataCollatorForPreference(pad_token_id=model.config.pad_token_id)
    device = next(model.parameters()).device
    # A head in float32 over a model in 16 bits (`with_adapter`).
    in_its_precision = torch.autocast(
        device.type, dtype=model.dtype, enabled=model.dtype != torch.float32
    )
    was_training, right = model.training, 0.0
    model.eval()
    for start in range(0, len(rows), batch_size):
        batch = {k: v.to(device) for k, v in collate(rows[start : start + batch_size]).items()}
        with torch.inference_mode(), in_its_precision:
            chosen, rejected = model(**batch).logits.float().squeeze(-1).chunk(2)  # (B,) each
        right += float(((chosen > rejected) + 0.5 * (chosen == rejected)).sum())
    model.train(was_training)
    return right / len(rows)


def result_table(result: RewardResult) -> str:
    """The result as text, ending in a newline."""
    lines = [
        f"pairs: {result.train_pairs} trained on, {result.held_out_pairs} held out, "
        f"{result.steps} steps",
        f"accuracy on them: {percent(result.accuracy_before, 1)} before, "
        f"{percent(result.accuracy_after, 1)} after",
    ]
    if result.truncated:
        lines.append(
            f"note: {result.truncated} answers lost the beginning of their question to --max-length"
        )
    if result.accuracy_after < 0.6:
        lines.append(
            "note: this is little better than a coin; more pairs, more --epochs or a higher --lr "
            "may help"
        )
    shown = os.fspath(result.output)
    lines += [
        "",
        "use it as a reward:",
        f"    reward_model: {{weight: 0.5, params: {{model: {shown}, squash: sigmoid}}}}",
    ]
    return "\n".join(lines) + "\n"
