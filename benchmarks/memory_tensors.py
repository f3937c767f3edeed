"""Bytes of the tensors of a loaded model, an optimiser and gradients: what a plan is held against.

    for what, predicted, real in compared(config, loaded(config), ["adamw_8bit"], on_gpu=False): ...

Used by `benchmarks/memory.py` and by tests. The models have random weights, which takes none of
their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bitsandbytes
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.optimization import Adafactor

from groupwise.framework.config import ModelConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.tensors import (
    optimizer_bytes,
    stored_as,
    trained_parameters,
    weight_bytes,
)
from groupwise.framework.policy.targets import find_targets

# One layer of a real model of the family (Mistral's of half the width), and few words.
MIDDLE: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32},
    "qwen2": {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12},
    "qwen3": {"hidden_size": 2560, "intermediate_size": 9728, "head_dim": 128},
    "gemma3_text": {"hidden_size": 1152, "intermediate_size": 6912, "head_dim": 256},
    "mistral": {"hidden_size": 2048, "intermediate_size": 7168},
    "phi3": {"hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24},
}
WAYS: dict[str, dict[str, Any]] = {
    "4bit": {"load_in_4bit": True},
    "8bit": {"load_in_4bit": False, "load_in_8bit": True},
    "16bit": {"load_in_4bit": False},
    "full": {"load_in_4bit": False, "full_finetuning": True},
}


def make_folder(folder: Path, family: str, shape: dict[str, Any]) -> Path:
    """A random model in 16 bits."""
    few = {"num_hidden_layers": 1, "vocab_size": 4096, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **(few | shape))
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def loaded(model: ModelConfig) -> Any:
    """The model as it lies in memory in each of the forms, with its adapter, in 16 bits."""
    quantisation = None
    if model.load_in_4bit:
        quantisation = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
        )
    if model.load_in_8bit:
        quantisation = BitsAndBytesConfig(load_in_8bit=True)
    base = AutoModelForCausalLM.from_pretrained(
        model.name, dtype=torch.bfloat16, quantization_config=quantisation, device_map="cpu"
    )
    if model.full_finetuning:
        return base
    targets = find_targets(base, model).for_peft
    return get_peft_model(base, LoraConfig(r=model.lora_r, target_modules=targets))


def optimiser_of(name: str, parameters: list[Any]) -> Any:
    """With its state, as after a step; those of bitsandbytes have no kernels for a CPU."""
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    made: dict[str, Any] = {
        "adamw_8bit": bitsandbytes.optim.AdamW8bit,
        "paged_adamw_32bit": bitsandbytes.optim.AdamW32bit,
        "adamw_torch": torch.optim.AdamW,
        "adafactor": lambda p: Adafactor(p, lr=1e-3, scale_parameter=False, relative_step=False),
        "sgd": lambda p: torch.optim.SGD(p, lr=1e-3),
    }
    optimiser = made[name](parameters)
    if hasattr(optimiser, "init_state"):
        for group in optimiser.param_groups:
            for i, parameter in enumerate(group["params"]):
                optimiser.init_state(group, parameter, 0, i)
    else:
        optimiser.step()
    return optimiser


def storages(tensors: Iterator[torch.Tensor]) -> int:
    """Bytes, each storage counted once."""
    found = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(found.values())


def weight_tensors(model: Any) -> Iterator[torch.Tensor]:
    """Of the base model: parameters, and what quantised ones need beside them."""
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        yield parameter.data
        state = getattr(parameter, "quant_state", None)
        for part in (state, getattr(state, "state2", None)):
            if part is not None:
                yield from (t for t in vars(part).values() if isinstance(t, torch.Tensor))
    for module in model.modules():
        for owner in (getattr(module, "state", None), getattr(module, "weight", None)):
            for scale in ("SCB", "CB"):
                found = getattr(owner, scale, None)
                if isinstance(found, torch.Tensor):
                    yield found


def lora_tensors(model: Any) -> Iterator[torch.Tensor]:
    return (p.data for name, p in model.named_parameters() if ".lora_" in name)


def optimizer_tensors(optimizer: Any) -> Iterator[torch.Tensor]:
    """Of an optimiser's state, the tables of 8-bit codes included, steps left out."""
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor) and value.numel() > 1:
                yield value


def compared(
    model: ModelConfig, real: Any, optimisers: Sequence[str], *, on_gpu: bool
) -> Iterator[tuple[str, int, int]]:
    """What of the loaded model, as predicted, as it is."""
    architecture = read_architecture(model)
    stored = stored_as(architecture, model, on_gpu=on_gpu)
    parameters = trained_parameters(architecture, model)
    yield "weights", weight_bytes(architecture, stored), storages(weight_tensors(real))
    if not model.full_finetuning:
        yield "adapter", 4 * parameters, storages(lora_tensors(real))
    trained = [p for p in real.parameters() if p.requires_grad]
    for name in optimisers:
        state = storages(optimizer_tensors(optimiser_of(name, trained)))
        yield name, optimizer_bytes(architecture, model, name, stored), state
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    yield "gradients", stored.trained * parameters, sum(p.grad.nbytes for p in trained)
