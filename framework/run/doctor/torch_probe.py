"""What torch sees here, asked in a process of its own (`children.py`): it may not even import.

facts = run_child("groupwise.framework.run.doctor.torch_probe", limit_s=120).facts
"""

from __future__ import annotations

import warnings
from typing import Any

from groupwise.framework.run.doctor.children import Report


def probe(report: Report) -> None:
    """Imports torch, and multiplies and attends on each device that it has."""
    report.step("import torch")
    import torch  # the point of this process, which is not start-up

    report.fact(torch=torch.__version__, cuda=torch.version.cuda, hip=torch.version.hip)
    report.step("look for GPUs")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        count = torch.cuda.device_count() if available else 0
    texts = [" ".join(str(warning.message).split()) for warning in said]
    report.fact(cuda_available=available, gpus=count, cuda_warnings=texts)
    if available:
        report.step("compute on the GPU")
        report.fact(devices=[_gpu(torch, index) for index in range(count)])
    report.step("compute on the CPU")
    report.fact(
        cpu=torch.backends.cpu.get_cpu_capability(),
        attention=_attention(torch, "cuda" if available else "cpu"),
    )


def _gpu(torch: Any, index: int) -> dict[str, Any]:
    device = torch.device("cuda", index)
    bfloat16 = torch.cuda.get_device_capability(index) >= (8, 0)  # what is emulated is no use
    dtype = torch.bfloat16 if bfloat16 else torch.float16
    x = torch.ones(64, 64, device=device, dtype=dtype)
    if (x @ x).float().sum().item() != 64**3:
        raise RuntimeError(f"a product on {device} is wrong")
    free, total = torch.cuda.mem_get_info(index)
    return {
        "name": torch.cuda.get_device_name(index),
        "capability": list(torch.cuda.get_device_capability(index)),
        "bfloat16": bfloat16,
        "free_bytes": free,
        "total_bytes": total,
    }


def _attention(torch: Any, device: str) -> list[str]:
    """The kernels of scaled_dot_product_attention that run here, the fastest first."""
    from torch.nn.attention import SDPBackend, sdpa_kernel  # not at start-up

    dtype = torch.float16 if device == "cuda" else torch.float32
    x = torch.ones(1, 4, 64, 64, device=device, dtype=dtype)  # (B, heads, T, width)
    kernels = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "cuDNN": SDPBackend.CUDNN_ATTENTION,
        "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
        "math": SDPBackend.MATH,
    }
    found = []
    for name, kernel in kernels.items():
        try:
            with sdpa_kernel(kernel), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns why a kernel is not used
                torch.nn.functional.scaled_dot_product_attention(x, x, x)
        except RuntimeError:
            continue
        found.append(name)
    return found
