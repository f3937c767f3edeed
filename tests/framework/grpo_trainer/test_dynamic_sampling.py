"""Groups without variance give way to other problems': which ones, and what is kept of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from conftest import Toy, lines
from grpo_toys import odd_problems_only, toy_trainer
from hypothesis import given
from hypothesis import strategies as st

from groupwise.evaluation.log.records import RolloutRecord, read_rollouts
from groupwise.framework.grpo_trainer.dynamic_sampling import ProblemPool, learnability
from groupwise.framework.grpo_trainer.rollouts import step_seed
from groupwise.rewards.types import Completion, Example

PROBLEMS = [Example(str(i), f"{i}+0=?", str(i)) for i in range(20)]


@pytest.mark.parametrize("correct", [0, 3, 8])
def test_learnability_is_the_mean_variance_under_the_posterior(correct: int) -> None:
    p = (np.arange(100_000) + 0.5) / 100_000
    likelihood = p**correct * (1 - p) ** (8 - correct)
    expected = (likelihood * p * (1 - p)).sum() / likelihood.sum()
    assert learnability(correct, 8) == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 64), st.integers(1, 64))
def test_nothing_is_ever_ruled_out(correct: int, others: int) -> None:
    assert 0 < learnability(correct, correct + others) <= 0.25


def test_draws_are_different_problems_and_repeat_with_their_key() -> None:
    pool = ProblemPool(PROBLEMS, seed=1)
    besides = {example.id for example in PROBLEMS[:5]}
    drawn = pool.draw(8, (3, 0), besides)
    names = {example.id for example in drawn}
    assert len(names) == 8
    assert not names & besides
    assert drawn == ProblemPool(PROBLEMS, seed=1).draw(8, (3, 0), besides)
    assert drawn != pool.draw(8, (3, 1), besides)
    assert len(pool.draw(99, (3, 0), besides)) == 15
    assert pool.draw(1, (3, 0), {example.id for example in PROBLEMS}) == []


def test_what_is_half_solved_comes_more_often_and_the_unsolved_come_back() -> None:
    pool = ProblemPool(PROBLEMS[:4], seed=1)
    for _ in range(8):
        pool.record(1, "0", correct=False)
        pool.record(1, "1", correct=True)
        pool.record(1, "3", correct=None)  # nothing decides it: as if it were new
    for i in range(8):
        pool.record(1, "2", correct=i < 4)
    times = Counter(pool.draw(1, (step, 0), ())[0].id for step in range(4000))
    weights = {"0": 9 / 110, "1": 9 / 110, "2": 25 / 110, "3": 1 / 6}
    for name, weight in weights.items():
        assert times[name] / 4000 == pytest.approx(weight / sum(weights.values()), abs=0.03)


def test_an_earlier_step_no_longer_counts() -> None:
    pool, fresh = ProblemPool(PROBLEMS, seed=1), ProblemPool(PROBLEMS, seed=1)
    for _ in range(8):
        pool.record(1, "0", correct=False)
    for each in (pool, fresh):
        each.record(5, "0", correct=True)
    assert pool.draw(20, (9, 0), ()) == fresh.draw(20, (9, 0), ())


SIZE, STEPS = 4, 4


@pytest.fixture(scope="module")
def trained(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resampled")
    toy_trainer(
        toy,
        folder,
        odd_problems_only,
        max_steps=STEPS,
        prompts_per_step=4,
        num_generations=SIZE,
        completions_per_forward=8,
        max_completion_length=12,
        resample_rounds=3,
    ).train()
    return folder


def groups_of(folder: Path) -> dict[tuple[int, str], list[RolloutRecord]]:
    groups: dict[tuple[int, str], list[RolloutRecord]] = defaultdict(list)
    for record in read_rollouts(folder):
        groups[record.step, record.example_id].append(record)
    return groups


@pytest.mark.stack
def test_whole_groups_are_trained_on_or_not(trained: Path) -> None:
    used: Counter[int] = Counter()
    for (step, _), group in groups_of(trained).items():
        assert sorted(record.sample_index for record in group) == list(range(SIZE))
        assert {record.seed for record in group} == {step_seed(0, step - 1)}
        left_out = {record.advantage is None for record in group}
        assert len(left_out) == 1
        used[step] += not left_out.pop()
    assert used == dict.fromkeys(range(1, STEPS + 1), 4)


@pytest.mark.stack
def test_advantages_are_those_of_the_group_that_came_in(trained: Path) -> None:
    for group in groups_of(trained).values():
        if group[0].advantage is None:
            continue
        for record in group:
            example = Example(record.example_id, record.prompt, record.answer)
            given = Completion(record.completion, record.num_tokens, record.finish_reason)
            assert record.score == odd_problems_only(example, given), "another answer's score"
        scores = np.array([record.score for record in group])
        expected = (scores - scores.mean()) / (scores.std(ddof=1) + 1e-4)
        found = [record.advantage for record in group]
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.stack
def test_zero_variance_groups_are_replaced_and_counted(trained: Path) -> None:
    groups = groups_of(trained)
    for number, line in enumerate(lines(trained / "metrics.jsonl"), start=1):
        without_variance = Counter(
            group[0].advantage is None
            for (step, _), group in groups.items()
            if step == number and len({record.score for record in group}) == 1
        )
        assert without_variance[True] > 0, "left out because they had no variance"
        assert line["untrained_completions"] == SIZE * sum(
            group[0].advantage is None for (step, _), group in groups.items() if step == number
        )
        # What the data set gave, before anything was replaced.
        assert line["zero_variance_groups"] >= line["resampled_groups"] > 0
        assert (
            line["zero_variance_groups"] - line["resampled_groups"] == without_variance[False] / 4
        )
