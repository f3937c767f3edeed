"""Text that a model wrote, made safe to read and to show.

    strip_invisible(text)   # without zero-width characters: before an answer is read
    printable(text)         # controls spelled out, as `\\x1b`: in a terminal, a log or a table
    excerpt(text, 60)       # the same, quoted, and shortened in the middle: in messages

Model output can contain escape sequences that clear or rewrite the screen, bidirectional controls,
and invisible characters. Everything here takes time linear in the length of its input. What it
leaves out: escaping for HTML.
"""

from __future__ import annotations

import re
import unicodedata

MAX_TEXT_CHARS = 200_000
"""Only this many characters of a completion are judged; grading takes the last ones."""

# Zero-width and bidirectional controls: invisible, and able to make a text read differently from
# what it is (https://trojansource.codes). U+00AD is the soft hyphen, U+FEFF the byte order mark.
_RANGES = [(0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0xFFF9, 0xFFFB)]
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x61C, 0x180E, 0xFEFF] + [code for low, high in _RANGES for code in range(low, high + 1)]
)

# Joiners are needed by scripts (Persian) and emoji, and do nothing to a terminal.
_KEPT = {"\u200c", "\u200d"}
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_MARKS = re.compile(r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{5,}")


def strip_invisible(text: str) -> str:
    """Remove zero-width and bidirectional control characters."""
    return text if text.isascii() else text.translate(_INVISIBLE)


def excerpt(text: str, limit: int = 200) -> str:
    """A short quoted rendering in one line, as `printable` spells it.

    Shows the beginning and the end of a text longer than `limit` characters.
    """
    if len(text) > limit:
        half = limit // 2
        left, right = printable(text[:half]), printable(text[-half:])
        return f"'{left} … [{len(text) - 2 * half} characters] … {right}'"
    return f"'{printable(text)}'"


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
