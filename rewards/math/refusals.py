"""What takes an answer back: "not", "or", "maybe", two answers, "I don't know".

Every rule that takes a value out of a text asks here whether the words around it leave it standing.
What it leaves out: which value is meant (`statement`).
"""

from __future__ import annotations

import re

from groupwise.rewards.math.vocabulary import UNKNOWING

# Beside one value a hedge ("42 maybe") leaves it what it is; before or behind a second it does not
_DENIAL = re.compile(
    r"\b(?:not|no|nor|or|maybe|perhaps|wrong|incorrect|false|than|anything but|never|neither"
    r"|unless|except|excluding|but|nicht|kein|without|another|alternatively|also|at most|at least|up to|bound|almost)\b|n['’]t\b",
    re.IGNORECASE,
)
_TAKES_BACK = re.compile(
    r"\b(?:or|not|no|either|maybe|perhaps|possibly|alternative(?:ly)?|wrong|incorrect|wait"
    r"|on second thought|correction|sorry|scratch|make that|i mean|rather|actually|also|otherwise|again|well|bound|(?:could|might|may) be|if|unless|instead)\b"
    r"|n['’]t\b|\?",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|cannot|nor|neither|isn|without|except|excluding)|n['’]t)\s+"
    r"(?:be\s+|equal\s+(?:to\s+)?|simply\s+|just\s+|possible\s+values?\s+)?[\W_]{0,6}$"
    r"|\b(?:less|more|fewer|greater|other|rather|larger|smaller) than(?: or equal to)?\s[\W_]{0,4}$"
    r"|\bnot\b[^,.;=]{0,12}=\s*$|\bnot[\s}]*(?:\\approx|≈|=|\\equiv)[\s$]*$"
    r"|(?:≠|!=|\\neq?|\\not ?=?|[<>]=?|[≤≥⩽⩾]|±|\\pm|\\lt|\\gt|\\[lg]eq?)[\s{}$]*$"
    r"|\b(?:no es|non è|n['’]est pas|não é|nie jest|не|ist nicht)\s[\W_]{0,4}$|(?:不是|不等于|大于|小于|负)\W{0,2}$"
    r"|\b(?:instead of|anything but|almost|nearly|at (?:least|most)|up to|under|over|wrong"
    r"|incorrect|twice|double|triple|half|thrice|plus|divided by|multiplied by)[:,]?\s[\W_]{0,4}$",
    re.IGNORECASE,
)
# What a word in front of a value or behind it makes of it is another value
_CHANGED_BEFORE = re.compile(
    r"\b(?:half|twice|double|triple|thrice|root|multiple|factor|divisor|power|cube|square|inverse"
    r"|opposite|reciprocal|third|quarter|fraction|hardly|far from|all but|everything but"
    r"|every day but|nicht|kein|keine|row|column|seat|day after|day before)"
    r"(?: of| from)?(?: the)?\s[\W_]{0,4}$",
    re.IGNORECASE,
)
_CHANGED_BEHIND = re.compile(
    r"\s?(?:(?:[a-z]+ )?(?:less|more|fewer|greater|larger|smaller) than \d|(?:plus|minus|times|divided by"
    r"|multiplied by) (?:\d|one|two)|to the power\b|(?:out of|per|of|in) \d|[a-z ]{0,20}below\b|\(?(?:false|wrong)\b"
    r"|[a-z ]{0,20}\bif\b|,? but\b|(?:[a-z]+ )?(?:or more|or less|at most|at least)\b"
    r"|over \d|halved|doubled|inverse|factorial|octal|increased|decreased|is too\b)",
    re.IGNORECASE,
)
_DOUBTED_MARK = re.compile(
    r"\b(?:wrong|incorrect|false|first|previous|earlier|initial|book's)\s$"
    r"|\b(?:assume|suppose|doubt|doubts|doubtful|false|unlikely|impossible|no longer)\b[^.!?\n]{0,40}$",
    re.IGNORECASE,
)
_DENIED_BEHIND = re.compile(
    r"[\W_]{0,6}\s(?:is|was|can|are|does|would|could)(?:\s?not\b|n['’]t\b)"
    r"|[\W_]{0,4}\s(?:fails|must be rejected|is rejected|is excluded|is impossible)"
    r"|[\W_]{0,4}\sis (?:wrong|incorrect|false|impossible)",
    re.IGNORECASE,
)
_ALTERNATIVE = re.compile(r"\b(?:or|either|oder|ou|или|或|または|أو)\b|或", re.IGNORECASE)
_RATHER = re.compile(r"\bnot [^,;.]{1,40},? but (?:rather )?([^,;]+)")


def denies(words: str) -> bool:
    """Whether a label or remark beside a value takes it back, or makes it one of several."""
    return _DENIAL.search(words) is not None


def takes_back(clause: str) -> bool:
    """Whether a clause behind a value says that it may be another one."""
    return _TAKES_BACK.search(clause) is not None


def denied(before: str, behind: str) -> bool:
    """Whether the words around a value deny it: `not 42`, `42 is not the answer`."""
    return bool(
        _DENIED_BEFORE.search(before)
        or _CHANGED_BEFORE.search(before)
        or _DENIED_BEHIND.match(behind)
        or _CHANGED_BEHIND.match(behind)
    )


def doubted(before: str) -> bool:
    """Whether the words before a mark take it back: `the wrong answer is`."""
    return _DOUBTED_MARK.search(before.replace("no doubt", "")) is not None


def offers_another(between: str) -> bool:
    """Whether the words between two values make them alternatives: `41 or 42`."""
    return _ALTERNATIVE.search(between) is not None


def corrected(text: str) -> str | None:
    """`not 41 but 42` as `42`."""
    match = _RATHER.search(text)
    return match[1] if match is not None else None


def knows_nothing(text: str) -> bool:
    """Whether the text says that it has no answer."""
    return text.casefold().strip(" .!*\"'").replace("’", "'") in UNKNOWING
