"""Predicted bytes of weights, adapter, optimiser state and gradients beside the real tensors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from memory_tensors import lora_tensors, optimizer_tensors, storages, weight_tensors

from groupwise.framework.config import ModelConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.tensors import (
    optimizer_bytes,
    stored_as,
    trained_parameters,
    weight_bytes,
)

pytestmark = pytest.mark.stack

TOLERANCE = 0.005
TINY = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "pad_token_id": 0,
}
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
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, **shape)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def loaded(model: ModelConfig) -> Any:
    """The model as it lies in memory in each of the forms, with its adapter, in 16 bits."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from groupwise.framework.policy.targets import find_targets

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


OPTIMISERS = ("adamw_8bit", "paged_adamw_32bit", "adamw_torch", "adafactor", "sgd")


def optimiser_of(name: str, parameters: list[Any]) -> Any:
    """With its state, as after a step; those of bitsandbytes have no kernels for a CPU."""
    import bitsandbytes
    import torch
    from transformers.optimization import Adafactor

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


def compare(folder: Path, way: str, optimisers: tuple[str, ...]) -> None:
    """Each of the four within half a percent."""
    model = ModelConfig(name=str(folder), **WAYS[way])
    architecture = read_architecture(model)
    # A CPU is asked only where it differs: norms stay in 16 bits there.
    stored = stored_as(architecture, model, on_gpu=False)
    real = loaded(model)
    near = partial(pytest.approx, rel=TOLERANCE)
    assert storages(weight_tensors(real)) == near(weight_bytes(architecture, stored))
    trained = [p for p in real.parameters() if p.requires_grad]
    parameters = trained_parameters(architecture, model)
    assert sum(p.numel() for p in trained) == parameters
    if way != "full":
        assert storages(lora_tensors(real)) == 4 * parameters
    for name in optimisers:
        state = storages(optimizer_tensors(optimiser_of(name, trained)))
        assert state == near(optimizer_bytes(architecture, model, name, stored)), name
    gradients = sum(p.grad.nbytes for p in trained)
    assert gradients == near(stored.trained * parameters)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("tiny") / "qwen3", "qwen3", TINY)


@pytest.mark.parametrize("way", WAYS)
def test_bytes_of_a_tiny_model(tiny: Path, way: str) -> None:
    compare(tiny, way, OPTIMISERS)


@pytest.mark.long
@pytest.mark.parametrize("family", MIDDLE)
def test_bytes_of_a_middling_model(family: str, tmp_path: Path) -> None:
    shape = {"num_hidden_layers": 1, "vocab_size": 4096, "pad_token_id": 0, **MIDDLE[family]}
    folder = make_folder(tmp_path / family, family, shape)
    for way in WAYS:
        compare(folder, way, ("adamw_8bit",))
