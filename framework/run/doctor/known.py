"""The known mismatches of this stack: what each does, what to do, and where it is known from.

    known("driver").does
    next(entry for entry in by_error("operator torchvision::nms does not exist"))

One table, `KNOWN`. An entry is found by the installed versions (`versions`, beside `beside`), by
the words of an error (`error`), or by a check of this folder that names its key. The table in
docs/doctor.md is written from it: `python -m groupwise.framework.run.doctor.known`.

A source is an issue, a page, or a place in the sources of the tested versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

PYTORCH_PAGE = "https://pytorch.org/get-started/locally/"
_UNSLOTH = "https://github.com/unslothai/unsloth"

CUDA_DRIVERS = {"13": 580, "12": 525}
"""The oldest driver branch for each major version of CUDA that a torch is built with.

https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
"""

WHEEL_INDEXES = {"13": "cu130", "12": "cu126"}
"""PyTorch's wheel index for each of them: torch 2.12 to 2.14 have no other with CUDA 12.

https://github.com/pytorch/pytorch/pull/182849, https://github.com/pytorch/pytorch/issues/190355
"""


@dataclass(frozen=True, slots=True)
class Known:
    """One mismatch. `condition` is for people; `versions` has alternatives, separated by "|"."""

    key: str
    package: str
    condition: str
    does: str
    remedy: str
    source: str
    versions: str = ""
    beside: str = ""
    error: str = ""


KNOWN = (
    Known(
        "trl-too-new",
        "trl",
        "newer than 1.15.0",
        "Unsloth writes its trainers from TRL's source: `import unsloth` may fail with \"Error "
        "patching\", or leaves TRL's own trainer, without Unsloth's savings.",
        "Install trl 1.15.0.",
        f"{_UNSLOTH}/issues/1699",
        versions=">1.15.0",
        beside="unsloth",
    ),
    Known(
        "transformers-excluded",
        "transformers",
        "4.53.0, 4.54.0, 4.55.0, 4.55.1, 4.57.0, 4.57.4, 4.57.5, 5.0.0, 5.1.0",
        "Unsloth excludes them: each was tested with it and rejected.",
        "Install transformers 5.17.0.",
        f"{_UNSLOTH}/pull/11016",
        versions="==4.53.0|==4.54.0|==4.55.0|==4.55.1|==4.57.0|==4.57.4|==4.57.5|==5.0.0|==5.1.0",
        beside="unsloth",
    ),
    Known(
        "transformers-too-new",
        "transformers",
        "newer than 5.17.0",
        "Newer than any that Unsloth 2026.10.9 was tested with; it patches transformers' classes.",
        "Install transformers 5.17.0.",
        f"{_UNSLOTH}/pull/11016",
        versions=">5.17.0",
        beside="unsloth",
    ),
    Known(
        "transformers-too-old",
        "transformers",
        "older than 4.52.4",
        "PEFT 0.18 and later cannot be imported: No module named 'transformers.modeling_layers'.",
        "Install transformers 5.17.0.",
        "https://github.com/unslothai/unsloth-zoo/pull/1263",
        versions="<4.52.4",
        beside="peft",
        error=r"No module named 'transformers\.modeling_layers'",
    ),
    Known(
        "datasets-recursion",
        "datasets",
        "4.4.0 to 4.5.0",
        "`import unsloth` raises NotImplementedError: these recurse without end.",
        "Install datasets 4.8.5.",
        "unsloth 2026.10.9, import_fixes.py, patch_datasets",
        versions=">=4.4.0,<=4.5.0",
        beside="unsloth",
        error=r"will cause recursion errors",
    ),
    Known(
        "datasets-too-new",
        "datasets",
        "5.0 and newer",
        "Outside of what Unsloth declares (<5.0.0): never tested with it.",
        "Install datasets 4.8.5.",
        "unsloth 2026.10.9, METADATA, datasets!=4.0.*",
        versions=">=5",
        beside="unsloth",
    ),
    Known(
        "bitsandbytes-0.48.0",
        "bitsandbytes",
        "0.48.0",
        "Models that were saved in 8 bits answer nonsense.",
        "Install bitsandbytes 0.50.2.",
        "https://github.com/bitsandbytes-foundation/bitsandbytes/issues/1775",
        versions="==0.48.0",
    ),
    Known(
        "bitsandbytes-binary",
        "bitsandbytes",
        "no binary for the CUDA of torch",
        "4-bit and 8-bit weights, and the 8-bit optimisers, raise at their first use.",
        "Install bitsandbytes 0.50.2, which has binaries for CUDA 11.8 to 13.2.",
        "bitsandbytes 0.50.2, cextension.py, ErrorHandlerMockBNBNativeLibrary",
        error=r"compiled without GPU support|CPU-only version of bitsandbytes|"
        r"CUDA binary not found|native library functionality but it's not available",
    ),
    Known(
        "unsloth-needs-gpu",
        "unsloth",
        "before 2026.10.9, no GPU that torch can use",
        "`import unsloth` raises NotImplementedError: it has no CPU backend.",
        "Install unsloth and unsloth_zoo 2026.10.9; with a GPU, a build of torch for its driver.",
        f"{_UNSLOTH}/issues/5226",
        error=r"cannot find any torch accelerator|only works on NVIDIA|No NVIDIA GPU found|"
        r"torch\.cuda\.is_available\(\) is False",
    ),
    Known(
        "unsloth-zoo",
        "unsloth_zoo",
        "missing, or older than unsloth",
        "`import unsloth` fails, or runs with patches of another release.",
        "Install unsloth and unsloth_zoo of the same release.",
        f"{_UNSLOTH}/issues/3516",
        error=r"Please install unsloth_zoo|Please update Unsloth and Unsloth-Zoo",
    ),
    Known(
        "torch-cpu-build",
        "torch",
        "a CPU build on a machine with an NVIDIA GPU",
        "The GPU is not used: Unsloth refuses to start, or trains on the CPU.",
        "Install the CUDA build of torch.",
        f"{_UNSLOTH}/pull/9281",
    ),
    Known(
        "driver",
        "torch",
        "the NVIDIA driver is older than its CUDA: 13 needs driver 580, 12 needs 525",
        'torch says "The NVIDIA driver on your system is too old", and sees no GPU.',
        "Update the driver, or install torch from PyTorch's wheel index cu126 (driver 525 to 579).",
        "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
        error=r"NVIDIA driver on your system is too old|driver version is insufficient",
    ),
    Known(
        "nvml",
        "NVIDIA driver",
        "updated, and the old one is still loaded",
        'nvidia-smi says "Driver/library version mismatch"; no program sees the GPU.',
        "Restart the machine.",
        "https://github.com/NVIDIA/ubuntu-packaging-nvidia-driver/issues/3",
        error=r"Driver/library version mismatch",
    ),
    Known(
        "old-gpu",
        "torch",
        "compute capability below 7.5 and a build for CUDA 13",
        "It has no kernels for Maxwell, Pascal and Volta: no kernel image is available.",
        "Install torch from PyTorch's wheel index cu126, which ends with torch 2.14.",
        "https://github.com/pytorch/pytorch/issues/190385",
    ),
    Known(
        "very-old-gpu",
        "triton",
        "compute capability below 7.0",
        "Triton, in which Unsloth's kernels are written, does not compile for it.",
        "Train on another GPU; with CUDA_VISIBLE_DEVICES= everything runs on the CPU, slowly.",
        "torch 2.13.0, _dynamo/device_interface.py, GPUTooOldForTriton",
        error=r"too old to be supported by the triton",
    ),
    Known(
        "new-gpu",
        "torch",
        "compute capability 10 or higher (Blackwell) and a build for CUDA 12.6",
        "It has no kernels for Blackwell: no kernel image is available.",
        "Install torch from PyTorch's wheel index cu130.",
        "https://github.com/pytorch/pytorch/issues/190355",
    ),
    Known(
        "no-kernel-image",
        "torch",
        "no kernels for this GPU",
        "Every operation on the GPU fails: no kernel image is available for execution.",
        "Install torch from the wheel index that has this GPU's generation: cu126 up to Hopper, "
        "cu130 from Turing on.",
        "https://github.com/pytorch/pytorch/pull/182849",
        error=r"no kernel image is available",
    ),
    Known(
        "no-bfloat16",
        "GPU",
        "compute capability below 8.0",
        "It has no bfloat16: float16 is used, in which large values overflow.",
        "Leave model.dtype at auto, and watch for findings about non-finite numbers.",
        f"{_UNSLOTH}/issues/879",
    ),
    Known(
        "torchvision",
        "torchvision",
        "built for another torch (2.x goes with 0.(x+15)), or with CUDA beside a CPU torch",
        "operator torchvision::nms does not exist; Unsloth and transformers cannot be imported.",
        "Install the torchvision of this torch, from the same index; on a CPU, uninstall it: "
        "nothing here needs it.",
        "https://github.com/pytorch/vision/issues/8985",
        error=r"torchvision::|torchvision.{0,80}(do not load|partially initialized)|"
        r"requires torchvision>=",
    ),
    Known(
        "cuda-libraries",
        "torch",
        "a CUDA build without the CUDA packages it needs (pip install --no-deps)",
        "`import torch` fails: libcudart.so cannot be opened, or another library of CUDA.",
        "Install torch once more by itself, with its dependencies (pip install without --no-deps).",
        "https://github.com/pytorch/pytorch/issues/131284",
        error=r"lib(cu\w+|nv\w+|nccl)\.so[.\d]*: cannot open shared object file|"
        r"lib(cu\w+|nv\w+|nccl)\.so\S* not found in the system path",
    ),
    Known(
        "other-cuda",
        "torch",
        "LD_LIBRARY_PATH names the libraries of another CUDA",
        "`import torch` fails: undefined symbol __nvJitLink…, or a symbol of another library.",
        "Unset LD_LIBRARY_PATH: torch finds its own libraries.",
        "https://github.com/pytorch/pytorch/issues/134929",
        error=r"undefined symbol: __nv|libnvJitLink",
    ),
    Known(
        "torch-too-old",
        "torch",
        "older than a package that uses it",
        "module 'torch' has no attribute …, when transformers, torchao or triton is imported.",
        "Install torch 2.13.0.",
        "unsloth 2026.10.9, import_fixes.py, patch_torch_missing_attribute_error",
        error=r"module 'torch' has no attribute",
    ),
    Known(
        "numpy-abi",
        "numpy",
        "2.x beside a package compiled for 1.x",
        "numpy.dtype size changed, or an import that says to downgrade NumPy.",
        "Reinstall the package that the error names; numpy 2.4.6 is the tested one.",
        "https://github.com/jupyter/notebook/issues/7522",
        error=r"numpy\.dtype size changed|compiled using NumPy 1\.x",
    ),
    Known(
        "xformers",
        "xformers",
        "built for another torch or another CUDA",
        "Unsloth prints that it cannot load, and takes PyTorch's attention.",
        "Uninstall xformers: nothing here needs it.",
        f"{_UNSLOTH}/issues/8580",
    ),
    Known(
        "c-compiler",
        "triton",
        "no C compiler (gcc or clang) on a machine with a GPU",
        "The first GPU kernel of Triton fails: Failed to find C compiler.",
        "Install gcc (Debian and Ubuntu: apt install build-essential), or set CC.",
        f"{_UNSLOTH}/issues/1772",
        error=r"Failed to find C compiler",
    ),
    Known(
        "python-headers",
        "triton",
        "no Python.h on a machine with a GPU",
        "The first GPU kernel of Triton fails to compile: Python.h: No such file.",
        "Install the headers of this Python (Debian and Ubuntu: apt install python3-dev).",
        "triton 3.7.1, backends/nvidia/driver.c, Python.h",
        error=r"Python\.h: No such file",
    ),
    Known(
        "wsl-allocator",
        "torch",
        "WSL, or a virtual GPU, with expandable_segments",
        "CUDA driver error: unknown error, at the first allocation.",
        "Set PYTORCH_ALLOC_CONF=expandable_segments:False.",
        f"{_UNSLOTH}/issues/3511",
        error=r"CUDA driver error: (unknown error|operation not supported|device not ready)",
    ),
)


def known(key: str) -> Known:
    return next(entry for entry in KNOWN if entry.key == key)


def by_error(message: str) -> Iterator[Known]:
    """The entries whose error these words are."""
    return (entry for entry in KNOWN if entry.error and re.search(entry.error, message))


def as_markdown() -> str:
    """The table of docs/doctor.md."""
    lines = ["| package | when | what it does | what to do | known from |", "|---|---|---|---|---|"]
    lines += [
        f"| {e.package} | {e.condition} | {e.does} | {e.remedy} | {_linked(e.source)} |"
        for e in KNOWN
    ]
    return "\n".join(lines) + "\n"


def _linked(source: str) -> str:
    if not source.startswith("https://"):
        return source
    github = re.fullmatch(r"https://github\.com/([^/]+/[^/]+)/(?:issues|pull)/(\d+)", source)
    name = f"{github[1]} {github[2]}" if github else source.split("/")[2]
    return f"[{name}]({source})"


if __name__ == "__main__":
    print(as_markdown(), end="")
