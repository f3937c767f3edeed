"""Text and numbers as people see them: escaped, rounded alike everywhere, folded between words.

- `printable`: model output can hold escape sequences that clear the screen or rewrite what stands
  above, controls that turn text around, and invisible characters. They are shown as `\\x1b`,
  `\\u202e`: what a text shows is all it does.
- `rounded`, `percent`: half is rounded up, away from zero. Python's own formatting takes half to
  the even digit, and JavaScript takes it up, so that one share, 4 of 1600, was 0.2 % here and 0.3 %
  there. The review page's own `rounded`, in `dom.js`, does the same.
- `folded`: long lines fold at a terminal's edge; pipes and files get them whole.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import textwrap
import unicodedata
from decimal import ROUND_HALF_UP, Decimal
from typing import TextIO

# Joiners are needed by scripts (Persian) and emoji, and do nothing to a terminal.
_KEPT = {"\u200c", "\u200d"}
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_MARKS = re.compile(r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{5,}")
_MEANT = 12  # significant digits; what comes after them is rounding of the binary number
_INDENT = 4  # of what is folded, beside what it continues


def printable(text: str, *, lines: bool = False, limit: int | None = None) -> str:
    """The text with every control and invisible character spelled out.

    `lines` keeps newlines and tabs; otherwise the result is one line. Longer than `limit`
    characters, it is cut and ends with `…`. Towers of combining marks keep their first four.
    """
    if limit is not None and len(text) > limit:
        text = text[: max(0, limit - 1)] + "…"
    if text.isascii() and text.isprintable():
        return text
    text = _MARKS.sub(lambda found: found[0][:4], text)
    return "".join(_spelled(char, lines) for char in text)


def _spelled(char: str, lines: bool) -> str:
    if char.isprintable() or char in _KEPT or (lines and char in "\n\t"):
        return char
    if unicodedata.category(char) not in _HIDDEN:
        return char  # spaces other than U+0020
    if char in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[char]
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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
    """The columns of the terminal behind a stream; None where there is none."""
    if not stream.isatty():
        return None
    if not os.environ.get("COLUMNS", "").isdecimal():
        try:
            return os.get_terminal_size(stream.fileno()).columns or None
        except (OSError, ValueError):  # a stream that only says that it is a terminal
            pass
    return shutil.get_terminal_size().columns


def folded(text: str, stream: TextIO) -> str:
    """The text folded to the width of the terminal behind `stream`; words (paths) are never cut."""
    width = width_of(stream)
    if width is None:
        return text
    return "\n".join(folded_line(line, width) for line in text.split("\n"))


def folded_line(line: str, width: int) -> str:
    """A line of at most `width` columns, or several: what continues it is indented further."""
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
