"""One spelling for answers that mean the same: LaTeX, Unicode and plain notation made alike.

    canonical("$3\\dfrac12$")   # "3\\frac{1}{2}"

`canonical` changes the spelling only, never the value: two answers with the same canonical text are
equal. What it leaves out is everything that needs arithmetic (see `compare`).
"""

from __future__ import annotations

import re
import unicodedata

from groupwise.rewards.math.words import plain_words

_CHARS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": "*", "⋅": "*", "·": "*", "∗": "*",
    "÷": "/", "⁄": "/", "∕": "/", "π": "\\pi ", "∞": "\\infty ", "°": "°", "º": "°",
    "≤": "<=", "⩽": "<=", "≥": ">=", "⩾": ">=", "≠": "!=", "∪": "\\cup ", "∩": "\\cap ",
    "∈": "\\in ", "≃": "≈", "≅": "≈", "±": "\\pm ", "∅": "\\emptyset ",
    "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ",
    "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"', "，": ",", "。": ".",
    "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\t": " ", "\n": " ", "\r": " ",
}  # fmt: skip
FRACTIONS, POWERS = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒", "⁰¹²³⁴⁵⁶⁷⁸⁹"
_CHARS |= {power: f"^{digit}" for digit, power in enumerate(POWERS)}
for _char in FRACTIONS:
    _top, _bottom = unicodedata.normalize("NFKC", _char).split("⁄")
    _CHARS[_char] = f" \\frac{{{_top}}}{{{_bottom}}}"
_TRANSLATE = str.maketrans(_CHARS)

# "not" stands before the "=" of \not=. Fonts become \text, so that only one is known further on
_COMMANDS = {
    "dfrac": "\\frac", "tfrac": "\\frac", "cfrac": "\\frac", "frac": "\\frac",
    "left": "", "right": "", "bigl": "", "bigr": "", "big": "", "Big": "", "Bigl": "", "Bigr": "",
    "bigg": "", "Bigg": "", "biggl": "", "biggr": "", "middle": "",
    "displaystyle": "", "textstyle": "", "limits": "", "nolimits": "", "rm": "", "bf": "", "it": "",
    "quad": " ", "qquad": " ", "cdot": "*", "times": "*", "ast": "*", "div": "/",
    "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=",
    "lt": "<", "gt": ">", "ne": "!=", "neq": "!=", "approx": "≈", "simeq": "≈", "not": "!",
    "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")",
    "vert": "|", "lvert": "|", "rvert": "|", "mid": "|", "degree": "°", "circ": "\\circ",
    "textdegree": "°", "varnothing": "\\emptyset", "textrm": "\\text", "mathrm": "\\text",
    "mathbf": "\\text", "textbf": "\\text", "textit": "\\text", "mathit": "\\text",
    "textsf": "\\text", "texttt": "\\text", "mathsf": "\\text", "mbox": "\\text", "emph": "\\text",
    "textnormal": "\\text", "operatorname": "\\text", "boldsymbol": "", "mathbb": "\\mathbb",
    "land": " and ", "lor": " or ", "wedge": " and ", "vee": " or ", "ldots": "\\dots",
    "cdots": "\\dots", "dotsc": "\\dots", "dotsb": "\\dots", "union": "\\cup", "bigcup": "\\cup",
    "arcsin": "\\arcsin", "dollar": "$", "euro": "€", "pounds": "£", "percent": "%",
    "bar": "\\overline", "langle": "(", "rangle": ")", "colon": ":", "bm": "",
    "underline": "", "dbinom": "\\binom", "tbinom": "\\binom",
    "iff": " or ", "displaylimits": "", "smallskip": "", "hfill": "", "bullet": "*",
}  # fmt: skip
_SYMBOLS = {
    "\\!": "", "\\,": " ", "\\;": " ", "\\:": " ", "\\>": " ", "\\ ": " ", "\\%": "%", "\\$": "$",
    "\\#": "#", "\\&": "&", "\\_": "_", "\\'": "'", "\\/": "",
}  # fmt: skip
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?|\\[^A-Za-z]")
# `1 and 2`, `x = 1 or x = 2`; never between words: "sand or gravel" stays
_CONNECTIVE = re.compile(r"(?<=[^A-Za-z\\])\s*(?:,\s*)?\b(?:and|or)\b\s*(?=[^A-Za-z]|[A-Za-z]\b)")
_WORD_BEFORE = re.compile(r"[A-Za-z]{2}\s*$|[A-Za-z]\s$")
_WORD_AFTER = re.compile(r"\s*[A-Za-z]{2}")
_TEXT_CONNECTIVE = re.compile(r"(?:,\s*)?\\text ?\{\s*,?\s*(?:and|or)\s*\}")
# \frac12, \frac{1}2, \frac1{2}, \frac\pi2; \frac 123 has no certain reading and stays
_SHORT_FRAC = re.compile(
    r"\\frac\s*(?:(\d)\s*(\d)(?!\d)|\{([^{}]*)\}\s*(\w)|(\w)\s*\{([^{}]*)\}"
    r"|([A-Za-z]|\\pi(?![a-z]))\s*(\w)(?!\w))"
)
_SHORT_SQRT = re.compile(r"\\sqrt\s*(\[\d+\]|)\s*(\d+|[A-Za-z])")
_SHORT_BINOM = re.compile(r"\\binom\s*(\d)\s*(\d)(?!\d)")
_DOTTED = re.compile(  # one digit at least three times, or several at least twice
    r"(?<![\d.])(\d{0,9}\.\d{0,9}?)(?:(\d)\2{2,9}|(\d{2,6})\3{1,5})(?:\.\.\.|…|\\l?dots)"
)
# `{}_6P_3`, `^5C_2`: permutations and combinations as calculators write them
_CHOSEN = re.compile(r"(?:\{ ?\})? ?[_^] ?\{?(\d{1,3})\}? ?([CP]) ?_ ?\{?(\d{1,3})\}?")
_DOT_ABOVE = re.compile(r"\\dot ?\{?(\d)\}?(?:(\d{0,7})\\dot ?\{?(\d)\}?)?")
_COLOUR = re.compile(r"\\(?:text)?color\s*\{[a-z]+\}")
_SHORT_BAR = re.compile(r"\\overline\s*(\d)")
# `\text{-13}`, `\text{(3, 2)}`, `\mathbf{\frac{1}{2}}`: mathematics in another font
_UPRIGHT = re.compile(r"\\text ?\{\s*([-+($.\d\\].*)\}")
_UPRIGHT_NUMBER = re.compile(r"(?<![\d.])\\text ?\{ ?([-+]?\d[\d.,]*) ?\}(?!\d)")
_UPRIGHT_POWER = re.compile(r"\\text ?\{([^{}^]*)\^([23]) ?\}")
_UPRIGHT_BARE = re.compile(r"\\text +(?=-?\d)")
_UPRIGHT_RATE = re.compile(
    r"\\frac ?\{ ?\\text ?\{([a-z ]{1,20})\} ?\}\{ ?\\text ?\{([a-z ]{1,20})\} ?\}"
)
_UPRIGHT_CONSTANT = re.compile(r"(?<=[-+*/\d)} ])\\text ?\{ ?([ie]) ?\}")
_RATIO = re.compile(r"(?<=\d) ?(?:\{:\}|\\text ?\{ ?(?:to|:) ?\}) ?(?=\d)")
_NEGATIVE = re.compile(r"(?:negative|minus) (?=[$\d.])", re.IGNORECASE)
_NAMED_VALUES = {
    "all real numbers": "(-\\infty,\\infty)", "all reals": "(-\\infty,\\infty)",
    "set of all real numbers": "(-\\infty,\\infty)", "empty set": "\\emptyset",
    "infinity": "\\infty", "negative infinity": "-\\infty",
}  # fmt: skip
_ONE_IN_BRACES = re.compile(r"(?<=[_^])\s*\{\s*([A-Za-z0-9])\s*\}")
_DEGREES = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\}|°|\{\s*°\s*\})|\\text\{\s*degrees?\s*\}")
_THIN_COMMA = re.compile(r",\\!\s*")
_BRACED_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d{3})")
# 2 1/2, but not the end of 1,002 1/2 or of x_2 1/2, and no date (1 2/3/4)
_PLAIN_MIXED = re.compile(r"(?<![\w.,/^}])(\d{1,9}) (\d{1,4})/(\d{1,4})(?![\w/.])")
_REPEATING = re.compile(r"(?<![\d.])(\d{0,9})\.(\d{0,9})\\overline ?\{(\d{1,9})\}")
_PLAIN_NAMES = re.compile(r"(?<![\\A-Za-z{])(sqrt|pi|sin|cos|tan|ln|infty)(?![A-Za-z])")
_INFINITY = re.compile(r"(?<![\\A-Za-z{])infinity\b")
_SET_BUILDER = re.compile(r"\\\{ ?[A-Za-z] ?(?:\\in ?\\mathbb ?\{?R\}? ?)?[|:](.*)\\\}")
_ROOT_SIGN = re.compile(r"√ ?(\d{1,9}(?:\.\d{1,9})?|[A-Za-z])")
# Space is dropped but between digits: 4 2 is not 42
_SPACE = re.compile(r"(?<!\d) | (?!\d)")
_REALS = re.compile(r"\\mathbb ?(?:\{ ?R ?\}|R)(?![\^])")
_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"))


def _command(match: re.Match[str]) -> str:
    name = match.group(1)
    if name is None:
        return _SYMBOLS.get(match.group(), match.group())
    replaced = _COMMANDS.get(name)
    if replaced is None:
        return match.group()
    # Keep a following letter from running into a command that stays one
    return replaced + " " if replaced[:1] == "\\" and replaced[-1:].isalpha() else replaced


def unwrap(text: str) -> str:
    """Without surrounding space, `$…$`, bold marks, and a final full stop."""
    for _ in range(4):
        before = text
        text = text.strip()
        if text[-1:] in ".,;:" and not text.endswith("\\,"):
            text = text[:-1].rstrip()
        for opening, closing in _WRAPPERS:
            n = len(opening)
            if (
                len(text) > 2 * n
                and text.startswith(opening)
                and text.endswith(closing)
                and opening not in text[n:-n].replace("\\$", "")
            ):
                text = text[n:-n]
                break
        if text == before:
            break
    return text


def canonical(text: str) -> str:
    """The one spelling of an answer; words keep single spaces between them.

    The length of the result is linear in that of the text.
    """
    if "..." in text or "…" in text or "dots" in text:
        text = _DOTTED.sub(r"\1\\overline{\2\3}", text)
    text = unwrap(text)
    if not text.isascii():
        # Before NFKC, which would make 31/2 of 3½; and after it, for what it makes
        text = _ROOT_SIGN.sub(r"\\sqrt{\1}", text).replace("√", "\\sqrt ")
        text = unicodedata.normalize("NFKC", text.translate(_TRANSLATE)).translate(_TRANSLATE)
    text = _BRACED_COMMA.sub(",", text).replace("~", " ")
    if "\\" in text:
        text = _THIN_COMMA.sub(",", text).replace("\\$", "$")
        if "\\dot" in text:
            text = _DOT_ABOVE.sub(r"\\overline{\1\2\3}", text)
        if "color" in text:
            text = _COLOUR.sub("", text)
        text = _COMMAND.sub(_command, text)
        text = _TEXT_CONNECTIVE.sub(" , ", text)
        text = _DEGREES.sub("° ", text)
        text = _BRACED_COMMA.sub(",", text)
        if "\\frac" in text:
            text = _SHORT_FRAC.sub(_braced_frac, text)
        text = _SHORT_SQRT.sub(r"\\sqrt\1{\2}", text)
        if "\\binom" in text:
            text = _SHORT_BINOM.sub(r"\\binom{\1}{\2}", text)
        if "\\text" in text:
            text = _upright(text)
    elif "°" in text or "^" in text:
        text = _DEGREES.sub("° ", text)
    text = _ONE_IN_BRACES.sub(r"\1", text)  # x^{2} and x^2
    if "C" in text or "P" in text:
        text = _CHOSEN.sub(_chosen, text)
    text = _spelled_out(text)
    if " or" in text or " and" in text or "and " in text:
        text = _CONNECTIVE.sub(_comma, text)
    if "$" in text:
        text = text.replace("$", " ").strip() if text.count("$") > 1 else text
    text = " ".join(text.split())
    if 7 < len(text) < 60 and (value := _NAMED_VALUES.get(plain_words(text))) is not None:
        return value
    return text


def _upright(text: str) -> str:
    """Numbers and formulas out of `\\text{}`, which may stand for any font here."""
    whole = _UPRIGHT.fullmatch(text.strip())
    if whole is not None and closes_at_end(whole[1]):
        text = whole[1]
    text = _UPRIGHT_RATE.sub(r"\\text{\1/\2}", _UPRIGHT_BARE.sub("", text))
    text = _UPRIGHT_POWER.sub(r"\\text{\1}^\2", text)
    return _UPRIGHT_CONSTANT.sub(r"\1 ", _UPRIGHT_NUMBER.sub(r"\1", text))


def closes_at_end(text: str) -> bool:
    """Whether the braces are balanced: one opened before the text would close right behind it."""
    depth = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def _spelled_out(text: str) -> str:
    """Plain notation as LaTeX: `2 1/2`, `sqrt(2)`, `0.\\overline{3}`, `{x : x > 2}`."""
    if "/" in text:
        text = _PLAIN_MIXED.sub(_mixed, text)
    if "\\overline" in text:
        text = _REPEATING.sub(_repeating, _SHORT_BAR.sub(r"\\overline{\1}", text))
    if ":" in text or "to" in text:
        text = _RATIO.sub(":", text)
    text = text if (negative := _NEGATIVE.match(text)) is None else "-" + text[negative.end() :]
    text = _PLAIN_NAMES.sub(r"\\\1", text)
    text = _INFINITY.sub(r"\\infty", text)
    if "\\mathbb" in text:
        text = _REALS.sub(r"(-\\infty,\\infty)", text)
    builder = _SET_BUILDER.fullmatch(text.strip()) if text.startswith("\\{") else None
    return builder.group(1) if builder else text


def _comma(match: re.Match[str]) -> str:
    """A comma for `and` and `or`; but one of two people is not both."""
    words = _WORD_BEFORE.search(match.string, max(0, match.start() - 2), match.start())
    prose = words is not None and _WORD_AFTER.match(match.string, match.end()) is not None
    return match.group() if prose and "or" in match.group() else " , "


def _mixed(match: re.Match[str]) -> str:
    whole, top, bottom = match.groups()
    proper = int(top) < int(bottom)
    return f"{whole}\\frac{{{top}}}{{{bottom}}}" if proper else match.group()


def _chosen(match: re.Match[str]) -> str:
    of, kind, count = int(match[1]), match[2], int(match[3])
    if count > of:
        return match.group()
    return f"\\binom{{{of}}}{{{count}}}" if kind == "C" else f"\\frac{{{of}!}}{{{of - count}!}}"


def _repeating(match: re.Match[str]) -> str:
    whole, fixed, repeated = match.groups()
    below = (10 ** len(repeated) - 1) * 10 ** len(fixed)
    top = int(whole + fixed + repeated) - int(whole + fixed or "0")
    return f"\\frac{{{top}}}{{{below}}}"


def _braced_frac(match: re.Match[str]) -> str:
    parts = [part for part in match.groups() if part is not None]
    return f"\\frac{{{parts[0]}}}{{{parts[1]}}}"


def compact(text: str) -> str:
    """Canonical text without space, but between digits: what formulas are compared by."""
    return _SPACE.sub("", text) if " " in text else text


def split_top(text: str, separators: str) -> list[str]:
    """Split at separators that stand outside all brackets and braces."""
    parts: list[str] = []
    depth, start = 0, 0
    for index, char in enumerate(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char in separators and depth <= 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return parts
