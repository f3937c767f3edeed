r"""Answers in words: how they are compared, and what tells them from formulas.

    plain_words("The \text{Red Ball}!")   # "red ball"

What it leaves out: number words (`numbers`), and words of choices, truths and units (`read`).
"""

from __future__ import annotations

import re

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_PUNCTUATION = re.compile(
    r"[\s\x00-/:-@\[-`{-\x7f。．！？、，；：「」『』《》（）؟،؛।…“”‘’«»¿¡—–]+"
)
_AND = re.compile(r",|;|\band\b")
_PRIME = re.compile(r"\b[A-Za-z]'+(?![a-z])")
_FORMULA_SIGNS = re.compile(r"[\d=<>^_+*/|≈]|\\(?!text)")


def without_text(text: str) -> str:
    r"""The content of every `\text{}` in its place."""
    while "\\text" in text and (inner := _TEXT.sub(r" \1 ", text)) != text:
        text = inner
    return text


def plain_words(text: str) -> str:
    r"""Words for comparison: without `\text{}`, case, punctuation, articles and extra space."""
    words = _PUNCTUATION.sub(" ", without_text(text).casefold().replace("'", "")).split()
    # The A of `A, B` or of `group A` is no article
    return " ".join(
        word
        for word, following in zip(words, [*words[1:], ""], strict=False)
        if word not in ("a", "an", "the") or len(following) < 2
    )


def name_list(text: str) -> tuple[str, ...]:
    """What words name, in alphabetical order: `Ann and Bob` is `Bob, Ann`."""
    parts = map(plain_words, _AND.split(without_text(text)))
    return tuple(sorted(part for part in parts if part))


def is_words(text: str) -> bool:
    """Whether a spelled text is prose or a name and not a formula."""
    if _FORMULA_SIGNS.search(text) or _PRIME.search(text):
        return False
    if "".join(sorted(text)) in "abcdefghijklmnopqrstuvwxyz":
        return False  # xyz is a product
    words = plain_words(text)
    return (
        not words.isascii()
        or any(len(word) >= 3 for word in words.split())
        or ("\\text" in text and words != "")
    )
