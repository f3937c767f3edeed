"""Transformers' own forward for a model whose forward Unsloth has replaced.

On a GPU, Unsloth 2026.10.9 edits the classes of transformers (`unsloth/models/llama.py`,
`_gated_method`): a module runs Unsloth's forward if its `_unsloth_fast_path` is set, and the
original one otherwise. Unsloth's decoding keeps one cache per layer for all rows and knows neither
slots nor blocks. May go when Unsloth's attention takes a cache of the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_GATE = "_unsloth_fast_path"


@contextmanager
def transformers_forwards(model: Any) -> Iterator[None]:
    """Inside, the model runs transformers' forward; afterwards the one that it had."""
    gated = [module for module in model.modules() if vars(module).get(_GATE) is True]
    for module in gated:
        setattr(module, _GATE, False)
    try:
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
