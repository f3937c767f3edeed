"""The table of known mismatches: each entry has a source that is there, and finds its error."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from conftest import ROOT

from groupwise.framework.run.doctor.installed import installed, lock_file, locked
from groupwise.framework.run.doctor.known import KNOWN, Known, as_markdown, by_error

GPU = locked(lock_file(with_gpu=True))

# What users pasted into the issues that the table names, or what the sources raise.
ERRORS = {
    "RuntimeError: operator torchvision::nms does not exist": "torchvision",
    "ImportError: Unsloth: torch==2.13.0 requires torchvision>=0.28.0, but found "
    "torchvision==0.27.0.": "torchvision",
    "OSError: libcudart.so.12: cannot open shared object file: No such file or directory": (
        "cuda-libraries"
    ),
    "ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory": (
        "cuda-libraries"
    ),
    "ValueError: libcublas.so.*[0-9] not found in the system path": "cuda-libraries",
    "ImportError: /a/torch/lib/../../nvidia/cusparse/lib/libcusparse.so.12: undefined symbol: "
    "__nvJitLinkComplete_12_4, version libnvJitLink.so.12": "other-cuda",
    "UserWarning: CUDA initialization: The NVIDIA driver on your system is too old (found version "
    "12020).": "driver",
    "NotImplementedError: Unsloth cannot find any torch accelerator? You need a GPU.": (
        "unsloth-needs-gpu"
    ),
    "NotImplementedError: Unsloth currently only works on NVIDIA GPUs and Intel GPUs.": (
        "unsloth-needs-gpu"
    ),
    "NotImplementedError: Unsloth: No NVIDIA GPU found? Unsloth currently only supports GPUs!": (
        "unsloth-needs-gpu"
    ),
    "ImportError: Unsloth: Please install unsloth_zoo via `pip install unsloth_zoo`": "unsloth-zoo",
    "NotImplementedError: #### Unsloth: Using `datasets = 4.4.1` will cause recursion errors.": (
        "datasets-recursion"
    ),
    "RuntimeError: Method 'cquantize' not available in CPU-only version of bitsandbytes.": (
        "bitsandbytes-binary"
    ),
    "UserWarning: The installed version of bitsandbytes was compiled without GPU support.": (
        "bitsandbytes-binary"
    ),
    "RuntimeError: CUDA error: no kernel image is available for execution on the device": (
        "no-kernel-image"
    ),
    "AttributeError: module 'torch' has no attribute 'float8_e8m0fnu'": "torch-too-old",
    "ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C "
    "header, got 88 from PyObject": "numpy-abi",
    "A module that was compiled using NumPy 1.x cannot be run in NumPy 2.0.0": "numpy-abi",
    "RuntimeError: Failed to find C compiler. Please specify via CC environment variable.": (
        "c-compiler"
    ),
    "fatal error: Python.h: No such file or directory": "python-headers",
    "RuntimeError: CUDA driver error: unknown error": "wsl-allocator",
    "Failed to initialize NVML: Driver/library version mismatch": "nvml",
    "ModuleNotFoundError: No module named 'transformers.modeling_layers'": "transformers-too-old",
}


@pytest.mark.parametrize("message", ERRORS, ids=lambda message: message[:40])
def test_the_words_of_an_error_find_their_entry(message: str) -> None:
    assert [entry.key for entry in by_error(message)] == [ERRORS[message]]


def test_other_errors_find_none() -> None:
    assert not list(by_error("ValueError: invalid literal for int() with base 10: 'x'"))


def test_every_pattern_has_an_error_here() -> None:
    tried = set(ERRORS.values()) | {"very-old-gpu"}  # whose words have a card's name in them
    assert {entry.key for entry in KNOWN if entry.error} <= tried


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: entry.key)
def test_the_versions_that_are_named_are_the_tested_ones(entry: Known) -> None:
    for name, version in re.findall(
        r"(?i)install ([\w-]+)(?: and [\w-]+)? ([\d.]+\d)", entry.remedy
    ):
        assert GPU[name.replace("_", "-")] == version


FROM_SOURCES = [entry for entry in KNOWN if not entry.source.startswith("https://")]


@pytest.mark.parametrize("entry", FROM_SOURCES, ids=lambda entry: entry.key)
def test_what_is_known_from_sources_stands_there(entry: Known) -> None:
    package, file, words = entry.source.split(", ")
    name, version = package.split(" ")
    assert GPU[name] == version
    if (installed(name) or "").split("+")[0] != version:
        pytest.skip(f"{name} is another version here")
    found = distribution(name)
    folder = Path(str(found.locate_file(name)))
    text = found.read_text(file) if file == "METADATA" else (folder / file).read_text()
    assert words in str(text)


def test_the_page_has_this_table() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert as_markdown() in page, "python -m groupwise.framework.run.doctor.known"
