"""What a reward imports from beside its file and beside the config, and from inside a function."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import run_python

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.experiment.evaluate import rubric_of
from groupwise.rewards import Completion, Example, Rubric, build_rubric

HELPERS = "WORTH = {0}\ndef pick(text):\n    return WORTH\n"
AT_THE_TOP = """
from helpers import pick
def reward(completions, **columns):
    return [pick(completion) for completion in completions]
"""
INSIDE = """
def reward(completions, **columns):
    from helpers import pick
    return [pick(completion) for completion in completions]
"""
ASYNC = INSIDE.replace("def", "async def")
LAZY = """
def reward(completions, **columns):
    for completion in completions:
        import helpers
        yield helpers.pick(completion)
"""
BY_ONE = """
def reward(example, completion):
    import helpers
    return helpers.pick(completion)
"""
JUDGE = """
from groupwise.rewards import RewardModel
class reward(RewardModel):
    def compute_reward(self, questions, answers, references):
        import helpers
        return [helpers.pick(answer) for answer in answers]
"""
PACKAGE = INSIDE.replace("from helpers", "from tools.helpers")
RELATIVE = AT_THE_TOP.replace("from helpers", "from .helpers")
RELATIVE_INSIDE = INSIDE.replace("from helpers", "from .helpers")
FROM_THE_ROOT = INSIDE.replace("from helpers", "from mine.helpers")

LAYOUTS: list[tuple[str, dict[str, str], str]] = [
    ("at the top", {"r.py": AT_THE_TOP, "helpers.py": HELPERS}, "r.py:reward"),
    ("inside", {"r.py": INSIDE, "helpers.py": HELPERS}, "r.py:reward"),
    ("inside, async", {"r.py": ASYNC, "helpers.py": HELPERS}, "r.py:reward"),
    ("in a generator", {"r.py": LAZY, "helpers.py": HELPERS}, "r.py:reward"),
    ("for each completion", {"r.py": BY_ONE, "helpers.py": HELPERS}, "r.py:reward"),
    ("in a class", {"r.py": JUDGE, "helpers.py": HELPERS}, "r.py:reward"),
    ("a folder", {"r.py": PACKAGE, "tools/helpers.py": HELPERS}, "r.py:reward"),
    (
        "a package",
        {"r.py": PACKAGE, "tools/helpers.py": HELPERS, "tools/__init__.py": ""},
        "r.py:reward",
    ),
    ("beside the config", {"sub/r.py": INSIDE, "helpers.py": HELPERS}, "sub/r.py:reward"),
    ("beside the file", {"sub/r.py": INSIDE, "sub/helpers.py": HELPERS}, "sub/r.py:reward"),
    ("relative", {"mine/r.py": RELATIVE, "mine/helpers.py": HELPERS}, "mine/r.py:reward"),
    (
        "relative, inside",
        {"mine/r.py": RELATIVE_INSIDE, "mine/helpers.py": HELPERS},
        "mine/r.py:reward",
    ),
    (
        "from the package's root",
        {"mine/__init__.py": "", "mine/r.py": FROM_THE_ROOT, "mine/helpers.py": HELPERS},
        "mine/r.py:reward",
    ),
    ("a module", {"r.py": AT_THE_TOP, "helpers.py": HELPERS}, "r:reward"),
    ("a module of a folder", {"mine/r.py": INSIDE, "helpers.py": HELPERS}, "mine.r:reward"),
]


def write(folder: Path, files: dict[str, str], worth: float) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{0}", str(worth)))
    return folder


def values(rubric: Rubric) -> list[float | None]:
    scores = rubric.score_batch([Example("e", "?", "1")] * 2, [Completion("a")] * 2)
    return [score.parts["part"] for score in scores]


@pytest.mark.parametrize(
    ("files", "use"), [row[1:] for row in LAYOUTS], ids=[r[0] for r in LAYOUTS]
)
def test_two_runs_do_not_see_each_others_modules(
    files: dict[str, str], use: str, tmp_path: Path
) -> None:
    """Built first and then asked in turn: what a function imports when it runs is its own."""
    path, names = list(sys.path), ("one", "two")
    rubrics = [
        build_rubric({"part": {"use": use}}, base_dir=write(tmp_path / name, files, worth))
        for worth, name in enumerate(names, start=1)
    ]
    for _ in range(2):
        assert [values(rubric) for rubric in rubrics] == [[1.0, 1.0], [2.0, 2.0]]
    assert sys.path == path
    assert not list(tmp_path.rglob("__pycache__")), "an import leaves no trace"


def test_a_run_does_not_find_what_only_another_has(tmp_path: Path) -> None:
    with_helpers = {"r.py": AT_THE_TOP, "helpers.py": HELPERS}
    one = build_rubric(
        {"part": {"use": "r.py:reward"}}, base_dir=write(tmp_path / "one", with_helpers, 1)
    )
    two = build_rubric(
        {"part": {"use": "r.py:reward"}},
        base_dir=write(tmp_path / "two", {"r.py": INSIDE}, 2),
        on_error="skip",
    )
    assert (values(one), values(two)) == ([1.0, 1.0], [None, None])
    assert "No module named 'helpers'" in two.errors["part"]
    assert f"{tmp_path / 'two' / 'r.py'}, line 3" in two.errors["part"]
    assert values(one) == [1.0, 1.0]


def test_a_module_that_is_in_none_of_the_folders_does_no_harm(tmp_path: Path) -> None:
    """As `six` and others make them: without the package that its name says."""
    odd = "import sys, types\nsys.modules['odd.part'] = types.ModuleType('odd.part')\n" + INSIDE
    folder = write(tmp_path, {"r.py": odd, "helpers.py": HELPERS}, 4)
    rubric = build_rubric({"part": {"use": "r.py:reward"}}, base_dir=folder)
    assert values(rubric) == [4.0, 4.0]
    assert sys.modules.pop("odd.part").__name__ == "odd.part"


def test_one_file_with_the_helpers_of_two_configs(tmp_path: Path) -> None:
    shared = write(tmp_path / "shared", {"r.py": AT_THE_TOP}, 0) / "r.py"
    found = [
        values(
            build_rubric(
                {"part": {"use": f"{shared}:reward"}},
                base_dir=write(tmp_path / str(worth), {"helpers.py": HELPERS}, worth),
            )
        )
        for worth in (1, 2)
    ]
    assert found == [[1.0, 1.0], [2.0, 2.0]]


SCRIPT = """
import json, sys
import helpers
from groupwise.rewards import Completion, Example, build_rubric
rubric = build_rubric({"part": {"use": "r.py:reward"}}, base_dir=sys.argv[1])
with rubric:
    [score] = rubric.score_batch([Example("e", "?", "1")], [Completion("1", 1)])
again = __import__("helpers")
assert again is helpers
print(json.dumps([score.parts["part"], helpers.WORTH]))
"""


def test_a_script_keeps_its_own_module_of_the_same_name(tmp_path: Path) -> None:
    here = write(tmp_path / "here", {"helpers.py": HELPERS}, 5)
    there = write(tmp_path / "there", {"r.py": INSIDE, "helpers.py": HELPERS}, 1)
    code = "import sys; sys.path.insert(0, '')\n" + SCRIPT
    assert json.loads(run_python(code, str(there), cwd=here)) == [1.0, 5.0]


@pytest.mark.parametrize(
    ("files", "use"), [row[1:] for row in LAYOUTS], ids=[r[0] for r in LAYOUTS]
)
def test_the_config_s_folder_and_a_run_that_stands_alone(
    files: dict[str, str], use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "configs", files, 3)
    parts = f"rewards: {{parts: {{part: {{use: '{use}'}}}}}}\n"
    (folder / "run.yaml").write_text("model: {name: toy}\ndata: {train: toy}\n" + parts)
    config = ExperimentConfig.from_yaml(folder / "run.yaml")
    assert config.rewards.import_from == str(folder)
    assert values(rubric_of(config)) == [3.0, 3.0]
    kept = config.standing_alone()
    elsewhere = write(tmp_path / "elsewhere", {"helpers.py": HELPERS, "r.py": AT_THE_TOP}, 9)
    monkeypatch.chdir(elsewhere)
    assert values(rubric_of(kept)) == [3.0, 3.0]


def test_no_folder_is_named_where_no_reward_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("model: {name: toy}\ndata: {train: toy}\n")
    config: Any = ExperimentConfig.from_yaml(tmp_path / "run.yaml")
    assert config.rewards.import_from is None
