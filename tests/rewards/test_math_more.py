"""What of the grader's tests is no line in `cases/`: answers made at random, no reward."""

from __future__ import annotations

import importlib.util
import sys

from conftest import ROOT

from groupwise.rewards import Correctness, grade


def test_made_answers_agree_with_their_labels() -> None:
    """Random answers in MATH's notation, right and wrong by construction."""
    path = ROOT / "benchmarks" / "graded_sets.py"
    spec = importlib.util.spec_from_file_location("graded_sets", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["graded_sets"] = module
    spec.loader.exec_module(module)
    share, lines = module.disagreements(list(module.math_cases(800, seed=3)))
    assert lines == []
    assert share == 1.0


def test_a_long_text_is_no_reference_and_gives_no_reward() -> None:
    got = grade("\\boxed{42}", "word " * 1000)
    assert got.status == "bad_reference"
    assert Correctness().value(got) is None
    assert Correctness().value(grade("\\boxed{42}", "")) is None


def test_a_cut_off_box_gives_no_reward_from_an_earlier_one() -> None:
    for text in ("\\boxed{42} \\boxed{", "<answer>42</answer><answer>41"):
        assert Correctness().value(grade(text, "42")) == 0.0
