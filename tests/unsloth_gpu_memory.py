"""Bytes of what Unsloth's GPU loader has in memory, beside the plan's; run by itself, in emulation.

    python tests/gpu_emulation.py tests/unsloth_gpu_memory.py FOLDER

Prints one JSON object, by way of loading. `tests/framework/memory/test_tensors.py` looks at it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from unsloth_gpu_sampling import make_folder

from benchmarks.memory_tensors import compared
from groupwise.framework.config import ModelConfig
from groupwise.framework.policy import load

WAYS: dict[str, dict[str, Any]] = {
    "4bit": {"load_in_4bit": True},
    "16bit": {},
    "float16": {"dtype": "float16"},
    "float32": {"dtype": "float32"},
    "full": {"full_finetuning": True},
    "full float16": {"full_finetuning": True, "dtype": "float16"},
}


def with_bfloat16() -> None:
    """The emulated card says that it computes in bfloat16: Unsloth's modules ask once, each."""
    for name, module in list(sys.modules.items()):
        if name.startswith("unsloth") and "SUPPORTS_BFLOAT16" in vars(module):
            module.SUPPORTS_BFLOAT16 = True  # type: ignore[attr-defined]


def main(folder: str) -> None:
    with_bfloat16()
    toy = make_folder(Path(folder) / "model")
    plain = ModelConfig(name=str(toy), max_seq_length=256, dtype="bfloat16", load_in_4bit=False)
    found = {}
    for way, settings in WAYS.items():
        model = replace(plain, lora_r=4, **settings)
        found[way] = list(compared(model, load(model).model, [], on_gpu=True))
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
