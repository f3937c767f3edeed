"""The contract with the trainer that Unsloth generates for GPUs, held on a CPU.

`framework/` is written against TRL's GRPOTrainer; on a GPU it meets Unsloth's rewrite of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import EMULATES_GPU, ROOT, Toy, lines, run_python
from grpo_toys import METRICS, NULL_ON_A_GPU
from unsloth_gpu_trainer import RUNS, SETTINGS, train_all

pytestmark = pytest.mark.stack

SCRIPT = ROOT / "tests" / "unsloth_gpu_trainer.py"
RUN = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"

# The toy's run has two rewards of its own choice.
NOT_ASKED = {"reward/language/mean", "reward/language/std"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tmp_path_factory.mktemp(name) for name in ("unsloth", "trl")}


@pytest.fixture(scope="module")
def found(toy: Toy, folders: dict[str, Path]) -> dict[str, Any]:
    """What Unsloth's trainer came to, in a process of its own."""
    if EMULATES_GPU:
        pytest.skip("Unsloth's trainer, in a process of its own, beside TRL's in this one")
    folder = folders["unsloth"]
    printed = run_python(
        RUN,
        SCRIPT,
        toy.model,
        toy.train,
        folder,
        cwd=folder,
        UNSLOTH_ALLOW_CPU="1",
        UNSLOTH_COMPILE_LOCATION=str(folder / "compiled"),
    )
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def stock(toy: Toy, folders: dict[str, Path]) -> dict[str, Any]:
    """The same with TRL's own trainer, as it runs on a CPU."""
    return train_all(str(toy.model), str(toy.train), str(folders["trl"]))


@pytest.mark.parametrize("run", RUNS)
def test_it_is_unsloths_trainer_that_trains(found: dict[str, Any], run: str) -> None:
    assert "UnslothGRPOTrainer" in found[run]["classes"]
    assert found[run]["steps"] == 2
    assert found[run]["trained"] == 1, "every adapter weight moved"


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_argument_is_dropped(found: dict[str, Any], setting: str) -> None:
    assert found["settings"][setting] == ""


@pytest.mark.parametrize("run", RUNS)
def test_it_changes_nothing_when_it_is_built(found: dict[str, Any], run: str) -> None:
    """Left to itself it gives a float32 model mixed precision."""
    assert found[run]["changed_later"] == ""


@pytest.mark.parametrize("run", RUNS)
def test_every_number_arrives(found: dict[str, Any], folders: dict[str, Path], run: str) -> None:
    assert found
    steps = lines(folders["unsloth"] / run / "metrics.jsonl")
    assert [line["step"] for line in steps] == [1, 2]
    for line in steps:
        assert set(line) >= METRICS - NOT_ASKED
        missing = {name for name in METRICS - NOT_ASKED if line[name] is None}
        assert missing <= NULL_ON_A_GPU
    kl = [line["kl_divergence"] for line in steps]
    if run == "with_kl":
        assert kl[0] == pytest.approx(0, abs=1e-5)
        assert kl[1] > 1e-5
    else:
        assert kl == [0, 0]


@pytest.mark.parametrize("run", RUNS)
def test_it_does_what_trls_trainer_does(
    found: dict[str, Any], stock: dict[str, Any], folders: dict[str, Path], run: str
) -> None:
    """The same completions and rewards, and so nearly the same loss: our hooks are all in place."""
    assert found
    assert "UnslothGRPOTrainer" not in stock[run]["classes"]
    theirs, ours = ([*lines(folders[n] / run / "rollouts.jsonl")] for n in ("unsloth", "trl"))
    assert len(theirs) == len(ours) == 16
    for a, b in zip(theirs[:8], ours[:8], strict=True):  # of step 1: from the same weights
        for name in ("example_id", "sample_index", "completion", "score", "parts", "seed"):
            assert a[name] == b[name]
        assert a["advantage"] == pytest.approx(b["advantage"], abs=1e-5)
    first, other = (lines(folders[name] / run / "metrics.jsonl")[0] for name in ("unsloth", "trl"))
    assert first["policy_loss"] == pytest.approx(other["policy_loss"], abs=1e-3)
    assert first["grad_norm"] == pytest.approx(other["grad_norm"], rel=0.02)
