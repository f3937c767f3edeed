"""What takes an answer back: "not", "or", "maybe", "half of", two answers, "I don't know".

    denied("it is at least ", " km")   # True: the 42 between them is not the answer

Every rule that takes a value out of a text asks here whether the words around it leave it standing;
a new word that does not goes into one of these patterns. What it leaves out: which value is meant
(`statement`).
"""

from __future__ import annotations

import re

from groupwise.rewards.math.vocabulary import DENYING, UNKNOWING

# In a label or clause beside a value
_DENIAL = re.compile(
    r"\b(?:not|no|nor|or|either|neither|never|maybe|perhaps|possibly|wrong|incorrect|false"
    r"|anything but|unless|except|excluding|but|nicht|kein|another|alternative(?:ly)?|also"
    r"|at most|at least|bound|almost|wait|on second thought|sorry|rather|actually|otherwise|again"
    r"|well|(?:could|might|may) be|if|instead)\b|n['’]t\b|\?|\bthan\W*$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
# In front of a value; what these words make of it is no value or another one
_BEFORE = re.compile(
    r"(?:(?:\b(?:not|never|cannot|nor|neither|isn|without|except|excluding|anything but|instead of"
    r"|hardly|far from|all but|everything but|every day but|nicht|kein|keine|no es|non è"
    r"|n['’]est pas|não é|nie jest|не"
    r"|(?:wrong|incorrect)(?: answer)?|almost|nearly|at (?:least|most)|up to|under"
    r"|over|plus|divided by|multiplied by|(?:less|more|fewer|greater|other|rather|larger|smaller)"
    r" than|half|twice|double|triple|thrice|root|multiple|factor|divisor|power|cube|square|inverse"
    r"|opposite|reciprocal|third|quarter|fraction|row|column|seat|day after|day before)|n['’]t)"
    r"(?: (?:be|equal(?: to)?|simply|just|possible values?|or equal to|of|from|the))*[:,]?\s"
    r"|\b(?:not|wrong|bound|at (?:most|least))\b[^,.;=]{0,12}=|\bnot[\s}]*(?:\\approx|≈|\\equiv)"
    r"|≠|!=|\\neq?|\\not ?=?|[<>]=?|[≤≥⩽⩾]|±|\\pm|\\[lg](?:t|eq?)|不是|不等于|大于|小于|负)"
    r"[\W_]{0,6}$",
    re.IGNORECASE,
)
# What is found faster: a word or sign of `_BEFORE`
_HINT_SIGNS = re.compile(r"[<>≠≤≥⩽⩾±=不大小负]|\\[nlgp]")
_BEHIND = re.compile(
    r"[\W_]{0,6}\s(?:(?:is|was|can|are|does|would|could)(?:\s?not\b|n['’]t\b)|fails"
    r"|(?:must be|is) (?:rejected|excluded|impossible|wrong|incorrect|false|too)\b)"
    r"|\s?(?:(?:[a-z]+ )?(?:less|more|fewer|greater|larger|smaller) than \d"
    r"|(?:plus|minus|times|divided by|multiplied by) (?:\d|one|two)|to the power\b"
    r"|(?:out of|over|per|of|in) \d|[a-z ]{0,20}(?:below|if)\b|\(?(?:false|wrong)\b|,? but\b"
    r"|(?:[a-z]+ )?(?:or|oder|ou|at most|at least)\b"
    r"|halved|doubled|inverse|factorial|octal|increased|decreased)",
    re.IGNORECASE,
)
_DOUBTED_MARK = re.compile(
    r"\b(?:(?:wrong|incorrect|false|first|previous|earlier|initial)\s|(?:assume|suppose"
    r"|(?<!no )doubt|false|unlikely|impossible|no longer)\b[^.!?\n]{0,40})$",
    re.IGNORECASE,
)
_OTHER_PART = re.compile(r"s? (?:to|of|for) (?:the )?(?:first|second|last|next) ", re.IGNORECASE)
_SECOND_THOUGHT = (
    r"(?:it could|i doubt|\(?or \d|and \d|or|wait|actually|no|hmm|perhaps|maybe|alternatively"
    r"|on second thought|is (?:wrong|incorrect|false)|but (?:this|that|it)|sorry)\b"
)
_NEXT_THOUGHT = re.compile(rf"[.!?\n]\s*{_SECOND_THOUGHT}|\bnot sure\b", re.IGNORECASE)
_AT_ONCE = re.compile(rf"[\s}}$).*\]\\?]*\s{_SECOND_THOUGHT}[^\n]{{0,80}}", re.IGNORECASE)
_ANOTHER = re.compile(r"\d|\b(?:wrong|incorrect|false|not|[A-J])\b|n['’]t\b")
_ALTERNATIVE = re.compile(r"\b(?:or|either|oder|ou|или|または|أو)\b|或", re.IGNORECASE)


def denies(words: str) -> bool:
    """Whether a label or clause beside a value takes it back, or makes it one of several."""
    return _DENIAL.search(words) is not None


def denied(before: str, behind: str = "") -> bool:
    """Whether the words around a value deny it: `not 42`, `42 is not the answer`, `half of 42`."""
    hinted = _HINT_SIGNS.search(before) or not DENYING.isdisjoint(_WORD.findall(before.lower()))
    if hinted and _BEFORE.search(before) is not None:
        return True
    return _BEHIND.match(behind) is not None


def doubted(before: str, behind: str) -> bool:
    """Whether the words around a mark take it back: `the wrong answer is`."""
    return _DOUBTED_MARK.search(before) is not None or _OTHER_PART.match(behind) is not None


def thinks_again(text: str) -> bool:
    """Whether a sentence begins with a second thought: `42. Wait, 43`."""
    return _NEXT_THOUGHT.search(text) is not None


def retraction(text: str, end: int) -> str:
    """What takes back the answer that ends there, at once behind it: `116. Or is it 120?`."""
    behind = _AT_ONCE.match(text, end)
    return behind[0] if behind is not None and _ANOTHER.search(behind[0]) else ""


def offers_another(between: str) -> bool:
    """Whether the words between two values make them alternatives: `41 or 42`."""
    return _ALTERNATIVE.search(between) is not None


def knows_nothing(text: str) -> bool:
    """Whether the text says that it has no answer."""
    return text.casefold().strip(" .!*\"'").replace("’", "'") in UNKNOWING
