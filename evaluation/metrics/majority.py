"""maj@k: how often the answer that most of k samples give is the right one.

Votes are cast for classes of equal answers, not for strings: all samples that were graded correct
are one class; the others are grouped by `answer_class`, which knows that `0.50` and `1/2` are the
same number but not that `x+1` and `1+x` are the same expression. Equal wrong answers in two
spellings therefore split their vote, and maj@k is, if anything, slightly too high.

A sample without an answer does not vote. A tie is broken at random: with t classes at the top, the
right one among them counts 1/t. If nobody votes, the answer is wrong.

Voting is self-consistency (Wang et al. 2022, https://arxiv.org/abs/2203.11171); here the expected
value is computed exactly, where that paper draws votes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np

_NUMBER = re.compile(r"[+-]?(\d{1,40}|\d{1,3}(,\d{3}){1,12})(\.\d{0,40})?|[+-]?\.\d{1,40}")
_FRACTION = re.compile(
    r"(?P<sign>[+-]?)(\\[dt]?frac\{(?P<a>\d{1,40})\}\{(?P<b>\d{1,40})\}"
    r"|(?P<c>\d{1,40})/(?P<d>\d{1,40}))"
)


def answer_class(answer: str) -> str:
    """The class of answers equal to this one: numbers by value, all else by text.

    >>> answer_class("1,000.0") == answer_class("$1000$")
    True
    """
    text = " ".join(answer.split()).strip("$").strip().rstrip(".")
    if len(text) > 100:
        return text
    compact = text.replace(" ", "")
    if _NUMBER.fullmatch(compact):
        return str(Fraction(compact.replace(",", "")))
    found = _FRACTION.fullmatch(compact)
    if found and (below := int(found["b"] or found["d"])) != 0:
        value = Fraction(int(found["a"] or found["c"]), below)
        return str(-value if found["sign"] == "-" else value)
    return text


def maj_at_k(correct: int, wrong: Sequence[int], abstained: int, k: int) -> float:
    """The probability that a vote among k of the samples, drawn without replacement, is right.

    `correct` samples gave the right answer, `wrong[i]` gave the i-th wrong one, `abstained` gave
    none. Exact for every size. NaN if k is more than all of them; ValueError for negative counts or
    k < 1.

    >>> maj_at_k(2, [1], 0, 3)
    1.0
    """
    if k < 1 or correct < 0 or abstained < 0 or any(w < 0 for w in wrong):
        raise ValueError(f"maj@k needs counts >= 0 and k >= 1: {correct, wrong, abstained, k}")
    return _maj_at_k(correct, tuple(sorted((w for w in wrong if w), reverse=True)), abstained, k)


@lru_cache(maxsize=100_000)  # many problems of a log have the same counts
def _maj_at_k(c: int, wrong: tuple[int, ...], abstained: int, k: int) -> float:
    n = c + sum(wrong) + abstained
    if k > n:
        return math.nan
    if c == 0:
        return 0.0
    if k == 1:
        return c / n
    if k == n:
        return 0.0 if wrong and wrong[0] > c else 1.0 / (1 + wrong.count(c))

    # Drawing k of n without replacement is the same as letting each sample in by a coin that shows
    # heads with probability k/n, given that k get in. So the classes' votes are independent
    # binomials, all terms are positive, and nothing overflows or cancels.
    total = sum(_correct_wins_with(j, c, wrong, abstained, k) for j in range(1, min(c, k) + 1))
    return min(1.0, total / _binomial(n, k, k / n))


def _correct_wins_with(j: int, c: int, wrong: tuple[int, ...], abstained: int, k: int) -> float:
    """P(the right answer has j of k votes and wins), before conditioning on k."""
    n = c + sum(wrong) + abstained
    p, others = k / n, k - j
    # Classes smaller than j can neither beat nor tie: they count like abstentions.
    rivals = [w for w in wrong if w >= j]
    harmless = abstained + sum(w for w in wrong if w < j)
    # ways[t, d]: d samples drawn so far outside the right class, t rivals tied at j votes
    ways = np.zeros((min(len(rivals), others // j) + 1, others + 1))
    for d in range(min(harmless, others) + 1):
        ways[0, d] = _binomial(harmless, d, p)
    for w in rivals:
        extended = np.zeros_like(ways)
        for votes in range(min(j - 1, others) + 1):
            extended[:, votes:] += _binomial(w, votes, p) * ways[:, : others + 1 - votes]
        if j <= others:
            extended[1:, j:] += _binomial(w, j, p) * ways[:-1, : others + 1 - j]
        ways = extended
    shares = 1.0 / np.arange(1, ways.shape[0] + 1)
    return _binomial(c, j, p) * float(ways[:, others] @ shares)


@lru_cache(maxsize=100_000)
def _binomial(n: int, k: int, p: float) -> float:
    """C(n, k) p^k (1-p)^(n-k) for 0 < p < 1; the logarithm of a huge integer is exact enough."""
    if k > n:
        return 0.0
    log = math.log(math.comb(n, k)) + k * math.log(p) + (n - k) * math.log1p(-p)
    return math.exp(log)
