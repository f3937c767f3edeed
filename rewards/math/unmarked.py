"""A guess at the final answer where nothing marks it: bold, the whole text, last formula or number.

Each takes a text, and whether the reference is a number; None if there is nothing to guess from.

    GUESSES["last_number"]("so it is 1,234 km", True)   # Extraction("1,234", "last_number", 9)

What it refuses: a value that is denied ("not 42") or one of several ("41 or 42"). Explicit marks
and the order of all rules are in `extract`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from groupwise.rewards.math.latex import FRACTIONS, POWERS

MAX_ANSWER_CHARS = 2_000
"""The text between the marks of an answer is cut to this length; no reference is nearly as long."""

FORMULA_MARKS = (("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]"), ("$", "$"))

# None begins inside a word or another number: "v2" holds none.
# One number: sign, currency, thousands separators, decimals, a plain fraction, an exponent.
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])[-+−]?(?:\\?[$€£¥₹]\s?)?[-+−]?"
    r"(?:\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d{1,4}(?!\w))?(?:\s?/\s?\d+(?:\.\d+)?)?(?:\s?\\?%)?"
)
_MINUS = re.compile(r"\b(?:negative|(?:is|was|be|of) minus) $", re.IGNORECASE)
_WHOLE_BEFORE = re.compile(r"(?<![\w.,/])\d{1,6} $")
SCALE = re.compile(r" (?:hundred|thousand|million|billion)\b")
_NUMBER_OR_NUMBER = re.compile(r"\d[^\n.]{0,12}?\b(?:or|OR|Or)\b\W{0,6}$")
_NEGATED = re.compile(
    r"(?:\b(?:not|never|cannot)|n['’]t)\s+(?:be\s+|equal\s+(?:to\s+)?)?[\W_]{0,6}$", re.IGNORECASE
)
_NEGATED_AFTER = re.compile(r"[\W_]{0,6}\s(?:is|was|can)(?:\s?not\b|n['’]t\b)", re.IGNORECASE)
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
    if _BOLD_QUANTITY.fullmatch(content) is None:
        return None
    return Extraction(content, "bold", matches[0].start(1))


def _whole(text: str, numeric: bool) -> Extraction | None:
    """A short text of one line without prose around its answer: at most three plain words."""
    stripped = text.strip()
    if not stripped or len(stripped) > 400 or ("\n" in stripped and "\\begin" not in stripped):
        return None
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
    return Extraction(stripped, "whole", text.find(stripped))


def _last_math(text: str, numeric: bool) -> Extraction | None:
    """The last formula; where a number is asked for, only if it holds the last number."""
    best: Extraction | None = None
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
            best = Extraction(content, "last_math", start)
    if best is None:
        return None
    end = best.start + 2 + len(best.text)
    before = text[max(0, best.start - 40) : best.start]
    if _NEGATED.search(before) or _NEGATED_AFTER.match(text, end, end + 24):
        return best._replace(text=f"\\text{{not }}{best.text}")
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


def _last_number(text: str, _numeric: bool) -> Extraction | None:
    # The last window with a digit: a number longer than it is no answer.
    last_digit = next((i for i in range(len(text) - 1, -1, -1) if text[i].isdecimal()), -1)
    if last_digit < 0:
        return None
    begin = max(0, last_digit - 400)
    # A window that begins inside a word or number would make one up
    while 0 < begin < last_digit and not text[begin - 1].isspace():
        begin += 1
    # Digits inside a name ("v2", "XDY2K") are no number; the last real one before them is
    matches = list(NUMBER.finditer(text, begin, min(len(text), last_digit + 8)))
    if not matches:
        return None
    match = matches[-1]
    start, content = match.start(), match.group().strip()
    if scale := SCALE.match(text, match.end()):
        content += scale.group()
    if re.match(r"!+[^\s!]", text[match.end() : match.end() + 9]):  # 5!$ or 5!, not `It is 5!`
        content += "!"
    before = text[max(0, start - 40) : start]
    if text[match.end() : match.end() + 1] in tuple(FRACTIONS + POWERS):
        content += text[match.end()]
    elif content[:1].isdigit() and "/" in content and (whole := _WHOLE_BEFORE.search(before)):
        content = whole.group() + content  # 3 1/2
    if _NUMBER_OR_NUMBER.search(before):  # "41 or 42" is no answer, whichever is right
        content = before[next(i for i, c in enumerate(before) if c.isdecimal()) :] + content
    elif _NEGATED.search(before) or _NEGATED_AFTER.match(text, match.end(), match.end() + 24):
        content = f"not {content}"
    elif _MINUS.search(before):
        content = f"-{content}"
    return Extraction(content, "last_number", start)


GUESSES: dict[str, Callable[[str, bool], Extraction | None]] = {
    "bold": _bold,
    "whole": _whole,
    "last_math": _last_math,
    "last_number": _last_number,
}
