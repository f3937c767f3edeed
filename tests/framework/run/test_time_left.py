"""What is left of a run: which work, from which seconds, in which words; and how often it holds."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.framework.run.terminal import Terminal
from groupwise.framework.run.time_left import (
    LEAST_ROUNDS,
    Evaluated,
    Evaluations,
    RunClock,
    SecondsLeft,
    duration_range,
    seconds_a_round,
)

SHOWN: dict[tuple[float, float], str] = {
    (0.2, 0.4): "0 s",
    (40.2, 55.4): "40-55 s",
    (40.0, 40.3): "40 s",
    (80, 95): "1.3-1.6 min",
    (660, 780): "11-13 min",
    (5040, 6120): "1.4-1.7 h",
    (3000, 36000): "1-10 h",
    (2 * 86400, 2.5 * 86400): "2.0-2.5 days",
}


@pytest.mark.parametrize("seconds", SHOWN)
def test_in_words(seconds: tuple[float, float]) -> None:
    assert duration_range(*seconds) == SHOWN[seconds]


def test_early_stopping_makes_it_at_most() -> None:
    assert str(SecondsLeft(5040, 6120, is_at_most=True)) == "1.4-1.7 h at most"


EVALUATIONS = Evaluations(every_steps=10, each=100, last=1000)
# (step, of steps) -> samples to come; none is drawn in training after its last step
TO_COME: dict[tuple[int, int], int] = {
    (0, 30): 200 + 1000,
    (9, 30): 200 + 1000,
    (10, 30): 100 + 1000,
    (29, 30): 1000,
    (30, 30): 1000,
    (0, 31): 300 + 1000,
    (30, 31): 1000,
    (0, 5): 1000,
}


@pytest.mark.parametrize("where", TO_COME)
def test_evaluations_to_come(where: tuple[int, int]) -> None:
    assert EVALUATIONS.to_come(*where) == TO_COME[where]
    assert Evaluations(last=7).to_come(*where) == 7


class Clock:
    """Time that passes when it is told to."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def clock_of(evaluations: Evaluations, steps_a_round: int = 1) -> tuple[RunClock, Clock]:
    clock = Clock()
    return RunClock(evaluations, steps_a_round, now=clock), clock


def test_the_first_step_and_the_evaluations_are_not_taken_for_steps() -> None:
    run, time = clock_of(EVALUATIONS)
    for step in range(1, 13):
        time.seconds += 60 if step == 1 else 2
        if step == 10:
            time.seconds += 50
            run.evaluated(Evaluated(100, 1000, 40), 50)
        run.end_step(step, 30)
        assert (run.left is None) == (step <= LEAST_ROUNDS)
    assert run.rounds == [2] * 11
    assert run.left is not None
    assert run.left.low < (30 - 12) * 2 + 1100 * 0.4 < run.left.high


def test_a_resumed_run_has_only_the_rest_before_it() -> None:
    run, time = clock_of(Evaluations())
    time.seconds += 1000
    run.begin()
    for step in range(91, 96):
        time.seconds += 2
        run.end_step(step, 100)
    assert run.left is not None
    assert run.left.low < 10 < run.left.high < 13


def test_rounds_of_several_steps_are_taken_whole() -> None:
    """The first step of each samples, and takes longer: half rounds would swing."""
    run, time = clock_of(Evaluations(), steps_a_round=2)
    for step in range(1, 21):
        time.seconds += 9 if step % 2 else 1
        run.end_step(step, 100)
    assert run.rounds == [10] * 9
    assert run.left is not None
    assert run.left.low < 40 * 10 < run.left.high


# seconds a token and tokens a sample of the last evaluation, numbers of a step: the range of one
STEP = {"completion_length/mean": 20.0, "completion_tokens": 160.0, "rollout_seconds": 4.0,
        "reward_seconds": 0.8}  # fmt: skip
A_SAMPLE: dict[str, tuple[Evaluated | None, dict[str, float | None], tuple[float, float]]] = {
    "answers as long as then, or as training's now": (
        Evaluated(100, 1000, 50),  # 0.05 s a token, 10 a sample
        STEP,
        (0.5 / 1.25, 1.0 * 1.25),
    ),
    "by rollouts, before any evaluation": (None, STEP, (0.6 / 2, 0.6 * 2)),
    "one without tokens says nothing": (Evaluated(4, 0, 0), STEP, (0.6 / 2, 0.6 * 2)),
    "seconds that are not known": (Evaluated(4, 40, math.nan), STEP, (0.6 / 2, 0.6 * 2)),
    "without rollouts": (Evaluated(100, 1000, 50), {}, (0.5 / 1.25, 0.5 * 1.25)),
}


@pytest.mark.parametrize("case", A_SAMPLE)
def test_an_evaluation_takes_what_its_answers_take(case: str) -> None:
    past, numbers, (least, most) = A_SAMPLE[case]
    run, time = clock_of(Evaluations(last=100))
    if past is not None:
        run.evaluated(past, 50)
    run.begin()
    for step in range(1, 6):
        time.seconds += 1
        run.numbers = numbers
        run.end_step(step, 5)
    assert run.left is not None
    assert (run.left.low, run.left.high) == pytest.approx((100 * least, 100 * most))


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=60), st.floats(1e-3, 1e3))
def test_the_range_is_in_order_and_has_the_unit_of_the_steps(
    rounds: list[float], scale: float
) -> None:
    low, high = seconds_a_round(rounds)
    assert 0 < low < high
    assert min(rounds) / 1.4 <= low
    assert high <= max(rounds) * 1.4
    assert seconds_a_round([scale * x for x in rounds]) == pytest.approx(
        (scale * low, scale * high)
    )


def drawn(seed: int, spread: float, wander: float = 0.0, growth: float = 0.0) -> list[float]:
    """200 rounds: log-normal, about a level that wanders and grows."""
    noise, level, made = random.Random(seed), 0.0, []
    for i in range(200):
        level += noise.gauss(0, wander)
        made.append(math.exp(level + growth * i / 200 + noise.gauss(0, spread)))
    return made


# name -> (rounds by seed, least share of ranges that hold the end, widest on average at half)
KINDS: dict[str, tuple[Callable[[int], list[float]], float, float]] = {
    "steady": (lambda seed: drawn(seed, 0.05), 0.95, 1.2),
    "scattered": (lambda seed: drawn(seed, 0.3), 0.95, 1.6),
    "wandering": (lambda seed: drawn(seed, 0.1, wander=0.01), 0.8, 1.4),
    "growing by a fifth": (lambda seed: drawn(seed, 0.1, growth=0.2), 0.8, 1.4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_how_often_the_range_holds_the_end(kind: str) -> None:
    made, least, widest = KINDS[kind]
    held, widths = [], []
    for seed in range(40):
        rounds = made(seed)
        for n in range(LEAST_ROUNDS, 195, 4):
            low, high = seconds_a_round(rounds[:n])
            held.append(low <= fmean(rounds[n:]) <= high)
            if n == 99:
                widths.append(high / low)
    assert fmean(held) >= least
    assert fmean(widths) <= widest


def test_without_a_terminal_it_is_said_when_it_is_known_and_at_quarters() -> None:
    stream = io.StringIO()
    with Terminal(stream).stage("Train") as stage:
        for step in range(1, 41):
            stage.update(step, 40, "reward 0.4", "1.4-1.7 h" if step > 3 else "")
    assert stream.getvalue().splitlines()[1:-1] == [
        f"      {step}/40  reward 0.4  left 1.4-1.7 h" for step in (4, 10, 20, 30)
    ]
