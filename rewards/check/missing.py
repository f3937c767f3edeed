"""References of a data set that say that there is no answer: which, how many, in which rows.

    missing = missing_references(examples, {"b1f357e0b304": "line 7"})
    summary(missing, len(examples))   # "1 of 40 references says … 'N/A' (1), in line 7; …"

Which spellings count is in `groupwise.rewards.missing`. What this leaves out: rows whose answer is
null, NaN or blank; these are refused when the data are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groupwise.rewards.missing import is_label, missing_spelling
from groupwise.rewards.options import letter_of_text, options_of
from groupwise.rewards.text import excerpt
from groupwise.rewards.types import Example

_SHOWN = 5  # rows, and spellings
_SPELLING_CHARS = 30


@dataclass(frozen=True, slots=True)
class MissingReference:
    """`spelling`: the mark as it stands in the reference; `place`: its row, or the example's id."""

    example_id: str
    spelling: str
    place: str


def missing_references(
    examples: Sequence[Example], places: Mapping[str, str], *, labels: bool = False
) -> tuple[MissingReference, ...]:
    """The examples whose reference is a mark of a missing answer. `places`: rows by example id.

    With `labels`, words such as "unknown" are answers.
    """
    return tuple(
        MissingReference(example.id, spelling, places.get(example.id, f"id {example.id}"))
        for example in examples
        if (spelling := _spelling(example, labels)) is not None
    )


def what_is_missing(example: Example, *, labels: bool = False) -> str:
    """What is wrong with the reference, if it says that there is no answer; else empty."""
    spelling = _spelling(example, labels)
    if spelling is None:
        return ""
    return f"the reference says that there is no answer: {_quoted(spelling)}"


def _spelling(example: Example, labels: bool) -> str | None:
    """The mark that the reference is, unless it is one of the example's options: `unknown`."""
    if labels and is_label(example.answer):
        return None
    if letter_of_text(example.answer, options_of(example.metadata)) is not None:
        return None
    return missing_spelling(example.answer)


def summary(missing: Sequence[MissingReference], total: int) -> str:
    """How many, how they are spelled, in which rows, and what to do."""
    counts = Counter(reference.spelling for reference in missing).most_common()
    spellings = [f"{_quoted(spelling)} ({count})" for spelling, count in counts]
    say, rows = ("says", "this row") if len(missing) == 1 else ("say", "these rows")
    return (
        f"{len(missing)} of {total} references {say} that there is no answer: "
        f"{_listed(spellings)}, in {_listed([reference.place for reference in missing])}; nothing "
        f"can be graded against them: remove {rows}, or put the answers there"
    )


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _quoted(spelling: str) -> str:
    return excerpt(spelling, _SPELLING_CHARS)
