"""A guess at the final answer where nothing marks it: bold, whole text, last formula or sentence.

Each takes a text, and whether the reference is a number; None if there is nothing to guess from.

    GUESSES["last_number"]("so it is 1,234 km", True)   # Extraction("1,234", "last_number", 9)

Explicit marks and the order of all rules are in `find`. What it leaves out: what a sentence says
(`statement`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from groupwise.rewards.math.layout import block, without_code
from groupwise.rewards.math.refusals import denied
from groupwise.rewards.math.read import read
from groupwise.rewards.math.statement import is_value, last_stated

MAX_ANSWER_CHARS = 2_000
"""The text between the marks of an answer is cut to this length; no reference is nearly as long."""

FORMULA_MARKS = (("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]"), ("$", "$"))

# One number: sign, currency, thousands separators, decimals, a plain fraction, an exponent. None
# begins inside a word or another number: "v2" holds none.
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])[-+−]?(?:\\?[$€£¥₹]\s?)?[-+−]?"
    r"(?:\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d{1,4}(?!\w))?(?:\s?/\s?\d+(?:\.\d+)?)?(?:\s?\\?%)?"
)
_IS_THE_ANSWER = re.compile(r"\b(?:is|was) (?:the|my|our)\b")
_JOINED = re.compile(
    r"(\$|\\\))\s*(?:,\s*)?(?:\b(or|and)\b(?: (?:else|maybe|perhaps|possibly))?|,)\s*$"
)
_BOLD = re.compile(r"(?<![\w*])\*\*([^*\n]{1,200})\*\*(?![\w*])")
_BOLD_QUANTITY = re.compile(rf"(?:[A-Za-z] ?= ?)?\$?(?:{NUMBER.pattern})\$?(?: [A-Za-z]+){{0,3}}")
_PROSE = re.compile(r"[A-Za-z]{2,}")
_COMMAND = re.compile(
    r"\\(?:text|mathrm|textbf|mathbf|mbox|textit|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+"
    r"|(?:begin|end)?\{[a-z]*matrix\}"
)


class Extraction(NamedTuple):
    """An answer as it was found: its text, the rule that found it, and where it starts."""

    text: str
    found_by: str
    start: int


def _bold(text: str, _numeric: bool) -> Extraction | None:
    at = text.rstrip().rfind("\n") + 1
    matches = list(_BOLD.finditer(text, at, at + MAX_ANSWER_CHARS))
    if len(matches) != 1:
        return None
    content = matches[0].group(1).strip().rstrip(".")
    if _BOLD_QUANTITY.fullmatch(content) is None or denied(text[: matches[0].start()][-60:], ""):
        return None
    return Extraction(content, "bold", matches[0].start(1))


def _whole(text: str, numeric: bool) -> Extraction | None:
    """A short text of one line without prose around its answer: at most three plain words."""
    stripped = text.strip()
    if stripped.startswith(("```\n", "~~~\n")):
        stripped = block(stripped)[0]
    if not stripped or len(stripped) > 400 or ("\n" in stripped and "\\begin" not in stripped):
        return None
    if len(stripped) < 60 and not any(map(str.isdigit, stripped)) and is_value(read(stripped)):
        return Extraction(stripped, "whole", max(0, text.find(stripped)))  # a number in words
    if numeric and any("\u3040" <= char <= "\uffdc" and char.isalpha() for char in stripped):
        return None  # Chinese, Japanese and Korean put no space around a number
    plain = _COMMAND.sub(" ", stripped)
    words = _PROSE.findall(plain)
    if words and not numeric and re.match(r"[\s*]*[A-Za-z][^$\\]*(?:\$|\\\(|\\\[)", stripped):
        return None  # The result is $x + 1$.
    numbers = NUMBER.findall(stripped) if words else []
    starts_with_word = re.match(r"[ $(*]*[A-Za-z]+(?: |[A-Za-z])", plain) is not None
    if len(words) > (3 if numeric else 5) or (numeric and numbers and starts_with_word):
        return None
    if numbers and _IS_THE_ANSWER.search(plain):
        return None
    return Extraction(stripped, "whole", max(0, text.find(stripped)))


def _last_math(text: str, numeric: bool) -> Extraction | None:
    """The last formula; where a number is asked for, only if it holds the last number."""
    if "```" in text:
        text = without_code(text)
    best: Extraction | None = None
    stop = 0
    for opening, closing in FORMULA_MARKS:
        end = text.rfind(closing)
        if end <= 0:
            continue
        start = text.rfind(opening, 0, end)
        while start > 0 and opening == "$" and text[start - 1] == "\\":
            start = text.rfind(opening, 0, start)
        if start < 0 or end - start > MAX_ANSWER_CHARS:
            continue
        content = text[start + len(opening) : end].strip()
        if content and (best is None or start > best.start):
            best, stop = Extraction(content, "last_math", start), end + len(closing)
    if best is None:
        return None
    end = stop
    before = text[max(0, best.start - 60) : best.start]
    if denied(before, text[end : end + 24]):
        return best._replace(text=f"not {best.text}")
    joined = _with_those_before(text, best)
    if not numeric:
        return joined
    # `$5 and then $6` holds no formula; of `6 \\times 7 = 42` the last side counts
    inside = best.text.rsplit("=", 1)[-1].strip() if "\\begin" not in best.text else ""
    after = text[end:]
    prose = _PROSE.search(_COMMAND.sub(" ", inside))
    if not inside or prose or any(char.isdecimal() for char in after):
        return None
    if not any(char.isdecimal() for char in inside):
        return None
    return best._replace(text=inside) if joined is best else joined


def _with_those_before(text: str, last: Extraction) -> Extraction:
    """The last formula, with those that "or" and "and" join to it: `$2$ or $3$` is no 3."""
    joined = False
    for _ in range(8):
        before = text[: max(text.rfind(mark, 0, last.start + 2) for mark in ("$", "\\(", "\\["))]
        between = _JOINED.search(before, max(0, len(before) - 40))
        if between is None or not (joined or between[2]):
            break
        closing = between[1]
        opening = {"$": "$", "\\)": "\\("}[closing]
        end = between.start()
        start = text.rfind(opening, 0, end)
        if start < 0 or end - start > MAX_ANSWER_CHARS:
            break
        content = text[start + len(opening) : end].strip()
        last = Extraction(f"{content} , {last.text}", "last_math", start)
        joined = True
    return last


def _last_number(text: str, numeric: bool) -> Extraction | None:
    found = last_stated(text)
    return None if found is None else Extraction(found[0], "last_number", found[1])


GUESSES: dict[str, Callable[[str, bool], Extraction | None]] = {
    "bold": _bold,
    "whole": _whole,
    "last_math": _last_math,
    "last_number": _last_number,
}


def find_unescaped(text: str, mark: str, start: int) -> int:
    """Where a mark stands next that no backslash escapes; -1 if nowhere."""
    at = text.find(mark, start)
    while at > 0 and text[at - 1] == "\\" and mark[0] == "$":
        at = text.find(mark, at + 1)
    return at
