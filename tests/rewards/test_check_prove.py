"""The proof of rewards on one's own data: what is right is said to be, and what is broken too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise.rewards import Correctness, Example, RewardModel, build_rubric
from groupwise.rewards.check.probes import TEMPLATES, final_answer, spread, wrap, wrong_answers
from groupwise.rewards.check.prove import Proof, prove
from groupwise.rewards.check.references import judge_references
from groupwise.rewards.style import opens_thought

ASKED = "<|user|>{}<|assistant|>\n"
OPENED = ASKED + "<think>\n"


def examples(answers: list[str], prompt: str = ASKED) -> list[Example]:
    questions = [f"What is number {i} of the list that we have?" for i in range(len(answers))]
    return [
        Example(str(i), question, answer, prompt=prompt.format(question))
        for i, (question, answer) in enumerate(zip(questions, answers, strict=True))
    ]


def proof_of(
    parts: Mapping[str, Any],
    answers: list[str] | None = None,
    prompt: str = ASKED,
    base_dir: Path | None = None,
    max_tokens: int = 256,
) -> Proof:
    answers = answers or [str(i) for i in range(30)]
    with build_rubric(parts, base_dir=base_dir) as rubric:
        return prove(rubric, examples(answers, prompt), max_tokens=max_tokens)


def problems(proof: Proof) -> list[str]:
    return [*(p for part in proof.parts for p in part.problems), *proof.problems]


GOOD: list[tuple[Mapping[str, Any], list[str]]] = [
    ({"correctness": 1.0}, ["72", "1,234", "1/2", "$5.50", "-3", "25%"]),
    ({"correctness": 1.0, "format": 0.25, "language": 0.1}, ["So 6*7=42.\n#### 42", "#### 7"]),
    ({"correctness": None, "format": None}, [r"\frac{3}{4}", "x^2+1", "(1,2)", r"\{1,2\}"]),
    ({"correctness": None}, ["Paris", "Rome", "the red fox"]),
    ({"correctness": None}, ["A", "B", "(C)"]),
    ({"correctness": {"params": {"extract": ["boxed"]}}}, ["1", "2", "3"]),
    ({"correctness": {"params": {"extract": ["answer_tag"]}}}, ["1", "2", "3"]),
    ({"correctness": None, "format": {"params": {"template": "think_boxed"}}}, ["1", "2"]),
    ({"correctness": None, "format": {"params": {"template": "think"}}}, ["1", "2"]),
    ({"correctness": None, "format": {"params": {"pattern": "<think>.*</think>.+"}}}, ["1", "2"]),
    ({"correctness": {"requires": "format"}, "format": 0.1, "repetition": 0.1}, ["1", "2", "3"]),
    ({"correctness": {"schedule": [[0, 0], [0.5, 1]]}}, ["1", "2"]),
    ({"length": {"params": {"max_length": 20}}, "correctness": 1.0}, ["1", "2"]),
    ({"cosine_length": {"params": {"max_length": 100}}, "reasoning_steps": 0.1}, ["1", "2"]),
]


@pytest.mark.parametrize(("parts", "answers"), GOOD, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("prompt", [ASKED, OPENED], ids=["plain", "opened"])
def test_rewards_that_work_are_proven(
    parts: Mapping[str, Any], answers: list[str], prompt: str
) -> None:
    proof = proof_of(parts, answers, prompt)
    assert problems(proof) == []
    means = {part.name: part.means for part in proof.parts}
    if "correctness" in means:
        assert means["correctness"]["reference"] == 1.0
        assert means["correctness"]["wrong"] == means["correctness"]["empty"] == 0.0
    assert all(not part.failures for part in proof.parts)


BROKEN: list[tuple[Mapping[str, Any], str]] = [
    (
        {"correctness": None, "format": {"params": {"think_opened": True}}},
        "counts on a chat template that opens <think>",
    ),
    (
        {"correctness": None, "soft_overlong": {"params": {"max_length": 4096, "buffer": 9}}},
        "reward 'soft_overlong' is 0 on every probe",
    ),
    ({"correctness": -1.0}, "a wrong answer is worth more than the right one on 30 of 30"),
    ({"correctness": 0.0, "format": 1.0}, "worth as much as a right one on every example"),
    (
        {"correctness": {"requires": {"language": 2.0}}, "language": 0.1},
        "worth as much as a right one",
    ),
    (
        {"correctness": None, "length": {"weight": -5, "params": {"max_length": 400}}},
        "an empty answer is worth as much as the right one",
    ),
    ({"correctness": None, "mine": {"use": "mine.py:raises"}}, "reward 'mine' failed on example"),
    ({"correctness": None, "mine": {"use": "mine.py:constant"}}, "reward 'mine' is 0.5 on every"),
    ({"correctness": None, "mine": {"use": "mine.py:silent"}}, "'mine' has no opinion"),
    ({"correctness": None, "mine": {"use": "mine.py:too_few"}}, "1 values for"),
    ({"correctness": None, "mine": {"use": "mine.py:nan"}}, "it returned nan"),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(
        "def raises(example, completion): raise KeyError('gold')\n"
        "def constant(example, completion): return 0.5\n"
        "def silent(example, completion): return None\n"
        "def nan(example, completion): return float('nan')\n"
        "def too_few(prompts, completions, **columns): return [1.0]\n"
        "def think(prompts, completions, **columns):\n"
        "    return [float(c.startswith('<think>')) for c in completions]\n"
    )
    return folder


@pytest.mark.parametrize(("parts", "message"), BROKEN, ids=lambda value: str(value)[:60])
def test_what_makes_training_meaningless_is_said(
    parts: Mapping[str, Any], message: str, own: Path
) -> None:
    assert any(message in problem for problem in problems(proof_of(parts, base_dir=own)))


def test_a_reward_that_wants_think_again_where_the_template_has_opened_it(own: Path) -> None:
    parts = {
        "correctness": 1.0,
        "format": {"params": {"think_opened": False}},
        "mine": {"use": "mine.py:think"},
    }
    found = problems(proof_of(parts, prompt=OPENED, base_dir=own))
    assert [p.split(",")[0] for p in found] == [
        "reward 'format' wants <think> in the completion",
        "reward 'mine' wants <think> in the completion",
    ]
    assert problems(proof_of(parts, base_dir=own)) == []


def test_broken_references_are_named() -> None:
    answers = [*map(str, range(20)), "so \\boxed{", "one or the other ####", "1, 2 or 3"]
    (part,) = proof_of({"correctness": {"params": {"mode": "number"}}}, answers).parts
    assert [failure.example_id for failure in part.failures] == ["20", "21", "22"]
    assert {failure.what for failure in part.failures} == {"the reference cannot be read"}
    assert "3 of 23 examples: 20, 21, 22" in part.problems[0]


def test_missing_references_are_summed_up_by_row_behind_the_broken_ones() -> None:
    answers = ["N/A", *map(str, range(9)), "n/a", "none", "so \\boxed{", "N/A"]
    with build_rubric({"correctness": 1.0}) as rubric:
        judged = judge_references(rubric, examples(answers), {"0": "line 1", "13": "line 14"})
        proof = prove(rubric, examples(answers), references=judged)
    (part,) = proof.parts
    assert [failure.example_id for failure in part.failures] == ["12", "0", "10", "11", "13"]
    assert part.problems == (
        "reward 'correctness': the reference cannot be read (1 of 14 examples: 12)",
    )
    assert proof.problems == (
        "4 of 14 references say that there is no answer: 'N/A' (2), 'n/a' (1), 'none' (1), in "
        "line 1, id 10, id 11, line 14; nothing can be graded against them: remove these rows, or "
        "put the answers there",
    )


def test_a_learned_reward_is_asked_about_a_sample_and_said_to_have_no_full_mark() -> None:
    class Judge(RewardModel):
        def compute_reward(
            self,
            questions: list[str],  # noqa: ARG002
            answers: list[str],
            references: list[str],
        ) -> list[float]:
            return [float(r in a) for a, r in zip(answers, references, strict=True)]

    rubric = build_rubric({"correctness": 1.0})
    rubric = replace(
        rubric,
        rewards={**rubric.rewards, "judge": Judge()},
        specs={**rubric.specs, "judge": rubric.specs["correctness"]},
    )
    proof = prove(rubric, examples([str(i + 1000) for i in range(300)]))
    assert problems(proof) == []
    judge = proof.parts[1]
    assert judge.num_examples == 64
    assert judge.note.endswith("the reference is above a wrong answer on 64 of 64")
    assert proof.parts[0].num_examples == 300


@pytest.mark.parametrize(
    ("finals", "unknown"),
    [
        (["1", "2", "3"], 0),
        (["1/2", "0.5", "3"], 0),  # the first two grade as equal: the third is taken
        (["7", "7", "7"], 0),
        (["1/2", "0.5"], 2),
    ],
)
def test_wrong_answers_grade_as_wrong(finals: list[str], unknown: int) -> None:
    found = wrong_answers(finals, Correctness())
    assert sum(answer is None for answer in found) == unknown
    assert all(a != final for a, final in zip(found, finals, strict=True))


def test_prose_stays_whole_where_nothing_grades_it() -> None:
    (prose,) = examples(["The sum is 2, because 0 + 2 = 2."])
    assert final_answer(prose, Correctness()) == "2"
    assert final_answer(prose, None) == prose.answer
    assert final_answer(replace(prose, answer="So 0 + 2 = 2.\n#### 2"), None) == "2"


def test_an_opened_thought_is_not_opened_again() -> None:
    (example,) = examples(["1"], OPENED)
    assert opens_thought(example.prompt)
    for template, form in TEMPLATES.items():
        text = wrap(example, "1", template)
        assert not text.startswith("<think>")
        assert "1" in text
        assert ("</think>" in form) == ("</think>" in text)


def test_samples_are_spread_evenly() -> None:
    assert spread(3, 64) == [0, 1, 2]
    assert spread(100, 4) == [0, 25, 50, 75]
