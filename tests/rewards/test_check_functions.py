"""`groupwise check` on functions of the user's own: their form, their text, their errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from groupwise.rewards import Example, build_rubric
from groupwise.rewards.check.prove import Proof, prove

MINE = """
import re

def near_twenty(completions, **kwargs):
    return [-abs(20 - len(completion)) for completion in completions]

def tagged(completions, **kwargs):
    return [float("<answer>" in completion) for completion in completions]

def constant(completions, **kwargs):
    return [0.5 for _ in completions]

def exact(completions, answer, **kwargs):
    return [float(c[0]["content"] == a) for c, a in zip(completions, answer)]

def in_tags(completions: list[str], answer, **kwargs):
    found = [re.findall("<answer>(.*?)</answer>", c) for c in completions]
    return [float(f == [a]) for f, a in zip(found, answer)]

def fails(completions, **kwargs):
    return [c[1]["content"] for c in completions]

def by_trend(completions, trainer_state, **kwargs):
    done = trainer_state.global_step / trainer_state.max_steps
    return [done * len(c[0]["content"]) for c in completions]
"""
TEXT = {"completions": "text"}


def proof_of(tmp_path: Path, prompt: str = "<u>{}", **parts: Any) -> Proof:
    (tmp_path / "mine.py").write_text(MINE)
    for name, part in parts.items():
        if isinstance(part, dict):
            part.setdefault("use", f"mine.py:{name}")
    examples = [
        Example(
            str(i),
            q := f"What is {i}?",
            str(i),
            ({"role": "user", "content": q},),
            prompt.format(q),
        )
        for i in range(20)
    ]
    with build_rubric(parts, base_dir=tmp_path) as rubric:
        return prove(rubric, examples)


def problems(proof: Proof) -> list[str]:
    return [*(p for part in proof.parts for p in part.problems), *proof.problems]


TEMPLATES: list[tuple[dict[str, Any], str]] = [
    ({"correctness": 1.0}, "the answer alone"),
    ({"correctness": 1.0, "language": 0.1}, "the answer alone"),
    ({"correctness": 1.0, "exact": {}}, "the answer alone"),
    ({"correctness": 1.0, "exact": {}, "near_twenty": {**TEXT, "weight": 0.1}}, "the answer alone"),
    ({"correctness": 1.0, "in_tags": {}}, "tags without line breaks"),
    ({"correctness": 1.0, "format": 0.25}, "think and answer tags"),
    (
        {"correctness": 1.0, "format": {"use": "format", "params": {"template": "answer"}}},
        "answer tags",
    ),
]


@pytest.mark.parametrize(("parts", "template"), TEMPLATES)
def test_the_reference_is_bare_unless_a_form_is_asked_for(
    parts: dict[str, Any], template: str, tmp_path: Path
) -> None:
    proof = proof_of(
        tmp_path, **{k: dict(v) if isinstance(v, dict) else v for k, v in parts.items()}
    )
    assert proof.template == template
    assert proof.parts[0].means["reference"] == proof.parts[0].means["bare"] == 1.0


@pytest.mark.parametrize("name", ["near_twenty", "tagged"])
def test_text_that_a_function_takes_messages_for_is_found(name: str, tmp_path: Path) -> None:
    [said] = [p for p in problems(proof_of(tmp_path, **{name: {}})) if name in p]
    assert "on every probe, right, wrong, empty, cut off: a constant reward" in said
    assert f"set rewards.parts.{name}.completions: text" in said
    assert not [p for p in problems(proof_of(tmp_path, **{name: dict(TEXT)})) if name in p]


def test_a_constant_is_a_constant(tmp_path: Path) -> None:
    [said] = [p for p in problems(proof_of(tmp_path, constant={})) if "constant" in p]
    assert "see its parameters, or remove it" in said


@pytest.mark.parametrize("prompt", ["<u>{}", "<u>{}<think>\n"])
def test_a_function_of_lengths_asks_for_no_think_tag(prompt: str, tmp_path: Path) -> None:
    proof = proof_of(tmp_path, prompt, correctness=1.0, near_twenty={**TEXT, "weight": 0.01})
    assert not [p for p in problems(proof) if "<think>" in p]


def test_an_error_is_named_with_its_line(tmp_path: Path) -> None:
    found = problems(proof_of(tmp_path, correctness=1.0, fails={}))
    line = MINE[: MINE.index("c[1]")].count("\n") + 1
    assert any(
        f"IndexError: list index out of range ({tmp_path / 'mine.py'}, line {line}" in p
        for p in found
    )


def test_a_curriculum_is_proved_as_at_the_end(tmp_path: Path) -> None:
    [part] = proof_of(tmp_path, by_trend={}).parts
    assert part.means["strange"] > 100  # type: ignore[operator]
