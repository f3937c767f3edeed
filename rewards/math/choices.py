"""The letter of a multiple choice: `B`, `(B)`, `\\text{(B)}`, `B. Monday`, `option B`.

    choice_letter("\\text{(B)}")   # "B"

Only capital A to J are letters of a choice; all else is left to the comparison of values. What it
leaves out: finding a letter in a longer text (`grade`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

# A bare letter is one, too: a gold `C` is taken for a choice before it is taken for a variable
_CHOICE = re.compile(r"(?:\\text ?\{)? ?\(? ?(?:\\text ?\{)? ?\(?([A-J])\)? ?\}? ?\)? ?\}?[.:]?")
# Outside brackets the letter needs a mark behind it: `A` begins many a sentence
_LEADING_CHOICE = re.compile(
    r"(?:\\text ?\{ ?\(([A-J])\) ?\}|\(([A-J])\)"
    r"|(?:\\text ?\{ ?([A-J]) ?[.):]? ?\}|([A-J])[.):]))\s*(.*)"
)
_NAMED_CHOICE = re.compile(
    r"(?:\\text ?\{ ?)?(?i:option|choice|answer|graph|figure) \(?([A-Ja-j])\)?(?: ?\})?"
)


def choice_letter(text: str) -> str | None:
    """The letter of a canonical `B`, `(B)`, `\\text{(B)}`, `B.`, else None."""
    match = _CHOICE.fullmatch(text)
    return match.group(1) if match else None


def without_choice(text: str) -> str:
    """`(B) Monday` as `Monday`."""
    match = _LEADING_CHOICE.fullmatch(text)
    return match.group(5) if match else text


def same_choice(g: str, a: str, same: Callable[[str, str], bool | None]) -> bool | None:
    """Whether canonical texts name the same choice; None if the gold is none, or unclear.

    `same` compares what follows the answer's letter, as in `(B) 42` for a gold 42.
    """
    gold = choice_letter(g)
    match = _LEADING_CHOICE.fullmatch(a)
    if gold is None:
        rest = match.group(5) if match else ""
        if rest and rest[0] not in ",;" and not _LEADING_CHOICE.fullmatch(g):
            return same(g, rest)
        return None
    if (letter := choice_letter(a)) is not None:
        return letter == gold
    if match:
        if _LEADING_CHOICE.search(match.group(5)):  # (A) or (B): two letters are no answer
            return False
        return next(part for part in match.groups()[:4] if part) == gold
    if named := _NAMED_CHOICE.fullmatch(a):
        return named.group(1).upper() == gold
    # `b` answers `(B)`; beside a bare `B` it is rather another variable
    if a in "abcdefghij" and len(a) == 1 and "(" in g:
        return a.upper() == gold
    return None if len(a) < 3 else False
