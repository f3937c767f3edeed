"""The results of a preflight as tables and as JSON, for `groupwise check` and `train --dry-run`.

    check_table(found), check_json(found)          # of `preflight.check`
    dry_run_table(found), dry_run_json(found)      # of `preflight.dry_run`

Tables are lines of text, ending in a newline; text from the data or the model is escaped.
"""

from __future__ import annotations

from typing import Any

from groupwise.evaluation.tables import aligned
from groupwise.evaluation.text import printable
from groupwise.framework.experiment.groups_preflight import (
    GroupsPreflight,
    groups_json,
    groups_table,
)
from groupwise.framework.experiment.preflight import DryRun, Preflight
from groupwise.rewards.check.parts import PartProof
from groupwise.rewards.check.prove import SAMPLE

SHOWN_PROMPTS = 2
_SHOWN_FAILURES = 5
_SHOWN_CHARS = 1_200  # of a prompt, in `check`
_SHOWN_IN_DRY_RUN = 600  # characters of the first prompt
_FINE = "Everything short of loading the model is fine."

# --- groupwise check -------------------------------------------------------------------------


def check_json(found: Preflight | GroupsPreflight) -> dict[str, Any]:
    """For scripts: what `groupwise check --json` prints."""
    if isinstance(found, GroupsPreflight):
        return groups_json(found)
    return {
        "ok": not found.problems,
        "problems": list(found.problems),
        "notices": list(found.notices),
        "prompts": {
            "count": len(found.prompts.examples),
            "left_out": [item.id for item in found.prompts.left_out],
            "longest": found.prompts.longest_prompt,
            "first": [example.prompt for example in found.prompts.examples[:SHOWN_PROMPTS]],
        },
        "references": {
            "format": found.proof.template,
            "longest": max(found.proof.reference_lengths),
            "max_completion_length": found.max_completion_length,
            "missing": [
                {"id": m.example_id, "spelling": m.spelling, "where": m.place}
                for m in found.proof.missing
            ],
        },
        "rewards": {part.name: _part_json(part) for part in found.proof.parts},
        "totals": dict(found.proof.totals),
        "batch_shape": found.batch_shape,
        "needs": found.needs,
        "adapter": found.adapter,
        "step": {"completions": found.step_completions, "reward_seconds": found.step_seconds},
    }


def _part_json(part: PartProof) -> dict[str, Any]:
    return {
        "weight": part.weight,
        "examples": part.num_examples,
        "means": dict(part.means),
        "problems": list(part.problems),
        "note": part.note,
        "failures": [
            {"id": f.example_id, "question": f.question, "reference": f.reference, "what": f.what}
            for f in part.failures
        ],
    }


def check_table(found: Preflight | GroupsPreflight) -> str:
    """For people: prompts, one row per reward, failures, problems, notices; ends in a newline."""
    if isinstance(found, GroupsPreflight):
        return groups_table(found)
    proof = found.proof
    lines = [f"{found.prompts}"]
    for number, example in enumerate(found.prompts.examples[:SHOWN_PROMPTS], start=1):
        lines.append(
            f"prompt {number} (id {printable(example.id, limit=40)}), as the model sees it:"
        )
        lines += [f"    {printable(line)}" for line in example.prompt[:_SHOWN_CHARS].splitlines()]
        lines.append(f"    reference: {printable(example.answer, limit=200)}")
    lines += [
        "",
        f"rewards on {proof.num_examples} examples, mean value by answer; references are written "
        f"as {proof.template}",
        "",
        *aligned(_rows(found), left=(0, -1)),
    ]
    noted: dict[str, list[str]] = {}
    for part in proof.parts:
        if part.note and not part.problems:
            noted.setdefault(part.note, []).append(printable(part.name, limit=30))
    lines += [f"{', '.join(names)}: {note}" for note, names in noted.items()]
    for part in proof.parts:
        lines += _failures(part)
    longest = max(proof.reference_lengths)
    lines += [
        "",
        f"lengths: prompts up to {found.prompts.longest_prompt} tokens, references in their format "
        f"up to {longest}, completions are cut off at {found.max_completion_length}",
        f"rewards of a step: about {_duration(found.step_seconds)} for {found.step_completions} "
        "completions",
        *([f"memory: {found.needs}"] if found.needs else []),
        *([f"trained: {found.adapter}"] if found.adapter else []),
        "",
    ]
    lines += [f"note: {printable(notice, lines=True)}" for notice in found.notices]
    lines += [f"PROBLEM: {printable(problem, lines=True)}" for problem in found.problems]
    if not found.problems:
        lines.append("Every reward does what it should on these data.")
    return "\n".join(lines) + "\n"


def _rows(found: Preflight) -> list[list[str]]:
    probes = list(found.proof.totals)
    heads = {"strange": "cut off", "wrong": "a wrong one"}
    rows = [["reward", "weight", *(heads.get(probe, probe) for probe in probes), "examples", ""]]
    for part in found.proof.parts:
        count = len(part.failures)
        verdict = f"{count} FAIL" if count else "PROBLEM" if part.problems else "ok"
        rows.append(
            [
                printable(part.name, limit=30),
                f"{part.weight:g}",
                *(_number(part.means[probe]) for probe in probes),
                str(part.num_examples),
                verdict,
            ]
        )
    total = [_number(found.proof.totals[probe]) for probe in probes]
    return [*rows, ["total", "", *total, str(min(SAMPLE, found.proof.num_examples)), ""]]


def _failures(part: PartProof) -> list[str]:
    if not part.failures:
        return []
    lines = ["", f"{printable(part.name)} fails on {len(part.failures)} of {part.num_examples}:"]
    # If every example fails, the cause is not in the examples: one is enough
    shown = 1 if len(part.failures) == part.num_examples else _SHOWN_FAILURES
    for failure in part.failures[:shown]:
        lines += [
            f"    {printable(failure.example_id, limit=40)}: {failure.what}",
            f"        question {failure.question}",
            f"        reference {failure.reference}",
        ]
    if (more := len(part.failures) - shown) > 0:
        ids = [printable(f.example_id, limit=40) for f in part.failures[shown:]]
        lines.append(f"    and {more} more: {', '.join(ids[:20])}{' …' if more > 20 else ''}")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


# --- groupwise train --dry-run ---------------------------------------------------------------


def dry_run_json(found: DryRun | GroupsPreflight) -> dict[str, Any]:
    """For scripts: what `groupwise train --dry-run --json` prints."""
    if isinstance(found, GroupsPreflight):
        return groups_json(found)
    return {
        "train": len(found.train.examples),
        "train_left_out": len(found.train.left_out),
        "held_out": len(found.held_out.examples),
        "held_out_left_out": len(found.held_out.left_out),
        "longest_prompt": found.train.longest_prompt,
        "demonstrations": found.num_demonstrations,
        "batch_shape": found.batch_shape,
        "memory": found.checkpointing,
        "needs": found.needs,
        "adapter": found.adapter,
        "first_prompt": found.first_prompt,
        "notices": list(found.notices),
        "problems": list(found.problems),
    }


def dry_run_table(found: DryRun | GroupsPreflight) -> str:
    """For people: counts, batch shape, memory, the first prompt, notices, problems."""
    if isinstance(found, GroupsPreflight):
        return groups_table(found)
    lines = [f"train:     {found.train}", f"held out:  {found.held_out}"]
    if found.num_demonstrations:
        lines.append(f"warm start: {found.num_demonstrations} demonstrations")
    lines += [
        f"batch:     {found.batch_shape}",
        f"memory:    {found.checkpointing}",
        *([f"           {found.needs}"] if found.needs else []),
        *([f"trained:   {found.adapter}"] if found.adapter else []),
        "first prompt, as the model will see it:",
    ]
    shown = found.first_prompt[:_SHOWN_IN_DRY_RUN].splitlines()
    lines += [f"    {printable(line)}" for line in shown]
    lines += [f"note: {printable(notice, lines=True)}" for notice in found.notices]
    lines += [f"PROBLEM: {printable(problem, lines=True)}" for problem in found.problems]
    lines.append("`groupwise check` with this config says more." if found.problems else _FINE)
    return "\n".join(lines) + "\n"
