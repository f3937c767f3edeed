"""Errors that say "out of memory", in whatever words, and what a user can do about them.

    with out_of_memory_as_user_error("an evaluation", tries, kept="What was sampled is kept."):
        evaluate(...)

The message has what was asked for and what was free, as far as the error says so (else, as this
machine says now), the settings that need less, nearest first, and what to do with the first one. On
a GPU only PyTorch's own allocator raises an error of its own type. CUDA's driver and cuBLAS, which
allocate beside it, raise plain RuntimeErrors, as the CPU's allocator does.
"""

from __future__ import annotations

import re
import resource
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.rewards.errors import UserError

_SAID = re.compile(
    r"DefaultCPUAllocator|not enough memory: you tried to allocate"
    r"|\bout of memory\b"  # of CUDA's allocator, runtime and driver, and of Triton
    r"|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY"
    r"|(?:CUBLAS|CUSOLVER|CUSPARSE|CUDNN)_STATUS_ALLOC_FAILED",
)
# oneDNN's words for whatever it could not set up: of memory only where there is none left.
_MAYBE = re.compile(r"could not create a (?:primitive|memory object)")
_ALMOST_NONE = 0.02  # of the memory
_SIZE = r"([\d.]+) (bytes|[KMGT]iB)"  # as c10's format_size writes it
_ASKED = re.compile(rf"[Tt]ried to allocate {_SIZE}")
_OF_THE_GPU = re.compile(rf"(GPU \d+) has a total capacity of {_SIZE} of which {_SIZE} is free")
_BYTES = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

CHECKPOINTING = "model.use_gradient_checkpointing"


@dataclass(frozen=True, slots=True)
class Setting:
    """A key and a value that needs less than the present one.

    `same_result`: a run can be resumed with it. `note` says what else there is to know.
    """

    key: str
    value: object
    now: object = None
    same_result: bool = True
    note: str = ""

    def __str__(self) -> str:
        more = [f"now {self.now}"] if self.now is not None else []
        more += [self.note] if self.note else []
        same = "the result is the same"
        more += [same if self.same_result else "not in this run: it changes the result"]
        return f"{self.key}: {self.value} ({'; '.join(more)})"


@dataclass(frozen=True, slots=True)
class Shortage:
    """Bytes that were asked for and those that were free of `total`; None where nobody says so."""

    asked: int | None = None
    free: int | None = None
    total: int | None = None
    place: str = ""

    @property
    def lacking(self) -> int | None:
        """Bytes that were missing."""
        known = self.asked is not None and self.free is not None
        return max(0, self.asked - self.free) if known else None  # type: ignore[operator]

    def __str__(self) -> str:
        asked = f"{amount(self.asked)} were asked for" if self.asked is not None else ""
        if self.free is None:
            return asked
        of = f" of {amount(self.total)}" if self.total is not None else ""
        free = f"{amount(self.free)}{of} were free {self.place}"
        return f"{asked}, {free}" if asked else free


Tries = Sequence[Setting | str]


class ShortOfMemoryError(UserError):
    """Memory ran out in `what`. `tries` need less, nearest first; `kept` says what is not lost.

    `in_sampling`: while completions were drawn. `advised`: what to change, all of it together; by
    default the first setting among `tries`. `why` says how that was found.
    """

    def __init__(
        self,
        what: str,
        reason: str,
        shortage: Shortage,
        tries: Tries,
        kept: str = "",
        in_sampling: bool = False,
    ) -> None:
        super().__init__(what, reason, shortage, tries, kept, in_sampling)  # all, for a pickle
        self.what, self.reason, self.shortage, self.kept = what, reason, shortage, kept
        self.tries, self.in_sampling = tries, in_sampling
        self.advised = tuple([t for t in tries if isinstance(t, Setting)][:1])
        self.why = ""

    def advise(self, settings: Sequence[Setting], why: str) -> None:
        """Puts these settings, to be changed together, before the others."""
        self.advised, self.why = tuple(settings), why
        keys = {setting.key for setting in settings}
        self.tries = [t for t in self.tries if not isinstance(t, Setting) or t.key not in keys]

    def __str__(self) -> str:
        short = str(self.shortage)
        lines = [f"out of memory in {self.what}: {short or self.reason}"]
        lines += [f"  {self.reason}"] if short else []
        lines += [self.kept] if self.kept else []
        if self.why:
            lines += [f"{self.why}:", *(f"  {setting}" for setting in self.advised)]
        if self.tries:
            then = "If that is not enough, one" if self.why else "Try, one"
            lines += [f"{then} after the other:", *(f"  {line}" for line in self.tries)]
        return "\n".join(lines)


def is_memory_error(error: BaseException) -> bool:
    """Whether an error says that memory, of a GPU or of the machine, has run out."""
    torch = sys.modules.get("torch")  # whoever has an error of torch has imported it
    if isinstance(error, MemoryError) or (
        torch is not None and isinstance(error, torch.OutOfMemoryError)
    ):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return bool(_SAID.search(str(error))) or (bool(_MAYBE.search(str(error))) and _is_almost_full())


def _is_almost_full() -> bool:
    free, total, _ = free_of_the_machine()
    return free is not None and total is not None and free < _ALMOST_NONE * total


@contextmanager
def out_of_memory_as_user_error(
    what: str, tries: Tries | Callable[[bool], Tries], kept: str = ""
) -> Iterator[None]:
    """Turns "out of memory" in `what` into a ShortOfMemoryError with the settings that need less.

    `tries`: the settings, nearest first, or what gives them, told whether completions were drawn; a
    text where it is no key of the config. `kept` says what is not lost.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_memory_error(error):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        in_sampling = _is_in_sampling(error)
        found = tries(in_sampling) if callable(tries) else tries
        raise ShortOfMemoryError(what, reason, shortage(error), found, kept, in_sampling) from error


def _is_in_sampling(error: BaseException) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    names = (frame.f_globals.get("__name__", "") for frame, _ in frames)
    return any(name.startswith("groupwise.framework.sampling.") for name in names)


def shortage(error: BaseException) -> Shortage:
    """What an error says of the memory that it lacked, completed by what is free now.

    To be called while the error is handled: its frames still hold what they had allocated.
    """
    text = str(error)
    asked = _bytes(*found.groups()) if (found := _ASKED.search(text)) else None
    if gpu := _OF_THE_GPU.search(text):
        place, total, unit, free, of = gpu.groups()
        return Shortage(asked, _bytes(free, of), _bytes(total, unit), f"on {place}")
    on_cpu = "CPUAllocator" in text or "not enough memory" in text or _MAYBE.search(text)
    if isinstance(error, MemoryError) or on_cpu:
        return Shortage(asked, *free_of_the_machine())
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        with suppress(RuntimeError):  # after some errors CUDA answers nothing
            free_bytes, total_bytes = torch.cuda.mem_get_info()
            return Shortage(asked, free_bytes, total_bytes, "on the GPU")
    return Shortage(asked)


def free_of_the_machine() -> tuple[int | None, int | None, str]:
    """Bytes free and in all, and where: of the machine, or of what this process may have of it."""
    bounds = [bound for bound in (_of_meminfo(), _of_cgroup(), _of_process()) if bound is not None]
    return min(bounds) if bounds else (None, None, "")


def _of_meminfo() -> tuple[int, int, str] | None:
    with suppress(OSError, KeyError, ValueError):
        rows = (line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        kib = {name: int(value.split()[0]) for name, value in rows}
        return kib["MemAvailable"] * 1024, kib["MemTotal"] * 1024, "on this machine"
    return None


def _of_cgroup() -> tuple[int, int, str] | None:
    """The limit of a container (cgroup v2), which the kernel holds by killing."""
    folder = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        most = int((folder / "memory.max").read_text())
        return most - int((folder / "memory.current").read_text()), most, "in this container"
    return None


def _of_process() -> tuple[int, int, str] | None:
    """The limit of this process' address space (`ulimit -v`)."""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return None
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        used = pages * resource.getpagesize()
        return max(0, most - used), most, "of what this process may have (ulimit -v)"
    return None


def _bytes(number: str, unit: str) -> int:
    return round(float(number) * _BYTES[unit])


def amount(count: int) -> str:
    """Bytes in GB, MB or kB of 1e9, 1e6 and 1e3."""
    if count >= 1e9:
        return f"{count / 1e9:,.1f} GB"
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"
