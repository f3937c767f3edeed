"""An export of a policy that Unsloth's GPU code has loaded, in emulation, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Toy
from forked_runs import ForkedRuns
from policy_toys import untrained_run

pytestmark = [pytest.mark.stack, pytest.mark.emulated]


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_an_export_from_unsloths_gpu_code(toy: Toy, tmp_path: Path, form: str) -> None:
    run = untrained_run(toy.config(model__load_in_4bit=True), tmp_path / "runs")
    with ForkedRuns(emulated=True) as runs:
        exported = runs.start("export", run, "--format", form, "--json", cwd=tmp_path)
        assert exported.wait() == 0, exported.err
    check = json.loads(exported.out)["check"]
    assert check["answers"]["other_answers"] == 0
    assert check["answers"]["divergence"] < check["answers"]["tolerance"]
    assert check["answers"]["loader"].startswith("transformers")
