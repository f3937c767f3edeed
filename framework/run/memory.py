"""Memory of objects that are no longer used, or that stay: Python's garbage collector and torch."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def free_memory() -> None:
    """Gives back the memory of what is no longer used: models hold themselves in circles."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Excludes the objects that exist now (modules, model, data) from garbage collection.

    With the million objects of these libraries, a full collection would take half a second.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
