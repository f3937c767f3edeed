"""Errors that say "out of memory", in whatever words, and what a user can do about them.

    with out_of_memory_as_user_error("an evaluation", tries, kept="What was sampled is kept."):
        evaluate(...)

On a GPU only PyTorch's own allocator raises an error of its own type. CUDA's driver and cuBLAS,
which allocate beside it, raise plain RuntimeErrors, as the CPU's allocator does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from groupwise.rewards.errors import as_user_error

_SAID = re.compile(
    r"DefaultCPUAllocator|not enough memory: you tried to allocate"
    r"|\bout of memory\b"  # of CUDA's allocator, runtime and driver, and of Triton
    r"|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY"
    r"|(?:CUBLAS|CUSOLVER|CUSPARSE|CUDNN)_STATUS_ALLOC_FAILED",
)


def is_memory_error(error: BaseException) -> bool:
    """Whether an error says that memory, of a GPU or of the machine, has run out."""
    torch = sys.modules.get("torch")  # whoever has an error of torch has imported it
    if isinstance(error, MemoryError) or (
        torch is not None and isinstance(error, torch.OutOfMemoryError)
    ):
        return True
    return isinstance(error, RuntimeError) and bool(_SAID.search(str(error)))


def out_of_memory_as_user_error(
    what: str, tries: Sequence[str] | Callable[[], Sequence[str]], kept: str = ""
) -> AbstractContextManager[None]:
    """Turns "out of memory" in `what` into a UserError with the settings that need less.

    `tries`: one line each, the setting and a value for it. `kept` says what is not lost.
    """

    def message(error: Exception) -> str:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        advice = f"{kept} Try, one after the other:".lstrip()
        lines = tries() if callable(tries) else tries
        return "\n".join(
            [f"out of memory in {what}: {reason}", advice, *(f"  {line}" for line in lines)]
        )

    return as_user_error(message, RuntimeError, MemoryError, when=is_memory_error)
