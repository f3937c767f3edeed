"""One spelling for answers that mean the same: LaTeX, Unicode and source notation made alike.

    spell("$3\\dfrac12$")   # "3\\frac 12"

Only signs change, never values: two answers of one spelling are equal. New signs and commands go
into `vocabulary`. What it leaves out: everything that needs a grammar (`read`, `formula`).
"""

from __future__ import annotations

import re
import unicodedata

from groupwise.rewards.math.vocabulary import (
    COMMANDS,
    FRACTIONS,
    GREEK_LETTERS,
    INDICES,
    PLAIN_INDICES,
    PLAIN_POWERS,
    POWERS,
    SIGNS,
    SPACING,
)

_PARTS = {char: unicodedata.normalize("NFKC", char).split("⁄") for char in FRACTIONS}
_SIGNS = str.maketrans(SIGNS | {c: f" \\frac{{{a}}}{{{b}}} " for c, (a, b) in _PARTS.items()})
_POWER = re.compile(f"[{re.escape(POWERS)}]+")
_GREEK_LETTER = re.compile(rf"(?<![^\W\d_A-Za-z])[{''.join(GREEK_LETTERS)}](?![^\W\d_A-Za-z])")
_INDEX = re.compile(f"[{INDICES}]+")
_TO_PLAIN = str.maketrans(POWERS + INDICES, PLAIN_POWERS + PLAIN_INDICES)
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?|\\[^A-Za-z]")
_NEGATED = re.compile(r"\\not\s*(=|\\in)")
_DEGREES = re.compile(
    r"\s*\^\s*(?:\\circ(?![a-z])|\{\s*\\circ\s*\}|°|\{\s*°\s*\})"
    r"|(?<=\d)\s*\\circ(?![a-z])|\\text\s*\{\s*degrees?\s*\}"
)
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!)\s*(?=\d{3})|(?<=\d)\\,(?=\d{3}(?!\d))")
_COLOUR = re.compile(r"\\(?:text)?color\s*\{[a-z]+\}")
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?=\{)")
# One digit at least three times, or several at least twice, before dots: they go on for ever
_DOTTED = re.compile(
    r"(?<![\d.])(\d{0,9}\.\d{0,9}?)(?:(\d)\2{2,9}|(\d{2,6})\3{1,5})(?:\.\.\.|…|\\l?dots)"
)
_DOT_ABOVE = re.compile(r"\\dot ?\{?(\d)\}?(?:(\d{0,7})\\dot ?\{?(\d)\}?)?")
_REPEATING = re.compile(
    r"(?<![\d.])(\d{0,9})\.(\d{0,9})\\overline\s*(?:\{\s*(\d{1,9})\s*\}|(\d))(?!\d)"
)
_TIMES = re.compile(r"(?<=\d)(?: [xX] (?=\d)|\s?[xX]\s?(?=10\s*\^))")
_MATH_FONT = re.compile(
    r"\\text\s*\{\s*((?:[-+]?[($\d\\.][^{}]*?(?:\{[^{}]*\}[^{}]*?)*)|[^{}]{1})\s*\}"
)
_FONT_SIGN = re.compile(r"\\text\s*(?=-?\d)")
_LETTERS_INSIDE = re.compile(r"\\text\s*\{[^{}]*\}")
_OVER = re.compile(r"\{([^{}]*)\\over(?![a-z])([^{}]*)\}")
_VECTOR = re.compile(r"\\(?:nabla|vec|mathbf|boldsymbol|bm|overrightarrow)(?![a-z])")
_LIBRARY = re.compile(r"\b(?:np|numpy|math|sympy|sp|torch)\.(?=[a-zA-Z])")
_ESCAPED = re.compile(r"\\\\(?=[A-Za-z])")
_PHANTOM = re.compile(r"\\[vh]?phantom\s*\{[^{}]*\}")
_PRIMES = re.compile(r"\s*\^\s*(?:\{\s*('+)\s*\}|('+))")
_POWER_FIRST = re.compile(r"(?<![A-Za-z\\])([A-Za-z])\s*\^\s*(\{[^{}]*\}|\w)\s*_\s*(\{[^{}]*\}|\w)")
_CHOOSE = re.compile(r"\{?([^{}\\]*)\\choose(?![a-z])([^{}\\]*)\}?")
_TEXT_LIST = re.compile(r"\\text\s*\{([^{}\\]*(?:,|\band\b)[^{}\\]*)\}")
_CHOSEN = re.compile(r"(?:\{ ?\})?\s?[_^]\s?\{?(\d{1,3})\}?\s?([CP])\s?_\s?\{?(\d{1,3})\}?")
_CHOSEN_LATER = re.compile(r"(?<![A-Za-z\\])C\s?_\s?(\d|\{\w+\})\s?\^\s?(\d|\{\w+\})")
_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"),
             ('"', '"'), ("'", "'"), ("“", "”"), ("「", "」"), ("_", "_"), ("*", "*"))  # fmt: skip
_SPACE = re.compile(r"(?<!\d) | (?!\d)")


def unwrap(text: str) -> str:
    """Without surrounding space, `$…$`, quote and bold marks, and a final full stop."""
    for _ in range(5):
        before = text
        text = text.strip()
        if text[-1:] in ".,;:。،" and not text.endswith(("\\,", "\\;", "\\:", "...")):
            text = text[:-1].rstrip()
        for opening, closing in _WRAPPERS:
            n = len(opening)
            if (
                len(text) > 2 * n
                and text.startswith(opening)
                and text.endswith(closing)
                and opening not in text[n : -len(closing)].replace("\\$", "")
            ):
                text = text[n : -len(closing)]
                break
        if text == before:
            break
    return text


def spell(text: str) -> str:
    """The one spelling of an answer; words keep single spaces between them.

    The length of the result is linear in that of the text.
    """
    if "..." in text or "…" in text or "dots" in text:
        text = _DOTTED.sub(r"\1\\overline{\2\3}", text)
    text = unwrap(text)
    if not text.isascii():
        text = _in_ascii(text)
    if "\\" in text:
        text = _in_plain_latex(text)
    elif "°" in text:
        text = _DEGREES.sub("°", text)
    if "." in text:
        text = _LIBRARY.sub("", text)
    if "_" in text and "^" in text:
        text = _POWER_FIRST.sub(r"\1_\3^\2", text)
    text = (
        (text if "~~" in text else text.replace("~", " "))
        .replace("**", "^")
        .replace("{,}", ",")
        .replace("{:}", ":")
    )
    if " x " in text or " X " in text or "10" in text:
        text = _TIMES.sub("*", text)
    if "_" in text and ("C" in text or "P" in text):
        text = _CHOSEN_LATER.sub(_combination, _CHOSEN.sub(_calculator, text))
    if text.count("$") > 1 or (text.count("$") == 1 and not text.lstrip("-+ (").startswith("$")):
        text = text.replace("$", " ")
    return " ".join(text.split())


def _in_ascii(text: str) -> str:
    """Signs, digits and letters of other scripts as ASCII has them, where it has them."""
    text = _POWER.sub(lambda m: f"^{{{m[0].translate(_TO_PLAIN)}}}", text)
    text = _INDEX.sub(lambda m: f"_{{{m[0].translate(_TO_PLAIN)}}}", text)
    text = _GREEK_LETTER.sub(lambda m: GREEK_LETTERS[m[0]], text)
    # Before NFKC, which would make 31/2 of 3½; and after it, for what it makes
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)
    text = text.replace("√", "\\sqrt ").replace("∛", "\\sqrt[3]")
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(char)) if not char.isascii() and char.isdecimal() else char
        for char in text
    )


def _in_plain_latex(text: str) -> str:
    """Commands that mean the same by one name, fonts as `\\text`, repeating decimals as fractions."""
    text = _NEGATED.sub(lambda m: "!=" if m[1] == "=" else "\\notin ", _THOUSANDS.sub(",", text))
    if "\\\\" in text and "\\begin" not in text:
        text = _ESCAPED.sub(r"\\", text)
    if "\\choose" in text:
        text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    if "\\over" in text:
        text = _OVER.sub(r"\\frac{\1}{\2}", text)
    if "\\dot" in text:
        text = _DOT_ABOVE.sub(r"\\overline{\1\2\3}", text)
    if "color" in text or "box" in text:
        text = _BOX.sub("", _COLOUR.sub("", text))
    if "\\times" in text and _VECTOR.search(text):
        text = text.replace("\\times", "\\cross")  # a cross product has an order
    text = _COMMAND.sub(_command, text)
    text = _DEGREES.sub("°", text)
    if "\\phantom" in text:
        text = _PHANTOM.sub(" ", text)
    if "'" in text:
        text = _PRIMES.sub(r"\1\2", text)
    if "\\overline" in text:
        text = _REPEATING.sub(_repeating, text)
    if "\\text" in text:
        if (listed := _TEXT_LIST.fullmatch(text.strip())) is not None:
            return listed[1]
        text = _MATH_FONT.sub(_out_of_font, _FONT_SIGN.sub("", text))
    return text.replace("\\{ ", "\\{").replace(" \\}", "\\}").rstrip("\\")


def _command(match: re.Match[str]) -> str:
    name = match[1]
    if name is None:
        return SPACING.get(match[0], match[0])
    return COMMANDS.get(name, match[0])


def _out_of_font(match: re.Match[str]) -> str:
    """`\\text{-13}` is a number in another font; `\\text{5 apples}` as well; `\\text{m}` a unit."""
    inner = match[1]
    if len(inner) == 1 and inner.isalpha():
        return match[0]
    return f" {inner} " if not inner[:1].isdigit() else inner


def _repeating(match: re.Match[str]) -> str:
    whole, fixed = match[1], match[2]
    repeated = match[3] or match[4]
    below = (10 ** len(repeated) - 1) * 10 ** len(fixed)
    top = int(whole + fixed + repeated) - int(whole + fixed or "0")
    return f"\\frac{{{top}}}{{{below}}}"


def _calculator(match: re.Match[str]) -> str:
    """`{}_6P_3`, `^5C_2`: permutations and combinations as calculators write them."""
    of, kind, count = int(match[1]), match[2], int(match[3])
    if count > of:
        return match[0]
    return f"\\binom{{{of}}}{{{count}}}" if kind == "C" else f"\\frac{{{of}!}}{{{of - count}!}}"


def _combination(match: re.Match[str]) -> str:
    """`C_5^2` and `C_{5}^{2}`: the larger of two numbers is the number of things."""
    below, above = match[1].strip("{}"), match[2].strip("{}")
    of, count = (below, above)
    if below.isdigit() and above.isdigit() and int(above) > int(below):
        of, count = above, below
    return f"\\binom{{{of}}}{{{count}}}"


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


def split_top(text: str, separators: re.Pattern[str]) -> list[str]:
    """Split at separators that stand outside all brackets and braces."""
    parts: list[str] = []
    start = 0
    depth, at = 0, 0
    for match in separators.finditer(text):
        between = text[at : match.start()]
        depth += sum(map(between.count, "([{")) - sum(map(between.count, ")]}"))
        at = match.end()
        if depth <= 0:
            parts.append(text[start : match.start()])
            start = match.end()
        else:
            depth += sum(map(match[0].count, "([{")) - sum(map(match[0].count, ")]}"))
    parts.append(text[start:])
    return parts
