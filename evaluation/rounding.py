"""Numbers as people read them. The same rule everywhere: half is rounded up, away from zero.

Python's own formatting takes half to the even digit and the review page's takes it up, so that one
share, 4 of 1600, was 0.2 % here and 0.3 % there. The page's own
`rounded`, in `dom.js`, does the same.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

_MEANT = 12  # significant digits; what comes after them is the binary number's, not the value's


def rounded(x: float, digits: int = 1, sign: str = "") -> str:
    """`x` with so many decimals. `sign="+"` writes that of positive numbers, too.

    >>> rounded(0.25), rounded(39.05), rounded(-2.25), rounded(2.25, sign="+")
    ('0.3', '39.1', '-2.3', '+2.3')
    """
    if not math.isfinite(x):
        return f"{x:{sign}}"
    if abs(x) >= 10**_MEANT:  # nothing is left to round, and Decimal holds 28 digits
        return f"{x:{sign}.{digits}f}"
    exact = Decimal(f"{x:.{_MEANT}g}")
    return f"{exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):{sign}f}"


def percent(share: float, digits: int = 0) -> str:
    """
    >>> percent(4 / 1600, 1), percent(1 / 8)
    ('0.3 %', '13 %')
    """
    return f"{rounded(100 * share, digits)} %"
