"""Which layers get a LoRA adapter: `model.target_modules` compared with the layers that there are.

    planned = plan(config.model)            # from the model's config alone, before weights are read
    targets = find_targets(model, config)   # of the loaded model; .for_peft is what PEFT is given
    print(adapted(policy.model))            # what is trained now

`all-linear` is every linear layer of the decoder's blocks: in most families the seven projections
of `PROJECTIONS`, elsewhere what that family has in their place (Phi-3's `qkv_proj`, GPT-NeoX's
`query_key_value`, the convolutions' `in_proj` of LFM2). Output, embeddings, routers, towers for
images and sound are none of them.

Left out: making the adapter (`loading.py`), and that an adapter of another model does not fit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from groupwise.framework.config import ModelConfig

ALL_LINEAR = "all-linear"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# In one tensor for all experts, and so no layers; Unsloth and PEFT adapt them under these names.
_OF_EXPERTS = ("gate_proj", "up_proj", "down_proj")
_ROUTERS = re.compile(r"(^|\.)(gate|router|shared_expert_gate)(\.|$)")
_TOWERS = r"(?:vision|visual|image|audio|speech)"
# PEFT 0.21 refuses these two layers of these families (tuners_utils.py,
# `_check_lora_target_modules_mamba`): their kernels read the weight past the adapter.
_MAMBA = {"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"}
_READ_BY_KERNELS = {"out_proj", "conv1d"}


@dataclass(frozen=True, slots=True)
class Adapted:
    """What is trained: adapted layers by name, parameters; `notices` say what one may not expect.

    No layers: every parameter is trained.
    """

    layers: Mapping[str, int]
    rank: int
    trained: int
    total: int
    notices: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.layers:
            return f"all {self.total:,} parameters are trained"
        names = ", ".join(f"{name} {count}" for name, count in self.layers.items())
        return (
            f"LoRA of rank {self.rank} on {sum(self.layers.values())} layers ({names}): "
            f"{self.trained:,} parameters are trained, {self.trained / self.total:.2%} of all"
        )


@dataclass(frozen=True, slots=True)
class Targets:
    """`names` as PEFT compares them with the end of a layer's path; the layers that they name."""

    names: tuple[str, ...]
    layers: Mapping[str, nn.Module]  # by path
    missing: tuple[str, ...]  # of the names that the user gave
    has_experts: bool

    @property
    def for_peft(self) -> list[str] | str:
        """A list of names, or one pattern: of a list Unsloth keeps only what it knows the place of.

        Its `get_peft_regex` wants "attn", "mlp" or the like in the path, and a torch.nn.Linear: it
        drops LFM2's convolutions, OPT's `fc1`, and all of GPT-2. Experts it knows by names alone.
        """
        is_usual = self.has_experts or set(self.names) <= {*PROJECTIONS, "lm_head", "embed_tokens"}
        if is_usual:
            return list(self.names)
        names = "|".join(re.escape(name) for name in self.names)
        return rf"(?!.*{_TOWERS})(?:.*\.)?(?:{names})"


def find_targets(model: nn.Module, config: ModelConfig) -> Targets:
    """The layers of a model (loaded, or on the meta device) that the config wants adapted.

    Raises:
        UserError: there are none; the message names the linear layers that there are.
    """
    asked = config.target_modules
    takes_all = any(name.lower() == ALL_LINEAR for name in asked)
    given = tuple(name for name in asked if name.lower() != ALL_LINEAR)
    linear = dict(linear_layers(model))
    has_experts = any(True for _ in _experts(model))
    names = tuple(dict.fromkeys(map(_leaf, linear))) if takes_all else ()
    if takes_all and has_experts:
        names = tuple(dict.fromkeys((*names, *_OF_EXPERTS)))
    names = tuple(dict.fromkeys((*names, *given)))
    modules = dict(model.named_modules())
    layers = {path: module for path, module in modules.items() if _is_named(path, given)}
    layers |= linear if takes_all else {}
    missing = [name for name in given if not any(_is_named(path, (name,)) for path in modules)]
    if has_experts:
        missing = [name for name in missing if name not in _OF_EXPERTS]
    if not layers and not (has_experts and set(given) & set(_OF_EXPERTS)):
        found = ", ".join(dict.fromkeys(map(_leaf, linear))) or "none"
        raise UserError(
            f"model.target_modules: {', '.join(asked)}: {config.name} has no such layers. Its "
            f"linear layers: {found}. Name some of them, or take all with "
            f"model.target_modules: {ALL_LINEAR}."
        )
    return Targets(names, layers, tuple(missing), has_experts)


def linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The linear layers of the decoder's blocks, by path, without routers."""
    import torch  # slow: not at start-up
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    is_mamba = getattr(getattr(model, "config", None), "model_type", None) in _MAMBA
    for path, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear | Conv1D) or not re.search(r"\.\d+\.", path):
            continue  # what is not in a numbered block is output, embedding or projector
        is_left_out = _ROUTERS.search(path) or re.search(_TOWERS, path)
        if not is_left_out and not (is_mamba and _leaf(path) in _READ_BY_KERNELS):
            yield path, module


def plan(config: ModelConfig) -> Adapted | None:
    """What would be trained, from the model's config alone; None where that does not say it.

    Raises:
        UserError: the model has none of the layers that are to be adapted.
    """
    if config.adapter is not None:  # it knows its layers itself
        return None
    model = without_weights(config.name, trust_remote_code=config.trust_remote_code)
    if model is None:
        return None
    total = sum(p.numel() for p in model.parameters())
    if config.full_finetuning:
        return Adapted({}, config.lora_r, total, total)
    targets = find_targets(model, config)
    layers = Counter(_leaf(path) for path in targets.layers)
    trained = config.lora_r * sum(_width(module) for module in targets.layers.values())
    notices = missing_notices(targets, config)
    if targets.has_experts:
        notices += ("of the experts, what is trained is known once the model is loaded",)
    return Adapted(layers, config.lora_r, trained, total + trained, notices)


def missing_notices(targets: Targets, config: ModelConfig) -> tuple[str, ...]:
    """A notice on names that the user gave and the model does not have."""
    if not targets.missing:
        return ()
    given = ", ".join(targets.missing)
    there = ", ".join(dict.fromkeys(map(_leaf, targets.layers)))
    return (
        f"model.target_modules: {config.name} has no {given}; only {there} are adapted. "
        f"{ALL_LINEAR} takes every linear layer that the model has",
    )


def adapted(model: Any, notices: tuple[str, ...] = ()) -> Adapted:
    """What of a loaded model is trained, read from the model itself."""
    if not hasattr(model, "peft_config"):
        total = sum(p.numel() for p in model.parameters())
        return Adapted({}, 0, sum(p.numel() for p in model.parameters() if p.requires_grad), total)
    layers: Counter[str] = Counter()
    for path, module in model.named_modules():
        if "default" in getattr(module, "lora_A", ()):
            layers[getattr(module, "parameter_name", None) or _leaf(path)] += 1
    trained, total = model.get_nb_trainable_parameters()  # knows packed weights
    experts = dict(_experts(model))
    left_out = {name: p for name, p in experts.items() if _leaf(name) not in layers}
    if left_out:
        size = sum(p.numel() for p in left_out.values())
        notices = (
            *notices,
            f"the weights of the experts ({size:,} of {total:,} parameters) get no adapter here, "
            "and stay as they are",
        )
    return Adapted(layers, model.peft_config["default"].r, trained, total, notices)


def without_weights(name: str, *, trust_remote_code: bool = False) -> nn.Module | None:
    """The model on the meta device: layers and shapes; None for what transformers cannot build."""
    import torch  # slow, all of these: not at start-up
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM

    wrong = (OSError, ValueError, ImportError, RuntimeError, NotImplementedError)
    try:
        shape = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            model: nn.Module = AutoModelForCausalLM.from_config(
                shape, trust_remote_code=trust_remote_code
            )
    except (*wrong, StrictDataclassError):
        return None  # loading reports what is wrong, or takes another class than this one
    return model


def _experts(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Weights of all experts in one tensor (E, ..., ...), by name."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 3 and "expert" in name and ".lora_" not in name:
            yield name, parameter


def _is_named(path: str, names: tuple[str, ...]) -> bool:
    return any(path == name or path.endswith(f".{name}") for name in names)


def _leaf(path: str) -> str:
    """The last part of a layer's path; with the one before it where it is a number."""
    parts = [part for part in path.split(".") if part != "base_layer"]
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


def _width(module: Any) -> int:
    """Inputs and outputs of a layer together: parameters of an adapter of rank 1."""
    if hasattr(module, "in_features"):
        return int(module.in_features + module.out_features)
    return sum(module.weight.shape) if hasattr(module, "weight") else 0
