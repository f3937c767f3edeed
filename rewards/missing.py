r"""References that say that there is no answer: `NaN`, `None`, `N/A`, `null`, `not found`, `proof`.

    is_missing("N/A.")                                  # True: a mark, not an answer
    missing_spelling("The sum has no bound.\n#### n/a")  # "n/a": the mark as it stands; None: none

A table that was converted, or a program that looked for the answer in a solution, leaves such marks
in the field of the answer. Nothing can be graded against them: a model that writes "None" would be
right. Words that answer a question are no marks: `undefined`, `no solution`, `does not exist`,
`None of the above`, `not given`, `False`, `0`, an empty set, and `Na`, which is sodium. What it
leaves out: a question mark or a dash inside other text; what a rule looked for and did not find.
"""

from __future__ import annotations

import re

from groupwise.rewards.text import strip_invisible

MISSING: frozenset[str] = frozenset(
    {
        "",
        *("nan", "none", "null", "nil"),
        *("n/a", "n\\a", "na", "n.a", "n.a.", "n / a", "#n/a", "#na"),
        *("n. a", "n. a.", "n.d", "n.d.", "k.a", "k.a.", "k. a", "k. a.", "keine angabe"),
        *("nicht verfügbar", "non disponible", "non renseigné", "no disponible"),
        *("not available", "not applicable", "unavailable", "missing", "unknown"),
        *("not found", "notfound", "not_found", "answer not found", "not provided"),
        *("no answer", "noanswer", "no_answer", "no final answer"),
        *("no answer found", "no answer provided", "no answer given"),
        *("proof", "see proof", "see the proof", "see solution", "see the solution"),
        *("tbd", "tba", "todo", "to be determined"),
        # errors of a spreadsheet, in English, German, French, Spanish and Italian
        *("#ref", "#div/0", "#value", "#name", "#num", "#null", "#spill", "#calc"),
        *("#bezug", "#wert", "#zahl", "#nv", "#überlauf", "#valeur", "#nom", "#nombre"),
        *("#n/d", "#valor", "#¡valor", "#¡div/0", "#¡ref", "#¡num", "#¿nombre", "#valore", "#rif"),
    }
)
"""Marks of a missing answer, casefolded, without quote marks and final punctuation."""

LABELS: frozenset[str] = frozenset(
    {
        *("none", "unknown", "missing", "unavailable", "not available", "not applicable"),
        *("no answer", "not found", "not provided"),
    }
)
"""Marks that are answers where words are asked for (mode `text`), or where they are an option."""

_LONGEST = 80  # characters; a longer text is prose
_QUOTES = "\"'`´“”„‟‘’‚«»‹›"
_SIGNS = "-\N{HYPHEN}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}_.…?"  # alone they say nothing
_WRAPS = re.compile(
    r"""\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname|boxed|fbox)\s*\{(.*)\}
    | \$\$?(.*?)\$\$? | \\\((.*)\\\) | \\\[(.*)\\\] | \*\*(.+)\*\* | \*(.+)\* | __(.+)__
    | <answer>(.*)</answer> | <([^<>]+)> | \((.+)\) | \[(.+)\]""",
    re.X | re.S | re.I,
)
_LAST_BOX = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]{0,80}\}){0,80})\}\W{0,10}$")
_DEPTH = 6


def is_missing(text: str) -> bool:
    """Whether a reference is nothing but a mark that there is no answer."""
    return len(text) <= _LONGEST + 200 and _is_mark(text, _DEPTH)


def is_label(text: str) -> bool:
    """Whether a mark may be an answer in words, such as "unknown" beside "true" and "false"."""
    return text.strip(_QUOTES + " .\n").casefold() in LABELS


def missing_spelling(reference: str) -> str | None:
    """The mark of a missing answer that a reference is or ends with, as it stands; None: none.

    It ends with what follows its last `####`, or with a box.
    """
    if is_missing(reference):
        return reference.strip()
    _, hash_mark, end = reference.rpartition("####")
    if not hash_mark:
        box = _LAST_BOX.search(reference[-2 * _LONGEST :])
        end = box[1] if box else ""
    # A mark or a box with nothing in it is a broken reference, which is said elsewhere
    return end.strip() if end.strip() and is_missing(end) else None


def _is_mark(text: str, depth: int) -> bool:
    bare = " ".join(strip_invisible(text).split()).strip(_QUOTES + " ")
    if len(bare) > _LONGEST:
        return False
    if bare.casefold() in MISSING and bare.rstrip(".") != "Na":
        return True
    if not bare.strip(_SIGNS + " "):
        return True
    stripped = bare.rstrip(".!?…:;," + _QUOTES + " ")
    if stripped and stripped != bare:
        return _is_mark(stripped, depth)
    wrapped = _WRAPS.fullmatch(bare)
    if wrapped is None or not depth:
        return False
    return _is_mark(next(group for group in wrapped.groups() if group is not None), depth - 1)
