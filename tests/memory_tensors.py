"""Bytes of the tensors of a loaded model, an optimiser and gradients: what a plan is held against.

    python tests/gpu_emulation.py tests/memory_tensors.py FOLDER     # Unsloth's GPU loader

Prints one JSON object: for each way of loading, the bytes of weights and adapter, and dtypes.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch


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


def as_unsloth_loads(folder: str) -> dict[str, Any]:
    from dataclasses import replace

    from groupwise.framework.config import ModelConfig
    from groupwise.framework.policy import load

    ways: dict[str, dict[str, Any]] = {
        "4bit": {"load_in_4bit": True},
        "16bit": {},
        "float16": {"dtype": "float16"},
        "float32": {"dtype": "float32"},
        "full": {"full_finetuning": True},
        "full float16": {"full_finetuning": True, "dtype": "float16"},
        "full float32": {"full_finetuning": True, "dtype": "float32"},
    }
    plain = ModelConfig(
        name=folder, max_seq_length=256, dtype="bfloat16", load_in_4bit=False, lora_r=4
    )
    found = {}
    for way, settings in ways.items():
        model = load(replace(plain, **settings)).model
        dtypes = Counter(str(p.dtype).removeprefix("torch.") for p in model.parameters())
        found[way] = {
            "weights": storages(weight_tensors(model)),
            "lora": storages(lora_tensors(model)),
            "dtypes": dtypes,
            "norms": str(next(p for n, p in model.named_parameters() if "norm" in n).dtype),
        }
    return found


if __name__ == "__main__":
    print("\n" + json.dumps(as_unsloth_loads(sys.argv[1])))
