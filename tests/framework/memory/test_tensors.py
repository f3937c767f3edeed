"""Predicted bytes of weights, adapter, optimiser state and gradients beside the real tensors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import ROOT

from groupwise.framework.config import ModelConfig

pytestmark = pytest.mark.stack

TOLERANCE = 0.005
TINY = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}
OPTIMISERS = ("adamw_8bit", "paged_adamw_32bit", "adamw_torch", "adafactor", "sgd")
WAYS = ("4bit", "8bit", "16bit", "full")
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3_text", "mistral", "phi3")


def check(folder: Path, way: str, optimisers: Sequence[str]) -> None:
    from benchmarks import memory_tensors as tensors

    model = ModelConfig(name=str(folder), **tensors.WAYS[way])
    real = tensors.loaded(model)
    for what, predicted, found in tensors.compared(model, real, optimisers, on_gpu=False):
        assert found == pytest.approx(predicted, rel=TOLERANCE), what


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.memory_tensors import make_folder

    return make_folder(tmp_path_factory.mktemp("tiny") / "qwen3", "qwen3", TINY)


@pytest.mark.parametrize("way", WAYS)
def test_bytes_of_a_tiny_model(tiny: Path, way: str) -> None:
    check(tiny, way, OPTIMISERS)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_of_a_middling_model(family: str, tmp_path: Path) -> None:
    from benchmarks.memory_tensors import MIDDLE, make_folder

    folder = make_folder(tmp_path / family, family, MIDDLE[family])
    for way in WAYS:
        check(folder, way, ("adamw_8bit",))


@pytest.mark.long
def test_unsloths_loader_has_weights_in_the_forms_that_are_planned(tmp_path: Path) -> None:
    """Its GPU code, emulated; with cards that compute in bfloat16, and that do not."""
    done = subprocess.run(
        [
            *(sys.executable, "tests/gpu_emulation.py", "tests/unsloth_gpu_memory.py"),
            str(tmp_path),
        ],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    ways = json.loads(done.stdout.splitlines()[-1])
    assert set(ways) == {"4bit", "16bit", "float16", "float32", "full", "full float16"}
    for way, found in ways.items():
        for what, predicted, real in found:
            assert real == pytest.approx(predicted, rel=TOLERANCE), (way, what)
