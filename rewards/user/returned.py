"""What a reward returned, as numbers; or an error that says what came instead.

    listed((1, None, True), 3)    # [1, None, True]; each of them is read by `number_of`
    listed({"a": 1.0}, 1)         # ReturnedError: it returned a dict, {'a': 1.0}; …

Nothing is guessed: the keys of a dict, the characters of a text and the members of a set are no
values in the order of the completions, and the text "1.0" is no number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from typing import Any

_EXPECTED = "a list is expected, with a number or None for each completion"
_SHOWN = 80
_LARGEST = 1e18  # advantages are float32, where the square of more overflows


class ReturnedError(Exception):
    """What a reward gave is no value. The message does not name the reward."""


def listed(result: Any, count: int) -> list[Any]:
    """The elements of a list, tuple, generator, array or tensor, one for each completion.

    Raises:
        ReturnedError: anything else came, or another number of elements.
    """
    plain = result.tolist() if hasattr(result, "tolist") else result  # NumPy, torch, pandas
    if not isinstance(plain, Iterable) or isinstance(plain, str | bytes | Mapping | Set):
        missing = " (is there a `return`?)" if result is None else ""
        raise ReturnedError(f"it returned {described(result)}{missing}; {_EXPECTED}")
    values = list(plain)
    if len(values) != count:
        raise ReturnedError(
            f"it returned {len(values)} values for {count} completions; {_EXPECTED}"
        )
    return values


def number_of(value: Any) -> float | None:
    """A finite float, or None for "no opinion". A bool is a number: 1.0 or 0.0.

    Raises:
        ReturnedError: anything else.
    """
    if value is None:
        return None
    if isinstance(value, str | bytes) or getattr(value, "ndim", 0) != 0:
        raise ReturnedError(f"it returned {described(value)}, no number")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ReturnedError(f"it returned {described(value)}, no number") from None
    if not math.isfinite(number):
        raise ReturnedError(f"it returned {number}")
    if abs(number) > _LARGEST:
        raise ReturnedError(f"it returned {number}, beyond {_LARGEST:g}; scale it down")
    return number


def as_exception(error: BaseException) -> Exception:
    """The error, or one in place of what would end the process (`exit()` in a reward)."""
    if isinstance(error, Exception):
        return error
    return RuntimeError(repr(error)).with_traceback(error.__traceback__)


def described(value: Any) -> str:
    """A value of any type for a message: `a dict, {'a': 1.0}`."""
    if value is None:
        return "None"
    kind = type(value).__name__
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") and value.shape else ""
    article = "an" if kind[0] in "aeiou" else "a"
    text = " ".join(repr(value).split())
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return f"{article} {kind}{shape}, {shown}"
