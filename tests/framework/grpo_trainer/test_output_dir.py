"""The trainer from Python writes over no earlier run, and resumes it as the command line does."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy, lines

from groupwise.framework.grpo_trainer.output_dir import ARGUMENTS, claim, locked
from groupwise.framework.run.directory import RunDir
from groupwise.rewards.errors import UserError

ARGS: dict[str, Any] = {
    "training": {"lr_scheduler_type": "linear", "beta": 0.0, "max_steps": 4, "save_steps": 2},
    "seed": 1,
}


def write(path: Path, text: str = "{}\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    write(path / "adapter_model.safetensors")
    write(path / "trainer_state.json", json.dumps({"global_step": step}))
    return path


# what is in the folder, whether that is an earlier training
FOUND: dict[str, tuple[Callable[[Path], object], bool]] = {
    "nothing": (lambda _: None, False),
    "an empty log": (lambda p: write(p / "metrics.jsonl", ""), False),
    "an evaluation": (lambda p: write(p / "evaluations" / "step-0" / "samples.jsonl"), False),
    "metrics": (lambda p: write(p / "metrics.jsonl"), True),
    "rollouts": (lambda p: write(p / "rollouts.jsonl"), True),
    "a checkpoint": (lambda p: checkpoint(p / "checkpoints", 2), True),
    "a run of the command line": (lambda p: write(p / "config.resolved.json"), True),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_is_an_earlier_training(case: str, tmp_path: Path) -> None:
    make, is_one = FOUND[case]
    make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    if not is_one:
        assert claim(tmp_path, None, ARGS) is None
        return
    elsewhere = checkpoint(tmp_path.parent / "elsewhere", 2)
    for resume in (None, False, elsewhere):
        with pytest.raises(UserError) as caught:
            claim(tmp_path, resume, ARGS)
        assert str(caught.value) == (
            f"{tmp_path}: holds a run already; train(resume_from_checkpoint=True) continues it, "
            "another output_dir keeps it"
        )
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


def test_which_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert claim(folder, True, ARGS) is None  # as a script that is restarted says it at once
    write(folder / "metrics.jsonl")
    assert claim(folder, True, ARGS) is None  # killed before its first checkpoint
    first, second = (checkpoint(folder / "checkpoints", step) for step in (2, 10))
    assert claim(folder, True, ARGS) == second
    for path in (first, str(first)):
        assert claim(folder, path, ARGS) == Path(path)
    with pytest.raises(UserError, match="checkpoint-7 is no whole checkpoint of a training"):
        claim(folder, first.with_name("checkpoint-7"), ARGS)
    assert claim(tmp_path / "other", first, ARGS) == first  # into a folder of its own


def changed(**training: Any) -> dict[str, Any]:
    return {**ARGS, "training": {**ARGS["training"], **training}}


def test_with_other_arguments_it_is_not_resumed(tmp_path: Path) -> None:
    claim(tmp_path, None, ARGS)
    write(tmp_path / "metrics.jsonl")
    for other, said in (
        (changed(beta=0.1), "training.beta: 0.0 when it began, 0.1 now"),
        (changed(max_steps=9), "training.max_steps: 4 when it began, 9 now"),
        ({**ARGS, "seed": 2}, "seed: 1 when it began, 2 now"),
    ):
        with pytest.raises(UserError) as caught:
            claim(tmp_path, True, other)
        assert str(caught.value).splitlines()[1] == f"  {said}"
    claim(tmp_path, True, changed(save_steps=3))
    (tmp_path / ARGUMENTS).unlink()  # of an earlier version
    claim(tmp_path, True, changed(beta=0.1))


def test_a_run_in_use_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / ".lock", "4194999\n")
    with (tmp_path / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = "is in use by process 4194999; wait until it ends, or"
        with pytest.raises(UserError, match=said), locked(tmp_path):
            pytest.fail("it was taken")
    with RunDir(tmp_path) as run:  # a run of this process, as the command line has it
        run.lock()
        with locked(tmp_path):
            assert RunDir(tmp_path).holder()
        assert RunDir(tmp_path).holder(), "its lock stays"
    with locked(tmp_path / "new"):
        assert RunDir(tmp_path / "new").holder()
    assert not RunDir(tmp_path / "new").holder()


@pytest.mark.stack
def test_two_trainings_in_one_folder(
    toy: Toy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from grpo_toys import odd_problems_only, toy_trainer

    def trainer(folder: Path, **more: Any) -> Any:
        settings = {"max_steps": 4, "save_steps": 2, "num_generations": 4, "prompts_per_step": 4,
                    "completions_per_forward": 16, "max_completion_length": 8}  # fmt: skip
        return toy_trainer(toy, folder, odd_problems_only, **settings | more)

    whole, folder = tmp_path / "whole", tmp_path / "resumed"
    made = trainer(whole)
    made.train()
    told = capfd.readouterr().err
    # Libraries print in between: in a script of the user's, their output is the user's.
    assert re.search(r"^  Train \(GRPO\) …\n(.*\n)*?      1/4  reward ", told, re.MULTILINE)
    assert "  Train (GRPO)         done in" in told
    made.eval_examples = made.examples[:3]
    summary = made.evaluate(num_samples=2)  # without the k that are too large
    assert list(summary.pass_at_k) == [1, 2]
    assert "  Evaluate: step-4 …" in capfd.readouterr().err
    logs = ("metrics.jsonl", "rollouts.jsonl")
    before = [(whole / name).read_bytes() for name in logs]
    for again in (made, trainer(whole)):
        with pytest.raises(UserError, match="holds a run already"):
            again.train()
    assert [(whole / name).read_bytes() for name in logs] == before

    first = trainer(folder)
    first.trl_trainer.add_callback(StopAt(first, step=3))
    assert first.train().was_stopped
    capfd.readouterr()
    second = trainer(folder)
    assert second.train(resume_from_checkpoint=True).steps == 4
    assert [timeless(row) for row in lines(folder / "rollouts.jsonl")] == [
        timeless(row) for row in lines(whole / "rollouts.jsonl")
    ]
    assert [row["policy_loss"] for row in lines(folder / "metrics.jsonl")] == [
        row["policy_loss"] for row in lines(whole / "metrics.jsonl")
    ]
    finished = trainer(folder)
    assert finished.train(resume_from_checkpoint=folder / "checkpoints" / "checkpoint-4").steps == 4
    finished.eval_examples = finished.examples[:3]
    assert finished.evaluate(num_samples=2).pass_at_k == summary.pass_at_k
    assert (folder / "evaluations" / "step-4").is_dir()
    again = trainer(folder)
    again.eval_examples = finished.eval_examples
    base = again.evaluate(num_samples=2)
    twin = trainer(folder)
    twin.eval_examples = finished.eval_examples
    # The same weights, so that no answer is drawn again.
    assert twin.evaluate(num_samples=2).seconds == base.seconds
    next(p for p in twin.model.parameters() if p.requires_grad).data.add_(1)
    with pytest.raises(UserError, match=r"made with other settings:\n  model: .*weights"):
        twin.evaluate(num_samples=2)
    with pytest.raises(UserError, match="num_samples: '4' is not a whole number"):
        twin.evaluate(num_samples="4")
    twin.eval_examples = [replace(example, answer="") for example in finished.eval_examples]
    with pytest.raises(UserError, match="eval_dataset: no row has an `answer`"):
        twin.evaluate(num_samples=2)


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seconds"}


def StopAt(trainer: Any, step: int) -> Any:  # noqa: N802 (a class that needs transformers)
    """A callback that asks for a stop in a step, as Ctrl-C does."""
    from transformers import TrainerCallback

    class Asks(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            if state.global_step == step - 1:
                trainer._stop.is_asked = True

    return Asks()
