"""benchmarks/memory_fake: its counter is honest, and the memory plan agrees with what it counts."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gpu_emulation
import pytest
import torch
from conftest import ENVIRONMENT, HANG_S, ROOT

from benchmarks.gpu_figures import model as models
from benchmarks.memory_fake.report import compared
from benchmarks.memory_fake.tracker import PartCounter

WITHIN_PERCENT = 5
# One case of each phase, as the program of a process with nothing else in it.
MEASURE = """
import pickle, sys
from benchmarks.memory_fake import {phase}
from benchmarks.memory_fake.cases import {case}, settings
found = {phase}.measure(settings("Llama-3.2-3B"), [{case}({arguments})])
pickle.dump(found[0], open(sys.argv[1], "wb"))
"""
CASES = {
    "training": ("Training", "'unsloth', 4, 512"),
    "generation": ("Generation", "32, 512"),
}


def forward_and_backward(model: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes by part at the peak, and in the end."""
    counter = PartCounter("activations")
    trained = [p for p in model.parameters() if p.requires_grad]
    counter.hold_as("weights", models.tensors(model))
    counter.hold_as("lora", trained)
    ids = torch.ones(4, 64, dtype=torch.int64)
    with counter:
        with counter.making("logits"):
            logits = model(input_ids=ids, use_cache=False).logits
        logits.sum().backward()
    counter.hold_as("gradients", [p.grad for p in trained])
    return dict(counter.at_peak), dict(counter.by_part)


@pytest.mark.stack
def test_a_fake_model_has_the_bytes_of_a_real_one() -> None:
    """By part, at the peak of a training pass: fake tensors, and real ones in the same code."""
    settings = models.config(
        vocab_size=1024, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64,
    )  # fmt: skip
    peak, left = forward_and_backward(models.build_real(settings))
    with models.fake_mode():
        fake_peak, fake_left = forward_and_backward(models.build(settings))
    for part in ("weights", "lora", "gradients"):
        assert fake_left[part] == left[part] > 0
    assert fake_peak == pytest.approx(peak, rel=0.01)


@pytest.mark.stack
def test_bytes_belong_to_the_part_that_they_were_made_for() -> None:
    counter = PartCounter("activations")
    kept = torch.zeros(100)
    counter.hold_as("weights", [kept])
    with counter:
        with counter.making("logits"):
            logits = torch.zeros(50)
        rest = torch.zeros(10) + 1
        del logits
        grown = torch.zeros(20)
    counter.hold_as("gradients", [grown])
    assert counter.at_peak == {"weights": 400, "logits": 200, "activations": 80}
    assert counter.by_part["logits"] == 0
    assert (counter.by_part["activations"], counter.by_part["gradients"]) == (rest.nbytes, 80)


@pytest.mark.stack
@pytest.mark.long
@pytest.mark.parametrize("phase", CASES)
def test_the_plan_is_within_five_per_cent(phase: str, tmp_path: Path) -> None:
    case, arguments = CASES[phase]
    into = tmp_path / "measured"
    subprocess.run(
        [sys.executable, "-c", MEASURE.format(phase=phase, case=case, arguments=arguments), into],
        cwd=ROOT,
        env={**gpu_emulation.outside(), **ENVIRONMENT},
        timeout=HANG_S,
        check=True,
    )
    row = compared("Llama-3.2-3B", pickle.loads(into.read_bytes()))
    assert abs(row.off) < WITHIN_PERCENT
    for name, measured, planned in row.parts():
        assert abs(planned - measured) < WITHIN_PERCENT / 100 * sum(row.measured.values()), name
    for name in ("weights", "lora", "optimizer"):
        assert row.planned[name] == pytest.approx(row.measured[name], rel=0.005)
