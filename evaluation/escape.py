"""Text of unknown origin, made fit for a terminal: what it shows is all it does.

Model output can hold escape sequences that clear the screen or rewrite what stands above, controls
that turn text around, and invisible characters. They are shown as `\\x1b`, `\\u202e`.
"""

from __future__ import annotations

import re
import unicodedata

# Joiners are needed by scripts (Persian) and emoji, and do nothing to a terminal.
_KEPT = {"\u200c", "\u200d"}
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_MARKS = re.compile(r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{5,}")


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
