"""The processes that make one run, under `accelerate launch` or `torchrun`: who this one is, and
how they wait for each other.

    config, run_dir = from_main(lambda: claimed(arguments))   # made once, known to all

Alone, everything here is a plain call. Gradients are summed by accelerate's process group; what
stands here goes through a second one, over sockets and without a deadline to speak of: an
evaluation of hours on the main process keeps no GPU busy elsewhere, and fails nobody.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long a process waits for another. One that dies takes all down at once: the launcher's."""

_group: Any = None


def count() -> int:
    """How many processes share this run; 1 outside a launcher."""
    # As accelerate decides it: some machines have a WORLD_SIZE of their own lying about.
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def index() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def is_main() -> bool:
    """Whether this process does what is done once: files, evaluation, words to the user."""
    return index() == 0


def from_main(action: Callable[[], T]) -> T:
    """What `action` gives on the main process, on all of them; the others wait, and do not call it.

    The result is pickled. If the main process fails, the others end: it says why.
    """
    if count() == 1:
        return action()
    import torch

    box: list[Any] = [action() if is_main() else None]
    group = _joined()
    try:
        torch.distributed.broadcast_object_list(box, src=0, group=group)
    except RuntimeError:
        if is_main():
            raise
        raise SystemExit(1) from None  # its end of the line is gone
    result: T = box[0]
    return result


def gathered(value: T) -> list[T]:
    """The `value` of each process, in order, on all of them. Values are pickled."""
    if count() == 1:
        return [value]
    import torch

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value, group=_joined())
    return values


def wait() -> None:
    """Goes on when every process has come here."""
    gathered(None)


def _joined() -> Any:
    """The group of all processes; the first call makes it, and all have to make it."""
    global _group
    if _group is None:
        import torch
        from accelerate import PartialState

        on_cpu = not torch.cuda.is_available()
        if on_cpu:  # accelerate says "cpu:0", to which torch.load restores no optimiser
            os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
        # Without `cpu`, accelerate would take several processes without a GPU for one.
        PartialState(cpu=on_cpu)
        _group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
        atexit.register(torch.distributed.destroy_process_group)  # else its threads abort the end
    return _group
