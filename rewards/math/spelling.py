r"""One spelling for answers that mean the same: LaTeX, Unicode and source notation made alike.

    spell("$3\\dfrac12$")   # "3\\frac 12"

Only signs change, never values: two answers of one spelling are equal. New signs and commands go
into `vocabulary`, a new notation into `_REWRITES`, behind what it relies on. What it leaves out:
everything that needs a grammar (`read`, `formula`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from groupwise.rewards.math import vocabulary as known

_PARTS = {char: unicodedata.normalize("NFKC", char).split("⁄") for char in known.FRACTIONS}
_SIGNS = str.maketrans(
    known.SIGNS
    | {"√": "\\sqrt ", "∛": "\\sqrt[3]"}
    | {char: f" \\frac{{{a}}}{{{b}}} " for char, (a, b) in _PARTS.items()}
)
_POWER = re.compile(f"[{re.escape(known.POWERS)}]+")
_INDEX = re.compile(f"[{known.INDICES}]+")
_TO_PLAIN = str.maketrans(known.POWERS + known.INDICES, known.PLAIN_POWERS + known.PLAIN_INDICES)
_GREEK = re.compile(rf"(?<![^\W\d_A-Za-z])[{''.join(known.GREEK_LETTERS)}](?![^\W\d_A-Za-z])")
_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"),
             ('"', '"'), ("'", "'"), ("“", "”"), ("「", "」"), ("_", "_"), ("*", "*"))  # fmt: skip
# One digit at least three times, or several at least twice, before dots: they go on for ever
_DOTTED = re.compile(
    r"(?<![\d.])(\d{0,9}\.\d{0,9}?)(?:(\d)\2{2,9}|(\d{2,6})\3{1,5})(?:\.\.\.|…|\\l?dots)"
)
_VECTOR = re.compile(r"\\(?:nabla|vec|mathbf|boldsymbol|bm|overrightarrow)(?![a-z])")
_ESCAPED = re.compile(r"\\\\(?=[A-Za-z])")
_INLINE = re.compile(r"(?<!\\)\\\((.*?)(?<!\\)\\\)")
_SPACE = re.compile(r"(?<!\d) | (?!\d)")


def unwrap(text: str) -> str:
    """Without surrounding space, `$…$`, quote and bold marks, and a final full stop."""
    before = ""
    while text != before:
        before = text = text.strip()
        if text[-1:] in ".,;:。،" and not text.endswith(("\\,", "\\;", "\\:", "...")):
            text = text[:-1].rstrip()
        for opening, closing in _WRAPPERS:
            if text.startswith(opening) and text.endswith(closing):
                inner = text[len(opening) : -len(closing)]
                if inner and opening not in inner.replace("\\$", ""):
                    text = inner
                    break
    return text


def spell(text: str) -> str:
    """The one spelling of an answer, with single spaces; its length is linear in the text's."""
    if "..." in text or "…" in text or "dots" in text:
        text = _DOTTED.sub(r"\1\\overline{\2\3}", text)
    text = unwrap(text)
    if not text.isascii():
        text = _in_ascii(text)
    if "\\\\" in text and "\\begin" not in text:
        text = _ESCAPED.sub(r"\\", text)
    if "\\times" in text and _VECTOR.search(text):
        text = text.replace("\\times", "\\cross")  # a cross product has an order
    for sign, pattern, by in _REWRITES:
        if sign in text:
            text = pattern.sub(by, text)
    if text.count("$") > 1 or "$" in text.lstrip("-+ (")[1:]:
        text = text.replace("$", " ")  # marks of mathematics, and no currency
    if "\\(" in text:
        text = _INLINE.sub(r" \1 ", text)
    return " ".join(text.split())


def _in_ascii(text: str) -> str:
    """Signs, digits and letters of other scripts as ASCII has them, where it has them."""
    text = _POWER.sub(lambda m: f"^{{{m[0].translate(_TO_PLAIN)}}}", text)
    text = _INDEX.sub(lambda m: f"_{{{m[0].translate(_TO_PLAIN)}}}", text)
    text = _GREEK.sub(lambda m: known.GREEK_LETTERS[m[0]], text)
    # Before NFKC, which would make 31/2 of 3½; and after it, for what it makes
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)


def _command(match: re.Match[str]) -> str:
    if match[1] is None:
        return known.SPACING.get(match[0], match[0])
    return known.COMMANDS.get(match[1], match[0])


def _out_of_font(match: re.Match[str]) -> str:
    r"""`\text{-13}` and `\text{5 apples}` are numbers in another font, `\text{m}` is a unit."""
    inner = match[1]
    if len(inner) == 1 and inner.isalpha():
        return match[0]
    return inner if inner[:1].isdigit() else f" {inner} "


def _repeating(match: re.Match[str]) -> str:
    r"""`0.8\overline{3}` as a fraction."""
    whole, fixed, repeated = match[1], match[2], match[3] or match[4]
    below = (10 ** len(repeated) - 1) * 10 ** len(fixed)
    top = int(whole + fixed + repeated) - int(whole + fixed or "0")
    return f"\\frac{{{top}}}{{{below}}}"


def _chosen(match: re.Match[str]) -> str:
    """`{}_6P_3` and `^5C_2`: permutations and combinations as calculators write them."""
    of, kind, count = int(match[1]), match[2], int(match[3])
    if count > of:
        return match[0]
    return f"\\binom{{{of}}}{{{count}}}" if kind == "C" else f"\\frac{{{of}!}}{{{of - count}!}}"


def _chosen_later(match: re.Match[str]) -> str:
    """`C_5^2` and `C_{5}^{2}`: the larger of two numbers is the number of things."""
    of, count = match[1].strip("{}"), match[2].strip("{}")
    if of.isdigit() and count.isdigit() and int(count) > int(of):
        of, count = count, of
    return f"\\binom{{{of}}}{{{count}}}"


_TABLE: tuple[tuple[str, str, str | Callable[[re.Match[str]], str]], ...] = (
    ("\\not", r"\\not\s*=", "!="),
    ("\\", r"(?<=\d)(?:,\\!\s*|\\,)(?=\d{3}(?!\d))", ","),
    ("\\choose", r"(?:\A|\{)([^{}\\]*)\\choose(?![a-z])([^{}\\]*)\}?", r"\\binom{\1}{\2}"),
    ("\\over", r"\{([^{}]*)\\over(?![a-z])([^{}]*)\}", r"\\frac{\1}{\2}"),
    ("\\dot", r"\\dot ?\{?(\d)\}?(?:(\d{0,7})\\dot ?\{?(\d)\}?)?", r"\\overline{\1\2\3}"),
    ("color", r"\\(?:text)?color\s*\{[a-z]+\}", ""),
    ("\\", r"\\([A-Za-z]+)\*?|\\[^A-Za-z]", _command),
    ("\\circ", r"(?<=[\d^{])\s*\\circ(?![a-z])", "°"),
    ("°", r"\s*\^\s*(?:°|\{\s*°\s*\})", "°"),
    ("\\phantom", r"\\phantom\s*\{[^{}]*\}", " "),
    # Thousands as in Switzerland, 1'250.00; minutes and feet have at most two digits behind
    ("'", r"(?<![\d.,'])\d{1,3}(?:'\d{3})+(?![\d'])", lambda found: found[0].replace("'", "")),
    ("'", r"\s*\^\s*(?:\{\s*('+)\s*\}|('+))", r"\1\2"),
    (
        "\\overline",
        r"(?<![\d.])(\d{0,9})\.(\d{0,9})\\overline\s*(?:\{\s*(\d{1,9})\s*\}|(\d))(?!\d)",
        _repeating,
    ),
    # A list of words in one font, \text{Ann, Bob}; numbers in another one
    ("\\text", r"\A\s*\\text\s*\{(?=[^{}\\]*,)([^{}\\]*)\}\s*\Z", r"\1"),
    ("\\text", r"\\text\s*(?=-?\d)", ""),
    (
        "\\text",
        r"\\text\s*\{\s*([-+]?[($\d\\.][^{}]*(?:\{[^{}]*\}[^{}]*)*|[^{}])\s*\}",
        _out_of_font,
    ),
    ("\\", r"\\+\Z", ""),
    (".", r"\b(?:np|numpy|math|sympy|sp|torch)\.(?=[a-zA-Z])", ""),
    (
        "^",
        r"(?<![A-Za-z\\])([A-Za-z])\s*\^\s*(\{[^{}]*\}|\w)\s*_\s*(\{[^{}]*\}|\w)",
        r"\1_\3^\2",
    ),
    ("~", r"(?<!~)~(?!~)", " "),
    ("**", r"\*\*", "^"),
    ("{,}", r"\{,\}", ","),
    ("{:}", r"\{:\}", ":"),
    ("", r"(?<=\d)(?: [xX] (?=\d)|\s?[xX]\s?(?=10\s*\^))", "*"),
    ("_", r"(?:\{ ?\})?\s?[_^]\s?\{?(\d{1,3})\}?\s?([CP])\s?_\s?\{?(\d{1,3})\}?", _chosen),
    ("_", r"(?<![A-Za-z\\])C\s?_\s?(\d|\{\w+\})\s?\^\s?(\d|\{\w+\})", _chosen_later),
)
"""What a text must contain, a pattern, and its replacement; each builds on those above it."""
_REWRITES = tuple((sign, re.compile(pattern), by) for sign, pattern, by in _TABLE)


def compact(text: str) -> str:
    """Spelled text without space, but between digits: what texts are compared by."""
    return _SPACE.sub("", text) if " " in text else text


def closes_at_end(text: str) -> bool:
    """Whether the braces are balanced: one opened before the text would close right behind it."""
    depth = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def split_top(text: str, separators: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The parts between separators that stand outside all brackets, and these separators."""
    parts: list[str] = []
    found: list[str] = []
    start = at = depth = 0
    for match in separators.finditer(text):
        between = text[at : match.start()]
        depth += sum(map(between.count, "([{")) - sum(map(between.count, ")]}"))
        at = match.end()
        if depth <= 0:
            parts.append(text[start : match.start()].strip())
            found.append(match[0])
            start = at
    return [*parts, text[start:].strip()], found
