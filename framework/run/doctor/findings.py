"""What `groupwise doctor` found: each finding with its level and one line of advice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from groupwise.framework.run.doctor.known import Known

Group = Literal["Installation", "Machine", "Stack"]
Level = Literal["ok", "note", "problem"]

GROUPS: tuple[Group, ...] = ("Installation", "Machine", "Stack")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    `text` is what was found, `does` what that is known to do, `advice` one line on what to do, and
    `source` where it is known from. Raises ValueError for a note or a problem without advice.
    """

    group: Group
    subject: str
    level: Level
    text: str
    does: str = ""
    advice: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.level != "ok" and not self.advice:
            raise ValueError(f"{self.subject}: {self.text}: no advice")


def known_finding(
    entry: Known,
    text: str,
    level: Level = "problem",
    *,
    group: Group = "Installation",
    subject: str = "",
    advice: str = "",
) -> Finding:
    """A finding about a known mismatch; `advice` in place of the entry's where more is known."""
    subject, advice = subject or entry.package, advice or entry.remedy
    return Finding(group, subject, level, text, entry.does, advice, entry.source)
