"""Unsloth, imported first and quietly, and every workaround for the libraries around it.

    fast_model = load_unsloth()      # before transformers, peft or TRL are imported anywhere

Unsloth patches transformers, peft and TRL as it is imported, so it has to come before them; the
import takes seconds, so it happens inside `load_unsloth`. Modules that import those libraries at
their top call it first.

The workarounds, each with the version it was written for and what would make it unnecessary:

| where | library | what it works around | may go when |
|---|---|---|---|
| `load_unsloth` | Unsloth 2026.10.9, TRL 1.15, torch 2.13 | see the lines there | see there |
| `load_unsloth` | Unsloth 2026.10.9, models/llama.py, _PerDeviceRopeCache | a plain model on the CPU gets rotary tables on the GPU | it takes the input's device |
| `adapter_precision` | TRL 1.15, grpo_trainer.py and sft_trainer.py, "When using QLoRA" | LoRA weights of a quantised model are cast to bfloat16 (https://github.com/huggingface/peft/issues/2889) | TRL takes an option for it |
| `add_reference` | Unsloth 2026.10.9, models/rl.py, "Skip add_adapter" | on a GPU TRL's "ref" adapter is cut out, and the KL of an adapter that is trained further is measured from the base model | Unsloth leaves it in |
| `plain_precision` | Unsloth 2026.10.9, models/rl.py, `mixed_precision_dtype`; transformers 5.17, training_args.py, "ACCELERATE_MIXED_PRECISION" | a trainer of a float32 model gets autocast in 16 bits, and leaves it in the environment for every later trainer of the process | Unsloth's config keeps `bf16=False, fp16=False` |
| `stock_checkpoint` | unsloth_zoo 2026.10.9, gradient_checkpointing.py, `unsloth_checkpoint` | a model loaded with checkpointing "unsloth" makes every checkpoint of torch reentrant, whose result has no gradient unless an input has one | it keeps `use_reentrant=False` where that is asked for |
| `without_router_logits` | TRL 1.15, sft_trainer.py; transformers 5.17, `load_balancing_loss_func` | a mixture of experts whose config asks for router logits, as TRL's SFTTrainer leaves it, cannot `generate` from a cache: the loss wants a mask of the new tokens alone | that loss is left out without labels |
| `drop_reference` | TRL 1.15, GRPOTrainer | a second training of one model is refused, because its "ref" adapter is still there | TRL replaces its own adapter |
| `GroupwiseTrainer._load_from_checkpoint` (`grpo_trainer/trl_subclass.py`) | transformers 5.17, `Trainer._load_from_checkpoint` | of a checkpoint with adapters in sub-folders, the one beside them is not loaded | transformers loads all of them |
| `GroupwiseTrainer.create_model_card` (also in `trainers/group_scores.py`) | TRL 1.15, transformers 5.17 | the model card of each checkpoint may look up the hub | there is an option for it |
| `warm_start` (`experiment/run.py`) | TRL 1.15, GRPOTrainer | with full fine-tuning the reference is loaded from `config._name_or_path`, the model before its warm start | TRL takes a reference model |
| `load` (`policy/loading.py`) | Unsloth 2026.10.9, models/llama.py, get_peft_model | after a full fine-tuning in the process no adapter is made | it asks the model instead of the environment |
| `load` (`policy/loading.py`) | Unsloth 2026.10.9, models/mapper.py | a name in 4 bits loads another repository (docs/decisions/loading.md) | never |
| `unusable_as_user_error` (`policy/loading.py`) | Unsloth 2026.10.9, torch 2.13, transformers 5.17 | refusals of a model are RuntimeError and ImportError, told by their words | they have types of their own |
| `sampling_mode` (`sampling/state.py`) | Unsloth 2026.10.9, models/llama.py, unsloth_fast_generate | `generate` turns the modules' checkpointing off for good, and keeps its KV cache on the layers | it restores and frees them in evaluation mode too |
| `fast_decoding` (`sampling/state.py`) | Unsloth 2026.10.9, models/_decode_graphs.py | decoding with CUDA graphs is on only inside a trainer's own `generate` | it is on by default |
| `equal_lengths` (`sampling/generate.py`) | Unsloth 2026.10.9, models/qwen3.py | with a mask, decoding copies keys and values for every query head | it does not |
| `transformers_forwards`, `forward_of` (`sampling/forwards.py`) | Unsloth 2026.10.9, models/llama.py, `_gated_method` | its decoding keeps one cache for all rows, and its forward takes no other | its attention takes a cache of the caller's |
| `transformers_forwards` (`sampling/forwards.py`) | Unsloth 2026.10.9, models/llama.py, LlamaRotaryEmbedding | its forward reads the highest position, for which the host waits at each step | it does not |
| `transformers_forwards` (`sampling/forwards.py`) | unsloth_zoo 2026.10.9, compiler.py | forwards that it has written are compiled anew for each size | they take sizes that change |
| `forward_of` (`sampling/forwards.py`) | Unsloth 2026.10.9, models/_block_compile.py | each decoder layer's class gets a wrapper that compiles it for training | never: it is asked by its own mark |
| `lean_layers` (`sampling/lean.py`) | Unsloth 2026.10.9, kernels/fast_lora.py, LoRA_MLP | its MLP writes 4-bit weights out in 16 bits at each call | it multiplies few rows by the packed ones |
| `lean_layers` (`sampling/lean.py`) | PEFT 0.21, tuners/lora; transformers 5.17, models/*/modeling_*.py | a LoRA layer copies, casts, scales and adds around three products, an RMS norm is eight operations | they are as few kernels themselves |
| `limit_of` (`sampling/requests.py`) | Unsloth 2026.10.9, models/llama.py | a prompt beyond `max_seq_length` is cut off | it raises |
| `_default_adapter_only` (`sampling/vllm.py`) | Unsloth 2026.10.9, unsloth_zoo/vllm_utils.py, `_build_lora_request` | the weights of every adapter are handed to vLLM, which refuses those of "ref" | it takes those of the active adapter |
| `_folder_of` (`sampling/vllm.py`) | Unsloth 2026.10.9, unsloth_zoo/vllm_utils.py, `_LIVE_LORA_CONFIGS` | each path of an adapter is remembered for good | it forgets them |
| `_sleep` (`sampling/vllm.py`) | Unsloth 2026.10.9, unsloth_zoo/vllm_utils.py | with standby, `generate` wakes the engine and leaves it awake | it puts it back to sleep |
| `sampling_mode` (`sampling/state.py`) | bitsandbytes 0.50 | 4-bit layers are repacked irreversibly at a forward in evaluation mode (AVX512-BF16) | bitsandbytes unpacks in training mode |
| `MinimalGRPOTrainer.sample` (`minimal_grpo.py`) | Unsloth 2026.10.9, models/llama.py, `unsloth_fast_generate` | on a GPU, `generate` gives tensors of inference mode | it samples under `no_grad` |
| `machine_arguments` (`trainers/common.py`) | bitsandbytes 0.50 | its optimisers have no CPU kernels | it has them |
| `_forget_quantisation` (`export/merged.py`) | transformers 5.17, core_model_loading.py, `revert_weight_conversion` | a model that was loaded in 4 bits and made plain since cannot be saved | bitsandbytes' conversions have a way back, or go with the quantisation |
| `processes.py` (`run/`) | accelerate 1.15 | without a GPU, several processes are taken for one, on "cpu:0" | accelerate asks for the CPU itself |
"""  # noqa: E501 (a table)

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

REFERENCE_ADAPTER = "ref"
"""TRL's name of the frozen copy of the adapter that the KL divergence is measured from."""


def load_unsloth() -> Any:
    """Imports Unsloth quietly and returns its `FastLanguageModel`; takes seconds the first time."""
    # Unsloth would ask a server at each load (models/_utils.py, "Basic stats").
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    # TRL warns that `rollout_func` may change (grpo_trainer.py); until it is stable there.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    # Where CI is set, torch 2.13 makes an error of a warning about its own compiler's operators
    # (_functorch/config.py), which Unsloth's attention masks run into; until Unsloth avoids them.
    os.environ.setdefault("TORCHINDUCTOR_ERROR_ON_CUSTOM_OP_ALIASING", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from unsloth import FastLanguageModel  # slow: not at start-up
    _give_cpu_models_their_rotary_tables()
    return FastLanguageModel


def _give_cpu_models_their_rotary_tables() -> None:
    """Lets plain models of a family that Unsloth has loaded run on a CPU beside a GPU.

    Unsloth's loader puts its rotary class into transformers' modules, so that a plain model that is
    built later has it too (a reward model with `device: cpu`). For an input on the CPU it gives
    tables on the current GPU. Without Unsloth's GPU code there is nothing to do.
    """
    llama = sys.modules.get("unsloth.models.llama")
    rotary = getattr(llama, "_PerDeviceRopeCache", None)
    if rotary is None or hasattr(rotary.forward, "for_the_cpu"):
        return
    original = rotary.forward

    def forward(self: Any, x: Tensor, position_ids: Any = None, seq_len: Any = None) -> Any:
        is_plain = position_ids is not None and seq_len is None  # as transformers' forward calls it
        if x.device.type != "cpu" or not is_plain or not hasattr(self, "multi_gpu_cos_cached"):
            return original(self, x, position_ids, seq_len)
        rows = max(int(position_ids.max()) + 1, self.current_rope_size)
        tables = vars(self).get("_groupwise_tables")
        if tables is None or len(tables[0]) < rows:
            tables = self._groupwise_tables = _rotary_tables(self, rows)
        return tuple(table[position_ids].to(x.dtype) for table in tables)

    forward.for_the_cpu = True  # type: ignore[attr-defined]
    rotary.forward = forward


def _rotary_tables(rotary: Any, rows: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of `rows` positions, (rows, head width), by the class's own arithmetic."""
    import torch  # slow: not at start-up

    scratch = copy.copy(rotary)  # it stores what it makes, by the number of a device
    scratch.multi_gpu_cos_cached, scratch.multi_gpu_sin_cached = [None], [None]
    scratch._rope_cache_version = 0  # computed on the CPU, as first tables are
    # A table made in inference mode could not be used in training later.
    with torch.inference_mode(False), torch.no_grad():
        cos, sin = scratch._set_cos_sin_cache(rows, torch.device("cpu", 0), torch.float32)
    return cos, sin


@contextmanager
def adapter_precision(model: PreTrainedModel) -> Iterator[None]:
    """Keeps LoRA weights in the precision they have while a TRL trainer is built.

    TRL casts those of a quantised model to bfloat16. At GRPO's learning rates most of Adam's
    updates are below bfloat16's resolution and would be lost.
    """
    trained = {name: p.data for name, p in model.named_parameters() if p.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in trained:
            parameter.data = trained[name]


def without_router_logits(model: PreTrainedModel) -> None:
    """Sets a mixture of experts not to return its router logits unless a call asks for them.

    TRL's trainers ask in the call, where they add the loss that balances the experts.
    """
    config = model.config.get_text_config()
    if getattr(config, "output_router_logits", False):
        config.output_router_logits = False


def drop_reference(model: Any) -> dict[str, Tensor]:
    """Removes the reference adapter; its weights, in main memory, as `restore_reference` takes it.

    It is of use during a training only. TRL copies the adapter under the name "ref", and raises if
    an adapter has that name.
    """
    if REFERENCE_ADAPTER not in getattr(model, "peft_config", {}):
        return {}
    weights = {
        name: parameter.detach().to("cpu", copy=True)
        for name, parameter in _of_the_adapter(model, REFERENCE_ADAPTER)
    }
    model.delete_adapter(REFERENCE_ADAPTER)
    return weights


def restore_reference(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Puts back what `drop_reference` has removed; nothing if there was none."""
    if not weights or REFERENCE_ADAPTER in model.peft_config:
        return
    _new_reference(model)
    for name, weight in weights.items():
        parameter = model.get_parameter(name)
        parameter.data = weight.to(parameter.device, copy=True)
        parameter.requires_grad_(False)
    model.set_adapter("default")


@contextmanager
def plain_precision(dtype: torch.dtype) -> Iterator[None]:
    """Inside, arguments and trainers are made whose precision is that of their own flags.

    Outside it, Unsloth gives a trainer without `bf16` and `fp16` mixed precision, and any trainer
    takes the precision of the one that was made before it.
    """
    import torch  # slow: not at start-up

    names = ("UNSLOTH_MIXED_PRECISION", "ACCELERATE_MIXED_PRECISION")
    before = {name: os.environ.get(name) for name in names}
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    if dtype == torch.float32:
        # Unsloth's word for "no autocast": it is what it sets for weights of 16 bits that are all
        # trained.
        os.environ["UNSLOTH_MIXED_PRECISION"] = "bfloat16"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def stock_checkpoint() -> Callable[..., Any]:
    """`torch.utils.checkpoint.checkpoint` as torch has it, whatever Unsloth has put in its place.

    To be called at each use: the place changes with every model that is loaded.
    """
    import torch.utils.checkpoint as module  # slow: not at start-up

    found: Callable[..., Any] = getattr(module, "_old_checkpoint", module.checkpoint)
    return found


def add_reference(model: Any) -> None:
    """Makes the frozen copy of the adapter that the KL is measured from, where TRL has not.

    Unsloth's rewrite of the trainer leaves it out. A fresh adapter needs no copy: it changes
    nothing yet, so the model without it is the same reference, and takes no memory.
    """
    adapters = getattr(model, "peft_config", {})
    if REFERENCE_ADAPTER in adapters or "default" not in adapters or _changes_nothing(model):
        return
    _new_reference(model)
    for name, parameter in _of_the_adapter(model):
        copy = model.get_parameter(name.replace(".default.", f".{REFERENCE_ADAPTER}."))
        copy.data = parameter.detach().clone()
        copy.requires_grad_(False)
    model.set_adapter("default")


def _new_reference(model: Any) -> None:
    import torch  # slow: not at start-up

    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):  # the new adapter's first weights are drawn at random
        model.add_adapter(REFERENCE_ADAPTER, model.peft_config["default"])


def _changes_nothing(model: Any) -> bool:
    """Whether the adapter is as it was made: LoRA's B is zero, and nothing else is trained."""
    return all(
        ".lora_A." in name or (".lora_B." in name and not parameter.any())
        for name, parameter in _of_the_adapter(model)
    )


def _of_the_adapter(model: Any, adapter: str = "default") -> list[tuple[str, Any]]:
    return [(name, p) for name, p in model.named_parameters() if f".{adapter}." in name]
