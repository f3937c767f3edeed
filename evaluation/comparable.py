"""Whether evaluations were asked the same, so that they may be compared, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from evaluation.log import load_settings, setting_differences
from evaluation.problems import Problems
from rewards.errors import UserError

# What a comparison is about; and the problems, which are compared one by one.
_MAY_DIFFER = ("model", "sampler", "num_examples", "problems", "prompts")


def what_differs(logs: Mapping[str, Path], sides: Mapping[str, Problems]) -> list[str]:
    """What speaks against comparing the others with the first, a line each.

    UserError where they cannot be compared at all: a log without samples, without grades, or
    without a problem that the first has too.
    """
    lines = []
    base, *others = logs
    settings = {label: load_settings(log.parent) for label, log in logs.items()}
    for label, side in sides.items():
        if not side.problems:
            raise UserError(f"{logs[label]}: the log is empty")
        if not side.decided:
            raise UserError(
                f"{logs[label]}: nothing says which samples are right. Give a score from which a "
                "sample counts as right (solved_at)."
            )
        known = settings[label] or {}
        asked = known.get("num_examples", 0) * known.get("num_samples", 0)
        if asked > side.num_samples:
            owed = asked - side.num_samples
            lines.append(f"{label}: {owed} samples are missing; the evaluation is not finished")
    for label in others:
        lines += _problems_differ(base, sides[base], label, sides[label])
        first, second = settings[base], settings[label]
        if first is None or second is None:
            continue  # a log from elsewhere: the problems' ids are all that can be checked
        kept = [
            {name: value for name, value in x.items() if name not in _MAY_DIFFER}
            for x in (first, second)
        ]
        lines += setting_differences(kept[0], kept[1], f"in {base}", f"in {label}")
    return lines


def _problems_differ(base: str, first: Problems, label: str, second: Problems) -> list[str]:
    a = {problem.example_id: problem for problem in first.problems}
    b = {problem.example_id: problem for problem in second.problems}
    both = sorted(a.keys() & b.keys())
    if not both:
        raise UserError(f"{base} and {label} have no problem in common (compared by example_id)")
    lines = [
        f"{len(more)} problems are only in {name}, such as {min(more)!r}"
        for name, more in ((base, a.keys() - b.keys()), (label, b.keys() - a.keys()))
        if more
    ]
    for what, other in (
        ("another reference answer", [i for i in both if a[i].answer != b[i].answer]),
        ("another prompt", [i for i in both if a[i].prompt != b[i].prompt]),
    ):
        if other:
            lines.append(f"{len(other)} problems have {what} in {label}, such as {other[0]!r}")
    return lines


def in_common(sides: dict[str, Problems]) -> dict[str, Problems]:
    """Only the problems that all have; collect has sorted them by id, so rows then match."""
    ids = set.intersection(*({p.example_id for p in side.problems} for side in sides.values()))
    return {
        label: replace(side, problems=[p for p in side.problems if p.example_id in ids])
        for label, side in sides.items()
    }
