"""Truth values and words of a closed class in a sentence: "The statement is true.", "on Saturday".

    truth_in("True - on a tree it holds")                    # "True"
    named_of_class("The bus was full on Monday.", "Monday")  # "Monday"

What it leaves out: sentences whose truth needs the question ("f is continuous").
"""

from __future__ import annotations

import re

from groupwise.rewards.math.layout import without_emphasis
from groupwise.rewards.math.refusals import denied, denies
from groupwise.rewards.math.vocabulary import CLASSES, NAMED, TRUTHS
from groupwise.rewards.math.words import plain_words

_WORDS = "|".join(sorted((re.escape(word) for word in TRUTHS), key=len, reverse=True))
_LEADING = re.compile(rf"\W*({_WORDS})(?!\w)", re.IGNORECASE)
_PREDICATE = re.compile(
    r"\b(?:is|are|was|=|:|answer|evaluates to|must be|indeed|to be)\W+(true|false)\b(?!\w)",
    re.IGNORECASE,
)
_ANOTHER = re.compile(
    r"\W*(?:or|oder|ou|o|或|but|(?:only )?if|in some|sometimes|idea|doubt|wonder|one|matter|and|yes|no|maybe|true|false|perhaps)\b",
    re.IGNORECASE,
)
_LEADING_LETTER = re.compile(r"\(?[A-Ja-j][).:]\s*")
_NAMED = re.compile(
    r"\b(?:" + "|".join(sorted(map(re.escape, NAMED), key=len, reverse=True)) + r")\b",
    re.IGNORECASE,
)
_CAPITALISED = set(CLASSES[0].split()) | set(CLASSES[1].split())
_ELSEWHERE = re.compile(
    r"\b(?:after|before|but|except|every|until|neither|nowhere|in some)\b", re.IGNORECASE
)
_LIMITED = re.compile(r"\b(?:when|for|in the|but|than)\b", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,60}?)[.:]?\*\*")
_SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n+")


def truth_in(text: str) -> str | None:
    """The truth value that an answer begins with, or that its sentence states; None: none."""
    text = without_emphasis(text.strip())
    letter = _LEADING_LETTER.match(text)
    leading = _LEADING.match(text, letter.end() if letter is not None else 0)
    if leading is not None:
        behind = text[leading.end() :]
        return None if _ANOTHER.match(behind) else leading[1]
    found = {m[1] for m in _PREDICATE.finditer(text) if not denied(text[: m.start(1)], "")}
    return found.pop() if len({word.lower() for word in found}) == 1 and found else None


def last_truth(text: str) -> str | None:
    """The truth value of the last sentence that states one."""
    for sentence in reversed(_SENTENCE.split(without_emphasis(text[-1_000:].strip()))):
        if (word := truth_in(sentence)) is not None and (
            _PREDICATE.search(sentence) or len(sentence.split()) == 1 or sentence[:1].isupper()
        ):
            return word
        if sentence.strip():
            return None
    return None


def named_of_class(text: str, gold: str) -> str | None:
    """The one word of the gold's class (weekdays, months, odd and even) in the last sentence."""
    gold_words = set(re.findall(r"[a-z]+", gold.casefold().replace("\\text", "")))
    sentences = [s for s in _SENTENCE.split(text[-1_000:].strip()) if s.strip()]
    if sentences and (name := NAMED.get(plain_words(gold))) is not None:
        named = [m for m in _NAMED.finditer(sentences[-1]) if NAMED[m[0].casefold()] == name]
        rest = _NAMED.sub(" ", sentences[-1])
        limited = denies(rest) or _LIMITED.search(rest)
        return named[0][0] if named and not limited else None
    if sentences and len(bold := list(_BOLD.finditer(sentences[-1]))) == 1:
        sentence = sentences[-1]
        around = sentence[: bold[0].start()], sentence[bold[0].end() :]
        return None if denied(*around) or denies(" ".join(around)) else bold[0][1]
    members = next((set(c.split()) for c in CLASSES if len(gold_words & set(c.split())) == 1), None)
    if members is None or len(gold_words) > 1:
        return None
    if not sentences or denies(sentences[-1]) or _ELSEWHERE.search(sentences[-1]):
        return None
    capital = gold.strip()[:1].isupper() and members <= _CAPITALISED
    found = [w for w in re.findall(r"(?<![\w-])[A-Za-z]+(?![\w-])(?! \d)", sentences[-1])
             if w.casefold() in members and (w[0].isupper() or not capital)]  # fmt: skip
    return found[0] if len({word.casefold() for word in found}) == 1 else None
