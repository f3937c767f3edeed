"""What a text gives as its answer, of the kind that the reference asks for: value, letter or word.

What it leaves out: where an answer is marked (`find`), and whether it is right (`grade`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from groupwise.rewards.math.amounts import Rules
from groupwise.rewards.math.compare import same
from groupwise.rewards.math.guess import MAX_ANSWER_CHARS, Extraction
from groupwise.rewards.math.letters import last_letter, letter_in
from groupwise.rewards.math.numbers import plain_number
from groupwise.rewards.math.read import read
from groupwise.rewards.math.reference import MARKS, Reference
from groupwise.rewards.math.sentences import last_truth, named_of_class, truth_in
from groupwise.rewards.math.spelling import compact, spell
from groupwise.rewards.math.statement import is_value, last_stated, stated
from groupwise.rewards.math.values import Choice, Quantity
from groupwise.rewards.math.words import plain_words, without_text
from groupwise.rewards.options import LETTERS

_NOT_OTHER = re.compile(r", (?:and )?not [^,.]+\.?$")


class Case(NamedTuple):
    """A text to grade, in `wanted` the visible part of it. `closed`: it ended by itself.

    A gold that is a number is written out before it is read.
    """

    text: str
    gold: Any
    closed: bool = True
    options: tuple[str, ...] = ()


def find_value(text: str, found: Extraction, reference: Reference) -> Extraction:
    """What a marked sentence states, where it is no value itself."""
    if reference.text.endswith("!") and found.found_by == "phrase":
        # The mark that ends a sentence, unless the reference is a factorial too
        end = found.start + len(found.text)
        if found.text[-1:].isdigit() and text[end : end + 1] == "!":
            return found._replace(text=found.text + "!")
    if plain_number(found.text) is not None:
        return found
    reading = read(found.text)
    if (
        isinstance(reading[0], Choice)
        and not reading[0].rest
        and not isinstance(reference.reading[0], Choice)
    ):  # "The lecture begins at 1:45. The answer is D.": the value stands before its letter
        before = last_stated(text[: found.start].rpartition(".")[0])
        return found if before is None else Extraction(before[0], found.found_by, before[1])
    if is_value(reading, words_too=True) or same_texts(reference, found.text):
        return found
    with_unit = isinstance(reference.reading[0], Quantity)
    said = found.text
    if found.found_by == "boxed":
        said = " ".join(without_text(said).split())
    value = stated(said, with_unit=with_unit)
    return found if value is None else found._replace(text=value)


def find_letter(case: Case, found: Extraction | None, rules: Sequence[str]) -> Extraction | None:
    """The letter of an option: as marked, by the option's text, or on the last line with one."""
    text = case.text
    marked = found is not None and found.found_by in ("answer_tag", "boxed", "hash", "phrase")
    if found is not None and (marked or found.found_by == "whole"):
        letter = letter_in(found.text[:MAX_ANSWER_CHARS])
        if letter is None and case.options:
            letter = _option_named(found.text, case.options)
        if letter is not None:
            denied = _contradicts(letter, found.text, case.options)
            return None if denied else found._replace(text=letter)
        if marked and found.found_by != "boxed":
            return None if isinstance(read(found.text)[0], Choice) else found
    if found is None and any(mark in text for mark in MARKS):
        return None  # a broken mark, behind which nothing else counts
    if "whole" not in rules or not case.closed or text.rfind("<think>") > text.rfind("</think>"):
        return found
    behind = text[found.start + len(found.text) :] if found is not None and marked else text
    last = last_letter(behind[behind.rfind("</think>") + 1 :])
    if last is not None:
        return Extraction(last[0], "last_choice", len(text) - len(behind) + last[1])
    if case.options and (value := last_stated(text)) is not None:
        letter = _option_named(value[0], case.options)
        if letter is not None:
            return Extraction(letter, "last_choice", value[1])
    if found is None or isinstance(read(found.text)[0], Choice):
        return None  # a letter that was taken back
    return found if marked or found.found_by == "whole" else None


def _contradicts(letter: str, text: str, options: tuple[str, ...]) -> bool:
    """Whether the text behind a letter is that of another option."""
    rest = re.sub(r"^[\s(*]*[A-Z][\s).:*(]+", "", text).strip(" )")
    named = _option_named(rest, options) if options and rest else None
    return named is not None and named != letter


def with_option(found: Extraction, options: tuple[str, ...]) -> Extraction:
    """The option's text where its letter was given."""
    if not is_value(read(found.text)) or isinstance(read(found.text)[0], Choice):
        letter = letter_in(found.text)
        if letter is not None and len(letter) == 1 and ord(letter) - 65 < len(options):
            return found._replace(text=options[ord(letter) - 65])
    return found


def _option_named(text: str, options: tuple[str, ...]) -> str | None:
    """The letter of the one option that a text equals."""
    reading = read(text)
    equal = [i for i, option in enumerate(options) if same(read(option), reading, Rules()) is True]
    return LETTERS[equal[0]] if len(equal) == 1 else None


def find_words(
    case: Case, found: Extraction | None, reference: Reference, rules: Sequence[str]
) -> Extraction | None:
    """Words as marked; else the truth value, or the one word of a class, that the text ends on."""
    guessed = found is None or found.found_by in ("last_number", "last_math", "bold")
    if found is not None and (found.found_by == "last_math" and "\\text" in found.text):
        guessed = False
    text = case.text if guessed or found is None else _NOT_OTHER.sub("", found.text)
    broken = found is None and any(mark in case.text for mark in MARKS)
    if broken or (guessed and (not case.closed or "whole" not in rules)):
        return None
    if reference.kind == "truth":
        word = last_truth(text) if guessed else truth_in(text)
    else:
        word = named_of_class(text, reference.text)
    if word is None:
        return None if guessed or found is None else found._replace(text=text)
    if found is None or guessed:
        return Extraction(word, "last_word", max(0, text.rfind(word)))
    return found._replace(text=word)


def same_texts(reference: Reference, answer: str) -> bool:
    """Whether the texts agree, whatever they mean."""
    if len(answer) > 4_000:
        return False
    gold, spelled = compact(spell(reference.text)), compact(spell(answer))
    if gold == spelled:
        return True
    return reference.kind == "text" and plain_words(reference.text) == plain_words(answer) != ""
