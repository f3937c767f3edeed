"""What libraries print, in every way there is, stays off the screen; ours and results do not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import RunCli, Toy, run_cli, run_python, write_yaml

# Every way to print that a library has: Python's streams, logging, warnings, and from C.
NOISY = """
import ctypes, logging, os, sys, warnings
def noise(where):
    print(f"printed {where}")
    print(f"complained {where}", file=sys.stderr)
    warnings.warn(f"warned {where}")
    logging.getLogger("some.library").warning(f"logged {where}")
    os.write(1, f"written {where}\\n".encode())
    os.write(2, f"failed {where}\\n".encode())
    ctypes.CDLL(None).puts(f"from C {where}".encode())
    ctypes.CDLL(None).fflush(None)
"""
WAYS = ("printed", "complained", "warned", "logged", "written", "failed", "from C")

TERMINAL = """
from pathlib import Path
from groupwise.framework.run.terminal import Terminal
terminal = Terminal()
with terminal.libraries_to():
    noise("early")
    terminal.notice("ours, early")
with terminal.libraries_to(Path("run/libraries.log")) as results:
    noise("late")
    terminal.notice("ours, late")
    print("a result", file=results)
with terminal.libraries_to(Path("run/libraries.log")):
    noise("again")
with terminal.libraries_to():
    noise("dropped")
noise("on the screen")
"""


def test_each_way_to_print_goes_to_the_log(tmp_path: Path) -> None:
    both = "import os; os.dup2(1, 2)\n"  # this process sees one stream, in order
    screen = run_python(both + NOISY + TERMINAL, cwd=tmp_path)
    log = (tmp_path / "run" / "libraries.log").read_text()
    for way in WAYS:
        for where in ("early", "late", "again"):
            assert f"{way} {where}" in log
            assert f"{way} {where}" not in screen
        assert f"{way} dropped" not in log + screen
        assert f"{way} on the screen" in screen
    assert log.index("early") < log.index("late") < log.index("again")
    assert log.count("printed early") == 1
    for ours in ("note: ours, early", "note: ours, late", "a result"):
        assert ours in screen
        assert ours not in log


USERS = """
import logging, warnings
logging.basicConfig(level=logging.INFO, format="mine %(message)s")
logging.captureWarnings(True)
warnings.simplefilter("error", FutureWarning)
def state():
    root = logging.getLogger()
    return root.level, list(root.handlers), list(warnings.filters), warnings.showwarning
before = state()
import groupwise
import groupwise.evaluation
import groupwise.framework
import groupwise.rewards.rubric
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.run.terminal import Terminal
with Terminal().libraries_to():
    logging.getLogger("theirs").warning("quiet")
    logging.captureWarnings(False)
    warnings.simplefilter("ignore")
assert state() == before
print("as it was")
"""


def test_a_users_own_logging_stays_as_it_was(tmp_path: Path) -> None:
    assert run_python(USERS, cwd=tmp_path) == "as it was\n"


REWARD = (
    NOISY
    + """
noise("at import")
def right(example, completion):
    noise("at scoring")
    return float(example.answer in completion.text)
"""
)


def test_a_noisy_reward_does_not_spoil_json(cli: RunCli) -> None:
    Path("noisy.py").write_text(REWARD)
    Path("rows.jsonl").write_text("".join(
        json.dumps({"question": f"{n}+1=?", "answer": str(n + 1)}) + "\n" for n in range(3)
    ))  # fmt: skip
    config = {"model": {"name": "toy"}, "data": {"train": "rows.jsonl", "eval": "rows.jsonl"},
              "rewards": {"parts": {"right": {"use": "noisy.py:right"}}}}  # fmt: skip
    write_yaml(Path("my.yaml"), config)
    ended = cli("train", "my.yaml", "--json", "--set", "data.train=none.jsonl")
    assert set(ended.json) == {"error", "exit_code"}
    assert ended.err.count("\n") == 1, "the message, and nothing else"


@pytest.mark.stack
def test_a_reward_that_imports_trl_is_quiet_in_check(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import torch, trl\n" + REWARD)
    settings = toy.settings() | {"rewards": {"parts": {"right": {"use": "mine.py:right"}}}}
    config = write_yaml(tmp_path / "my.yaml", settings)
    ended = run_cli("check", config, "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.json["problems"] == []
    allowed = r"  (Render the prompts|Probe the rewards) .*|      \d+/\d+  ?"
    strange = [line for line in ended.err.splitlines() if not re.fullmatch(allowed, line)]
    assert strange == []
