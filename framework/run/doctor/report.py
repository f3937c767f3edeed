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

_MARKS = {"ok": "ok", "note": "note", "problem": "problem"}
_COLOURS = {"ok": "32", "note": "33", "problem": "1;31"}
_SUBJECT = 16  # columns
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
    return "\n".join([*lines, "", *folded_line(_verdict(diagnosis), width).split("\n")])


def _lines(finding: Finding, width: int, colours: bool) -> list[str]:
    mark = f"{_MARKS[finding.level]:<7}"
    head = f"  {mark}  {finding.subject:<{_SUBJECT}} "
    indent = " " * len(head)
    text = [*_wrapped(_short(finding.text), width - len(indent))]
    further = [finding.does, f"-> {finding.advice}" if finding.advice else ""]
    further += [f"   {finding.source}" if finding.source else ""]
    for part in further:
        text += _wrapped(part, width - len(indent)) if part else []
    if colours:
        head = head.replace(mark, f"\x1b[{_COLOURS[finding.level]}m{mark}\x1b[0m", 1)
    return [head + text[0], *(indent + line for line in text[1:])]


def _wrapped(text: str, width: int) -> list[str]:
    lines = folded_line(text, max(width, 30)).split("\n")
    start = " " * 3 if text.startswith("->") else ""
    return [lines[0], *(start + line.strip() for line in lines[1:])]


def _short(text: str) -> str:
    return printable(text, limit=_LONGEST)


def _bold(text: str, colours: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colours else text


def _verdict(diagnosis: Diagnosis) -> str:
    counts = {
        level: sum(finding.level == level for finding in diagnosis.findings)
        for level in ("problem", "note")
    }
    said = [f"{n} {level}{'s' * (n > 1)}" for level, n in counts.items() if n]
    if not counts["problem"]:
        whole = "This installation works" if diagnosis.was_tested else "Nothing is wrong so far"
        after = "" if diagnosis.was_tested else "; without --quick, it is tried out"
        return f"{whole}{after}{f' ({said[0]})' if said else ''}."
    ask = "`groupwise doctor --report` prints this for an issue, without names, paths and tokens."
    return f"{' and '.join(said)}. {ask}"


def as_markdown(diagnosis: Diagnosis) -> str:
    """A block to paste into an issue: what was found, the versions, and the end of what failed."""
    rows = [
        f"| {_MARKS[f.level]} | {_cell(f.subject)} | {_cell(f.text)} | {_cell(f.advice)} |"
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
