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

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

_GATE = "_unsloth_fast_path"
COMPILED = "unsloth_compiled_module"
"""Where forwards come from that Unsloth has written from transformers' source."""


@contextmanager
def transformers_forwards(model: Any, positions: int) -> Iterator[None]:
    """Inside, the model runs transformers' forward; afterwards the one that it had.

    `positions`: of the longest text that will be run.
    """
    modules = list(model.modules())
    gated = [module for module in modules if vars(module).get(_GATE) is True]
    rotary = [m for m in modules if _is_unsloths_rotary(m) and "forward" not in vars(m)]
    is_compiled = any(type(m).forward.__module__.startswith(COMPILED) for m in modules)
    embeddings = model.get_input_embeddings().weight
    try:
        for module in rotary:
            module.forward = _table_forward(module, positions, embeddings)
        for module in gated:
            setattr(module, _GATE, False)
        with torch.compiler.set_stance("force_eager") if is_compiled else nullcontext():
            yield
    finally:
        for module in gated:
            setattr(module, _GATE, True)
        for module in rotary:
            vars(module).pop("forward", None)


def _is_unsloths_rotary(module: Any) -> bool:
    return type(module).__module__.startswith("unsloth.") and hasattr(
        module, "extend_rope_embedding"
    )


@torch.no_grad()
def _table_forward(rotary: Any, positions: int, like: Tensor) -> Callable[..., Any]:
    """Looks cosines and sines up: (B, T) -> (B, T, D), twice.

    Unsloth's forward reads the highest position first, for which the host waits for the GPU at each
    step, and which a CUDA graph cannot capture.
    """
    every = torch.arange(positions, device=like.device)[None]
    cos, sin = (t[0] for t in rotary(like[:1], position_ids=every))  # (positions, D)

    def forward(x: Tensor, position_ids: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return cos[position_ids].to(x.dtype), sin[position_ids].to(x.dtype)

    return forward


def forward_of(module: Any) -> Any:
    """The forward that `module` runs inside `transformers_forwards`."""
    forward = type(module).forward
    # On a GPU each decoder layer is compiled for training (models/_block_compile.py); in evaluation
    # mode the wrapper calls what it has wrapped.
    forward = getattr(forward, "_unsloth_block_original", forward)
    if getattr(forward, "_unsloth_gated", False):
        # functools.wraps left the name of Unsloth's function on it; the original is in its closure.
        cells = dict(zip(forward.__code__.co_freevars, forward.__closure__ or (), strict=True))
        original = cells["original"].cell_contents
        if callable(original):
            return original
    return forward
