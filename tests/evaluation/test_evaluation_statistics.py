"""Intervals and the paired test against SciPy, brute force and simulation."""

from __future__ import annotations

import math
import random
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.evaluation.metrics.intervals import (
    Estimate,
    bootstrap_estimates,
    bootstrap_mean_of_few,
    bootstrap_means,
    expanded_tail,
    posterior_mean,
)
from groupwise.evaluation.metrics.paired import (
    fewest_that_differ,
    paired_test,
    problems_needed,
    smallest_detectable,
)


@pytest.mark.parametrize("problems", [2, 3, 6, 31, 1001, 10_000])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_expanded_percentiles_are_as_wide_as_a_t_interval(
    problems: int, confidence: float
) -> None:
    t = scipy.stats.t.ppf(1 - (1 - confidence) / 2, problems - 1)
    # the deviation of a resampled mean divides by P, that of a t-interval by P - 1
    tail = NormalDist().cdf(-t * math.sqrt(problems / (problems - 1)))
    assert expanded_tail(problems, confidence) == pytest.approx(tail, rel=1e-7)


def test_posterior_mean_agrees_with_simulation() -> None:
    n, c = np.full(40, 8), np.arange(40) % 9
    draws = np.random.default_rng(0).beta(1 + c, 1 + n - c, size=(50_000, 40)).mean(axis=1)
    estimate = posterior_mean(n, c)
    assert estimate.value == pytest.approx(draws.mean(), abs=1e-3)
    assert (estimate.low, estimate.high) == pytest.approx(
        np.quantile(draws, [0.025, 0.975]), abs=2e-3
    )


def test_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).beta(0.5, 1.0, size=200)
    ours = bootstrap_estimates(values[:, None], bounds=(0, 1))[0]
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=1
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    # ours is a little wider on purpose: see the expanded percentile
    assert ours.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.high == pytest.approx(theirs.high, abs=0.004)


def test_problems_that_are_alike_are_drawn_together_with_the_same_result() -> None:
    shares = np.random.default_rng(0).integers(0, 9, 400) / 8
    alike = bootstrap_mean_of_few(shares, resamples=20_000, seed=1)
    apart = bootstrap_means(shares[:, None], resamples=20_000, seed=1)
    assert alike.std() == pytest.approx(apart[:, 0].std(), rel=0.02)
    assert alike.std() == pytest.approx(shares.std() / 20, rel=0.02)
    quantiles = [0.005, 0.025, 0.5, 0.975, 0.995]
    np.testing.assert_allclose(
        np.quantile(alike, quantiles), np.quantile(apart[:, 0], quantiles), atol=0.003
    )


def test_an_interval_does_not_depend_on_what_else_is_asked() -> None:
    values = np.random.default_rng(0).random((50, 3))
    values[:, 2] = np.round(values[:, 2] * 4) / 4
    for i, estimate in enumerate(bootstrap_estimates(values, resamples=500)):
        alone = bootstrap_estimates(values[:, [i]], resamples=500)[0]
        assert (estimate.low, estimate.high) == pytest.approx((alone.low, alone.high))
    together = bootstrap_means(values, resamples=500, seed=4)
    alone = bootstrap_means(values[:, [1]], resamples=500, seed=4)
    np.testing.assert_allclose(together[:, [1]], alone)
    assert np.array_equal(together, bootstrap_means(values, resamples=500, seed=4))
    assert not np.array_equal(together, bootstrap_means(values, resamples=500, seed=5))


def test_intervals_for_few_problems_cover_the_truth() -> None:
    """Of 400 small evaluations, about 95 % of the intervals contain the true mean."""
    random = np.random.default_rng(0)
    for problems, least in ((10, 0.90), (40, 0.92)):
        draws = random.beta(2, 3, size=(400, problems))
        hits = 0
        for values in draws:
            e = bootstrap_estimates(values[:, None], bounds=(0, 1), resamples=1000)[0]
            hits += e.low <= 0.4 <= e.high
        assert hits / 400 >= least


def test_the_tail_is_cut_less_for_few_problems() -> None:
    assert expanded_tail(5, 0.95) < expanded_tail(50, 0.95) < 0.025
    assert expanded_tail(100_000, 0.95) == pytest.approx(0.025, abs=1e-4)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0] * 99, Estimate(0.0, 0.0, 1 - 0.05 ** (1 / 100))),  # rule of three
        ([1.0] * 99, Estimate(1.0, 0.05 ** (1 / 100), 1.0)),
        ([0.5] * 99, Estimate(0.5)),  # no spread seen is not no spread
        ([0.3], Estimate(0.3)),
        ([1.0], Estimate(1.0)),
        ([0.3, math.nan], Estimate(math.nan)),
    ],
)
def test_where_resampling_says_nothing(values: list[float], expected: Estimate) -> None:
    found = bootstrap_estimates(np.array(values)[:, None], bounds=(0, 1))[0]
    for a, b in zip(
        (found.value, found.low, found.high),
        (expected.value, expected.low, expected.high),
        strict=True,
    ):
        assert a == pytest.approx(b, nan_ok=True)


def test_no_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_estimates(np.zeros((0, 2)))


def test_json_has_null_where_undefined() -> None:
    estimate = Estimate(0.5, math.nan, 2 / 3)
    assert estimate.to_json() == {"value": 0.5, "low": None, "high": 0.6666666667}


def by_enumeration(d: list[int]) -> float:
    sums = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True)))
        for signs in product((1, -1), repeat=len(d))
    ]
    return float(np.mean([s >= abs(sum(d)) for s in sums]))


@given(st.lists(st.integers(-8, 8), min_size=1, max_size=10))
@settings(deadline=None)
def test_exact_p_values_equal_enumeration(d: list[int]) -> None:
    differences = np.array(d) / 8
    expected = by_enumeration([x for x in d if x]) if any(d) else 1.0
    assert paired_test(differences, grid=8).p_value == pytest.approx(expected)
    assert paired_test(differences).p_value == pytest.approx(expected)
    assert paired_test(-differences, grid=8) == paired_test(differences, grid=8)


def test_the_exact_test_of_yes_or_no_is_mcnemars() -> None:
    differences = np.array([1] * 15 + [-1] * 4 + [0] * 50)
    test = paired_test(differences, grid=1)
    assert (test.method, test.differing) == ("exact", 19)
    assert test.p_value == pytest.approx(scipy.stats.binomtest(15, 19).pvalue)


def test_methods_agree_where_they_overlap() -> None:
    d = np.random.default_rng(3).integers(-4, 6, 300) / 8
    exact = paired_test(d, grid=8)
    random = paired_test(d + 0.0)
    normal = paired_test(np.concatenate([d] * 10))
    assert [t.method for t in (exact, random, normal)] == ["exact", "monte-carlo", "normal"]
    assert random.p_value == pytest.approx(exact.p_value, abs=0.005)
    assert paired_test(d).p_value == random.p_value  # the seed is fixed
    by_scipy = scipy.stats.permutation_test(
        (d, np.zeros_like(d)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=0,
    ).pvalue
    assert random.p_value == pytest.approx(by_scipy, abs=0.01)


def test_a_huge_effect_has_a_tiny_p_value_and_never_zero() -> None:
    d = np.full(5000, 0.5)
    assert 0 < paired_test(d, grid=2).p_value <= 1e-300
    assert paired_test(np.full(40, 0.3)).p_value == pytest.approx(1 / 100_001)


def test_the_level_is_kept_under_no_difference() -> None:
    random = np.random.default_rng(0)
    d = random.integers(-3, 4, size=(2000, 25))
    share = np.mean([paired_test(row / 4, grid=4).p_value < 0.05 for row in d])
    assert share <= 0.06


@pytest.mark.parametrize("bad", [[0.3, 0.25], [math.nan]])
def test_bad_differences_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"not multiples|undefined"):
        paired_test(np.array(bad), grid=4)


def test_problems_needed_gives_the_promised_power() -> None:
    random = np.random.default_rng(0)
    pilot = random.normal(size=4000)
    pilot = 0.1 + 0.4 * (pilot - pilot.mean()) / pilot.std(ddof=1)
    needed = problems_needed(pilot)
    assert needed == pytest.approx((2.8016 * pilot.std(ddof=1) / pilot.mean()) ** 2, rel=0.01)
    shown = [
        abs(x.mean()) > 1.96 * x.std(ddof=1) / math.sqrt(needed)
        for x in random.normal(0.1, 0.4, size=(2000, needed))
    ]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.04)
    assert smallest_detectable(pilot[:needed]) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("differences", "needed"),
    [
        ([0.0, 0.0], None),
        ([0.5, -0.5], None),
        ([0.5], None),
        ([0.5] * 3, 6),
        # half of the problems have to stay as they are: six differ among twelve
        ([0.25, 0.0, 0.25, 0.0, 0.25, 0.0], 12),
    ],
)
def test_problems_needed_at_the_edges(differences: list[float], needed: int | None) -> None:
    assert problems_needed(np.array(differences)) == needed


@pytest.mark.parametrize("alpha", [0.3, 0.25, 0.05, 0.01])
def test_fewer_differing_problems_never_reach_alpha(alpha: float) -> None:
    fewest = fewest_that_differ(alpha)
    assert paired_test(np.ones(fewest)).p_value < alpha <= paired_test(np.ones(fewest - 1)).p_value


@pytest.mark.parametrize(("problems", "grid"), [(6, 1), (6, 2), (7, 1), (8, 1)])
def test_no_smaller_difference_reaches_the_test(problems: int, grid: int) -> None:
    """All outcomes of that many problems, by brute force: none below the bound has p < 0.05."""
    shown = [
        sum(steps) / (problems * grid)
        for steps in product(range(-grid, grid + 1), repeat=problems)
        if sum(steps) > 0 and paired_test(np.array(steps) / grid, grid=grid).p_value < 0.05
    ]
    small = np.array([1.0] + [0.0] * (problems - 1)) / grid  # next to no spread
    assert smallest_detectable(0.01 * small, grid=grid) == pytest.approx(min(shown))


@settings(deadline=None)  # the machine may be busy
@given(
    st.integers(2, 40), st.sampled_from([1, 2, 4, 8, 16]), st.randoms(use_true_random=False)
)  # fmt: skip
def test_the_smallest_detectable_difference_can_be(
    n: int, grid: int, random: random.Random
) -> None:
    differences = np.array([random.randint(-grid, grid) for _ in range(n)]) / grid
    least = smallest_detectable(differences, grid=grid)
    if n < 6:
        assert math.isnan(least)
    if not math.isnan(least):
        steps = round(least * n * grid)
        assert least == pytest.approx(steps / (n * grid)), "a mean that these problems can have"
        assert 6 <= steps <= n * grid
        # The most even way to reach it: what the exact test says of it.
        best = np.full(n, steps // n) + (np.arange(n) < steps % n)
        assert paired_test(best / grid, grid=grid).p_value < 0.05


@pytest.mark.parametrize("problems", [6, 7, 8, 12])
def test_the_smallest_detectable_difference_is_mostly_shown(problems: int) -> None:
    draws = np.random.default_rng(1)
    plan = scipy.stats.norm.ppf((np.arange(problems) + 0.5) / problems)
    least = smallest_detectable(0.1 * plan / plan.std(ddof=1))
    shown = [
        paired_test(d).p_value < 0.05
        for d in draws.normal(least, 0.1, size=(400, problems)).round(3)
    ]
    assert 0.65 < np.mean(shown) < 0.92
