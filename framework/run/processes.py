"""The processes of one run, under `accelerate launch` or `torchrun`: rank, broadcast, gather.

    config, run_dir = from_main(lambda: opened(arguments))   # called once; all get its result

In a single process everything here is a plain call. Gradients are summed by accelerate's process
group; this module uses a second one (gloo, over sockets) with a timeout of a month: while the main
process evaluates for hours, the others wait without keeping their GPUs busy, and none times out.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long a process waits for another. If one dies, the launcher ends all of them at once."""

_group: Any = None


def count() -> int:
    """How many processes share this run; 1 outside a launcher."""
    # As accelerate decides: some machines set a WORLD_SIZE that has nothing to do with a launcher.
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def index() -> int:
    """This process's rank, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def is_main() -> bool:
    """Whether this is rank 0, which does what is done once: files, evaluation, messages."""
    return index() == 0


def from_main(action: Callable[[], T]) -> T:
    """Calls `action` on the main process and returns its result on all; the others wait.

    The result is pickled. If the main process fails, the others exit silently: it says why.
    """
    if count() == 1:
        return action()
    import torch  # slow: not at start-up

    box: list[Any] = [action() if is_main() else None]
    group = _joined()
    try:
        torch.distributed.broadcast_object_list(box, src=0, group=group)
    except RuntimeError:
        if is_main():
            raise
        raise SystemExit(1) from None  # the connection to the main process is gone
    result: T = box[0]
    return result


def gathered(value: T) -> list[T]:
    """The `value` of each process, in order, on all of them. Values are pickled."""
    if count() == 1:
        return [value]
    import torch  # slow: not at start-up

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value, group=_joined())
    return values


def wait() -> None:
    """A barrier: returns when every process has called it."""
    gathered(None)


def _joined() -> Any:
    """The group of all processes, created at the first call, which every process has to make."""
    global _group
    if _group is None:
        import torch  # slow: not at start-up
        from accelerate import PartialState

        on_cpu = not torch.cuda.is_available()
        if on_cpu:  # accelerate would say "cpu:0", to which torch.load cannot restore an optimiser
            os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
        # Without `cpu`, accelerate would take several processes without a GPU for one.
        PartialState(cpu=on_cpu)
        _group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
        atexit.register(
            torch.distributed.destroy_process_group
        )  # otherwise its threads abort the exit
    return _group
