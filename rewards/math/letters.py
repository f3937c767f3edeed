"""The letter of a multiple choice in what a model says: `C, not A`, `option B`, `答案是 B`.

    letter_in("A and C are wrong, D is too large, so B.")   # "B"

One letter or none: several are no answer, unless the others are said to be wrong. A new word for
"option" goes into `vocabulary`. What it leaves out: options by their texts (`wanted`).
"""

from __future__ import annotations

import re

from groupwise.rewards.math.layout import without_emphasis
from groupwise.rewards.math.read import read
from groupwise.rewards.math.refusals import thinks_again
from groupwise.rewards.math.values import Choice, Sequence
from groupwise.rewards.math.vocabulary import ANSWER_WORDS, CHOICE_WORDS
from groupwise.rewards.math.words import without_text

_WORDS = "|".join(CHOICE_WORDS)
_ANSWERS = "|".join(word for word in ANSWER_WORDS if not word.isascii())
_LETTER = r"\(?\b[A-J]\b\)?"
_LETTERS = rf"(?:(?:{_WORDS})s? )?{_LETTER}(?:(?:, |,? (?:and|n?or) | & ){_LETTER})*"
_EXCLUDED = re.compile(
    rf"{_LETTERS} (?:(?:is|are|was|were) )?(?:all |both |each )?"
    r"(?:wrong|incorrect|false|out|not|too|excluded|eliminated|impossible|ruled out|invalid|bad"
    r"|can be (?:eliminated|excluded|ruled out)|(?:can|do|does|is|are)(?: ?not|n['’]t))\b[^,.;。]*"
    r"|\b(?:not|rather than|instead of|neither|exclude|eliminate|rule out|不是|排除) ?" + _LETTERS,
    re.IGNORECASE,
)
# At the beginning. `A` and `I` begin sentences, so that they need a mark behind them
_LEADING = re.compile(
    rf"[\s(\[*\"'“「]*(?:(?:la|el|le|die|der|das|the) )?(?:(?:{_WORDS})\s?)?[(\[*]*"
    r"(?:([B-HJ])(?![A-Za-z0-9'’_]|\s*[=+*/^<>])"
    r"|([A-J])(?=[)\].,:;\n*]|\s*$|\s+[-–—(]|\s+(?:because|since|as|is correct|is right)\b))"
)
_ANOTHER = re.compile(
    rf"[ )\]*(,/&、或和]*(?:\b(?:and|or|maybe|perhaps|possibly|{_WORDS})\b[\s(*]*)*"
    r"\b(?:[A-HJ]|I(?! [a-z]))\b(?!')|\s*\\[a-z]"
)
_OPTION_LINE = re.compile(r"\s*[(*]*([A-J])[).:]")
_MARKED = re.compile(
    rf"\(([A-J])\)|(?:{_WORDS})\s?(?:[:：]|是|为|is)?\s?[(*]*([A-J])(?![A-Za-z0-9'])"
    rf"|(?:{_ANSWERS})[^A-Za-z\n]{{0,14}}([A-J])(?![A-Za-z0-9])|([A-J])\s?(?:项|選項)",
    re.IGNORECASE,
)
_CONCLUDED = re.compile(
    r"(?:\b(?i:so|therefore|thus|hence|choose|pick|select|go with|chose|picked|selected|is|be"
    r"|remains|leaves|left with|conclude)\b|所以|因此|选)[\s:,]*(?:it is |it's |the answer )?"
    r"[(*]*([A-J])[)*]*(?=[\s.,;:!。]*(?:$|\n|[.!。]))"
)
_RETRACTED = re.compile(r",? but \(?[A-J]\b|\b[A-J]\)?\?", re.IGNORECASE)


def letter_in(text: str) -> str | None:
    """The one letter that an answer or sentence names, or several as a list; None: none."""
    text = re.sub(" +", " ", without_emphasis(without_text(text.strip())))
    if thinks_again(text) or _RETRACTED.search(text):
        return None
    first = read(text)[0] if len(text) < 300 else None
    if isinstance(first, Choice):
        return first.letter
    if isinstance(first, Sequence) and all(isinstance(i[0], Choice) for i in first.items):
        return text
    kept = _EXCLUDED.sub(" ", text)
    if (leading := _LEADING.match(kept)) is not None:
        return None if _ANOTHER.match(kept, leading.end()) else leading[1] or leading[2]
    for pattern in (_MARKED, _CONCLUDED):
        letters = {m[m.lastindex or 0].upper() for m in pattern.finditer(kept)}
        if letters:
            return letters.pop() if len(letters) == 1 else None
    return None


def last_letter(text: str) -> tuple[str, int] | None:
    """The letter on the last line that names one, and where that line starts."""
    lines = text[-2_000:].rstrip().splitlines()
    for line, above in zip(reversed(lines), [*lines[-2::-1], ""], strict=False):
        if _OPTION_LINE.match(line) and _OPTION_LINE.match(above):
            return None  # the options themselves
        letter = letter_in(line)
        if letter is not None:
            return letter, text.rfind(line)
        if _MARKED.search(_EXCLUDED.sub(" ", line)):
            return None  # several
    return None
