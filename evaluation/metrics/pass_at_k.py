"""How often at least one of k answers is right (pass@k), or all of them (pass^k).

All take n, the number of samples of a problem, and c, how many of them are right. They give the
exact expected value over every choice of k of the n samples, which is the unbiased estimate; the
tempting `any(right[:k])` has the same mean and far more noise, and 1 - (1 - c/n)^k is biased.

What it leaves out: intervals over problems (intervals.py), votes (majority.py), the comparison of
two models (paired.py).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

Counts = Sequence[int] | NDArray[np.integer[Any]]
Floats = NDArray[np.float64]


@overload
def pass_at_k(n: int, c: int, k: int) -> float: ...
@overload
def pass_at_k(n: int | Counts, c: int | Counts, k: int | Counts) -> float | Floats: ...
def pass_at_k(n: int | Counts, c: int | Counts, k: int | Counts) -> float | Floats:
    """The probability that at least one of k samples drawn from the n is right.

    1 - C(n-c, k) / C(n, k), as a product of ratios so that nothing overflows (Chen et al. 2021,
    https://arxiv.org/abs/2107.03374, section 2.1). Plain integers give a float; if any argument is
    an array they are broadcast, and an array comes back.

    NaN if k > n: too few samples to say. ValueError for k < 1, c < 0, c > n or fractions.

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if all(isinstance(x, SupportsIndex) and not _is_array(x) for x in (n, c, k)):
        return _pass_at_k(*_checked(n, c, k))
    return _by_table(n, c, k, _pass_table)


@overload
def pass_hat_k(n: int, c: int, k: int) -> float: ...
@overload
def pass_hat_k(n: int | Counts, c: int | Counts, k: int | Counts) -> float | Floats: ...
def pass_hat_k(n: int | Counts, c: int | Counts, k: int | Counts) -> float | Floats:
    """The probability that all of k samples drawn from the n are right ("pass^k").

    C(c, k) / C(n, k) (Yao et al. 2024, https://arxiv.org/abs/2406.12045, section 3). Arguments,
    NaN and errors as `pass_at_k`.

    >>> pass_hat_k(4, 3, 2)
    0.5
    """
    if all(isinstance(x, SupportsIndex) and not _is_array(x) for x in (n, c, k)):
        n_, c_, k_ = _checked(n, c, k)
        if k_ > n_:
            return math.nan
        return math.prod((c_ - i) / (n_ - i) for i in range(k_)) if c_ >= k_ else 0.0
    # All k are right if and only if none is wrong: 1 - pass@k of the wrong ones.
    return _by_table(n, c, k, lambda n_, k_: 1.0 - _pass_table(n_, k_)[::-1])


def mean_at_n(n: int, c: int) -> float:
    """The share of right samples, c/n ("mean@n", "avg@n"): the same number as pass@1.

    NaN for n = 0.
    """
    n, c, _ = _checked(n, c, 1)
    return c / n if n else math.nan


def crossing_k(first: Sequence[float], second: Sequence[float]) -> int | None:
    """The smallest k at which the curve that starts lower is above the other; None if it never is.

    `first[i]` and `second[i]` are pass@(i+1) of two models on the same problems. Tuning often
    raises pass@1 while the base model, which guesses more widely, overtakes at a large k (Yue et
    al. 2025, https://arxiv.org/abs/2504.13837). Where the curves touch, neither is above.

    >>> crossing_k([0.2, 0.5, 0.7], [0.4, 0.5, 0.6])
    3
    """
    if len(first) != len(second):
        raise ValueError(f"two curves of the same length, not {len(first)} and {len(second)}")
    leader = 0
    for k, (a, b) in enumerate(zip(first, second, strict=True), start=1):
        if math.isnan(a) or math.isnan(b) or math.isclose(a, b, rel_tol=0.0, abs_tol=1e-12):
            continue
        sign = 1 if a > b else -1
        if leader == 0:
            leader = sign
        elif sign != leader:
            return k
    return None


def _pass_at_k(n: int, c: int, k: int) -> float:
    if k > n:
        return math.nan
    if n - c < k:
        return 1.0
    if k <= c:  # the same quotient, whichever way has fewer factors
        return 1.0 - math.prod((n - c - i) / (n - i) for i in range(k))
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def _pass_table(n: int, k: int) -> Floats:
    """pass@k for c = 0 .. n; shape (n + 1,)."""
    if k > n:
        return np.full(n + 1, np.nan)
    i = np.arange(n, 0, -1, dtype=np.float64)
    # Once n - c < k the quotient is 0 and stays so: the factors beyond would be negative.
    none_right = np.cumprod(np.maximum(1.0 - k / i, 0.0))
    return np.concatenate([[0.0], 1.0 - none_right])


def _by_table(n: Any, c: Any, k: Any, table: Any) -> Floats:
    """Broadcasts, makes one table for each (n, k) that occurs, and looks c up in it."""
    arrays = [np.asarray(x) for x in (n, c, k)]
    for array in arrays:
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"n, c and k are whole numbers, not {array.dtype}")
    n, c, k = np.broadcast_arrays(*(array.astype(np.int64) for array in arrays))
    if np.any(k < 1) or np.any(c < 0) or np.any(c > n):
        raise ValueError("pass@k needs 0 <= c <= n and k >= 1 everywhere")
    result = np.empty(n.shape, dtype=np.float64)
    pairs, which = np.unique(np.stack([n.ravel(), k.ravel()]), axis=1, return_inverse=True)
    flat, flat_c, which = result.reshape(-1), c.ravel(), np.asarray(which).reshape(-1)
    for pair in range(pairs.shape[1]):
        rows = which == pair
        flat[rows] = table(int(pairs[0, pair]), int(pairs[1, pair]))[flat_c[rows]]
    return result


def _checked(n: Any, c: Any, k: Any) -> tuple[int, int, int]:
    n, c, k = operator.index(n), operator.index(c), operator.index(k)
    if k < 1 or c < 0 or c > n:
        raise ValueError(f"pass@k needs 0 <= c <= n and k >= 1, not n={n}, c={c}, k={k}")
    return n, c, k


def _is_array(x: Any) -> bool:
    return bool(getattr(x, "ndim", 0))
