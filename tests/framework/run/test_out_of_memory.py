"""What says "out of memory", in whose words, what does not, and what the user is told."""

from __future__ import annotations

import pickle
import resource
from pathlib import Path

import pytest
from conftest import assert_golden

from groupwise.framework.run.out_of_memory import (
    Setting,
    Shortage,
    ShortOfMemoryError,
    free_of_the_machine,
    is_memory_error,
    out_of_memory_as_user_error,
    shortage,
)
from groupwise.rewards.errors import UserError

# Words of torch 2.13, CUDA 12, bitsandbytes 0.50 and Triton 3.7, as they arrive in Python.
SHORT: dict[str, Exception] = {
    "the allocator's words without its type": RuntimeError(
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 7.78 GiB"
    ),
    "the runtime": RuntimeError(
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"
    ),
    "the runtime's name of it": RuntimeError("CUDA error: cudaErrorMemoryAllocation"),
    "the driver": RuntimeError("CUDA driver error: out of memory"),
    "the driver's name of it": RuntimeError("cuMemCreate failed: CUDA_ERROR_OUT_OF_MEMORY"),
    "cuBLAS": RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cuSOLVER": RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
    "Triton": RuntimeError("Triton Error [CUDA]: out of memory"),
    "a CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 1125899906842624 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "Python": MemoryError(),
}
OTHER: dict[str, Exception] = {
    "a shape": RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    "an index": RuntimeError("CUDA error: device-side assert triggered"),
    "a product that failed": RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
    "a kernel too large": RuntimeError(
        "out of resource: shared memory, Required: 131072, Hardware limit: 101376"
    ),
    "what oneDNN cannot set up while there is memory": RuntimeError("could not create a primitive"),
    "another type": ValueError("CUDA out of memory"),
    "the user's own": UserError("out of memory in training"),
}


@pytest.mark.parametrize("name", SHORT)
def test_what_says_so(name: str) -> None:
    assert is_memory_error(SHORT[name])
    with (
        pytest.raises(UserError) as caught,
        out_of_memory_as_user_error("a test", [Setting("a.key", 1, 2), "another"], "All is kept."),
    ):
        raise SHORT[name]
    first = next(iter(str(SHORT[name]).splitlines()), "MemoryError")[:200]
    said = str(caught.value).splitlines()
    assert said[0].startswith("out of memory in a test: ")
    assert first in "\n".join(said[:2])
    assert said[-4:] == [
        "All is kept.",
        "Try, one after the other:",
        "  a.key: 1 (now 2; the result is the same)",
        "  another",
    ]


GIB, MIB = 2**30, 2**20
# what PyTorch says -> what was asked for, what was free of what, and where
SAID: dict[str, Shortage] = {
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.78 GiB of "
    "which 1.31 GiB is free. Including non-PyTorch memory, this process has 6.41 GiB memory in "
    "use. Of the allocated memory 6.00 GiB is allocated by PyTorch, and 120.00 MiB is reserved by "
    "PyTorch but unallocated.": Shortage(2 * GIB, round(1.31 * GIB), round(7.78 * GIB), "on GPU 0"),
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 1 has a total capacity of 79.18 GiB of "
    "which 512 bytes is free.": Shortage(20 * MIB, 512, round(79.18 * GIB), "on GPU 1"),
    "CUDA error: out of memory": Shortage(),
    "CUDA driver error: out of memory": Shortage(),
}


@pytest.mark.parametrize("text", SAID)
def test_what_was_asked_and_what_was_free(text: str) -> None:
    assert shortage(RuntimeError(text)) == SAID[text]


def test_without_a_gpu_the_machine_says_what_is_free() -> None:
    found = shortage(SHORT["a CPU"])
    assert found.asked == 2**50
    assert found.free is not None and found.total is not None  # noqa: PT018
    assert 0 < found.free < found.total
    assert found.lacking == 2**50 - found.free


def test_the_limit_of_a_process_counts_where_it_is_nearer() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    free, _, _ = free_of_the_machine()
    assert free is not None
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + min(free // 2, 2**28)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        left, total, place = free_of_the_machine()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert (total, place) == (limit, "of what this process may have (ulimit -v)")
    assert left is not None
    assert 0 <= left <= limit - used


TRIES: list[Setting | str] = [
    Setting("training.completions_per_forward", 4, 8),
    Setting("model.use_gradient_checkpointing", "unsloth"),
    Setting("training.max_completion_length", 384, 512, same_result=False),
    "a smaller model",
]


def test_the_message_without_and_with_the_advice_of_a_plan() -> None:
    free = Shortage(2 * GIB, round(1.31 * GIB), round(7.78 * GIB), "on GPU 0")
    reason, kept = "CUDA out of memory. Tried to allocate 2.00 GiB.", "The last checkpoint is kept."
    error = ShortOfMemoryError("training", reason, free, TRIES, kept)
    plain = str(error)
    assert str(pickle.loads(pickle.dumps(error))) == plain  # from another process
    error.advise([Setting("training.completions_per_forward", 2, 8)], "By the plan this is enough")
    assert_golden("out_of_memory.txt", f"{plain}\n\n{error}\n")


@pytest.mark.parametrize("name", OTHER)
def test_what_does_not(name: str) -> None:
    assert not is_memory_error(OTHER[name])
    with (
        pytest.raises(type(OTHER[name])) as caught,
        out_of_memory_as_user_error("a test", [Setting("a.key", 1)]),
    ):
        raise OTHER[name]
    assert caught.value is OTHER[name]
