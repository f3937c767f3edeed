"""What docs/rewards.md shows runs as it stands: its YAML builds rubrics, its Python runs."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from groupwise.rewards import Completion, Example, build_rubric

PAGE = ROOT / "docs" / "rewards.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.M | re.S)
SHOWN = [code for language, code in BLOCKS if language == "python" and ">>>" in code]
OWN = [code for language, code in BLOCKS if language == "python" and ">>>" not in code]
YAML = [code for language, code in BLOCKS if language == "yaml"]
YAML += re.findall(r"^\| `(\w+: \{.*\})` \|", TEXT, re.M)  # tables of rewards

EXAMPLE = Example(
    "1",
    "Why does a stone fall?",
    "Gravity pulls the stone down with the force F = m g.\n\nSo it falls with 9.8 m/s^2.",
)
COMPLETION = Completion("The force of gravity F = m g pulls the stone.\n\nSo it falls.", 14)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's own functions and classes in the file that the page names."""
    folder = tmp_path_factory.mktemp("page")
    stub = "def my_model(question, answer):\n    return float(len(answer))\n"
    (folder / "my_rewards.py").write_text("\n".join([stub, *OWN]), encoding="utf-8")
    return folder


@pytest.mark.parametrize("code", YAML, ids=lambda code: code.splitlines()[0])
def test_yaml_builds_a_rubric_that_scores(code: str, own: Path) -> None:
    loaded = yaml.safe_load(code)
    section = loaded.get("rewards", {"parts": loaded})
    rubric = build_rubric(
        section["parts"],
        on_error=section.get("on_error", "stop"),
        aggregation=section.get("aggregation", "sum"),
        base_dir=own,
    )
    assert set(rubric.names) == set(section["parts"])
    if {"reward_model", "overlong", "think"} & set(rubric.names):
        return  # a model that has to be downloaded, and TRL's functions, which have tests of theirs
    with rubric:
        (score,) = rubric.score_batch([EXAMPLE], [COMPLETION])
    assert score.total == score.total, "some reward has an opinion"


@pytest.mark.parametrize("code", SHOWN, ids=lambda code: code.splitlines()[0])
def test_python_says_what_the_page_says(code: str) -> None:
    names = {"Example": Example, "Completion": Completion}
    test = doctest.DocTestParser().get_doctest(code, names, PAGE.name, str(PAGE), 0)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


def test_every_reward_is_on_the_page() -> None:
    from groupwise.rewards.rubric import REWARDS

    assert [name for name in REWARDS if f"`{name}" not in TEXT and f"{name}:" not in TEXT] == []


def test_ones_own_reward_has_five_lines() -> None:
    function = next(code for code in OWN if code.startswith("def "))
    assert len(function.strip().splitlines()) <= 5
