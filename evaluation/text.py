"""Text and numbers for display: escaped, rounded consistently, folded between words.

- `printable` (of `rewards.text`): escapes escape sequences, bidirectional controls and invisible
  characters, which a model's output can contain.
- `rounded`, `percent`: half is rounded away from zero. Python's own formatting rounds half to even
  and JavaScript rounds it up: the same share, 4 of 1600, would be 0.2 % here and 0.3 % there. The
  review page's own `rounded`, in `dom.js`, does the same as this one.
- `folded`: long lines fold at a terminal's edge; pipes and files get them whole.
"""

from __future__ import annotations

import math
import os
import shutil
import textwrap
from decimal import ROUND_HALF_UP, Decimal
from typing import TextIO

from groupwise.rewards.text import printable as printable

_MEANT = 12  # significant digits; later ones are rounding errors of the binary number
_INDENT = 4  # of what is folded, beside what it continues


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


def width_of(stream: TextIO) -> int | None:
    """The columns of the terminal behind a stream; None if there is none."""
    if not stream.isatty():
        return None
    if not os.environ.get("COLUMNS", "").isdecimal():
        try:
            return os.get_terminal_size(stream.fileno()).columns or None
        except (OSError, ValueError):  # `isatty` is true, but there is no terminal behind it
            pass
    return shutil.get_terminal_size().columns


def folded(text: str, stream: TextIO) -> str:
    """The text folded to the width of the terminal behind `stream`; words (paths) are never cut."""
    width = width_of(stream)
    if width is None:
        return text
    return "\n".join(folded_line(line, width) for line in text.split("\n"))


def folded_line(line: str, width: int) -> str:
    """The line, or several of at most `width` columns; continuation lines are indented further."""
    if len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + _INDENT)
    return "\n".join(
        textwrap.wrap(
            line,
            max(width, len(indent) + 20),
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
            expand_tabs=False,
            replace_whitespace=False,
        )
    )
