"""References of a data set that look like numbers with a decimal comma: `2,50`, `1.250,00 €`.

    found = comma_references(examples, {"b1f357e0b304": "row 7"})
    summary(found, len(examples))   # "4 of 40 references look like …: '2,50' in row 7, …"

Unless the grader is told so, `2,50` may as well be two answers: then one that is spelled otherwise
(`2,5`, `2.5`) is not right. Whether it is a decimal only the user can say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groupwise.rewards.math.grade import Correctness
from groupwise.rewards.text import excerpt
from groupwise.rewards.types import Example

_SHOWN = 3
_FEW = 20  # one reference in so many may be a list
# Not 1,250, which is thousands; nor (1,2), 1,2,3 and 1, 2
_NUMBER = re.compile(
    r"(?:[^\d\s(\[{,.-]{1,3}\s?)?-?(?:\d{1,3}(?:\.\d{3})+,\d+|0,\d+|\d+,(?:\d{1,2}|\d{4,})|\d{4,},\d+)"
    r"(?:\s?[^\d\s)\]},]{1,12})?"
)


@dataclass(frozen=True, slots=True)
class CommaReference:
    """A reference as it stands, and the place of its row, or the example's id."""

    spelling: str
    place: str


def comma_references(
    examples: Sequence[Example], places: Mapping[str, str]
) -> tuple[CommaReference, ...]:
    """The references that look like it; none if they are fewer than one in twenty."""
    found = [
        CommaReference(answer, places.get(example.id, f"id {example.id}"))
        for example in examples
        if _NUMBER.fullmatch(answer := example.answer.rpartition("####")[2].strip())
    ]
    return tuple(found) if len(found) * _FEW >= len(examples) else ()


def is_open(grader: Correctness | None) -> bool:
    """Whether the rewards leave it open what a comma means, and it matters."""
    return (
        grader is not None
        and grader.decimal_comma == "auto"
        and grader.mode in ("auto", "math", "number")
    )


def summary(found: Sequence[CommaReference], total: int, part: str) -> str:
    """How many, which, and what to set for the correctness reward that is called `part`."""
    shown = [f"{excerpt(one.spelling, 20)} in {one.place}" for one in found[:_SHOWN]]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    verb = "looks like a number" if len(found) == 1 else "look like numbers"
    return (
        f"{len(found)} of {total} references {verb} with a decimal comma: {', '.join(shown)}{more}"
        f"; for these set rewards.parts.{part}.params.decimal_comma: european (2,50 "
        "and 2,5 are then the same number, and 1.250 is 1250), or never, if each is two answers"
    )
