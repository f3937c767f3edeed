"""Unsloth, imported first and quietly, and every workaround for the libraries around it.

    fast_model = load_unsloth()      # before transformers, peft or TRL are imported anywhere

Unsloth patches transformers, peft and TRL as it is imported, so it has to come before them; the
import takes seconds, so it happens inside `load_unsloth`. Modules that import those libraries at
their top call it first.

The workarounds, each with the version it was written for and what would make it unnecessary:

| where | library | what it works around | may go when |
|---|---|---|---|
| `load_unsloth` | Unsloth 2026.10.9, TRL 1.15, torch 2.13 | see the lines there | see there |
| `adapter_precision` | TRL 1.15, grpo_trainer.py and sft_trainer.py, "When using QLoRA" | LoRA weights of a quantised model are cast to bfloat16 (https://github.com/huggingface/peft/issues/2889) | TRL takes an option for it |
| `drop_reference` | TRL 1.15, GRPOTrainer | a second training of one model is refused, because its "ref" adapter is still there | TRL replaces its own adapter |
| `GroupwiseTrainer._load_from_checkpoint` (`grpo_trainer/trl_subclass.py`) | transformers 5.17, `Trainer._load_from_checkpoint` | of a checkpoint with adapters in sub-folders, the one beside them is not loaded | transformers loads all of them |
| `GroupwiseTrainer.create_model_card` (also in `trainers/group_scores.py`) | TRL 1.15, transformers 5.17 | the model card of each checkpoint may look up the hub | there is an option for it |
| `warm_start` (`experiment/run.py`) | TRL 1.15, GRPOTrainer | with full fine-tuning the reference is loaded from `config._name_or_path`, the model before its warm start | TRL takes a reference model |
| `sampling_mode` (`sampling/state.py`) | bitsandbytes 0.50 | 4-bit layers are repacked irreversibly at a forward in evaluation mode (AVX512-BF16) | bitsandbytes unpacks in training mode |
| `MinimalGRPOTrainer.sample` (`minimal_grpo.py`) | Unsloth 2026.10.9, models/llama.py, `unsloth_fast_generate` | on a GPU, `generate` gives tensors of inference mode | it samples under `no_grad` |
| `machine_arguments` (`trainers/common.py`) | bitsandbytes 0.50 | its optimisers have no CPU kernels | it has them |
| `processes.py` (`run/`) | accelerate 1.15 | without a GPU, several processes are taken for one, on "cpu:0" | accelerate asks for the CPU itself |
"""  # noqa: E501 (a table)

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    return FastLanguageModel


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


def drop_reference(model: Any) -> None:
    """Removes the reference adapter of an earlier training, so that TRL can make a new one.

    TRL copies the adapter under the name "ref", and raises if an adapter has that name.
    """
    if REFERENCE_ADAPTER in getattr(model, "peft_config", {}):
        model.delete_adapter(REFERENCE_ADAPTER)
