"""The reference answers of a data set: which of them cannot be graded against, and in which rows.

    judged = judge_references(rubric, examples, {"b1f357e0b304": "row 7"})
    judged.problems, judged.notices, judged.missing

Missing ones (`missing.py`), decimal commas (`commas.py`), letters of options that are not there,
and columns of options that are not read. What it leaves out: whether rewards grade them rightly
(`prove`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groupwise.rewards.check import commas, missing
from groupwise.rewards.check.missing import MissingReference
from groupwise.rewards.math.grade import Correctness, grade
from groupwise.rewards.missing import is_label, is_missing
from groupwise.rewards.options import LETTERS, letter_of_text, options_of
from groupwise.rewards.rubric import GradedReward, Rubric
from groupwise.rewards.text import excerpt
from groupwise.rewards.types import Example

_SHOWN = 5
# choice_a, optionB, opc, option_1: columns of which at least three share a stem
_OPTION_COLUMN = re.compile(r"((?:choice|option|opt|op|answer)[ _-]?)(?:[a-h]|[0-8])", re.I)
_FEWEST_COLUMNS = 3
_LETTER = re.compile(r"[(\[]?([A-Ja-j])[)\].:]*")


@dataclass(frozen=True, slots=True)
class ReferenceVerdict:
    """What is wrong with the references: problems make rows useless, notices are worth a look."""

    problems: tuple[str, ...]
    notices: tuple[str, ...]
    missing: tuple[MissingReference, ...]


def judge_references(
    rubric: Rubric, examples: Sequence[Example], places: Mapping[str, str]
) -> ReferenceVerdict:
    """Looks at every reference; no reward is computed. `places`: rows by example id."""
    problems: list[str] = []
    notices: list[str] = []
    name, grader = next(
        ((n, r) for n, r in rubric.rewards.items() if isinstance(r, Correctness)), ("", None)
    )
    is_graded = _is_graded(rubric)
    absent = missing.missing_references(examples, places, labels=_has_labels(grader))
    if absent:
        said = missing.summary(absent, len(examples))
        if name and all(is_label(one.spelling) for one in absent):
            said += f"; if it is an answer, set rewards.parts.{name}.params.mode: text"
        (problems if is_graded else notices).append(said)
    if is_graded and (said := _impossible_letters(examples, places)):
        problems.append(said)
    if grader is not None and commas.is_open(grader):
        found = commas.comma_references(examples, places)
        if found:
            is_rule = 2 * len(found) >= len(examples)
            said = commas.summary(found, len(examples), name)
            (problems if is_rule else notices).append(said)
    if is_graded and (said := _no_options(examples, places)):
        notices.append(said)
    if said := _unread_options(examples):
        notices.append(said)
    return ReferenceVerdict(tuple(problems), tuple(notices), absent)


def broken_references(
    rubric: Rubric, examples: Sequence[Example], places: Mapping[str, str]
) -> tuple[str, ...]:
    """The problems alone, and those that only grading would show: references that cannot be read.

    It is for examples on which no reward is proved, such as those of an evaluation.
    """
    if not _is_graded(rubric):
        return ()
    grader = next((r for r in rubric.rewards.values() if isinstance(r, Correctness)), None)
    absent = missing.missing_references(examples, places, labels=_has_labels(grader))
    said = [missing.summary(absent, len(examples))] if absent else []
    said.append(_impossible_letters(examples, places))
    gone = {one.example_id for one in absent}
    bad = [e for e in examples if e.id not in gone and grader is not None and not grader.reads(e)]
    count = f"{len(bad)} of {len(examples)} references cannot be read"
    said.append(f"{count}: {_named(bad, places)}" if bad else "")
    return tuple(sentence for sentence in said if sentence)


def _has_labels(grader: Correctness | None) -> bool:
    return grader is not None and grader.mode == "text"


def _is_graded(rubric: Rubric) -> bool:
    """Whether the total depends on a comparison with the reference."""
    weighed = (rubric.rewards[name] for name, spec in rubric.specs.items() if spec.weight)
    return any(isinstance(reward, (Correctness, GradedReward)) for reward in weighed)


def _impossible_letters(examples: Sequence[Example], places: Mapping[str, str]) -> str:
    """References that are the letter of an option which the row does not have."""
    bad = []
    for example in examples:
        options, answer = options_of(example.metadata), example.answer.strip()
        letter = _LETTER.fullmatch(answer)
        if not options or letter is None or letter_of_text(answer, options) is not None:
            continue
        if LETTERS.index(letter[1].upper()) >= len(options):
            bad.append(example)
    if not bad:
        return ""
    count = len(options_of(bad[0].metadata))
    return (
        f"{len(bad)} of {len(examples)} references are letters of options that are not there, such "
        f"as {bad[0].answer.strip()} of {count} options: {_named(bad, places)}; no answer can be "
        "right there: mend these rows"
    )


def _no_options(examples: Sequence[Example], places: Mapping[str, str]) -> str:
    """References that stand beside options and are none of them, neither letter nor text."""
    bad = [example for example in examples if not _names_an_option(example)]
    if not bad:
        return ""
    return (
        f"{len(bad)} of {len(examples)} references are none of the options beside them, such as "
        f"{excerpt(bad[0].answer, 40)}: {_named(bad, places)}; an answer that picks an option is "
        "wrong there: mend these rows, or call the column something else than choices or options"
    )


def _names_an_option(example: Example) -> bool:
    options, answer = options_of(example.metadata), example.answer.strip()
    if not options or letter_of_text(answer, options) is not None or is_missing(answer):
        return True  # a missing one is said by itself
    if _LETTER.fullmatch(answer):
        return True  # one that is not there is a problem of its own
    letters = LETTERS[: len(options)]
    return any(grade(f"<answer>{one}</answer>", answer, choices=options).correct for one in letters)


def _unread_options(examples: Sequence[Example]) -> str:
    """Columns that look like the options of a multiple choice, where none were read."""
    for example in examples[:_SHOWN]:
        if options_of(example.metadata):
            continue
        by_stem: dict[str, list[str]] = {}
        for column in example.columns or example.metadata:
            if match := _OPTION_COLUMN.fullmatch(str(column)):
                by_stem.setdefault(match[1].casefold(), []).append(str(column))
        for columns in by_stem.values():
            if len(columns) >= _FEWEST_COLUMNS:
                return (
                    f"the columns {', '.join(columns)} look like the options of a multiple choice "
                    "and are not read as such; call them A, B, C, D (four at least), or put a list "
                    "under `choices`"
                )
        unread = [n for n in example.columns if str(n).casefold() in ("choices", "options")]
        if unread and example.columns[unread[0]]:
            return (
                f"the options in {unread[0]!r} are in a form that is not read, so that grading "
                "does not know them; docs/rewards.md lists the forms"
            )
    return ""


def _named(examples: Sequence[Example], places: Mapping[str, str]) -> str:
    shown = [places.get(example.id, f"id {example.id}") for example in examples[:_SHOWN]]
    more = len(examples) - _SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
