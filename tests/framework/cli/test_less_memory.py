"""The last line of "out of memory": the command that goes on with the advised setting."""

from __future__ import annotations

import argparse

import pytest

from groupwise.framework.cli.main import _with_less_memory, main
from groupwise.framework.run.out_of_memory import Setting, Shortage, ShortOfMemoryError

ROWS, LENGTH = Setting("a.max_rows", 4, 8), Setting("a.length", 9, 12, same_result=False)
TRAIN = ". Continue with: groupwise train runs/a --resume"
# how a command is resumed, the settings that are advised -> the line
CASES: list[tuple[str, list[Setting | str], str]] = [
    (TRAIN, [ROWS, LENGTH], "Continue with: groupwise train runs/a --resume --set a.max_rows=4"),
    (". The same command continues with the rest", [ROWS],
     "The same command continues with the rest, with --set a.max_rows=4"),
    (TRAIN, ["another model", ROWS], "Continue with: groupwise train runs/a --resume --set "
     "a.max_rows=4"),
    (TRAIN, [LENGTH, ROWS], ""),  # the nearest is none to resume with
    (TRAIN, ["another model"], ""),
    ("", [ROWS], ""),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)))
def test_how_to_go_on(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    how, tries, line = CASES[number]
    error = ShortOfMemoryError("training", "no memory", Shortage(), tries)

    def run(arguments: argparse.Namespace) -> int:
        arguments.how_to_resume = how
        raise error

    monkeypatch.setattr("groupwise.framework.cli.configs.run", run)
    assert main(["configs"]) == 2
    said = f"groupwise: {error}\n" + (f"{line}\n" if line else "")
    assert capsys.readouterr().err == said


def test_settings_that_go_together_are_set_together() -> None:
    error = ShortOfMemoryError("training", "no memory", Shortage(), [LENGTH])
    error.advise([ROWS, Setting("model.b", "unsloth")], "By the plan")
    arguments = argparse.Namespace(how_to_resume=TRAIN)
    assert _with_less_memory(error, arguments).endswith(
        "--resume --set a.max_rows=4 --set model.b=unsloth"
    )
