"""The options of a multiple choice, out of an example's metadata; and answers that name one.

    options_of({"choices": ["Paris", "Rome"]})                  # ("Paris", "Rome")
    options_of({"options": '{"A": "Paris", "B": "Rome"}'})      # the same
    gold_letter("1", ("Paris", "Rome"))                         # "B": positions count from 0
    gold_letters(["4", "2"], [four_options, four_options])      # ["D", "B"]: seen together, from 1

Options stand under `choices` or `options`, or in columns A, B, C, D. A form that is not known gives
(): a wrong option would be credited. What this leaves out: options inside the question's text.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

LETTERS = ascii_uppercase
MOST_OPTIONS = len(LETTERS)
_FIELDS = ("choices", "options")
_FEWEST_COLUMNS = 4  # A, B and C alone may be anything: coefficients, vertices
_TEXT_FIELDS = ("text", "value", "content")
_LABEL_FIELDS = ("label", "labels", "key", "letter")
_PREFIX = re.compile(r"\s*[(\[]?\s*([A-Za-z])\s*[.):\]]+\s*")
_INTEGER = re.compile(r"\d{1,2}")
_POINT_ZERO = re.compile(r"(?<=^\d)\.0+$|(?<=^\d\d)\.0+$")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MOST_CHARS = 100_000  # of options that are written as JSON

_Labelled = tuple[tuple[str, ...], tuple[str, ...]]
_NONE: _Labelled = ((), ())


def options_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of the options, in the order of their letters; () if there are none to be read.

    `choices` goes before `options`, and both before columns A, B, C, D. Each may hold a list of
    texts or numbers, `{"text": [...], "label": [...]}`, a list of `{"label": ..., "text": ...}`, a
    mapping of labels to texts, or the JSON of one of these. "A. Paris" and "(A) Paris" lose their
    letter if every option has one, in order. Options at the end that are null or blank are none.
    """
    return _labelled(metadata)[1]


def labels_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels that the data give to the options: ("1", "2", "3", "4"); () if they give none."""
    return _labelled(metadata)[0]


def option_fields(names: Iterable[str]) -> list[str]:
    """Those of the columns that may hold options: to be kept with an example."""
    present = list(names)
    columns = [name for name, _ in zip(LETTERS, _columns(dict.fromkeys(present, "")), strict=False)]
    return [n for n in present if n.strip().casefold() in _FIELDS or n in columns]


def gold_letter(gold: str, options: Sequence[str], labels: Sequence[str] = ()) -> str:
    """The letter of the option that a reference names by label or position; else the reference.

    In this order: a letter of an option stays; one of the `labels` is the letter in its place, and
    beside labels that are numbers all else stays; what stands in an option, as its text or as a
    number in it, stays; an integer from 0 to one less than the number of options is a position,
    counted from 0; all else stays.
    """
    asked = gold.strip()
    if asked in tuple(LETTERS[: len(options)]):
        return gold
    named = _by_label(asked, labels if len(labels) == len(options) else ())
    if named or _stands_in(asked, options):
        return named or gold
    return _at(asked, options, 0) or gold


def letter_of_text(gold: str, options: Sequence[str]) -> str | None:
    """The letter of the one option that has this text, in any case; None if there is not one."""
    asked = gold.strip().casefold()
    found = [i for i, option in enumerate(options) if option.strip().casefold() == asked]
    return LETTERS[found[0]] if len(found) == 1 else None


def gold_letters(
    golds: Sequence[str],
    options: Sequence[Sequence[str]],
    labels: Sequence[Sequence[str]] | None = None,
) -> list[str]:
    """`gold_letter` of a whole column, which says more about its integers than one of them.

    They are positions if all references without a label are integers in the range of their options,
    and one of them at least is no option's text or number: counted from 0, or from 1 if there is no
    0 and the range from 0 does not hold them. Positions are then letters, also in rows where an
    option's text is that integer. 1.0 is one, as pandas writes a column that had gaps. A letter
    may be small. Rows without options, and columns of another kind, stay.
    """
    plain, named = _named(golds, labels)
    base = _base(_unnamed(plain, options, named))
    return [
        letter
        or (_at(one, texts, base) if base is not None else None)
        or _small_letter(one, texts)
        or gold
        for gold, one, texts, letter in zip(golds, plain, options, named, strict=True)
    ]


def may_count_from_one(
    golds: Sequence[str],
    options: Sequence[Sequence[str]],
    labels: Sequence[Sequence[str]] | None = None,
) -> bool:
    """Whether `gold_letters` counts positions from 0 that, as far as they go, could be from 1."""
    plain, named = _named(golds, labels)
    asked = _unnamed(plain, options, named)
    return bool(asked) and _base(asked) == 0 and all(_at(gold, texts, 1) for gold, texts in asked)


def _named(
    golds: Sequence[str], labels: Sequence[Sequence[str]] | None
) -> tuple[list[str], list[str | None]]:
    """The references without .0, and the letter of each that is a label."""
    plain = [_POINT_ZERO.sub("", gold.strip()) for gold in golds]
    return plain, [
        _by_label(gold, known)
        for gold, known in zip(plain, labels or [()] * len(golds), strict=True)
    ]


def _unnamed(
    golds: Sequence[str], options: Sequence[Sequence[str]], letters: Sequence[str | None]
) -> list[tuple[str, Sequence[str]]]:
    """The references that may be positions, with their options."""
    rows = zip(golds, options, letters, strict=True)
    return [(gold, texts) for gold, texts, letter in rows if texts and letter is None]


def _small_letter(gold: str, options: Sequence[str]) -> str | None:
    """The letter of an option that is written small, and is no option's text."""
    is_letter = gold.islower() and gold.upper() in tuple(LETTERS[: len(options)])
    return gold.upper() if is_letter and not _stands_in(gold, options) else None


def _by_label(gold: str, labels: Sequence[str]) -> str | None:
    """The letter in the place of a label; the reference beside other numbers; None: not known."""
    if gold in labels:
        return LETTERS[list(labels).index(gold)]
    return gold if labels and labels[0].isdigit() else None


def _base(asked: Sequence[tuple[str, Sequence[str]]]) -> int | None:
    """What the first option's position is, 0 or 1; None if these are no positions."""
    if all(_stands_in(gold, texts) for gold, texts in asked):
        return None
    for base in (0, 1):
        if all(_at(gold, texts, base) for gold, texts in asked):
            return base
    return None


def _at(gold: str, options: Sequence[str], base: int) -> str | None:
    """The letter at a position; None if that is no integer in the range of the options."""
    if not (_INTEGER.fullmatch(gold) and gold.isascii()):
        return None
    position = int(gold) - base
    return LETTERS[position] if 0 <= position < len(options) else None


def _stands_in(gold: str, options: Sequence[str]) -> bool:
    """Whether the reference is an option's text, or a number in one."""
    return any(
        gold.casefold() == option.strip().casefold()
        or any(_same_number(gold, number) for number in _NUMBER.findall(option))
        for option in options
    )


def _same_number(gold: str, number: str) -> bool:
    if not (_INTEGER.fullmatch(gold) and number.isascii()):
        return gold == number
    try:
        return int(gold) == float(number.replace(",", ""))
    except ValueError:  # 1.2.3
        return False


# --- the forms -------------------------------------------------------------------------------


def _labelled(metadata: Mapping[str, Any]) -> _Labelled:
    """Labels, () if the data give none, and texts of the options."""
    by_name = {name.strip().casefold(): value for name, value in metadata.items()}
    for field in _FIELDS:
        found = _read(by_name.get(field))
        if found[1]:
            return found
    columns = _columns(metadata)
    return _checked((), columns) if len(columns) >= _FEWEST_COLUMNS else _NONE


def _columns(metadata: Mapping[str, Any]) -> list[Any]:
    """The values of columns A, B, C, …, as far as they go; [] if they are too few."""
    count = next((i for i, name in enumerate(LETTERS) if name not in metadata), MOST_OPTIONS)
    return [metadata[name] for name in LETTERS[:count]] if count >= _FEWEST_COLUMNS else []


def _read(value: Any) -> _Labelled:
    if isinstance(value, str):
        parsed = _parsed(value)
        return _NONE if isinstance(parsed, str) else _read(parsed)
    if isinstance(value, Mapping):
        texts, labels = _field(value, _TEXT_FIELDS), _field(value, _LABEL_FIELDS)
        if isinstance(texts, list | tuple):
            return _ordered(labels, texts) if isinstance(labels, list | tuple) else _read(texts)
        return _ordered(list(value), list(value.values()))
    if not isinstance(value, list | tuple):
        return _NONE
    if value and all(isinstance(item, Mapping) for item in value):
        texts = [_field(item, _TEXT_FIELDS) for item in value]
        labels = [_field(item, _LABEL_FIELDS) for item in value]
        return _checked((), texts) if labels == [None] * len(labels) else _ordered(labels, texts)
    return _checked((), value)


def _field(value: Mapping[Any, Any], names: Sequence[str]) -> Any:
    return next((value[name] for name in names if name in value), None)


def _parsed(text: str) -> Any:
    """JSON, a Python list as a table has it, or lines "A. Paris"; else the text itself."""
    if len(text) > _MOST_CHARS:
        return text
    if text.lstrip()[:1] in ("[", "{") and text.strip()[-1:] in ("]", "}"):
        for read in (json.loads, ast.literal_eval):
            try:
                parsed = read(text.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            return parsed if isinstance(parsed, list | tuple | dict) else text
    lines = [line for line in text.splitlines() if line.strip()]
    return lines if _without_letters(lines) != lines else text


def _ordered(labels: Sequence[Any], values: Sequence[Any]) -> _Labelled:
    """Options in the order of their labels: A, B, …, or 1, 2, …, or 0, 1, …; () if of no such."""
    names = [_text(label) for label in labels]
    pairs = [
        (name.strip("().[] "), value)
        for name, value in zip(names, values, strict=False)
        if name is not None
    ]
    if len(labels) != len(values) or len(pairs) != len(values) or len(pairs) > MOST_OPTIONS:
        return _NONE
    found = dict(pairs)
    count = len(pairs)
    for scheme in (
        list(LETTERS[:count]),
        list(LETTERS[:count].lower()),
        [str(i) for i in range(1, count + 1)],
        [str(i) for i in range(count)],
    ):
        if set(scheme) == set(found):
            return _checked(tuple(scheme), [found[name] for name in scheme])
    return _NONE


def _checked(labels: tuple[str, ...], values: Sequence[Any]) -> _Labelled:
    """Options as texts, without their letters and without blank ones at the end."""
    texts = [_text(value) for value in values]
    while texts and not texts[-1]:
        texts.pop()
    known = [text for text in texts if text]
    if len(known) != len(texts) or not 2 <= len(texts) <= MOST_OPTIONS:
        return _NONE
    return labels[: len(known)], tuple(_without_letters(known))


def _text(value: Any) -> str | None:
    """A value as text; None if it is missing, or no text, number or truth."""
    if isinstance(value, float) and not math.isfinite(value):
        return None  # how pandas writes a missing value
    return str(value).strip() if isinstance(value, str | bool | int | float) else None


def _without_letters(texts: list[str]) -> list[str]:
    """Texts without "A. ", "(B) ", … if each has one, in order; else as they are."""
    found = [_PREFIX.match(text) for text in texts]
    letters = "".join(match[1] for match in found if match)
    expected = LETTERS[: len(texts)]
    if len(texts) < 2 or letters not in (expected, expected.lower()):
        return texts
    rest = [text[match.end() :].strip() for text, match in zip(texts, found, strict=True) if match]
    return rest if all(rest) else texts
