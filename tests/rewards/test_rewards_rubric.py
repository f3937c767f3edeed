"""A rubric: clear errors when built, composed as stated, never silent about a failing reward."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from groupwise.rewards import Completion, Example, RewardError, RewardSpec, UserError, build_rubric

TOY = Example(id="toy-1", question="17+25=", answer="42")
TOY_RIGHT = "<think>7+5=12 1+2+1=4</think><answer>42</answer>"
DEFAULT = {
    "correctness": {"weight": 1.0},
    "format": {"weight": 0.25},
    "language": {"weight": 0.10},
}


def totals(specs, texts, example=TOY, **kwargs):
    rubric = build_rubric(specs, **kwargs)
    return [
        s.total for s in rubric.score_batch([example] * len(texts), [Completion(t) for t in texts])
    ]


def test_default_parts_on_the_toy_problem():
    rubric = build_rubric(DEFAULT)
    [right, wrong, bare, empty] = rubric.score_batch(
        [TOY] * 4,
        [Completion(t) for t in (TOY_RIGHT, TOY_RIGHT.replace("42", "43"), "42", "")],
    )
    assert right.total == pytest.approx(1.35)
    assert right.parts == {"correctness": 1.0, "format": 1.0, "language": 1.0}
    assert right.grade is not None
    assert (right.grade.status, right.grade.found_by) == ("correct", "answer_tag")
    assert wrong.total == pytest.approx(0.35)
    assert bare.total == pytest.approx(1.10)
    assert empty.total == 0.0
    assert empty.grade is not None
    assert empty.grade.status == "unparseable"
    assert rubric.names == ("correctness", "format", "language")
    assert rubric.weights == {"correctness": 1.0, "format": 0.25, "language": 0.10}


def test_grade_is_filled_without_a_correctness_part():
    [score] = build_rubric({"format": {}}).score_batch([TOY], [Completion(TOY_RIGHT)])
    assert score.grade is not None
    assert score.grade.correct
    [score] = build_rubric({"format": {}}).score_batch(
        [Example("x", "q", "")], [Completion(TOY_RIGHT)]
    )
    assert score.grade is None


BAD_SPECS = [
    ({}, "at least one reward"),
    ({"corectness": {}}, "did you mean 'correctness'"),
    ({"format": {"weigth": 1}}, "format.weigth: there is no such key; did you mean weight?"),
    ({"format": {"weight": math.inf}}, "finite"),
    ({"format": {"params": {"grade": True}}}, "did you mean graded?"),
    ({"format": {"params": {"template": "thinking"}}}, "rewards.parts.format.params.template"),
    ({"format": {"params": {"pattern": "("}}}, "pattern"),
    (
        {"length": {"params": {}}},
        "length.params.max_length: is required, and missing",
    ),
    ({"language": {"params": {"language": "klingon"}}}, "klingon"),
    ({"format": {"requires": "style"}}, "there is no part 'style'"),
    ({"format": {"requires": "format"}}, "cannot require itself"),
    ({"format": {"clip": [1, 0]}}, "clip"),
    ({"format": {"schedule": [[0.5, 1], [0.1, 0]]}}, "schedule"),
    ({"a": {"use": "correctness"}, "b": {"use": "correctness"}}, "both correctness"),
    ({"a": {"use": "no_such_module:f"}}, "cannot import 'no_such_module'"),
    ({"a": {"use": "nowhere.py:f"}}, "there is no file"),
    ({"a": {"use": "math:nothing"}}, "has no 'nothing'"),
    ({"correctness": {"params": {"extract": ["box"]}}}, "unknown extraction rule 'box'"),
    ({"correctness": {"params": {"timeout_s": -1}}}, "timeout_s: -1 must be greater than 0"),
    ({"format": "x"}, 'rewards.parts.format: "x" is not a section of key: value lines'),
    (
        {"mine": "my.py:f"},
        'rewards.parts.mine: "my.py:f" is not a section of key: value lines; a function of yours '
        "is written {use: my.py:f}",
    ),
    ({"correctness": {"params": {"mode": "maths"}}}, 'mode: "maths" is none of auto, math, number'),
    (
        {"format": {"params": {"think_opened": "often"}}},
        'params.think_opened: "often" is none of auto, true or false',
    ),
]


@pytest.mark.parametrize(("specs", "message"), BAD_SPECS)
def test_mistakes_are_named_when_built(specs, message):
    with pytest.raises(UserError, match=re.escape(message)):
        build_rubric(specs)


def test_settings_are_checked():
    with pytest.raises(UserError, match="on_error"):
        build_rubric(DEFAULT, on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="aggregation"):
        build_rubric(DEFAULT, aggregation="mean")  # type: ignore[arg-type]


def test_gate_clip_and_schedule():
    gated = {"correctness": {"requires": "format"}, "format": {"weight": 0.0}}
    assert totals(gated, [TOY_RIGHT, "42"]) == [1.0, 0.0]
    clipped = {"repetition": {"clip": [-0.25, 0.0]}}
    assert totals(clipped, ["a b c " * 50]) == [-0.25]
    spec = RewardSpec(weight=2.0, schedule=((0.0, 0.0), (0.5, 1.0)))
    assert [spec.weight_at(p) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 1.0, 2.0, 2.0]


def test_normalize_then_sum_by_group():
    """(x - mean) / (sample std + 1e-4) within each group, then weights, as TRL does."""
    rubric = build_rubric({"correctness": {"weight": 2.0}}, aggregation="normalize_then_sum")
    texts = ["42", "41", "42", "42"]
    scores = rubric.score_batch([TOY] * 4, [Completion(t) for t in texts], groups=[0, 0, 1, 1])
    spread = 0.5 / (math.sqrt(0.5) + 1e-4) * 2
    assert [s.total for s in scores] == pytest.approx([spread, -spread, 0.0, 0.0])
    assert [s.parts["correctness"] for s in scores] == [1.0, 0.0, 1.0, 1.0]


OWN = """
import math
def brevity(prompts, completions, **columns):
    return [1.0 / (1 + len(c)) for c in completions]
def level(prompts, completions, level):
    return [float(x) for x in level]
def by_one(example, completion, bonus=0.5):
    return bonus if completion.text == example.answer else 0.0
def no_opinion(prompts, completions, **columns):
    return [None for _ in completions]
def raises(prompts, completions, **columns):
    raise RuntimeError("boom")
def not_a_number(prompts, completions, **columns):
    return [math.nan for _ in completions]
def infinite(example, completion):
    return math.inf
def too_few(prompts, completions, **columns):
    return [1.0]
def words(example, completion):
    return "good"
def nothing(prompts, completions, **columns):
    pass
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "my_rewards.py").write_text(OWN)
    return tmp_path


def test_functions_of_the_user(own: Path):
    example = Example("e", "q", "42", metadata={"level": 3})
    parts = {
        "brevity": {"use": "my_rewards.py:brevity"},
        "level": {"use": "my_rewards.py:level"},
        "exact": {"use": "my_rewards.py:by_one", "params": {"bonus": 2.0}},
        "none": {"use": "my_rewards.py:no_opinion"},
    }
    rubric = build_rubric(parts, base_dir=own)
    [score, _] = rubric.score_batch([example] * 2, [Completion("42"), Completion("")])
    assert score.parts == {
        "brevity": pytest.approx(1 / 3),
        "level": 3.0,
        "exact": 2.0,
        "none": None,
    }
    with pytest.raises(UserError, match="bonos"):
        build_rubric({"x": {"use": "my_rewards.py:by_one", "params": {"bonos": 1}}}, base_dir=own)


FAILURES = ["raises", "not_a_number", "infinite", "too_few", "words", "nothing"]


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_reward_stops_or_is_counted(own: Path, name: str):
    specs = {"bad": {"use": f"my_rewards.py:{name}"}, "correctness": {}}
    batch = [TOY] * 2, [Completion("42 \x1b[31m\u202e"), Completion("41")]
    with pytest.raises(RewardError, match="'bad'") as caught:
        build_rubric(specs, base_dir=own).score_batch(*batch)
    message = str(caught.value)
    assert "toy-1" in message
    assert "42 \\x1b[31m\\u202e" in message
    assert "\x1b" not in message

    rubric = build_rubric(specs, base_dir=own, on_error="skip")
    scores = rubric.score_batch(*batch)
    assert [s.parts["bad"] for s in scores] == [None, None]
    assert [s.total for s in scores] == [1.0, 0.0]
    assert rubric.skipped == {"bad": 2}


def test_no_opinion_at_all_is_nan(own: Path):
    specs = {"none": {"use": "my_rewards.py:no_opinion"}}
    [score] = build_rubric(specs, base_dir=own).score_batch([TOY], [Completion("42")])
    assert math.isnan(score.total)
