"""The model being tuned: loaded through Unsloth, saved as plain transformers + peft load it.

Unsloth is imported here first, and nowhere before: it patches transformers, peft and TRL, and has
to come in front of them. The import takes seconds, so it happens inside `load_unsloth`.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.files import replacing_folder, write_json
from framework.checkpoints import unwritable_is_the_users
from rewards.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from framework.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded model with its tokenizer. `is_adapter`: only LoRA weights are trained and saved."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    config: ModelConfig
    is_adapter: bool

    @property
    def device(self) -> torch.device:
        device: torch.device = next(iter(self.model.parameters())).device
        return device

    def save(self, folder: Path) -> None:
        """Writes adapter or weights, and the tokenizer; replaces `folder` all or nothing."""
        with replacing_folder(folder) as new, unwritable_is_the_users(folder):
            save_pretrained(self.model, self.tokenizer, new)


def save_pretrained(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """`save_pretrained` of both; the adapter's frozen copy that serves as reference is left out."""
    adapters = getattr(model, "peft_config", None)
    only = {"selected_adapters": ["default"]} if adapters else {}
    model.save_pretrained(str(folder), **only)
    tokenizer.save_pretrained(str(folder))


@contextmanager
def adapter_precision(model: PreTrainedModel) -> Iterator[None]:
    """Keeps LoRA weights in the precision they have while a TRL trainer is built.

    TRL casts those of a quantised model to bfloat16 (grpo_trainer.py, "When using QLoRA"). At
    GRPO's learning rates most of Adam's updates are below bfloat16's resolution and would be lost.
    """
    trained = {name: p.data for name, p in model.named_parameters() if p.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in trained:
            parameter.data = trained[name]


def compute_dtype(model: PreTrainedModel) -> torch.dtype:
    """What the model computes in: a quantised model's compute dtype, else its weights' dtype."""
    quantised = (m for m in model.modules() if "Linear4bit" in type(m).__name__)
    dtype: torch.dtype = getattr(next(quantised, None), "compute_dtype", None) or model.dtype
    return dtype


def load_unsloth() -> Any:
    """Imports Unsloth and returns its `FastLanguageModel`, quietly. Seconds, the first time."""
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # it would ask a server otherwise
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # we know that rollout_func is new
    # Where CI is set, torch makes an error of a warning about its own compiler's operators, which
    # Unsloth's attention masks run into.
    os.environ.setdefault("TORCHINDUCTOR_ERROR_ON_CUSTOM_OP_ALIASING", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from unsloth import FastLanguageModel
    return FastLanguageModel


def load(
    config: ModelConfig,
    seed: int = 42,
    *,
    for_training: bool = True,
    needs_chat_template: bool = True,
) -> Policy:
    """Loads base model and adapter as the config says; with `for_training`, adds what is trained.

    Without `needs_chat_template`, a tokenizer may lack one: for prompts that are complete texts.

    Raises UserError for what the user can mend: a missing folder, a folder without a tokenizer, a
    tokenizer without a chat template, a precision that this machine does not have.
    """
    check_model_folder(config)
    if config.adapter_mode == "merge":
        raise UserError(
            "model.adapter_mode: merge makes a base model of its own: "
            "framework.adapter_merge.merged(config.model, folder) writes it and gives the config "
            "to load (`groupwise train` does so)"
        )
    fast_model = load_unsloth()
    import torch

    on_gpu = torch.cuda.is_available()
    if config.use_gradient_checkpointing == "auto":  # lengths are not known here: the safe choice
        config = replace(config, use_gradient_checkpointing="unsloth" if on_gpu else False)
    if not on_gpu:
        _refuse_gpu_only(config)
    if config.adapter is not None:
        _follow_moved_base(Path(config.adapter), config.name)
    with unusable_is_the_users(config):
        model, tokenizer = fast_model.from_pretrained(
            # Absolute, because an adapter that is saved names its base as it was named here.
            model_name=_absolute(config.adapter or config.name),
            max_seq_length=config.max_seq_length,
            dtype=None if config.dtype == "auto" else getattr(torch, config.dtype),
            load_in_4bit=config.load_in_4bit,
            load_in_8bit=config.load_in_8bit,
            load_in_16bit=not (
                config.load_in_4bit or config.load_in_8bit or config.full_finetuning
            ),
            full_finetuning=config.full_finetuning,
            fast_inference=config.fast_inference,
            gpu_memory_utilization=config.gpu_memory_utilization,
            max_lora_rank=config.lora_r,
            use_gradient_checkpointing=config.use_gradient_checkpointing,
            trust_remote_code=config.trust_remote_code,
            random_state=seed,
        )
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a processor of a vision model
    if config.load_in_4bit and not _is_quantised(model):
        raise UserError(
            f"model.load_in_4bit: {config.name} could not be quantised here (bitsandbytes on a CPU "
            "takes no layer narrower than 64). Set model.load_in_4bit: false."
        )
    _set_chat_template(tokenizer, config, needed=needs_chat_template)
    is_adapter = hasattr(model, "peft_config")
    if for_training and not is_adapter and not config.full_finetuning:
        model = fast_model.get_peft_model(
            model,
            r=config.lora_r,
            target_modules=list(config.target_modules),
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            bias="none",
            use_gradient_checkpointing=config.use_gradient_checkpointing,
            random_state=seed,
            max_seq_length=config.max_seq_length,
        )
        is_adapter = True
    return Policy(model, tokenizer, config, is_adapter)


@contextmanager
def unusable_is_the_users(config: ModelConfig) -> Iterator[None]:
    """Broken files, names that the hub does not have, no connection: in one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        name = config.adapter or config.name
        key = "model.adapter" if config.adapter else "model.name"
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{key}: {name} cannot be loaded: {reason}") from error


def check_model_folder(config: ModelConfig, name_key: str = "model.name") -> None:
    """What can be known of a local model before anything heavy is imported.

    `name_key`: what the user wrote the name to.
    """
    for key, name in ((name_key, config.name), ("model.adapter", config.adapter)):
        if name is None:
            continue
        folder = Path(name)
        if not folder.exists():
            if _looks_like_path(name):
                hint = "" if "/" in name else ", and a name on the hub is written owner/name"
                raise UserError(f"{key}: there is no folder {name}{hint}")
            continue  # a hub name: only the hub knows
        is_adapter = (folder / "adapter_config.json").is_file()
        if not is_adapter and not (folder / "config.json").is_file():
            raise UserError(
                f"{key}: {name} is no model folder: it has neither config.json nor "
                "adapter_config.json"
            )
        if key == "model.adapter" and not is_adapter:
            raise UserError(f"{key}: {name} has no adapter_config.json: not a LoRA adapter")
        has_tokenizer = any(
            (folder / file).is_file()
            for file in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
        )
        if not has_tokenizer and not is_adapter:
            raise UserError(
                f"{key}: {name} has no tokenizer (no tokenizer.json). Save one beside the weights: "
                f"tokenizer.save_pretrained({name!r})"
            )


def base_of_adapter(folder: Path) -> str | None:
    """The base model an adapter folder names; None if `folder` holds no adapter."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        return None
    name = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path")
    return str(name) if name else None


def _absolute(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _follow_moved_base(adapter: Path, name: str) -> None:
    """Points an adapter whose base model has moved to where the config says that it is now.

    A run directory that holds its base model may be copied or moved: the absolute path in the
    adapter is then of another place.
    """
    base = base_of_adapter(adapter)
    if base is None or Path(base).is_dir() or not _looks_like_path(base):
        return
    if not Path(name).is_dir():
        raise UserError(
            f"model.adapter: {adapter} belongs to the base model {base}, which is not there. Set "
            "model.name to the folder where it is now."
        )
    file = adapter / "adapter_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    write_json(file, settings | {"base_model_name_or_path": _absolute(name)})


def as_saved(config: ModelConfig, folder: Path) -> ModelConfig:
    """The config that loads what `Policy.save` wrote to `folder`."""
    if (folder / "adapter_config.json").is_file():
        return replace(config, adapter=str(folder), adapter_mode="continue")
    return replace(config, name=str(folder), adapter=None, adapter_mode="continue")


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") != 1 or name.endswith("/")


def _refuse_gpu_only(config: ModelConfig) -> None:
    """Unsloth's CPU backend would silently load 16 bits in place of 8, and raise on vLLM."""
    if config.load_in_8bit:
        raise UserError(
            "model.load_in_8bit: 8-bit weights need a GPU. Set model.load_in_8bit: false "
            "(model.load_in_4bit: true works on a CPU)."
        )
    if config.fast_inference:
        raise UserError("model.fast_inference: vLLM needs a GPU. Set model.fast_inference: false.")


def _is_quantised(model: torch.nn.Module) -> bool:
    return any("Linear4bit" in type(module).__name__ for module in model.modules())


def read_chat_template(path: str) -> str:
    """The text of `model.chat_template`. Raises UserError where it cannot be read."""
    if not Path(path).is_file():
        raise UserError(f"model.chat_template: there is no file {path}")
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"model.chat_template: {path} cannot be read: {reason}") from error


def identity_of(config: ModelConfig) -> str:
    """A name for a model as it is loaded, in which its weights have a say.

    Of local weights the sizes and both ends of each file are taken, which a training changes; a hub
    name stands for itself.
    """
    folder = Path(config.adapter or config.name)
    precision = "4 bit" if config.load_in_4bit else "8 bit" if config.load_in_8bit else config.dtype
    if not folder.is_dir():
        return f"{folder} ({precision})"
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as weights:
            digest.update(weights.read(_END))
            weights.seek(max(0, size - _END))
            digest.update(weights.read())
    return f"{folder.name} ({precision}, weights {digest.hexdigest()})"


_END = 1 << 20  # bytes of each end of a file of weights


def _set_chat_template(
    tokenizer: PreTrainedTokenizerBase, config: ModelConfig, *, needed: bool
) -> None:
    if config.chat_template is not None:
        tokenizer.chat_template = read_chat_template(config.chat_template)
    if needed and not tokenizer.chat_template:
        raise UserError(
            f"model.name: the tokenizer of {config.name} has no chat template. Take the -Instruct "
            "version of the model, or set model.chat_template to a Jinja file."
        )
