"""Intervals for a mean over problems.

    bootstrap_estimates(values, bounds=(0.0, 1.0))  # values (problems, metrics)

Two questions, two kinds of interval:

- "What would it be on other problems like these?" The problems are a sample:
  `bootstrap_estimates`. Samples of one problem are not independent, so whole problems are drawn,
  never single samples (Miller 2024, https://arxiv.org/abs/2411.00640).
- "What is it on exactly these problems, with samples without end?" The problems are given:
  `posterior_mean` (https://arxiv.org/abs/2510.04265).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]

RESAMPLES = 10_000
CONFIDENCE = 0.95
_CELLS = 1_000_000  # problems x resamples held at once: about 30 MB


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and the interval in which its true value lies; NaN for no interval."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def to_json(self) -> dict[str, float | None]:
        """Rounded to 10 digits; NaN becomes null."""
        return {"value": number(self.value), "low": number(self.low), "high": number(self.high)}


def number(x: float) -> float | None:
    """A float for JSON: rounded beyond what means anything, null where undefined.

    Rounding also hides the last bits, in which two machines' linear algebra may differ.
    """
    return round(float(x), 10) if math.isfinite(x) else None


def bootstrap_estimates(
    values: Floats,
    *,
    bounds: tuple[float, float] | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> list[Estimate]:
    """The mean of each column and its interval, by drawing problems with replacement.

    `values` is (problems, columns): one number per problem and metric. `bounds` are the least and
    greatest possible value, (0, 1) for a share.

    Percentiles of the resampled means, widened for few problems as a t-interval is (Hesterberg
    2015, https://arxiv.org/abs/1411.5279, section 5: "expanded percentile"). Where all problems
    have the same value, resampling shows no spread, which does not mean that there is none: at a
    bound (0 % or 100 %) the interval is the posterior's under a flat prior, one-sided (the "rule of
    three": about 3/P wide); elsewhere, and for a single problem, it is NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"one row a problem and at least one, not shape {values.shape}")
    problems, columns = values.shape
    # fsum is exact, so the mean does not depend on the order of the problems
    means = [math.fsum(values[:, i]) / problems for i in range(columns)]
    estimates = [_constant(mean, problems, bounds, confidence) for mean in means]
    tail = expanded_tail(problems, confidence)
    moves = [i for i in range(columns) if np.ptp(values[:, i]) > 0]
    # With 8 samples per problem, pass@k has at most 9 values: then it is enough to draw how many
    # problems have each value. The choice depends on the column alone, so its interval does not
    # depend on the other columns.
    few = {i for i in moves if 2 * len(np.unique(values[:, i])) <= problems}
    many = [i for i in moves if i not in few]
    draws = {i: bootstrap_mean_of_few(values[:, i], resamples=resamples, seed=seed) for i in few}
    if many:
        together = bootstrap_means(values[:, many], resamples=resamples, seed=seed)
        draws |= {i: together[:, j] for j, i in enumerate(many)}
    for i, drawn in draws.items():
        low, high = np.quantile(drawn, [tail, 1.0 - tail])
        estimates[i] = Estimate(means[i], float(low), float(high))
    return estimates


def bootstrap_means(values: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """(problems, columns) -> (resamples, columns): means over problems drawn with replacement.

    The cost is problems x resamples, the memory is bounded.
    """
    problems, columns = values.shape
    random = np.random.default_rng(seed)
    means = np.empty((resamples, columns))
    step = max(1, _CELLS // problems)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(0, problems, size=(rows, problems))
        drawn += np.arange(rows)[:, None] * problems
        times = np.bincount(drawn.ravel(), minlength=rows * problems).reshape(rows, problems)
        means[start : start + rows] = times.astype(np.float64) @ values / problems
    return means


def bootstrap_mean_of_few(values: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """(problems,) -> (resamples,): the same distribution, drawn faster where values repeat."""
    kinds, members = np.unique(values, return_counts=True)
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _CELLS // len(kinds))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        times = random.multinomial(len(values), members / len(values), size=rows)
        means[start : start + rows] = times.astype(np.float64) @ kinds / len(values)
    return means


@lru_cache
def expanded_tail(problems: int, confidence: float) -> float:
    """The share to cut from each side so that a percentile interval is as wide as a t-interval."""
    if problems < 2:
        return (1.0 - confidence) / 2
    t = float(stdtrit(problems - 1, 1.0 - (1.0 - confidence) / 2))  # quantile of Student's t
    return NormalDist().cdf(-math.sqrt(problems / (problems - 1)) * t)


def posterior_mean(n: Any, c: Any, confidence: float = CONFIDENCE) -> Estimate:
    """The mean success rate over exactly these problems: mean of their Beta posteriors.

    `n` and `c` hold one count per problem. The interval is the normal one from the posteriors'
    variances (https://arxiv.org/abs/2510.04265, "Bayes@N" with two outcomes).
    """
    a, b = 1.0 + np.asarray(c, dtype=np.float64), 1.0 + np.asarray(n) - np.asarray(c)
    mean = math.fsum(a / (a + b)) / len(a)
    deviation = math.sqrt(math.fsum(a * b / ((a + b) ** 2 * (a + b + 1)))) / len(a)
    z = NormalDist().inv_cdf(1.0 - (1.0 - confidence) / 2)
    return Estimate(mean, max(0.0, mean - z * deviation), min(1.0, mean + z * deviation))


def _constant(
    mean: float, problems: int, bounds: tuple[float, float] | None, confidence: float
) -> Estimate:
    if bounds is None or problems < 2 or mean not in bounds:
        return Estimate(mean)
    low, high = bounds
    reach = (high - low) * (1.0 - (1.0 - confidence) ** (1.0 / (problems + 1)))
    return Estimate(mean, low, low + reach) if mean == low else Estimate(mean, high - reach, high)
