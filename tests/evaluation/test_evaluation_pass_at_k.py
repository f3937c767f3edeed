"""pass@k, pass^k, maj@k and the crossing k against brute force and independent arithmetic."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.evaluation.metrics.majority import answer_class, maj_at_k
from groupwise.evaluation.metrics.pass_at_k import crossing_k, mean_at_n, pass_at_k, pass_hat_k


@st.composite
def counts(draw: st.DrawFn, most: int = 300) -> tuple[int, int, int]:
    n = draw(st.integers(1, most))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n))


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_mean_over_all_choices_of_k_samples(n: int) -> None:
    for c in range(n + 1):
        right = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            chosen = list(combinations(right, k))
            assert pass_at_k(n, c, k) == pytest.approx(np.mean([any(x) for x in chosen]))
            assert pass_hat_k(n, c, k) == pytest.approx(np.mean([all(x) for x in chosen]))


@given(counts())
def test_pass_at_k_equals_exact_rational_arithmetic(case: tuple[int, int, int]) -> None:
    n, c, k = case
    none_right = Fraction(math.comb(n - c, k), math.comb(n, k))
    all_right = Fraction(math.comb(c, k), math.comb(n, k))
    assert pass_at_k(n, c, k) == pytest.approx(float(1 - none_right), rel=1e-10, abs=1e-13)
    assert pass_hat_k(n, c, k) == pytest.approx(float(all_right), rel=1e-10, abs=1e-13)


@given(st.lists(counts(), min_size=1, max_size=30))
def test_arrays_give_what_numbers_give(cases: list[tuple[int, int, int]]) -> None:
    n, c, k = (np.array(column) for column in zip(*cases, strict=True))
    for function in (pass_at_k, pass_hat_k):
        one_by_one = [function(*case) for case in cases]
        np.testing.assert_allclose(function(n, c, k), one_by_one, rtol=1e-10, atol=1e-12)


@given(counts(most=60))
def test_laws(case: tuple[int, int, int]) -> None:
    n, c, k = case
    assert pass_at_k(n, c, 1) == pytest.approx(c / n)
    assert pass_hat_k(n, c, k) <= pass_hat_k(n, c, 1) + 1e-12
    assert pass_at_k(n, c, k) >= pass_at_k(n, c, 1) - 1e-12
    if c < n:
        assert pass_at_k(n, c + 1, k) >= pass_at_k(n, c, k) - 1e-12
    # all k right <=> none of the wrong ones among them
    assert pass_hat_k(n, c, k) == pytest.approx(1 - pass_at_k(n, n - c, k), abs=1e-12)


def test_it_is_unbiased_in_simulation() -> None:
    random = np.random.default_rng(0)
    right = random.random((200_000, 8)) < 0.3
    estimate = pass_at_k(8, right.sum(axis=1), 4)
    assert np.mean(estimate) == pytest.approx(1 - 0.7**4, abs=0.002)


def test_arguments_are_broadcast() -> None:
    result = pass_at_k(8, np.array([0, 4, 8]), np.array([[1], [8]]))
    np.testing.assert_allclose(result, [[0, 0.5, 1], [0, 1, 1]])
    assert isinstance(pass_at_k(np.int64(4), 1, 2), float)


def test_too_few_samples_is_nan_and_never_one() -> None:
    assert math.isnan(pass_at_k(3, 1, 4))
    assert math.isnan(pass_at_k(3, 3, 4))
    assert math.isnan(pass_hat_k(3, 3, 4))
    assert math.isnan(pass_at_k(0, 0, 1))
    assert np.isnan(pass_at_k([3, 4], [1, 1], 4)).tolist() == [True, False]
    assert math.isnan(maj_at_k(1, [1], 1, 4))
    assert math.isnan(mean_at_n(0, 0))


@pytest.mark.parametrize("case", [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, -3), (-1, 0, 1)])
def test_nonsense_is_refused(case: tuple[int, int, int]) -> None:
    n, c, k = case
    with pytest.raises(ValueError, match="pass@k needs"):
        pass_at_k(n, c, k)
    with pytest.raises(ValueError, match="pass@k needs"):
        pass_at_k([n], [c], [k])
    with pytest.raises((ValueError, TypeError)):
        pass_at_k([4], [1.5], 1)


def test_large_counts_neither_overflow_nor_drift() -> None:
    assert pass_at_k(1_000_000, 1, 1) == pytest.approx(1e-6, rel=1e-9)
    assert pass_at_k(100_000, 50, 1000) == pytest.approx(
        float(1 - Fraction(math.comb(99_950, 1000), math.comb(100_000, 1000))), rel=1e-10
    )
    assert pass_hat_k(2000, 1000, 500) == pytest.approx(
        float(Fraction(math.comb(1000, 500), math.comb(2000, 500))), rel=1e-9
    )


def vote(answers: tuple[str, ...]) -> float:
    """The plain rule: the most frequent answer wins, ties are drawn, no votes is wrong."""
    votes = Counter(answer for answer in answers if answer)
    if not votes:
        return 0.0
    top = [answer for answer, count in votes.items() if count == max(votes.values())]
    return ("right" in top) / len(top)


@given(
    st.integers(0, 4),
    st.lists(st.integers(1, 3), max_size=4),
    st.integers(0, 2),
    st.integers(1, 11),
)
@settings(max_examples=150, deadline=None)
def test_maj_at_k_is_the_mean_over_all_votes(c: int, wrong: list[int], a: int, k: int) -> None:
    answers = ["right"] * c + [str(i) for i, w in enumerate(wrong) for _ in range(w)] + [""] * a
    k = min(k, len(answers))
    if k == 0 or math.comb(len(answers), k) > 5000:
        return
    expected = np.mean([vote(chosen) for chosen in combinations(answers, k)])
    assert maj_at_k(c, wrong, a, k) == pytest.approx(expected, abs=1e-12)


def test_maj_at_k_of_many_samples_agrees_with_simulation() -> None:
    answers = np.array([0] * 90 + [1] * 70 + [2] * 40 + [3] * 56)
    random = np.random.default_rng(1)
    wins = 0.0
    for _ in range(20_000):
        votes = np.bincount(random.choice(answers, 16, replace=False), minlength=4)[:3]
        top = np.flatnonzero(votes == votes.max())
        wins += (0 in top) / len(top)
    assert maj_at_k(90, [70, 40], 56, 16) == pytest.approx(wins / 20_000, abs=0.01)


@pytest.mark.parametrize(
    ("c", "wrong", "abstained", "k", "expected"),
    [
        (0, [], 4, 2, 0.0),  # nobody votes
        (1, [], 3, 4, 1.0),  # one vote decides
        (2, [2], 0, 4, 0.5),  # a tie of two
        (2, [2, 2], 0, 6, 1 / 3),  # a tie of three
        (2, [3], 0, 5, 0.0),
        (3, [1, 1, 1], 0, 6, 1.0),
    ],
)
def test_maj_at_k_ties_and_abstentions(
    c: int, wrong: list[int], abstained: int, k: int, expected: float
) -> None:
    assert maj_at_k(c, wrong, abstained, k) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("0.50", "1/2", True),
        (r"\frac{1}{2}", r"\dfrac{2}{4}", True),
        ("-1/2", r"-\frac{1}{2}", True),
        ("1,000", "$1000.0$", True),
        ("12.", "12", True),
        ("1,00", "100", False),
        ("12", "-12", False),
        ("x+1", "x  + 1", False),
        ("A", "B", False),
        ("1/0", "0/0", False),
        ("9" * 5000, "9" * 5001, False),
    ],
)
def test_answer_classes(one: str, other: str, equal: bool) -> None:
    assert (answer_class(one) == answer_class(other)) is equal


@pytest.mark.parametrize(
    ("first", "second", "k"),
    [
        ([0.2, 0.5, 0.7], [0.4, 0.5, 0.6], 3),
        ([0.4, 0.5, 0.6], [0.2, 0.5, 0.7], 3),
        ([0.1, 0.2], [0.3, 0.4], None),
        ([0.1, 0.2], [0.1, 0.2], None),
        ([0.1, 0.2, 0.5], [0.1, 0.3, 0.4], 3),  # level at the start: the first to lead counts
        ([], [], None),
        ([math.nan, 0.1, 0.5], [math.nan, 0.2, 0.4], 3),
    ],
)
def test_crossing_k(first: list[float], second: list[float], k: int | None) -> None:
    assert crossing_k(first, second) == k


def test_curves_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        crossing_k([0.1], [0.1, 0.2])
