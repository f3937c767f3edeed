"""Long lines folded between words where a person reads them; pipes and files get them whole."""

from __future__ import annotations

import os
import shutil
import textwrap
from typing import TextIO

_INDENT = 4  # of what is folded, beside what it continues


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
    """The text as it is shown on `stream`. What has no spaces, such as a path, is never cut."""
    width = width_of(stream)
    if width is None:
        return text
    return "\n".join(_fold(line, width) for line in text.split("\n"))


def _fold(line: str, width: int) -> str:
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
