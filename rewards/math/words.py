"""Answers in words: how they are compared, and what tells them from formulas.

What it leaves out: number words (`numbers`), and words of choices, truths and units (`read`).
"""

from __future__ import annotations

import re

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_AND = re.compile(r",|;|\band\b|\\text\s*\{\s*and\s*\}")
_PRIME = re.compile(r"(?<![A-Za-z])[A-Za-z]'+(?!s\b|[a-z]{2})")
_FORMULA_SIGNS = re.compile(r"[=<>^_+*/|≈]|\\(?!text)")


def without_text(text: str) -> str:
    """The content of every `\\text{}` in its place."""
    while "\\text" in text and (inner := _TEXT.sub(r" \1 ", text)) != text:
        text = inner
    return text


def plain_words(text: str) -> str:
    """Words for comparison: without `\\text{}`, case, punctuation, articles and extra space."""
    kept = "".join(
        c if c.isalnum() or not (c.isascii() or c.isspace() or _is_mark(c)) else
        "" if c == "'" else " "
        for c in without_text(text).casefold()
    )  # fmt: skip
    words = kept.split()
    # The A of `A, B` or of `group A` is no article
    return " ".join(
        word
        for word, following in zip(words, [*words[1:], ""], strict=False)
        if word not in ("a", "an", "the") or len(following) < 2
    )


def _is_mark(char: str) -> bool:
    return char in "。．！？、，；：「」『』《》（）؟،؛।…“”‘’«»¿¡—–"


def name_list(text: str) -> tuple[str, ...]:
    """What words name, in alphabetical order: `Ann and Bob` is `Bob, Ann`."""
    parts = (plain_words(part) for part in _AND.split(without_text(text)))
    return tuple(sorted(part for part in parts if part))


def is_words(text: str) -> bool:
    """Whether a spelled text is prose or a name and not a formula."""
    if any(char.isdigit() for char in text) or _FORMULA_SIGNS.search(text):
        return False
    if _PRIME.search(text):
        return False
    if "".join(sorted(text)) in "abcdefghijklmnopqrstuvwxyz":
        return False  # xyz is a product
    words = plain_words(text)
    if not words.isascii():
        return True
    return any(len(word) >= 3 for word in words.split()) or ("\\text" in text and bool(words))
