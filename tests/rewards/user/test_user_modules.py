"""`use: module:function` finds the user's own module first, and nothing of ours finds it at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT, run_python

from groupwise.rewards import UserError, build_rubric
from groupwise.rewards.user.modules import load_module

SCORE = """
import json, sys
from groupwise.rewards import Completion, Example, build_rubric
before = list(sys.path)
rubric = build_rubric({"part": {"use": sys.argv[1]}}, base_dir=sys.argv[2] or None)
assert sys.path == before, "sys.path is left as it was"
with rubric:
    [score] = rubric.score_batch([Example("e", "?", "1")], [Completion("1", 1)])
print(json.dumps(score.parts["part"]))
"""
BREVITY = "def brevity(example, completion):\n    return {}\n"
RAISES = "raise RuntimeError('this is the user\\'s own file, and nothing of ours imports it')\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def value(use: str, cwd: Path, base_dir: Path | None = None, first: str = "") -> float:
    """What the reward `use` gives in a fresh process that runs in `cwd`."""
    said = run_python(first + SCORE, use, str(base_dir or ""), cwd=cwd)
    return float(json.loads(said.splitlines()[-1]))


@pytest.mark.parametrize("name", ["rewards", "evaluation", "framework", "my_rewards"])
def test_a_file_in_the_current_directory(name: str, tmp_path: Path) -> None:
    write(tmp_path, {f"{name}.py": BREVITY.format(0.25)})
    assert value(f"{name}:brevity", tmp_path) == 0.25
    assert not list(tmp_path.rglob("__pycache__")), "an import leaves no trace"


@pytest.mark.parametrize("init", ["rewards/__init__.py", "rewards/notes.txt"])
def test_a_package_whose_modules_import_one_another(init: str, tmp_path: Path) -> None:
    own = "from rewards.limits import LOW\nfrom .limits import HIGH\nfrom beside import HALF\n"
    write(
        tmp_path,
        {
            init: "",
            "rewards/limits.py": "LOW, HIGH = 0.0, 1.0\n",
            "rewards/style.py": own + BREVITY.format("LOW + HIGH * HALF"),
            "beside.py": "HALF = 0.5\n",
        },
    )
    assert value("rewards.style:brevity", tmp_path) == 0.5


def test_the_folder_of_the_config(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write(there, {"rewards.py": BREVITY.format(0.75)})
    here.mkdir()
    assert value("rewards:brevity", here, there) == 0.75
    write(here, {"rewards.py": BREVITY.format(0.25)})
    assert value("rewards:brevity", here, there) == 0.25


EARLIER = """
from rewards import grade
from rewards.style import Format
"""


def test_an_earlier_name_of_ours_does_not_win(tmp_path: Path) -> None:
    """A script beside the checkout, by the earlier names, in a folder with a file of that name."""
    earlier = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{EARLIER}sys.path.pop(0)\n"
    script = earlier + "import groupwise.rewards as ours\nassert grade is ours.grade\n"
    write(tmp_path, {"rewards/__init__.py": "", "rewards/style.py": BREVITY.format(0.5)})
    assert value("rewards.style:brevity", tmp_path, first=script) == 0.5


def test_ours_by_its_earlier_name_is_no_second_copy() -> None:
    """In the checkout's root `rewards/` is ours."""
    code = (
        "from groupwise.rewards.style import Format\n"
        "from groupwise.rewards.user.modules import load_module\n"
        "assert load_module('rewards.style', None).module.Format is Format\n"
        "assert load_module('rewards.style', None).module.Format is Format\n"
    )
    run_python(code, cwd=ROOT)


@pytest.mark.stack
def test_trl_is_found_as_before(tmp_path: Path) -> None:
    write(tmp_path, {"rewards.py": RAISES, "trl/README.md": "a clone of its repository"})
    code = "from groupwise.rewards.user.modules import load_module as l; l('trl.rewards', None)"
    run_python(code, cwd=tmp_path)


def test_nothing_of_ours_imports_the_users_files(tmp_path: Path) -> None:
    """Neither in this process nor in math-verify's, which gets the same path."""
    write(
        tmp_path,
        {
            "rewards.py": RAISES,
            "evaluation.py": RAISES,
            "framework/__init__.py": RAISES,
            "configs/__init__.py": RAISES,
            "fine.py": BREVITY.format(1.0),
            "script.py": (
                "from groupwise.framework.cli.main import main\n"
                "import groupwise.framework.config, groupwise.evaluation\n"
                "from groupwise.rewards import Correctness, grade\n"
                "slow = Correctness(timeout_s=60)\n"
                "from groupwise.rewards.user.modules import load_module\n"
                "load_module('fine', None)\n"
                "print(grade(r'\\boxed{\\int_0^1 2x dx}', r'\\int_0^1 3x^2 dx', slow).status)\n"
            ),
        },
    )
    run = "import runpy, sys; sys.path.insert(0, '.'); runpy.run_path('script.py')"
    assert run_python(run, cwd=tmp_path).split() == ["correct"]


def test_a_module_that_fails_is_named_and_can_be_fixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = {"part": {"use": "half_done:brevity"}}
    write(tmp_path, {"half_done.py": "import no_such_thing\n"})
    message = r"rewards\.parts\.part\.use: cannot import 'half_done': .*no_such_thing"
    with pytest.raises(UserError, match=message):
        build_rubric(parts)
    write(tmp_path, {"half_done.py": BREVITY.format(0.5)})
    build_rubric(parts)


def test_another_folder_may_use_the_name_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, {"reused.py": f"NAME = {name!r}\n"})
        monkeypatch.chdir(tmp_path / name)
        module = load_module("reused", None).module
        assert name == module.NAME
        assert load_module("reused", None).module is module


@pytest.mark.parametrize(("name", "why"), [("types", "standard library"), ("pytest", "already")])
def test_a_name_that_is_taken_is_refused_with_the_remedy(
    name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {f"{name}.py": BREVITY.format(0.5)})
    with pytest.raises(UserError, match=why) as refused:
        build_rubric({"part": {"use": f"{name}:brevity"}})
    file = str(tmp_path / f"{name}.py")
    assert file in str(refused.value)
    build_rubric({"part": {"use": f"{file}:brevity"}})


@pytest.mark.parametrize("use", ["rewards:brevity", "framework.rewards:brevity"])
def test_a_package_of_ours_does_not_stand_in_for_a_missing_file(use: str, tmp_path: Path) -> None:
    """A checkout has such names, too; what the user means is a file that is not here."""
    code = (
        "import sys\n"
        "from groupwise.rewards import UserError, build_rubric\n"
        "try:\n"
        "    build_rubric({'part': {'use': sys.argv[1]}})\n"
        "except UserError as error:\n"
        "    print(error)"
    )
    said = run_python(code, use, cwd=tmp_path)
    assert "rewards.parts.part.use: " in said
    assert str(tmp_path) in said or "No module named" in said
