"""What differs between evaluations that are to be compared: problems, prompts, settings.

refused, noted = what_differs(logs, sides)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.problems import Problems
from groupwise.evaluation.log.settings import load_settings, setting_differences
from groupwise.rewards.errors import UserError

# Settings that a comparison is about, and hashes of the problems, which are compared one by one.
_MAY_DIFFER = ("model", "sampler", "num_examples", "problems", "prompts")


# Settings whose difference is worth a notice: other random draws on the same terms.
_NOTED = ("params.seed",)
_OTHER_PROMPT = "another prompt"


def what_differs(
    logs: Mapping[str, Path], sides: Mapping[str, Problems]
) -> tuple[list[str], list[str]]:
    """One line for each difference between the first evaluation and the others.

    The first list is of those that a comparison should not have, the second of those that it may.
    Raises UserError if they cannot be compared at all: a log without samples, without grades, or
    without a problem in common with the first.
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
            missing = "1 sample is" if owed == 1 else f"{owed} samples are"
            lines.append(f"{label}: {missing} missing; the evaluation is not finished")
    for label in others:
        of_problems = _problems_differ(base, sides[base], label, sides[label])
        lines += of_problems
        first, second = settings[base], settings[label]
        if first is None or second is None:
            continue  # a log from elsewhere: the problems' ids are all that can be checked
        dates, kept = zip(*map(_without_date, (first, second)), strict=True)
        if dates[0] != dates[1] and any(_OTHER_PROMPT in line for line in of_problems):
            lines.append(
                f"the chat template writes the date, {dates[0]} in {base}, {dates[1]} in {label}; "
                f"to ask the same, evaluate again with --set model.chat_template_date={dates[0]}"
            )
        lines += setting_differences(kept[0], kept[1], f"in {base}", f"in {label}")
    noted = [line for line in lines if line.startswith(tuple(f"{name}:" for name in _NOTED))]
    return [line for line in lines if line not in noted], noted


def _without_date(settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The date of a log's prompts, and its other settings that a comparison should not differ in.

    Another date is no difference where it gives the same prompts: those are compared themselves.
    """
    kept = {name: value for name, value in settings.items() if name not in _MAY_DIFFER}
    identity = dict(kept.get("identity") or {})
    date = identity.pop("chat_template_date", None)
    return date, {**kept, "identity": identity}


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
        (_OTHER_PROMPT, [i for i in both if a[i].prompt != b[i].prompt]),
    ):
        if other:
            lines.append(f"{len(other)} problems have {what} in {label}, such as {other[0]!r}")
    return lines
