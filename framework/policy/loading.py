"""The model being tuned: loaded through Unsloth, saved as plain transformers + peft load it.

    policy = load(config.model, seed=42)
    policy.save(Path("final_model"))

Left out: `model.adapter_mode: merge` (`merge.py` writes the merged base model first), and
`use_gradient_checkpointing: auto` (`checkpointing.py`, which knows how long texts will be).
"""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.files import replacing_folder
from groupwise.framework.policy.folders import (
    absolute,
    check_model_folder,
    follow_moved_base,
    read_chat_template,
)
from groupwise.framework.policy.targets import (
    Adapted,
    Targets,
    adapted,
    find_targets,
    missing_notices,
    plan,
)
from groupwise.framework.policy.unsloth import load_unsloth, without_router_logits
from groupwise.framework.policy.vocabulary import check_vocabulary
from groupwise.framework.run.errors import unwritable_as_user_error
from groupwise.rewards.errors import UserError, as_user_error

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from groupwise.framework.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded model with its tokenizer. `is_adapter`: only LoRA weights are trained and saved.

    `notices` say which of the wanted layers the model does not have.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    config: ModelConfig
    is_adapter: bool
    notices: tuple[str, ...] = ()

    @property
    def adapted(self) -> Adapted:
        """What of the model is trained."""
        return adapted(self.model, self.notices)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(iter(self.model.parameters())).device
        return device

    def save(self, folder: Path) -> None:
        """Writes adapter or weights, and the tokenizer; replaces `folder` all or nothing."""
        with replacing_folder(folder) as new, unwritable_as_user_error(folder):
            save_pretrained(self.model, self.tokenizer, new)


def save_pretrained(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """`save_pretrained` of both, without TRL's reference adapter (a frozen copy of the trained)."""
    adapters = getattr(model, "peft_config", None)
    only = {"selected_adapters": ["default"]} if adapters else {}
    model.save_pretrained(str(folder), **only)
    tokenizer.save_pretrained(str(folder))


def compute_dtype(model: PreTrainedModel) -> torch.dtype:
    """The dtype of the model's arithmetic: a quantised model's compute dtype, else the weights'."""
    quantised = (m for m in model.modules() if "Linear4bit" in type(m).__name__)
    dtype: torch.dtype = getattr(next(quantised, None), "compute_dtype", None) or model.dtype
    return dtype


def load(
    config: ModelConfig,
    seed: int = 42,
    *,
    for_training: bool = True,
    needs_chat_template: bool = True,
) -> Policy:
    """Loads base model and adapter as the config says; with `for_training`, adds a LoRA adapter.

    Without `needs_chat_template` a tokenizer may lack one: prompts are then complete texts.

    Raises:
        UserError: a folder is missing or has no tokenizer, the tokenizer has no chat template, the
            model has none of `target_modules`, or this machine does not have the precision.
    """
    check_model_folder(config)
    if config.adapter_mode == "merge":
        raise UserError(
            "model.adapter_mode: merge makes a base model of its own: "
            "groupwise.framework.policy.merge.merged(config.model, folder) writes it and gives the "
            "config to load (`groupwise train` does so)"
        )
    fast_model = load_unsloth()
    if not config.full_finetuning:
        # Unsloth 2026.10.9 sets it at a full fine-tuning, and its loaders of llama, mistral, gemma
        # and qwen never unset it: `get_peft_model` would then make no adapter, and say nothing.
        os.environ["UNSLOTH_ENABLE_FULL_FINETUNING"] = "0"
    import torch  # slow: not at start-up

    on_gpu = torch.cuda.is_available()
    if config.use_gradient_checkpointing == "auto":  # lengths are unknown here: the safe choice
        config = replace(config, use_gradient_checkpointing="unsloth" if on_gpu else False)
    if not on_gpu:
        _refuse_gpu_only(config)
    if config.adapter is not None:
        follow_moved_base(Path(config.adapter), config.name)
    if for_training:
        plan(config)  # refuses layers that the model does not have before its weights are read
    model, tokenizer = _from_pretrained(fast_model, config, seed)
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a processor of a vision model
    if config.load_in_4bit and not _is_quantised(model):
        raise UserError(
            f"model.load_in_4bit: {config.name} could not be quantised here (bitsandbytes on a CPU "
            "takes no layer narrower than 64). Set model.load_in_4bit: false."
        )
    check_vocabulary(model, tokenizer, named_model(config))
    without_router_logits(model)
    _set_chat_template(tokenizer, config, needed=needs_chat_template)
    _end_as_the_template_does(model, tokenizer)
    is_adapter = hasattr(model, "peft_config")
    notices: tuple[str, ...] = ()
    if for_training and not is_adapter and not config.full_finetuning:
        targets = find_targets(model, config)
        model = _with_new_adapter(fast_model, model, targets, config, seed)
        is_adapter, notices = True, missing_notices(targets, config)
    if for_training and is_adapter:
        _check_adapter(model)
    return Policy(model, tokenizer, config, is_adapter, notices)


def _from_pretrained(fast_model: Any, config: ModelConfig, seed: int) -> Any:
    """Model and tokenizer (or processor), through Unsloth's `FastLanguageModel`."""
    import torch  # slow: not at start-up

    with unusable_as_user_error(named_model(config)), _no_vllm_as_user_error(config):
        return fast_model.from_pretrained(
            # Absolute, because an adapter that is saved names its base as it was named here.
            model_name=absolute(config.adapter or config.name),
            # Or Unsloth takes a quantised copy that keeps layers in 16 bits (docs/decisions/
            # loading.md), and looks its own list of names up on a server.
            use_exact_model_name=True,
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


def _with_new_adapter(
    fast_model: Any, model: Any, targets: Targets, config: ModelConfig, seed: int
) -> Any:
    with as_user_error(
        lambda error: (
            f"model.target_modules: {', '.join(config.target_modules)}: {config.name} cannot be "
            f"adapted there: {_reason(error, '')}"
        ),
        *(ValueError, RuntimeError),
        when=_is_refusal,
    ):
        return fast_model.get_peft_model(
            model,
            r=config.lora_r,
            target_modules=targets.for_peft,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            bias="none",
            use_gradient_checkpointing=config.use_gradient_checkpointing,
            random_state=seed,
            max_seq_length=config.max_seq_length,
        )


def _check_adapter(model: Any) -> None:
    """Raises RuntimeError where a library made no adapter: the base model would be trained."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    if not hasattr(model, "peft_config") or not any("lora_" in name for name in trained):
        raise RuntimeError(
            f"{type(model).__name__} was to be trained by a LoRA adapter and has none: "
            f"{len(trained)} parameters would be trained ({', '.join(trained[:3])})"
        )


# With these words libraries refuse a model with a RuntimeError or ImportError; any other one is a
# fault in a program, and needs its traceback. Unsloth 2026.10.9 (models/loader.py and
# loader_utils.py), torch 2.13 (load_state_dict), transformers 5.17 (modeling_utils, import_utils).
_REFUSALS = re.compile(
    r"Unsloth: |Error\(s\) in loading state_dict for |You set `ignore_mismatched_sizes` to "
    r"|.* requires the \S+ library but it was not found"
)


def unusable_as_user_error(what: str) -> AbstractContextManager[None]:
    """Turns broken files, unknown hub names and connection errors into a one-line UserError.

    `what` begins the message: the key that names the model, and its value.
    """
    from safetensors import SafetensorError  # a compiled library: not at start-up

    return as_user_error(
        lambda error: f"{what} cannot be loaded: {_reason(error, what)}",
        *(OSError, ValueError, SafetensorError, RuntimeError, ImportError),
        when=_is_refusal,
    )


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, RuntimeError | ImportError):
        return bool(_REFUSALS.match(str(error).strip()))
    return True


def _reason(error: Exception, what: str) -> str:
    """The line of a library's message that says what is wrong."""
    text = str(error).strip().removeprefix("Unsloth: ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if text.startswith("Error(s) in loading state_dict"):
        return f"its weights do not fit the base model, is it that of another one? ({lines[1]})"
    if text.startswith("You set `ignore_mismatched_sizes`"):
        return "its weights have other shapes than its config.json says; save or fetch both again"
    # Unsloth tries a folder as a model and as an adapter, and gives both errors.
    kind = "PeftConfig error: " if what.startswith("model.adapter") else "AutoConfig error: "
    found = next((line for line in lines if line.startswith(kind)), lines[0] if lines else "")
    reason = found.removeprefix(kind) or type(error).__name__
    if "couldn't connect" in reason or "not a valid model identifier" in reason:
        reason += " Is the name the hub's, and the network up? A folder needs neither."
    return reason


def _no_vllm_as_user_error(config: ModelConfig) -> AbstractContextManager[None]:
    def message(error: Exception) -> str:
        reason = str(error).strip().removeprefix("Unsloth: ").partition("\n")[0]
        return (
            f"model.fast_inference: true cannot be used here ({reason}). Set "
            "model.fast_inference: false, or install a vLLM that fits this torch."
        )

    return as_user_error(
        message,
        ImportError,
        when=lambda error: config.fast_inference and "vllm" in str(error).lower(),
    )


def named_model(config: ModelConfig) -> str:
    """The key that names the model to load, and its value: the beginning of messages."""
    return f"model.adapter: {config.adapter}" if config.adapter else f"model.name: {config.name}"


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


def _end_as_the_template_does(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Adds the template's end of a turn to the generation config, with which weights are saved.

    The samplers look at the template themselves; `generate` of another program does not.
    """
    from groupwise.framework.sampling import stopping, turn_end  # imports torch: not at start-up

    end = turn_end.turn_end(tokenizer)
    generation = getattr(model, "generation_config", None)
    if end is None or end.token_id is None or end.is_header or generation is None:
        return
    declared = stopping.as_ids(generation.eos_token_id)
    if end.token_id not in declared:
        generation.eos_token_id = [*sorted(declared), end.token_id]


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
