"""Answers in words: how they are compared, and what tells them from formulas.

What it leaves out: number words (`twelve`), which `quantities` reads.
"""

from __future__ import annotations

import re

_TEXT = re.compile(r"\\text ?\{([^{}]*)\}")


def plain_words(text: str) -> str:
    """Words for comparison: without `\\text{}`, case, punctuation, articles and extra space."""
    while (inner := _TEXT.sub(r" \1 ", text)) != text:
        text = inner
    kept = "".join(c if c.isalnum() else "" if c == "'" else " " for c in text.casefold())
    words = kept.split()
    # The A of `A, B` or of `group A` is no article
    return " ".join(
        word
        for word, following in zip(words, [*words[1:], ""], strict=False)
        if word not in ("a", "an", "the") or len(following) < 2
    )


def named(text: str) -> list[str]:
    """What a canonical text of words names, in alphabetical order: `Ann and Bob` is `Bob, Ann`."""
    while (inner := _TEXT.sub(r" \1 ", text)) != text:
        text = inner
    return sorted(plain_words(part) for part in text.split(",") if part.strip())


def is_words(text: str) -> bool:
    """Whether a canonical text is prose or a name and not a formula."""
    if any(char.isdigit() for char in text):
        return False
    if "".join(sorted(text)) in "abcdefghijklmnopqrstuvwxyz":
        return False  # xyz is a product
    words = plain_words(text)
    if "\\" in text.replace("\\text", ""):
        return False
    if any(char in text for char in "=<>^_+*/|"):
        return False
    return any(len(word) >= 3 for word in words.split()) or ("\\text" in text and bool(words))
