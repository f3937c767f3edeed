"""Text that a model wrote, made safe to look at: excerpts for messages, and cleaned characters.

Everything here is linear in the length of its input.
"""

from __future__ import annotations

import unicodedata

MAX_TEXT_CHARS = 200_000
"""Longer completions are judged by their last this many characters: answers stand at the end."""

# Zero-width and bidirectional controls: invisible, and able to make a text read differently from
# what it is (https://trojansource.codes). U+00AD is the soft hyphen, U+FEFF the byte order mark.
_RANGES = [(0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0xFFF9, 0xFFFB)]
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x61C, 0x180E, 0xFEFF] + [code for low, high in _RANGES for code in range(low, high + 1)]
)


def strip_invisible(text: str) -> str:
    """Remove zero-width and bidirectional control characters."""
    return text if text.isascii() else text.translate(_INVISIBLE)


def excerpt(text: str, limit: int = 200) -> str:
    """A short one-line rendering for messages and terminals; controls and bidi are escaped.

    Shows the beginning and the end of a text longer than `limit` characters.
    """
    if len(text) > limit:
        half = limit // 2
        left, right = _escape(text[:half]), _escape(text[-half:])
        return f"'{left} … [{len(text) - 2 * half} characters] … {right}'"
    return f"'{_escape(text)}'"


def _escape(text: str) -> str:
    return "".join(
        char if char == " " or char.isprintable() else repr(char)[1:-1]
        for char in unicodedata.normalize("NFC", text)
    )
