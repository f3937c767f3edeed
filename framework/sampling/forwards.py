"""Transformers' own forward for a model whose forward Unsloth has replaced.

On a GPU, Unsloth 2026.10.9 replaces forwards in two ways:

- families with decoding of its own (Llama, Mistral, Qwen, Gemma): it edits the classes of
  transformers (`unsloth/models/llama.py`, `_gated_method`), and a module runs Unsloth's forward if
  its `_unsloth_fast_path` is set, the original one otherwise. Unsloth's decoding keeps one cache a
  layer for all rows and knows neither slots nor blocks, so the mark is taken off meanwhile;
- all others, and full fine-tuning: it writes a module of its own from transformers' source
  (`unsloth_compiled_module_…`), whose forwards take and pass on the same arguments. These serve as
  they are, but uncompiled: sizes change with each step, and each would be compiled anew. Gemma 3's
  does not: its attention is Unsloth's own (`unsloth_zoo/temporary_patches/gemma.py`), and knows one
  cache for all rows.

May go when Unsloth's attention takes a cache of the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

_GATE = "_unsloth_fast_path"
COMPILED = "unsloth_compiled_module"
"""Where forwards come from that Unsloth has written from transformers' source."""


@contextmanager
def transformers_forwards(model: Any) -> Iterator[None]:
    """Inside, the model runs transformers' forward; afterwards the one that it had."""
    gated = [module for module in model.modules() if vars(module).get(_GATE) is True]
    is_compiled = any(type(m).forward.__module__.startswith(COMPILED) for m in model.modules())
    for module in gated:
        setattr(module, _GATE, False)
    try:
        with torch.compiler.set_stance("force_eager") if is_compiled else nullcontext():
            yield
    finally:
        for module in gated:
            setattr(module, _GATE, True)


def forward_of(module: Any) -> Any:
    """The forward that `module` runs inside `transformers_forwards`."""
    forward = type(module).forward
    if getattr(forward, "_unsloth_gated", False):
        # functools.wraps left the name of Unsloth's function on it; the original is in its closure.
        cells = dict(zip(forward.__code__.co_freevars, forward.__closure__ or (), strict=True))
        original = cells["original"].cell_contents
        if callable(original):
            return original
    return forward
