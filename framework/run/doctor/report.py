"""A diagnosis as a table for the terminal, as Markdown for an issue, and as JSON."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from groupwise.evaluation.text import folded_line, printable
from groupwise.framework.run.doctor.diagnosis import Diagnosis
from groupwise.framework.run.doctor.findings import GROUPS, Finding
from groupwise.framework.run.doctor.known import KNOWN
from groupwise.framework.run.doctor.scrub import scrub
from groupwise.framework.run.machine import STACK

_COLOURS = {"ok": "32", "note": "33", "problem": "1;31"}
_MARK, _SUBJECT = 7, 16  # columns
_WIDEST = 100  # columns of text that are pleasant to read
_LONGEST = 300  # characters of a text: errors of libraries have thousands
_LINES = 30  # of what a failed process printed last


def as_text(diagnosis: Diagnosis, width: int | None, *, colours: bool = False) -> str:
    """Every finding on a line of its own, what to do below it, and a last line that sums up."""
    width = min(width or _WIDEST, _WIDEST)
    lines: list[str] = []
    for group in GROUPS:
        found = [finding for finding in diagnosis.findings if finding.group == group]
        if found:
            lines += [_bold(group, colours)] if not lines else ["", _bold(group, colours)]
        for finding in found:
            lines += _lines(finding, width, colours)
    for sentence in _verdict(diagnosis):
        lines += ["", *_wrapped(sentence, width)] if sentence else []
    return "\n".join(lines)


def _lines(finding: Finding, width: int, colours: bool) -> list[str]:
    """What was found beside its subject; below it, with less indent, what that means."""
    mark = f"{finding.level:<{_MARK}}"
    head = f"  {mark}  {finding.subject:<{_SUBJECT}} "
    first, *rest = _wrapped(_short(finding.text), width - len(head))
    lines = [head + first, *(" " * len(head) + line for line in rest)]
    indent = " " * (_MARK + 4)
    if finding.does:
        lines += [indent + line for line in _wrapped(finding.does, width - len(indent))]
    if finding.advice:
        arrow, *after = _wrapped(_short(finding.advice), width - len(indent) - 3)
        lines += [f"{indent}-> {arrow}", *(f"{indent}   {line}" for line in after)]
    if finding.source:
        lines.append(f"{indent}   {finding.source}")
    if colours:
        lines[0] = lines[0].replace(mark, f"\x1b[{_COLOURS[finding.level]}m{mark}\x1b[0m", 1)
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return [line.strip() for line in folded_line(text, max(width, 24)).split("\n")]


def _short(text: str) -> str:
    return printable(text, limit=_LONGEST)


def _bold(text: str, colours: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colours else text


def _verdict(diagnosis: Diagnosis) -> tuple[str, str]:
    """How it stands, and how to ask for help if it does not stand well."""
    levels = [finding.level for finding in diagnosis.findings]
    problems, notes = levels.count("problem"), levels.count("note")
    noted = f"{notes} note{'s' * (notes > 1)}" if notes else ""
    if problems:
        said = f"{problems} problem{'s' * (problems > 1)}{f' and {noted}' if noted else ''}."
        return said, (
            "For help: `groupwise doctor --report` prints this for an issue, without names, paths "
            "and tokens."
        )
    whole = "This installation works" if diagnosis.was_tested else "Nothing is wrong so far"
    hint = "" if diagnosis.was_tested else "Without --quick, the installation is tried out."
    return f"{whole}{f' ({noted})' if noted else ''}.", hint


def as_markdown(diagnosis: Diagnosis) -> str:
    """A block to paste into an issue: what was found, the versions, and the end of what failed."""
    rows = [
        f"| {f.level} | {_cell(f.subject)} | {_cell(f.text)} | {_cell(f.advice)} |"
        for f in diagnosis.findings
    ]
    versions = [
        f"| {p.name} | {_cell(p.installed or 'missing')} | {p.tested} |" for p in diagnosis.packages
    ]
    lines = [
        *("### groupwise doctor", "", "| | what | found | advice |", "|---|---|---|---|", *rows),
        *("", "| package | installed | tested |", "|---|---|---|", *versions),
    ]
    if diagnosis.printed:
        last = _clean(diagnosis.printed).split("\n")[-_LINES:]
        fence = "~~~~"
        lines += ["", "The end of what the failed process printed:", "", fence]
        lines += [printable(line, limit=_LONGEST).replace("~~~", "---") for line in last]
        lines.append(fence)
    return "\n".join(lines)


def _cell(text: str) -> str:
    return re.sub(r"([|`*_<>\[\]~#@])", r"\\\1", _short(_clean(text)))


def _clean(text: str) -> str:
    return scrub(text, _OWN_WORDS)


_OWN_WORDS = frozenset(
    re.findall(r"[\w-]+", " ".join([*STACK, *(str(entry) for entry in KNOWN)]).lower())
)


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "healthy": diagnosis.healthy,
        "tested": diagnosis.was_tested,
        "gpu": diagnosis.gpu,
        "packages": {
            p.name: {"tested": p.tested, "installed": p.installed} for p in diagnosis.packages
        },
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "facts": diagnosis.facts,
    }
