"""Is one model better than another on the same problems, or was it luck?

    paired_test(pass_at_1_after - pass_at_1_before, grid=num_samples)

Two models that answer the same problems are compared problem by problem: hard problems are hard for
both, and that common part cancels in the differences (Miller 2024,
https://arxiv.org/abs/2411.00640, section 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # scipy.stats would take a second to import

Floats = NDArray[np.float64]

Method = Literal["exact", "monte-carlo", "normal"]

_ENUMERATE = 20  # differing problems whose 2^20 sign patterns are all looked at
_EXACT_STEPS = 200_000_000  # additions for the exact distribution on a grid: a fraction of a second
_FLIPS = 100_000  # random sign patterns: the smallest p-value this can give is 1e-5
_RANDOM_STEPS = 200_000_000
SMALLEST_P = 1e-300  # what underflows is reported as this


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A two-sided p-value, how it was found, and how many problems differ at all."""

    p_value: float
    method: Method
    differing: int


def paired_test(differences: Floats, *, grid: int | None = None, seed: int = 0) -> PairedTest:
    """The sign-flip test: were the two models alike, each difference could have had either sign.

    The p-value is the share of all sign patterns whose sum is at least as far from zero as the one
    seen (Fisher's randomisation test). `differences` is (problems,); zeros do not count. `grid`
    says that all differences are multiples of 1/grid, as those of c/n are.

    - `exact`: with a grid, the whole distribution of the sum; else all patterns, up to 20 problems
      that differ;
    - `monte-carlo`: 100,000 random patterns from `seed`; p = (hits + 1) / (patterns + 1);
    - `normal`: beyond about 2,000 differing problems, where the sum's distribution is normal.
    """
    d = np.asarray(differences, dtype=np.float64)
    if np.isnan(d).any():
        raise ValueError("a difference is undefined (NaN)")
    d = d[np.abs(d) > 1e-12]
    if not len(d):
        return PairedTest(1.0, "exact", 0)
    # The least first: their partial sums stay short, and the order of the problems cannot matter.
    d = d[np.argsort(np.abs(d), kind="stable")]
    if grid is not None:
        steps = np.rint(d * grid).astype(np.int64)
        if not np.allclose(steps, d * grid, atol=1e-6):
            raise ValueError(f"the differences are not multiples of 1/{grid}")
        if len(d) * int(np.abs(steps).sum()) <= _EXACT_STEPS:
            return PairedTest(_exact_on_grid(steps), "exact", len(d))
    if len(d) <= _ENUMERATE:
        return PairedTest(_all_patterns(d), "exact", len(d))
    if len(d) * _FLIPS <= _RANDOM_STEPS:
        return PairedTest(_random_patterns(d, seed), "monte-carlo", len(d))
    z = abs(math.fsum(d)) / math.sqrt(math.fsum(d * d))
    return PairedTest(max(2.0 * NormalDist().cdf(-z), SMALLEST_P), "normal", len(d))


def fewest_that_differ(alpha: float = 0.05) -> int:
    """How many problems have to differ before any outcome of the sign-flip test is below `alpha`.

    The least p-value that m differing problems can give is 2 / 2^m, with all of one sign.

    >>> fewest_that_differ()
    6
    """
    return math.floor(1 - math.log2(alpha)) + 1


def problems_needed(differences: Floats, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """How many problems it would take to show a difference like this one, if it is real.

    N = ((z(1 - alpha/2) + z(power)) s / d)^2 with the mean d and deviation s of the differences
    (Miller 2024, section 5), and so many that enough of them differ for the sign-flip test
    (`fewest_that_differ`). None if the mean is zero or there is one problem only: no number would
    do.
    """
    d = np.asarray(differences, dtype=np.float64)
    mean = fmean(d)
    if len(d) < 2 or abs(mean) < 1e-12:
        return None
    normal = NormalDist()
    reach = normal.inv_cdf(1.0 - alpha / 2) + normal.inv_cdf(power)
    differing = int(np.count_nonzero(np.abs(d) > 1e-12)) / len(d)
    return max(
        math.ceil(fewest_that_differ(alpha) / differing - 1e-9),
        math.ceil((reach * _deviation(d) / mean) ** 2),
    )


def smallest_detectable(
    differences: Floats, *, grid: int | None = None, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The least true difference that this many problems show in `power` of all attempts.

    In the unit of `differences`, at most 1; NaN where none can be shown or nothing is known: fewer
    problems than `fewest_that_differ`, no spread, or more than 1 would be needed. `grid` says that
    all differences are multiples of 1/grid: the result is then one that a mean of this many
    problems can have, and at least that of the fewest problems that have to differ, each by 1/grid.

    (t(1 - a/2) + t(power)) s / sqrt(n) with Student's t for the deviation s, and for a the largest
    p-value up to `alpha` that the sign-flip test of n problems has at all.
    """
    d = np.asarray(differences, dtype=np.float64)
    n, fewest = len(d), fewest_that_differ(alpha)
    if n < fewest or np.ptp(d) == 0:
        return math.nan
    patterns = 2.0 ** min(n - 1, 60)  # of one sign of the sum
    attainable = math.floor(alpha * patterns) / patterns
    reach = float(stdtrit(n - 1, 1.0 - attainable / 2) + stdtrit(n - 1, power))
    least = reach * _deviation(d) / math.sqrt(n)
    if grid is not None:
        steps = n * grid  # the mean of n differences is a multiple of 1/steps
        least = max(fewest, math.ceil(least * steps - 1e-9)) / steps
    return least if least <= 1.0 else math.nan


def _deviation(d: Floats) -> float:
    mean = fmean(d)
    return math.sqrt(math.fsum((d - mean) ** 2) / (len(d) - 1))


def _exact_on_grid(steps: NDArray[np.int64]) -> float:
    """With T the sum of those |steps| whose sign is plus, the signed sum is 2 T - total."""
    steps = steps // np.gcd.reduce(steps)
    sizes = np.abs(steps)
    total = int(sizes.sum())
    chance = np.zeros(total + 1)  # chance[t] = P(T = t)
    chance[0] = 1.0
    top = 0
    for size in sizes.tolist():
        halves = 0.5 * chance[: top + 1]
        chance[: top + 1] = halves
        chance[size : top + size + 1] += halves
        top += size
        if top > 2000:  # numbers below the normal range are slow and cannot matter
            chance[: top + 1][chance[: top + 1] < SMALLEST_P] = 0.0
    sums = np.abs(2 * np.arange(total + 1) - total)
    seen = abs(int(steps.sum()))
    return min(1.0, max(math.fsum(chance[sums >= seen]), SMALLEST_P))


def _all_patterns(d: Floats) -> float:
    sums = np.zeros(1)
    for x in d:
        sums = np.concatenate([sums + x, sums - x])
    return float(np.mean(np.abs(sums) >= _at_least(d)))


def _random_patterns(d: Floats, seed: int) -> float:
    random = np.random.default_rng(seed)
    hits, step = 0, max(1, 2_000_000 // len(d))
    for start in range(0, _FLIPS, step):
        rows = min(step, _FLIPS - start)
        bits = np.unpackbits(
            np.frombuffer(random.bytes(rows * ((len(d) + 7) // 8)), dtype=np.uint8).reshape(
                rows, -1
            ),
            axis=1,
            count=len(d),
        )
        sums = 2.0 * (bits.astype(np.float64) @ d) - d.sum()
        hits += int(np.count_nonzero(np.abs(sums) >= _at_least(d)))
    return (hits + 1) / (_FLIPS + 1)


def _at_least(d: Floats) -> float:
    """The absolute value of the observed sum, less a margin for rounding."""
    return abs(math.fsum(d)) - 1e-9 * math.fsum(abs(d))
