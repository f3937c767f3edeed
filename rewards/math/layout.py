"""Layout around an answer: quote marks, code fences, bullets, bold, headings, line breaks.

    block('\\n\"\"\"\\nShe has **72** clips.\\n\"\"\"')   # ("She has 72 clips.", 5)

What it leaves out: which part of the text announces an answer (`find`).
"""

from __future__ import annotations

import re

_FENCE = re.compile(r"(\"{3}|`{3}|~{3})[a-z]*[ \t]*\n?(.*?)(?:\n?[ \t]*\1|\Z)", re.DOTALL)
_BULLET = r"[ \t]*(?:[-*•+]|\d{1,2}[.)])[ \t]+"
_BULLETS = re.compile(rf"(?:{_BULLET}[^\n]+(?:\n|\Z)){{2,}}")
_BULLET_START = re.compile(f"^{_BULLET}", re.MULTILINE)
_MARGIN = re.compile(
    r"(?:[ \t]*(?:>+|[-*•+](?=[ \t])|#{1,6}(?=\s)|\d{1,2}[.)](?=[ \t]+\D))[ \t]*)*"
)
_START = re.compile(r"[\s:\u3000]*(?:[*_]+(?=\s|$)[\s:\u3000]*)*")
_CODE = re.compile(r"^[ \t]*(`{3}|~{3}).*?(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_EMPHASIS = re.compile(
    r"(?<![\w*])(\*{1,2}|_{1,2}|`)(?=[^\s*_`])([^*`\n]{1,300}?)(?<=[^\s*_])\1(?![\w*])"
)


def block(text: str, own_line: bool = False) -> tuple[str, int]:
    """The paragraph that a text begins with, without its layout, and where it starts.

    A fenced block is taken whole, a list of bullets as one line with commas. `own_line`: the text
    begins a line, so that a `-` at its beginning is a bullet; elsewhere it is a minus.
    """
    start = _START.match(text).end()  # type: ignore[union-attr]
    fence = _FENCE.match(text, start)
    if fence is not None:
        inner = fence[2].strip()
        return (block(inner)[0].strip() if "\n" not in inner else inner), fence.start(2)
    bullets = _BULLETS.match(text, start)
    if bullets is not None:
        items = [item.strip() for item in _BULLET_START.sub("", bullets[0]).splitlines()]
        return " , ".join(item for item in items if item), start
    if own_line or "\n" in text[:start] or text.startswith("#", start):
        start = _MARGIN.match(text, start).end()  # type: ignore[union-attr]
    line, newline, below = text[start:].partition("\n")
    return without_emphasis(line) + newline + below, start


def without_emphasis(text: str) -> str:
    """Bold, italics and code marks taken off: `**72**` is 72."""
    return _EMPHASIS.sub(r"\2", text)


def without_code(text: str) -> str:
    """Without fenced blocks: what a program printed is no answer by itself."""
    return _CODE.sub("\n", text) if "```" in text or "~~~" in text else text
