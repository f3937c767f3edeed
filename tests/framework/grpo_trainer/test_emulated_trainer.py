"""Training through Unsloth's own trainers, in emulation, beside TRL's as they run on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gpu_emulation
import pytest
from conftest import ENVIRONMENT, HANG_S, ROOT, Toy
from emulated_training import LOSSES

pytestmark = [pytest.mark.stack, pytest.mark.emulated]

Numbers = list[dict[str, float]]


def made_by(toy: Toy, folder: Path, *, emulated: bool) -> dict[str, Any]:
    """What `emulated_training.py` says, of a process of its own."""
    emulation = [str(ROOT / "tests" / "gpu_emulation.py")] if emulated else []
    script = ROOT / "tests" / "emulated_training.py"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, *emulation, script, toy.model, toy.train, folder],
        cwd=folder,
        env={**gpu_emulation.outside(), **ENVIRONMENT, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def unsloth(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return made_by(toy, tmp_path_factory.mktemp("unsloth"), emulated=True)


@pytest.fixture(scope="module")
def cpu(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return made_by(toy, tmp_path_factory.mktemp("cpu"), emulated=False)


@pytest.mark.parametrize("training", ["first", "second"])
def test_the_kl_is_measured_from_the_model_that_the_training_began_with(
    training: str, unsloth: dict[str, Any], cpu: dict[str, Any]
) -> None:
    """Not from the untrained base: the adapter comes from a warm start, or from a training."""
    ours, theirs = (found["KL after a warm start"][training] for found in (unsloth, cpu))
    assert ours[0]["kl_divergence"] == pytest.approx(0, abs=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        for name in ("policy_loss", "grad_norm"):
            assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-6), (a["step"], name)
        # Unsloth's number is a mean over completions, TRL's over tokens.
        assert a["kl_divergence"] == pytest.approx(b["kl_divergence"], rel=0.3, abs=1e-6)
    assert ours[-1]["kl_divergence"] > 1e-4


@pytest.mark.parametrize("trainer", ["unsloth", "cpu"])
def test_the_reference_is_neither_trained_nor_kept(
    trainer: str, request: pytest.FixtureRequest
) -> None:
    """Nor is it on the model after the training, whose memory it would take."""
    found = request.getfixturevalue(trainer)["KL after a warm start"]
    assert found["adapters"] == ["default"]
    assert found["active"] == ["default"]
    assert found["trained"] == ["default"]
    assert found["in the checkpoint"] == []


@pytest.mark.parametrize("how", ["resumed", "resumed by itself"])
@pytest.mark.parametrize("trainer", ["unsloth", "cpu"])
def test_a_resumed_training_has_the_same_reference(
    trainer: str, how: str, request: pytest.FixtureRequest
) -> None:
    """Resumed by a trainer of its own, and by the one that has begun it."""
    found = request.getfixturevalue(trainer)["KL after a warm start"]
    for a, b in zip(found["first"], found[how], strict=True):
        for name in ("policy_loss", "grad_norm", "kl_divergence"):
            assert a[name] == pytest.approx(b[name], rel=1e-5, abs=1e-9), (a["step"], name)


def test_a_fresh_adapter_needs_no_reference(unsloth: dict[str, Any], cpu: dict[str, Any]) -> None:
    """It is the base model: the copy would take memory and change nothing."""
    assert unsloth["KL of a fresh adapter"]["adapters"] == ["default"]
    ours, theirs = (found["KL of a fresh adapter"]["lines"] for found in (unsloth, cpu))
    for a, b in zip(ours, theirs, strict=True):
        for name in ("policy_loss", "grad_norm"):
            assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-6), (a["step"], name)


@pytest.mark.parametrize("trainer", ["unsloth", "cpu"])
def test_the_memory_trial_is_of_a_batch_as_steps_have_it(
    trainer: str, request: pytest.FixtureRequest
) -> None:
    """And it changes nothing, with a KL and prompts of different lengths."""
    found = request.getfixturevalue(trainer)["longest first"]
    shortest, longest = found["lengths True"]
    assert longest > shortest
    (tried,), steps = found["shapes True"]["trial"], found["shapes True"]["step"]
    assert found["shapes False"] == {"trial": [], "step": steps}
    assert len(steps) == 4  # two forwards in each of two steps
    for shapes in (tried, *steps):
        assert shapes.keys() == steps[0].keys()
        assert shapes["prompt_ids"][0] == 4
        # Unsloth's trainer has them as many columns wider as the step's shortest prompt is shorter.
        more = shapes["prompt_ids"][1] - shortest if trainer == "unsloth" else 0
        for name in ("ref_per_token_logps", "old_per_token_logps"):
            assert shapes[name] == [4, shapes["completion_ids"][1] + more]
    assert tried["prompt_ids"] == [4, longest]
    for a, b in zip(found["lines False"], found["lines True"], strict=True):
        for name in ("policy_loss", "grad_norm", "kl_divergence"):
            assert a[name] == b[name], (a["step"], name)


def test_scored_groups_under_unsloths_checkpointing(
    unsloth: dict[str, Any], cpu: dict[str, Any]
) -> None:
    """In pieces that are recomputed, as all at once."""
    whole = cpu["scored groups"]["False, 64"]
    for found in (unsloth["scored groups"], cpu["scored groups"]):
        for lines in found.values():
            for a, b in zip(lines, whole, strict=True):
                assert a["policy_loss"] == pytest.approx(b["policy_loss"], rel=1e-4)
                assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)


PRECISIONS = [f"{name}, {dtype}" for name in ("GRPO", "SFT", "scored groups") for dtype in (16, 32)]


@pytest.mark.parametrize("training", PRECISIONS)
def test_the_precision_is_the_one_asked_for(training: str, unsloth: dict[str, Any]) -> None:
    """Also after a training in another precision in the same process."""
    found = unsloth["precision"][training]
    is_half = training.endswith("16")
    assert found["fp16"] == is_half
    assert found["bf16"] is False
    assert found["mixed"] == ("fp16" if is_half else "no")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize("trainer", ["unsloth", "cpu"])
def test_what_is_left_out_has_no_gradient(
    trainer: str, loss_type: str, masked: bool, request: pytest.FixtureRequest
) -> None:
    """Half of the groups have no variance; of the completions cut off, `masked` leaves out all."""
    found = request.getfixturevalue(trainer)["savings"][f"{loss_type}, {masked}"]
    assert found["gradient"] > 0
    assert found["apart"] <= 1e-5 * found["gradient"]
    loss, other = found["loss"]
    assert loss == pytest.approx(other, rel=1e-4, abs=1e-6)
    clipped, other = found["clipped"]
    assert clipped is None or (clipped > 0 and clipped == pytest.approx(other, abs=1e-6))
    assert found["tokens"]["ours"] < found["tokens"]["theirs"]


@pytest.mark.parametrize("trainer", ["unsloth", "cpu"])
def test_old_log_probabilities_come_from_the_sampler(
    trainer: str, request: pytest.FixtureRequest
) -> None:
    """In the places where the trainer's loss looks for them."""
    found = request.getfixturevalue(trainer)["savings"]["old"]
    assert found["tokens"] == found["completion tokens"] > 100
    assert found["apart"] < 1e-4


def test_a_step_without_any_gradient_has_numbers(
    unsloth: dict[str, Any], cpu: dict[str, Any]
) -> None:
    for found in (unsloth, cpu):
        for line in found["all skipped"]["lines"]:
            assert line["skipped_forwards"] == 1
            for name in ("policy_loss", "grad_norm", "clip_ratio"):
                assert line[name] == 0, name
    assert [line["kl_divergence"] for line in unsloth["all skipped"]["lines"]] == [0, 0]
