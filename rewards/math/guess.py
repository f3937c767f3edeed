"""A guess at the final answer where nothing marks it: bold, whole text, last formula or sentence.

Each takes a text, and whether the reference is a number; None if there is nothing to guess from.

    GUESSES["last_number"]("so it is 1,234 km", True)   # Extraction("1,234", "last_number", 0)

Explicit marks and the order of all rules are in `find`. What it leaves out: what a sentence says
(`statement`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from groupwise.rewards.math.layout import block, without_code
from groupwise.rewards.math.read import read
from groupwise.rewards.math.refusals import denied
from groupwise.rewards.math.spelling import closes_at_end
from groupwise.rewards.math.statement import is_value, last_stated

MAX_ANSWER_CHARS = 2_000
"""The text between the marks of an answer is cut to this length; no reference is nearly as long."""

FORMULA_MARKS = (("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]"), ("$", "$"))

_BETWEEN_FORMULAS = re.compile(
    r"(\$|\\\))\s*(?:,\s*)?(?:\b(or|and)\b(?: (?:else|maybe|perhaps|possibly))?|,)\s*$"
)
_BOLD = re.compile(
    r"\*\*(?:(\W{0,3}\d[\d,.]*(?: ?/ ?\d+)?\\?[%$]?(?: [A-Za-z]+){0,3})\.?|[^*\n]{1,200})\*\*"
)
_PROSE = re.compile(r"[A-Za-z]{2,}")
_COMMAND = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}|\\[A-Za-z]+")


class Extraction(NamedTuple):
    """An answer as it was found: its text, the rule that found it, and where it starts."""

    text: str
    found_by: str
    start: int


def _bold(text: str, _numeric: bool) -> Extraction | None:
    """The only bold quantity on the last line."""
    line = text.rstrip().rfind("\n") + 1
    found = list(_BOLD.finditer(text, line, line + MAX_ANSWER_CHARS))
    if len(found) != 1 or found[0][1] is None or denied(text[line : found[0].start()]):
        return None
    return Extraction(found[0][1], "bold", found[0].start(1))


def _whole(text: str, numeric: bool) -> Extraction | None:
    """A short text of one line without prose around its answer: at most three plain words."""
    text = text.strip()
    if text.startswith(("```\n", "~~~\n")):
        text = block(text)[0]
    if not text or len(text) > 400 or ("\n" in text and "\\begin" not in text):
        return None
    found = Extraction(text, "whole", 0)
    digits = any(map(str.isdigit, text))
    if not digits and is_value(read(text)):
        return found  # a number in words
    if numeric and any("\u3040" <= char <= "\uffdc" and char.isalpha() for char in text):
        return None  # Chinese, Japanese and Korean put no space around a number
    plain = _COMMAND.sub(" ", text)
    words = _PROSE.findall(plain)
    starts_with_word = re.match(r"[ $(*]*[A-Za-z]+(?: |[A-Za-z])", plain) is not None
    if re.match(r"[\s*]*[A-Za-z][^$\\]*(?:\$|\\\(|\\\[)", text):
        return None  # The result is $x + 1$.
    if len(words) > (3 if numeric else 5) or (words and numeric and digits and starts_with_word):
        return None
    return found


def _last_math(text: str, numeric: bool) -> Extraction | None:
    """The last formula; where a number is asked for, only if it holds the last number."""
    text = without_code(text)
    formulas = []
    for opening, closing in FORMULA_MARKS:
        end = text.rfind(closing)
        start = text.rfind(opening, 0, max(end, 0))
        while start > 0 and text[start - 1] == "\\":  # \\$5
            start = text.rfind(opening, 0, start - 1)
        content = text[start + len(opening) : end].strip()
        if content and start >= 0 and end - start <= MAX_ANSWER_CHARS:
            formulas.append((start, content, end + len(closing)))
    if not formulas:
        return None
    start, content, end = max(formulas)
    best = Extraction(content, "last_math", start)
    if numeric and any(map(str.isdecimal, text[end:])):
        return None
    if denied(text[max(0, start - 60) : start], text[end : end + 24]):
        return best._replace(text=f"not {content}")
    joined = with_those_before(text, best, _BETWEEN_FORMULAS)
    if not numeric:
        return joined
    # `$5 and then $6` holds no formula; of `6 \\times 7 = 42` the last side counts
    side = content.rsplit("=", 1)[-1].strip()
    if _PROSE.search(_COMMAND.sub(" ", side)) or not any(map(str.isdecimal, side)):
        return None
    return best._replace(text=side) if joined is best else joined


def with_those_before(
    text: str, last: Extraction, between: re.Pattern[str], opening: str = ""
) -> Extraction:
    """The last box or formula, with those that "or" and "and" join to it: `$2$ or $3$` is no 3."""
    joined = False
    for _ in range(8):
        gap = between.search(text, max(0, last.start - 60), last.start)
        if gap is None or not last.text or not (joined or gap[2]):
            break
        mark = opening or {"$": "$", "\\)": "\\("}[gap[1]]
        start = text.rfind(mark, max(0, gap.start() - MAX_ANSWER_CHARS), gap.start())
        content = text[start + len(mark) : gap.start()].strip()
        if start < 0 or not closes_at_end(content):
            break
        last, joined = Extraction(f"{content} , {last.text}", last.found_by, start), True
    return last


def _last_number(text: str, _numeric: bool) -> Extraction | None:
    found = last_stated(text)
    return None if found is None else Extraction(found[0], "last_number", found[1])


GUESSES: dict[str, Callable[[str, bool], Extraction | None]] = {
    "bold": _bold,
    "whole": _whole,
    "last_math": _last_math,
    "last_number": _last_number,
}
