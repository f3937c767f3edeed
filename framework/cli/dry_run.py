"""`groupwise train --dry-run`: everything short of loading the model."""

from __future__ import annotations

import sys

from groupwise.evaluation.text import folded, printable
from groupwise.framework.cli.common import print_json
from groupwise.framework.config import ExperimentConfig, notices
from groupwise.framework.data.scored_groups import read_groups
from groupwise.framework.experiment.early_checks import check_early
from groupwise.framework.experiment.rehearsal import Rehearsal, rehearse
from groupwise.framework.run.directory import check_writable
from groupwise.framework.run.terminal import Terminal

_SHOWN_PROMPT = 600  # characters of the first prompt
_FINE = "Everything short of loading the model is fine."


def dry_run(config: ExperimentConfig, terminal: Terminal, *, json: bool) -> int:
    """Prints what was found; the exit code is 2 where training would be meaningless."""
    check_writable(config)
    check_early(config, ("train", "eval"))
    if config.training.method == "group_scores":
        _print_groups(config, json=json)
        return 0
    found = rehearse(config, terminal)
    show = _print_as_json if json else _print_as_text
    show(found, list(notices(config)))
    return 2 if found.problems else 0


def _print(text: str) -> None:
    print(folded(text, sys.stdout))


def _print_as_json(found: Rehearsal, notices: list[str]) -> None:
    print_json(
        {
            "train": len(found.train.examples),
            "train_left_out": len(found.train.left_out),
            "held_out": len(found.held_out.examples),
            "held_out_left_out": len(found.held_out.left_out),
            "longest_prompt": found.train.longest_prompt,
            "demonstrations": found.num_demonstrations,
            "batch_shape": found.batch_shape,
            "memory": found.checkpointing,
            "first_prompt": found.first_prompt,
            "notices": notices,
            "problems": list(found.problems),
        }
    )


def _print_as_text(found: Rehearsal, notices: list[str]) -> None:
    print(f"train:     {found.train}")
    print(f"held out:  {found.held_out}")
    if found.num_demonstrations:
        print(f"warm start: {found.num_demonstrations} demonstrations")
    _print(f"batch:     {found.batch_shape}")
    _print(f"memory:    {found.checkpointing}")
    print("first prompt, as the model will see it:")
    for line in found.first_prompt[:_SHOWN_PROMPT].splitlines():
        print(f"    {printable(line)}")
    for notice in notices:
        _print(f"note: {printable(notice, lines=True)}")
    for problem in found.problems:
        _print(f"PROBLEM: {printable(problem, lines=True)}")
    print("`groupwise check` with this config says more." if found.problems else _FINE)


def _print_groups(config: ExperimentConfig, *, json: bool) -> None:
    """Training on scored groups: the files are read, and counted."""
    groups = read_groups(config.data.train)
    sizes = [len(group.completions) for group in groups]
    scores = [completion.score for group in groups for completion in group.completions]
    found = {
        "groups": len(groups),
        "completions": sum(sizes),
        "smallest_group": min(sizes),
        "largest_group": max(sizes),
        "lowest_score": min(scores),
        "highest_score": max(scores),
    }
    if json:
        print_json(found)
        return
    print("\n".join(f"{name.replace('_', ' ') + ':':<16} {n:g}" for name, n in found.items()))
    print(_FINE)
