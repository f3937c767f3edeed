"""The value that a sentence states: "She has 72 clips left, so she is happy" says 72.

    stated("there are 840 ways to choose 2 men and 3 women")   # "840"

A clause replaces a number only if it states a value of its own ("40, so 42"). Numbers that a
preposition, a condition or a purpose hangs on say something else: a new word of that kind goes into
`_HANGS`. Alternatives and denials (`refusals`) leave no value. What it leaves out: letters of
choices (`letters`).
"""

from __future__ import annotations

import re

from groupwise.rewards.math.layout import without_code, without_emphasis
from groupwise.rewards.math.read import read
from groupwise.rewards.math.refusals import denied, denies, offers_another, thinks_again
from groupwise.rewards.math.values import Reading, Relation, Sequence, Set, Truth, Unread, Words
from groupwise.rewards.math.vocabulary import FRACTIONS, NUMBER_WORDS

MAX_CHARS = 2_000

_NOTES = re.compile(r"<<[^<>\n]{0,200}>>")  # GSM8K: 20*2=<<20*2=40>>40
# What explains an answer is no part of it: "42, since 6 * 7 = 42", "42 (6 * 7)"
_CLAUSE = re.compile(
    r",? (?:because|since|as|which|where|given that|due to|after|for|so that|porque|pues|ya que|car"
    r"|parce que|puisque|weil|denn|perché|poiché|потому что|так как|çünkü)\b|[,，]?因为"
    r"|, (?:so|hence|thus|therefore|that is|i\.e\.|meaning|not|in|and|with|making|giving|or) "
    r"|; (?=[A-Za-z])| (?:per|every) (?=\d)| [-–—]{1,2} (?=[A-Za-z])"
    r"| \((?![-$\d.,?]*\))(?=[^()]*\)\D*$)"
)
_NOT_OTHER = re.compile(r"(?:, | \()not [-$\d.,]+\)?$")  # 42, not 43
# "6*7, which is 42", "40, so 42": what was said before is explained, and the value comes last
_RESULT = re.compile(
    r"(?:[,;] (?:(?P<which>(?:which|that) (?:is|equals|makes|gives|means))|so|i\.e\.|meaning|and so"
    r"|therefore|thus|hence|(?:which|that) rounds (?:up |down )?to),?|;) "
    r"(?P<subject>(?:the|an?|her|his|their|its?|s?he|they|there)\b"
    r"[^,;]{0,60}? (?:is|are|equals|=) )?(?P<rest>.*\d.*)",
    re.DOTALL,
)
_SAYS_MORE = re.compile(
    r",? (?:and|so|or) (?=.*\d).*(?:=|\b(?:is|are|equals|was|costs?|has|have)\b)", re.DOTALL
)
_NUMBER = (
    rf"(?<![A-Za-z0-9_.\\^])[-+−]?(?:\\?[$€£¥₹]\s?)?[-+−]?(?:[\d√{FRACTIONS}]|\.\d)"
    r"(?:[^\s,;:!?\"'=<>≈\[\]()]|\([^()\s]{0,30}\)|[,:](?=\d)|!(?=[^\s.!]))*"
)
_NAMES = "|".join(sorted((name for name in NUMBER_WORDS if name != "one"), key=len, reverse=True))
_NAME = rf"\b(?i:{_NAMES})(?:[- ](?:and )?(?i:{_NAMES}|one|hundred|thousand|million))*\b"
# A formula in marks, a list in brackets, a number in words, or a number with what is part of it
_CANDIDATE = re.compile(
    r"(?<!\\)\$(?![\d.,]+ [a-z]|\d[\d.,]*\s*[-+*/=]\s*\$)[^$\n]{1,400}\$(?!\d)"
    r"|\\\(.{1,800}?\\\)|\\\[.{1,800}?\\\]"
    r"|(?<![\w)])(?:\[[^\[\]\n]{1,200}\]|\((?=[^()]*,)[-\d.,/ a-z\\π^√]{3,200}\))"
    rf"|{_NAME}|{_NUMBER}(?: [AaPp]\.?[Mm]\b\.?|(?:\s?(?:[*/^+×·÷]|[-xX](?= \d))\s?"
    r"(?:\d[^\s,;:!?=()]*|[a-z]\b|\([^()]{1,40}\)))+)?"
    r"(?: (?:pi|π|squared|cubed|hundred|thousand|million|billion|trillion)\b| \d+/\d+)*",
    re.DOTALL,
)
_UNIT_BEHIND = re.compile(r"\s?([A-Za-z°µΩ]+(?:\^[23])?(?:(?:/| per )[A-Za-z]+(?:\^[23])?)?)(?!\w)")
_BECAUSE = re.compile(r"\b(?:because|since|porque|car|weil|denn)\b|, as\b|因为", re.IGNORECASE)
_EQUALS = re.compile(r"(?<![<>!=])=\s*")
# On a variable: `42 if n is even`. Where something happens ("$6 if he buys two") it is a story
_CONDITION = re.compile(
    r"\d.*\b(?:if|when|unless|provided|assuming)\b(?: that)? (?:[a-z]\b|it\b|there\b|\$|\\)",
    re.IGNORECASE | re.DOTALL,
)
_UNFINISHED = re.compile(r"[-+*/^=<>]\s*$")
_ITEM = re.compile(r"\s*(?:[a-z]\)|\(?[ivx]+\)|\d{1,2}[.)])\s")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_MINUS = re.compile(r"\b(?:negative|(?:is|was|be|of|to) minus) $", re.IGNORECASE)
# What hangs on these words is not what the sentence states
_HANGS = re.compile(
    r"(?:\b(?:if|when|since|because|after|before|during|within|in|on|at|for|from|per|every|each"
    r"|with|without|than|by|out of|over|under|between|among|through|until|past|to [a-z]+|more|fewer"
    r"|less|(?<!total )(?:of|de|del|en|por|para|con|dans|par|pour|avec|sur|von|für|mit|pro|nach|um"
    r"|di|em|com)|(?:from|between) \S+ (?:to|and)))"
    r"(?: (?:the|an?|all|his|her|their|its|just|only|about|first|last))*\s[\W_]{0,3}$",
    re.IGNORECASE,
)
_STATES = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|equal to|ist|es|est|è|(?:total|sum) of)"
    r"(?: (?:only|exactly|now|about|just|thus|then))?|=)\s[\W_]{0,3}$",
    re.IGNORECASE,
)
_UNREAD_COMMAND = re.compile(r"\\(?!text|quad|\(|\)|\[|\]|approx|displaystyle)[A-Za-z]+")
_LABELS = re.compile(
    r"(?:\b(?:step|part|case|equation|figure|table|problem|question|example|section|chapter|line"
    r"|page|version|theorem|lemma|exercise|item|rule)|#)\s*\(?$",
    re.IGNORECASE,
)
# The sentence announces further work, or supposes something
_GOES_ON = re.compile(
    r"\b(?:so|then|and) (?:I|we) (?!get|have|find|conclude|see|obtain|arrive)[a-z]+\b"
    r"|^\W*(?:suppose|assume|try|add|subtract|divide|multiply|if (?:it|x|we))\b"
    r"|\b(?:let(?:['’]s| us| me)|next, [a-z]+ by|at first|initially|originally|depends|whether"
    r"|unclear|perhaps|look at|see (?:equation|figure)|(?:next|now|first),? (?:I|we)"
    r"|(?:I|we) (?:still |now |then |also |just )?(?:can|could|need|must|should|have to|will|want"
    r"|multiply|divide|add|subtract|notice|know|use|try|start|begin)"
    r"|(?:do not|don['’]t|cannot|can['’]t) (?:know|determine|tell))\b",
    re.IGNORECASE,
)
_SUPPOSES = re.compile(r"\W*(?:suppose|assume|let|try|if)\b", re.IGNORECASE)
_SENTENCE = re.compile(
    r"(?<=[.!?。！？])(?<!\b[A-Z]\.)(?<!\bvs\.)(?<!\bM[rs]\.)(?<!\bMrs\.)\s+(?=\S)|\n+|(?<=[。！？])"
)
_TELLS = re.compile(rf"[\d√π{FRACTIONS}]|\\[a-z]")
_SAYS_NUMBER = re.compile(rf"{_TELLS.pattern}|{_NAME}")
# To the reader, or about the answer: the one before it may state something
_ABOUT = re.compile(
    r"\W*(?:let me know|do you|would you|(?:i )?hope|feel free|if you (?:have|need|want)|please"
    r"|is there|(?:the|my|this) answer is (?![\W_]*(?:\d|[a-z]\b)))",
    re.IGNORECASE,
)
_CUT_OFF = re.compile(
    r"(?:\b(?:I|we|the|a|an|of|to|and|so|is|are|by|with|that|then|will|but|if|because)|[=+*×])\s*$"
)
_HEADING = re.compile(r"\s*(?:\*\*[^*]+\*\*:?|#{1,6}\s[^=≈]*|\d{1,2}[.)]\s*)")
_LEAD_IN = re.compile(
    r"^(?:(?:so|thus|therefore|hence|then|and|finally|now|answer|ans|a)\b[,:]?\s+)+", re.IGNORECASE
)
_STEP = re.compile(r"^\s*[#*]*\s?(?:step|part) \d+\s?[:.)]?[*\s]*", re.IGNORECASE)


def is_value(reading: Reading, words_too: bool = False) -> bool:
    """Whether a text is a value with all its parts, and no prose."""
    first = reading[0]
    if isinstance(first, (Words, Truth)):
        return words_too
    if isinstance(first, (Sequence, Set)):
        return all(is_value(item) for item in first.items)
    if isinstance(first, Relation):
        return all(n or is_value(s) for n, s in zip(first.names, first.sides, strict=True))
    return not isinstance(first, Unread)


def stated(text: str, *, last: bool = False, with_unit: bool = False) -> str | None:
    """The text of the value that a sentence states; None: none, or not one.

    `last`: of several values that nothing tells apart, the last one counts. `with_unit`: with the
    unit of measure behind it.
    """
    text = _LEAD_IN.sub("", _NOTES.sub("", text[:MAX_CHARS]).strip())
    if thinks_again(text):
        return None
    text = _NOT_OTHER.sub("", _ORDINAL.sub("", without_emphasis(text)).rstrip("."))
    if is_value(read(text)):
        return text
    if _UNFINISHED.search(text) or _CONDITION.search(text):
        return None
    if (side := _last_side(text, with_unit)) is not None:
        return side
    for clause in _CLAUSE.finditer(text):
        head, tail = text[: clause.start()], text[clause.start() :]
        # "no, because 9 is odd" states no 9
        if denies(tail) or isinstance(read(head.strip())[0], Truth):
            return None
        value = _before_clause(head, with_unit)
        result = _RESULT.match(tail)
        if result is not None:
            later = stated(result["rest"], last=last, with_unit=with_unit)
            counts = value is None or result["subject"] or (last and not result["which"])
            if later is not None and (counts or not any(map(str.isalpha, result["rest"]))):
                return later
        if value is not None and not _SAYS_MORE.match(tail):
            return value
    return _main_value(text, last, with_unit)


def _last_side(text: str, with_unit: bool) -> str | None:
    """What stands behind the last equals sign, if nothing behind it says more."""
    ends = [m.end() for m in _EQUALS.finditer(text)]
    match = _CANDIDATE.match(text, ends[-1]) if ends else None
    unread = _UNREAD_COMMAND.search(_CANDIDATE.sub(" ", text))
    if match is None or unread or _BECAUSE.search(text, 1, match.start()):
        return None
    behind = text[match.end() :]
    more = [m for m in _CANDIDATE.finditer(behind) if not _HANGS.search(behind[: m.start()])]
    if more or denies(behind) or denied(text[: match.start()][-60:], behind[:40]):
        return None
    return _shown(text, match, with_unit)


def _before_clause(head: str, with_unit: bool) -> str | None:
    """What stands in front of a clause: a value, the last side of an equation, or a sentence."""
    side = head.rsplit("=", 1)[-1].strip()
    if is_value(read(side)):
        return side
    return _main_value(head, False, with_unit) if any(map(str.isdigit, head)) else None


def _main_value(text: str, last: bool, with_unit: bool) -> str | None:
    """Of the values in a sentence the one that nothing hangs on."""
    found = list(_CANDIDATE.finditer(text))
    found = [m for m in found if _TELLS.search(m[0])] or found
    if _UNREAD_COMMAND.search(_CANDIDATE.sub(" ", text)):
        return None
    if found and offers_another(text[found[0].end() : found[-1].start()]):
        return None
    standing = []
    for m in found:
        before = text[: m.start()][-60:]
        changed = text[m.end() : m.end() + 1] in tuple("'^_~")  # 7' is no 7
        if not (changed or _LABELS.search(before) or denied(before, text[m.end() :][:40])):
            standing.append(m)
    after_equals = [m for m in standing if re.search(r"[=≈]\s*$", text[: m.start()])]
    standing = after_equals[-1:] or standing
    said = [m for m in standing if _STATES.search(text[: m.start()][-40:])]
    main = said or [m for m in standing if not _HANGS.search(text[: m.start()][-60:])]
    if not main and len(standing) == 1:
        main = standing
    return _shown(text, main[-1], with_unit) if len(main) == 1 or (main and last) else None


def _shown(text: str, match: re.Match[str], with_unit: bool) -> str:
    """A value with the sign in words before it, and its unit."""
    shown = match[0].strip().rstrip(".,;:")
    before = text[: match.start()]
    if _MINUS.search(before[-20:]):
        shown = "-" + shown
    elif before.endswith("-"):  # -$\pi/6$
        shown = "-" + shown.strip("$")
    if (
        with_unit
        and "$" not in shown
        and (unit := _UNIT_BEHIND.match(text, match.end())) is not None
    ):
        shown += " " + unit[1]
    return shown


def last_stated(text: str, *, with_unit: bool = False) -> tuple[str, int] | None:
    """The value of the last sentence that has one, and where that sentence starts.

    Never a step number, an exponent, the end of a range, what a program printed or a number of a
    heading; nothing where the sentence announces further work.
    """
    tail = without_code(text[-4 * MAX_CHARS :]).rstrip()
    lines = tail.splitlines()[-2:]
    marks = lines[-1].replace("\\$", "") if lines else ""
    unclosed = "\\" in marks and marks.count("$") % 2  # in the middle of a formula
    if (
        unclosed
        or _CUT_OFF.search(text[-20:])
        or (len(lines) == 2 and all(map(_ITEM.match, lines)))
    ):
        return None  # unfinished, or items of a list
    for line in reversed(_SENTENCE.split(tail[-MAX_CHARS:])):
        sentence = _STEP.sub("", line)
        if _ABOUT.match(sentence):
            continue
        if _GOES_ON.search(sentence) and (
            _SUPPOSES.match(sentence) or _last_side(_NOTES.sub("", sentence), False) is None
        ):
            return None
        if _SAYS_NUMBER.search(sentence) and not _HEADING.fullmatch(sentence):
            value = stated(sentence, last=True, with_unit=with_unit)
            return None if value is None else (value, max(0, text.rfind(sentence)))
    return None
