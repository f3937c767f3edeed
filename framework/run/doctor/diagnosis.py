"""The diagnosis: what is installed and what the machine is; what torch and a self-test showed.

diagnosis = diagnose()                    # at once; nothing is imported
diagnosis = diagnosis.joined(findings, ended)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from groupwise.framework.run.doctor.children import Ended
from groupwise.framework.run.doctor.findings import Finding
from groupwise.framework.run.doctor.installed import PackageCheck, checked_packages, torch_build
from groupwise.framework.run.doctor.packages import package_findings
from groupwise.framework.run.doctor.system import (
    Cards,
    card_findings,
    compiler_findings,
    find_cards,
    system_findings,
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`printed`: the end of what a failed child wrote. `was_tested`: the self-test passed."""

    findings: tuple[Finding, ...]
    packages: tuple[PackageCheck, ...]
    cards: Cards
    facts: dict[str, Any] = field(default_factory=dict)
    printed: str = ""
    was_tested: bool = False

    @property
    def healthy(self) -> bool:
        return all(finding.level != "problem" for finding in self.findings)

    @property
    def gpu(self) -> str | None:
        """The names of the cards, None without one."""
        return "\n".join(card.name for card in self.cards.cards) or None

    def joined(self, findings: Iterable[Finding], ended: Ended) -> Diagnosis:
        """With what a child process showed; what is known of it already is not said again."""
        said = {finding.does for finding in self.findings if finding.does}
        more = (
            replace(f, does="", source="", advice="See above.") if f.does in said else f
            for f in findings
        )
        printed = ended.error.printed if ended.error else ""
        return replace(
            self,
            findings=(*self.findings, *more),
            facts={**self.facts, **ended.facts},
            printed=self.printed or printed,
        )


def diagnose() -> Diagnosis:
    """What can be told without importing anything, in less than a second."""
    cards = find_cards()
    with_gpu = bool(cards.cards)
    findings = (
        *package_findings(with_gpu),
        *system_findings(),
        *card_findings(cards, torch_build()),
        *(compiler_findings() if with_gpu else ()),
    )
    return Diagnosis(findings, checked_packages(with_gpu), cards)
