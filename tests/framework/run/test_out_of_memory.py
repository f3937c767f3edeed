"""What says "out of memory", in whose words, and what does not."""

from __future__ import annotations

import pytest

from groupwise.framework.run.out_of_memory import is_memory_error, out_of_memory_as_user_error
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
    "another type": ValueError("CUDA out of memory"),
    "the user's own": UserError("out of memory in training"),
}


@pytest.mark.parametrize("name", SHORT)
def test_what_says_so(name: str) -> None:
    assert is_memory_error(SHORT[name])
    with (
        pytest.raises(UserError) as caught,
        out_of_memory_as_user_error("a test", ["a.key: 1 (now 2)", "another"], "All is kept."),
    ):
        raise SHORT[name]
    first = next(iter(str(SHORT[name]).splitlines()), "MemoryError")[:200]
    assert str(caught.value) == (
        f"out of memory in a test: {first}\n"
        "All is kept. Try, one after the other:\n  a.key: 1 (now 2)\n  another"
    )


@pytest.mark.parametrize("name", OTHER)
def test_what_does_not(name: str) -> None:
    assert not is_memory_error(OTHER[name])
    with (
        pytest.raises(type(OTHER[name])) as caught,
        out_of_memory_as_user_error("a test", ["a.key: 1"]),
    ):
        raise OTHER[name]
    assert caught.value is OTHER[name]
