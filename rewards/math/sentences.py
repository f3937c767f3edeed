"""Truth values and words of a closed class in a sentence: "The statement is true.", "on Saturday".

    truth_in("True - on a tree it holds")                    # "True"
    named_of_class("The bus was full on Monday.", "Monday")  # "Monday"

A new class of words goes into `vocabulary`. What it leaves out: sentences whose truth needs the
question ("f is continuous").
"""

from __future__ import annotations

import re

from groupwise.rewards.math.layout import without_emphasis
from groupwise.rewards.math.refusals import denied, denies
from groupwise.rewards.math.vocabulary import CLASSES, NAMED, TRUTHS
from groupwise.rewards.math.words import plain_words

_WORDS = "|".join(sorted((re.escape(word) for word in TRUTHS), key=len, reverse=True))
_LEADING = re.compile(rf"\W*(?:[A-Ja-j][).:]\s*)?\W*({_WORDS})(?!\w)", re.IGNORECASE)
_PREDICATE = re.compile(
    r"(?:\b(?:is|are|was|answer|evaluates to|must be|indeed|to be)|[=:])\W+(true|false)\b",
    re.IGNORECASE,
)
# Behind a leading "yes" or "no", so that it is no answer: "no one", "yes and no", "true if x > 0"
_GOES_ON = re.compile(
    r"\W*(?:or|oder|ou|o|或|but|(?:only )?if|in some|sometimes|idea|doubt|wonder|one|matter|and"
    r"|yes|no|maybe|true|false|perhaps)\b",
    re.IGNORECASE,
)
_NAMES = "|".join(sorted(map(re.escape, NAMED), key=len, reverse=True))
_NAMED = re.compile(rf"\b(?:{_NAMES})\b", re.IGNORECASE)
_ELSEWHERE = re.compile(
    r"\b(?:after|before|except|every|until|neither|nowhere|in some)\b", re.IGNORECASE
)
_LIMITED = re.compile(r"\b(?:when|for|in the|than)\b", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,60}?)[.:]?\*\*")
_SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n+")


def truth_in(text: str) -> str | None:
    """The truth value that an answer begins with, or that its sentence states; None: none."""
    text = without_emphasis(text.strip())
    if (leading := _LEADING.match(text)) is not None:
        return None if _GOES_ON.match(text, leading.end()) else leading[1]
    stated = [m[1] for m in _PREDICATE.finditer(text) if not denied(text[: m.start(1)])]
    return stated[0] if len({word.casefold() for word in stated}) == 1 else None


def last_truth(text: str) -> str | None:
    """The truth value of the last sentence, if it states one."""
    sentences = [s for s in _SENTENCE.split(without_emphasis(text[-1_000:].strip())) if s.strip()]
    return truth_in(sentences[-1]) if sentences else None


def named_of_class(text: str, gold: str) -> str | None:
    """The one word of the gold's class (weekdays, months, odd and even) in the last sentence."""
    sentences = [s for s in _SENTENCE.split(text[-1_000:].strip()) if s.strip()]
    if not sentences:
        return None
    last = sentences[-1]
    if (name := NAMED.get(plain_words(gold))) is not None:
        named = [m[0] for m in _NAMED.finditer(last) if NAMED[m[0].casefold()] == name]
        rest = _NAMED.sub(" ", last)
        return named[0] if named and not denies(rest) and not _LIMITED.search(rest) else None
    if len(bold := list(_BOLD.finditer(last))) == 1:
        around = last[: bold[0].start()], last[bold[0].end() :]
        return None if denied(*around) or denies(" ".join(around)) else bold[0][1]
    words = re.findall(r"[a-z]+", gold.casefold().replace("\\text", ""))
    members = next((c.split() for c in CLASSES if len(words) == 1 and words[0] in c.split()), None)
    if members is None or denies(last) or _ELSEWHERE.search(last):
        return None
    # "May" and "Sunday" are written so; "odd" is odd in a heading too
    capital = gold.strip()[:1].isupper() and members[0] in ("monday", "january")
    found = [
        word
        for word in re.findall(r"(?<![\w-])[A-Za-z]+(?![\w-])(?! \d)", last)
        if word.casefold() in members and (word[0].isupper() or not capital)
    ]
    return found[0] if len({word.casefold() for word in found}) == 1 else None
