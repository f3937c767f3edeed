"""The value that a sentence states: "She has 72 clips left, so she is happy" says 72.

    stated("there are 840 ways to choose 2 men and 3 women")   # "840"

A clause replaces a number only if it states a value of its own ("40, so 42"). Numbers that a
preposition, a condition or a purpose hangs on say something else; alternatives and denials
(`refusals`) leave no value. What it leaves out: letters of choices (`letters`).
"""

from __future__ import annotations

import re

from groupwise.rewards.math.layout import without_code, without_emphasis
from groupwise.rewards.math.read import read
from groupwise.rewards.math.refusals import corrected, denied, denies, offers_another, thinks_again
from groupwise.rewards.math.units import is_known
from groupwise.rewards.math.vocabulary import FRACTIONS, NUMBER_WORDS
from groupwise.rewards.math.values import (
    Formula,
    Number,
    Reading,
    Relation,
    Sequence,
    Set,
    Truth,
    Unread,
    Words,
)

MAX_CHARS = 2_000

NOTES = re.compile(r"<<[^<>\n]{0,200}>>")  # GSM8K: 20*2=<<20*2=40>>40
# What explains an answer is no part of it: "42, since 6 * 7 = 42", "42 (6 * 7)", "42, not 43"
_CLAUSE = re.compile(
    r",? (?:because|since|as|which|where|given that|due to|after|for|so that|porque|pues|ya que|car"
    r"|parce que|puisque|weil|denn|perché|poiché|потому что|так как|çünkü)\b|[,，]?因为"
    r"|, (?:so|that is|i\.e\.|meaning|not|in|and|with|making|giving|or) "
    r"|; (?=[A-Za-z])| (?:per|every) (?=\d)| [-–—]{1,2} (?=[A-Za-z])"
    r"| \((?![-$\d.,?]*\))(?=(?:[^()]|\([^()]*\))*\)\D*$)"
)
_DENIED_CLAUSE = re.compile(r"^(?:, | \()not [-$\d.,]+\)?$")
# "6*7, which is 42", "40, so 42": what was said before is explained, and the value comes last
_RESULT = re.compile(
    r"[,;] (?:(?:which|that) (?:is|equals|makes|gives|means)(?: equal to)?|so|i\.e\.|meaning"
    r"|and so|therefore|thus)"
    r",? ((?:(?:the|a|an|her|his|their|its|it|she|he|they|there)\b[^,;]{0,60}? (?:is|are|equals|=) )?)(.+)",
    re.DOTALL,
)
_WHICH = re.compile(r"[,;] (?:which|that)\b")
_NUMBER = (
    rf"(?<![A-Za-z0-9_.\\^])[-+−]?(?:\\?[$€£¥₹]\s?)?[-+−]?(?:[\d{FRACTIONS}]|\.\d)"
    r"(?:[^\s,;:!?\"'=<>≈\[\]()]|\([^()\s]{0,30}\)|[,:](?=\d)|!(?=[^\s.!]))*"
)
_NAMES = "|".join(sorted((name for name in NUMBER_WORDS if name != "one"), key=len, reverse=True))
NUMBER_NAMES = rf"\b(?i:{_NAMES})(?:[- ](?:and )?(?i:{_NAMES}|one|hundred|thousand|million))*\b"
_NAME = re.compile(NUMBER_NAMES)
_OPERAND = (
    rf"(?:{_NUMBER.partition(')')[2]}|[a-z](?![A-Za-z])|pi\b|π|sqrt\([^()]*\)|\([^()]{{1,40}}\))"
)
_CANDIDATE = re.compile(
    r"\$\$(?:[^$]|\\\$){1,800}\$\$|(?<!\\)\$(?![\d.,]+ [a-z]|\d[\d.,]*\s*[-+*/=]\s*\$)(?:[^$\n]|\\\$){1,400}(?<!\\)\$(?!\d)"
    r"|\\\(.{1,800}?\\\)|\\\[.{1,800}?\\\]"
    r"|(?<![\w)])(?:\[[^\[\]\n]{1,200}\]|\((?=[^()]*,)[-\d.,/ a-z\\π^√]{3,200}\)|\\?\{[-\d., ]{3,200}\})"
    rf"|{NUMBER_NAMES}|{_NUMBER}(?: (?:[AaPp]\.?[Mm]\b\.?)|(?:\s?(?:[*/^+×·÷]|- (?=\S)|[xX](?= ?10\^)|[xX](?= \d))\s?{_OPERAND})+)?"
    r"(?: (?:pi|π|squared|cubed|hundred|thousand|million|billion|trillion)\b| \d+/\d+)*"
    r"|(?<![A-Za-z\d])[-−]?\d*\.?\d*√\(?\d+\)?",
    re.DOTALL,
)
_UNIT_BEHIND = re.compile(r"\s?(?:([A-Za-z°µΩ]+(?:\^[23])?(?:/[A-Za-z]+(?:\^[23])?)?))(?![\w])")
_CONDITIONAL = re.compile(
    r"\b(?:would|could|might) (?:be|have been)\b.*\bif\b|\bbut (?:that|it|this)\b", re.IGNORECASE
)
_UNFINISHED = re.compile(r"[-+*/^=<>]\s*$")
_ITEM = re.compile(r"\s*(?:[a-z]\)|\(?[ivx]+\)|\d{1,2}[.)])\s")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_MINUS = re.compile(r"\b(?:negative|(?:is|was|be|of|to) minus) $", re.IGNORECASE)
# What hangs on these words is not what the sentence states
_HANGS = re.compile(
    r"(?:\b(?:if|when|since|because|after|before|during|within|in|on|at|for|from|per|every|each|with"
    r"|without|than|by|out of|over|under|between|among|through|until|past|to [a-z]+|compared to"
    r"|more|fewer|less)|(?<!total )(?<!sum )(?<!average )(?<!product )(?<!value )(?<!profit )"
    r"(?<!cost )(?<!price )(?<!amount )(?<!number )(?<!rate )(?<!area )(?<!length )\bof"
    r"|(?<!total )\b(?:de|del|en|por|para|con|dans|par|pour|avec|sur|von|für|mit|pro|nach|um|di|em|com))"
    r"(?: (?:the|a|an|all|his|her|their|its|just|only|about|exactly|first|next|last|another|those"
    r"|these|both))*\s[\W_]{0,3}$",
    re.IGNORECASE,
)
_STATES = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|equal to|becomes|ist|sind|es|son|est|sont|è|sono|is only"
    r"|total of|sum of|=)(?: (?:only|exactly|now|about|just|thus|then|therefore))?|=)\s[\W_]{0,3}$",
    re.IGNORECASE,
)
_LEADING = re.compile(
    r"^\W*(?:if|when|since|because|after|before|given|as|for|with|out of|of|in|to|while|although"
    r"|by|starting)\b[^,]{3,120},\s",
    re.IGNORECASE,
)
_PURPOSE = re.compile(r" (?:to|for|in order to|from) (?!be\b|\$?\d)[A-Za-z]+\b", re.IGNORECASE)
_UNREAD_COMMAND = re.compile(r"\\(?!text|quad|\(|\)|\[|\]|approx|displaystyle)[A-Za-z]+")
_OR_BEHIND = re.compile(r"\s?(?:[a-z]+ )?(?:or|oder|ou)\b", re.IGNORECASE)
_RANGE = re.compile(r"\b(?:from|between) \S+ (?:to|and) [\W_]{0,3}$")
_LABELS = re.compile(
    r"(?:\b(?:step|part|case|equation|eq|figure|table|problem|question|example|section|chapter|line"
    r"|page|version|no|theorem|lemma|corollary|proposition|exercise|item|rule|law)\.?|#)\s*\(?$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\b(?:so|then|and) (?:I|we) (?!get|have|find|conclude|see|obtain|arrive)[a-z]+\b"
    r"|^\W*(?:[Ss]uppose|[Aa]ssume|[Tt]ry|[Aa]dd|[Ss]ubtract|[Dd]ivide|[Mm]ultiply|[Ii]f (?:it|x|we))\b"
    r"|\b(?:let['’]s try|next, [a-z]+ by|at first|initially|originally|distractor|depends|whether|not sure|unclear|perhaps|look at|refer to|see (?:equation|figure))\b"
    r"|\b(?:do not|don['’]t|cannot|can['’]t) (?:know|determine|tell)\b"
    r"|\b(?:I|[Ww]e) (?:still |now |then |also |just )?(?:can|could|need|must|should|have to|will|want|multiply|divide|add|subtract|get to"
    r"|notice|know|use|try|start|begin)\b|\blet(?:['’]s| us| me)\b|\b(?:next|now|first),? (?:I|we)\b",
)
_SENTENCE = re.compile(r"(?<=[.!?。！？])(?<!\b[A-Z]\.)(?<!\bvs\.)\s+(?=\S)|\n+|(?<=[。！？])")
_TELLS = re.compile(rf"[\d√π{FRACTIONS}]|\\[a-z]")
_CUT_OFF = re.compile(
    r"(?:\b(?:I|we|the|a|an|of|to|and|so|is|are|by|with|that|then|will|but|if|because)|[=+*×])\s*$"
)
_HEADING = re.compile(r"\s*(?:\*\*[^*]+\*\*:?|#{1,6}\s[^=≈]*|\d{1,2}[.)]\s*)")
_LEAD_IN = re.compile(
    r"(?:(?:so|thus|therefore|hence|then|and|finally|now|answer|ans|a)\b[,:]?\s+)+", re.IGNORECASE
)
_STEP = re.compile(r"\s*[#*]*\s?(?:step|part) \d+\s?[:.)]?[*\s]*", re.IGNORECASE)


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
    text = NOTES.sub("", text[:MAX_CHARS]).strip() if "<<" in text else text[:MAX_CHARS].strip()
    lead = _LEAD_IN.match(text)
    text = text[lead.end() :] if lead is not None else text
    if is_value(read(text)):
        return text
    if thinks_again(text):
        return None
    text = _ORDINAL.sub("", without_emphasis(text))
    if is_value(read(text)):
        return text
    if (instead := corrected(text)) is not None and any(map(str.isdigit, instead)):
        text = instead
    if _CONDITIONAL.search(text) or _UNFINISHED.search(text):
        return None
    clause = _CLAUSE.search(text)
    while clause is not None:
        head, tail = text[: clause.start()], text[clause.start() :]
        result = _RESULT.match(tail)
        head_value = _of_head(head, with_unit)
        if not _DENIED_CLAUSE.match(tail.strip(".")) and denies(tail):
            return None
        if last and tail.startswith(";") and (later := stated(tail[2:], last=True)) is not None:
            return later
        if isinstance(read(head.strip())[0], Truth):
            return None  # "no, because 9 is odd" states no 9
        if result is not None and any(map(str.isdigit, result[2])):
            concluded = stated(result[2], last=last, with_unit=with_unit)
            if concluded is not None and (
                (last and not _WHICH.match(tail))
                or head_value is None
                or result[1]
                or _is_bare(result[2])
            ):
                return concluded
        if head_value is not None and not _says_more(tail):
            return head_value
        clause = _CLAUSE.search(text, clause.end())
    return _main_value(text, last, with_unit)


def _is_bare(text: str) -> bool:
    return isinstance(read(text)[0], (Number, Formula)) or not any(map(str.isalpha, text))


def _of_head(head: str, with_unit: bool) -> str | None:
    """What stands in front of a clause: a value, the last side of an equation, or a sentence."""
    if not any(map(str.isdigit, head)):
        side = head.strip()
        return side if side and is_value(read(side)) else None
    for side in (head, head.rsplit("=", 1)[-1]):
        if is_value(read(side.strip())):
            return side.strip()
    return _main_value(head, False, with_unit)


def _says_more(tail: str) -> bool:
    """Whether a clause joined by "and" or "so" states a further value."""
    joined = re.match(r",? (?:and|so|or) ", tail)
    return (
        joined is not None
        and any(map(str.isdigit, tail))
        and re.search(r"=|\b(?:is|are|equals|was|costs?|has|have)\b", tail) is not None
    )


def _main_value(text: str, last: bool, with_unit: bool) -> str | None:
    """Of the values in a sentence the one that nothing hangs on."""
    found = list(_CANDIDATE.finditer(text))
    digits = [m for m in found if _TELLS.search(m[0])]
    found = digits or [m for m in found if m[0][0].isalpha()]
    if not found:
        return None
    for one, other in zip(found, found[1:], strict=False):
        if offers_another(text[one.end() : other.start()][:40]):
            return None
    leftover = text
    for m in reversed(found):
        leftover = leftover[: m.start()] + " " + leftover[m.end() :]
    if _UNREAD_COMMAND.search(leftover):
        return None
    found = [m for m in found if not _LABELS.search(text[: m.start()])]
    standing = [m for m in found if not denied(text[: m.start()][-60:], text[m.end() :][:40])]
    if not standing or any(_OR_BEHIND.match(text, m.end()) for m in standing):
        return None
    after_equals = [m for m in standing if re.search(r"[=≈]\s*$", text[: m.start()])]
    if after_equals:
        standing = [m for m in standing if m.start() >= after_equals[-1].start()][:1]
    main = [m for m in standing if not _is_aside(text, m)] or (
        standing if len(standing) == 1 else []
    )
    if len(main) > 1:
        main = [m for m in main if _STATES.search(text[: m.start()][-40:])] or main
    if not main or (len(main) > 1 and not last):
        return None
    return _shown(text, main[-1], with_unit)


def _is_aside(text: str, match: re.Match[str]) -> bool:
    before = text[: match.start()]
    if _STATES.search(before[-40:]):
        leading = _LEADING.match(text)
        return leading is not None and match.end() <= leading.end()
    if _RANGE.search(before):
        return True
    if (leading := _LEADING.match(text)) is not None and match.end() <= leading.end():
        return True
    purpose = _PURPOSE.search(text, 0, match.start() + 1)
    if purpose is not None and any(map(str.isdigit, text[: purpose.start()])):
        return True
    return _HANGS.search(before[-60:]) is not None


def _shown(text: str, match: re.Match[str], with_unit: bool) -> str:
    shown = match[0].strip().rstrip(".,;:")
    before = text[: match.start()]
    if _MINUS.search(before[-20:]):
        shown = "-" + shown
    elif before.endswith("-") and shown[:1] in "$\\":  # -$\pi/6$
        shown = "-" + shown.strip("$")
    if with_unit and (unit := _UNIT_BEHIND.match(text, match.end())) is not None:
        name = re.split(r"[/^]", unit[1])[0]
        if is_known(name.removesuffix("s") if len(name) > 3 else name):
            shown += " " + unit[1]
    return shown


def last_stated(text: str, *, with_unit: bool = False) -> tuple[str, int] | None:
    """The value of the last sentence that has one, and where that sentence starts.

    Never a step number, an exponent, the end of a range, what a program printed or a number of a
    heading; nothing where the sentence announces further work.
    """
    if _CUT_OFF.search(text[-20:]):
        return None
    tail = without_code(text[-4 * MAX_CHARS :]).rstrip()
    lines = tail.splitlines()[-2:]
    if len(lines) == 2 and all(map(_ITEM.match, lines)):
        return None  # items of a list
    for line in reversed(_SENTENCE.split(tail[-MAX_CHARS:])):
        step = _STEP.match(line)
        sentence = line[step.end() :] if step is not None else line
        if _GOES_ON.search(sentence):
            return None
        if not (_TELLS.search(sentence) or _NAME.search(sentence)) or _HEADING.fullmatch(sentence):
            continue
        value = stated(sentence, last=True, with_unit=with_unit)
        return None if value is None else (value, max(0, text.rfind(sentence)))
    return None
