"""One batch of completions for all functions of a rubric: called, awaited together, read.

    answers = call_functions(functions, folders, examples, completions, calls)

As in TRL, async functions run after the others and at the same time. What it leaves out: what
becomes of a failure, and whether values are numbers (`rubric`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from inspect import isawaitable
from typing import Any

from groupwise.rewards.types import Completion, Example
from groupwise.rewards.user.call import RewardCall
from groupwise.rewards.user.forms import UserFunction
from groupwise.rewards.user.modules import UserFolders

Answers = list[Any] | Exception
"""A value for each completion, or the exception in its place; or one exception for the batch."""


def call_functions(
    functions: Mapping[str, UserFunction],
    folders: Mapping[str, UserFolders],
    examples: Sequence[Example],
    completions: Sequence[Completion],
    calls: Mapping[str, RewardCall],
) -> dict[str, Answers]:
    """What each function answers for a batch, by the name of its reward."""
    results: dict[str, list[Any]] = {}
    for name in sorted(functions, key=lambda name: functions[name].is_async):
        with importable(name, folders):
            results[name] = functions[name].start(examples, completions, calls[name])
    for place in dict.fromkeys(map(folders.get, results)):
        _await([results[name] for name in results if folders.get(name) == place], place)
    answers: dict[str, Answers] = {}
    for name, function in functions.items():
        with importable(name, folders):  # a generator's code runs when it is read
            try:
                answers[name] = function.read(results[name], calls[name])
            except Exception as error:  # foreign code: the rubric names it, then stops or counts
                answers[name] = error
    return answers


def importable(name: str, folders: Mapping[str, UserFolders]) -> AbstractContextManager[None]:
    """With the folders of a reward importable."""
    return folders[name].importable() if name in folders else nullcontext()


def _await(results: Sequence[list[Any]], folders: UserFolders | None) -> None:
    """Puts what every awaitable comes to in its place; rewards with the same folders run at once.

    Of two with other folders each may import a module of the same name.
    """
    waiting = [(row, i) for row in results for i, result in enumerate(row) if isawaitable(result)]
    if not waiting:
        return
    from groupwise.rewards.user import event_loop  # asyncio: not at start-up

    with folders.importable() if folders is not None else nullcontext():
        outcomes = event_loop.gather([row[i] for row, i in waiting])
    for (row, i), outcome in zip(waiting, outcomes, strict=True):
        row[i] = outcome
