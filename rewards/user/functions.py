"""The user's own rewards: functions in any form that is known, reward models, factories.

    load_reward("brevity", "my_rewards.py:brevity", {"longest": 100}, base_dir).reward
    adapt(function)                                    # one passed from Python

The forms of functions are in `forms`. The functions of `trl.rewards` work unchanged, and its
factories (`trl.rewards:get_soft_overlong_punishment`) take their arguments from `params`. What it
leaves out: finding the module (`modules`), and what happens when a reward raises (`rubric`).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from groupwise.rewards.errors import UserError
from groupwise.rewards.types import BatchReward
from groupwise.rewards.user.forms import (
    KNOWN_FORMS,
    Given,
    UserFunction,
    form_of,
    parameters,
    takes_any,
)
from groupwise.rewards.user.modules import UserFolders, load_module
from groupwise.rewards.user.places import named, place_of, place_of_function
from groupwise.rewards.user.returned import described

_SHOWN_NAMES = 5


@dataclass(frozen=True)
class LoadedReward:
    """A user's reward, and the folders that have to be importable while it runs."""

    reward: UserFunction | BatchReward
    folders: UserFolders


def load_reward(
    name: str,
    use: str,
    params: Mapping[str, Any],
    base_dir: Path | None,
    completions: Given | None = None,
) -> LoadedReward:
    """The reward that `use` names; `completions` says how a function gets them.

    Raises:
        UserError: it cannot be found or imported, or has no form that is known here.
    """
    path = f"rewards.parts.{name}"
    target, _, attribute = use.rpartition(":")
    if not target or not attribute:
        raise UserError(f"{path}.use: {use!r} must be module:function or path/to/file.py:function")
    try:
        loaded = load_module(target, base_dir)
    except UserError as error:
        raise UserError(f"{path}.use: {error}") from error
    found = getattr(loaded.module, attribute, None)
    if found is None:
        raise UserError(
            f"{path}.use: {target} has no {attribute!r}{_hint(loaded.module, attribute)}"
        )
    if not callable(found) and not hasattr(found, "score_batch"):
        raise UserError(f"{path}.use: {use} is a {type(found).__name__}, not a function")
    if completions is None and target.split(".")[0] == "trl":
        completions = "messages"  # TRL's own know no other form
    with loaded.folders.importable():
        reward = _adapt(found, params, path, completions)
    return LoadedReward(reward, loaded.folders)


def _hint(module: ModuleType, wanted: str) -> str:
    """The name that was probably meant, or the first few of the module's own functions."""
    own = [
        name
        for name, value in inspect.getmembers(module, callable)
        if not name.startswith("_")
        and str(getattr(value, "__module__", "")).startswith(module.__name__)
    ]
    if close := get_close_matches(wanted, own, 1):
        return f"; did you mean {close[0]!r}?"
    more = f" and {len(own) - _SHOWN_NAMES} more" if len(own) > _SHOWN_NAMES else ""
    shown = ", ".join(own[:_SHOWN_NAMES])
    return f"; it has {shown}{more}" if own else "; it has no function at all"


def _adapt(
    found: Any, params: Mapping[str, Any], path: str, completions: Given | None
) -> UserFunction | BatchReward:
    known = parameters(found)
    if isinstance(found, type) or _is_factory(found):
        return _adapt(_made(found, params, path), {}, path, completions)
    if isinstance(found, BatchReward):
        _refuse_setting(path, completions, "a class with score_batch")
        return found
    form = form_of(found)
    if form is None:
        has = f"its parameters are {', '.join(known)}" if known else "it has no parameters"
        raise UserError(
            f"{path}: this function has no form that is known here: {has}"
            f"{place_of_function(found)}; {KNOWN_FORMS}"
        )
    if not form.settable:
        _refuse_setting(path, completions, f"a function of {', '.join(known)}")
    unknown = [] if takes_any(known) else [param for param in params if param not in known]
    if unknown:
        raise UserError(
            f"{path}.params.{unknown[0]}: the function has no such parameter; it has {list(known)}"
        )
    return form(found, params, completions)


def _made(make: Any, params: Mapping[str, Any], path: str) -> Any:
    """The reward that a class or a factory makes of its parameters."""
    try:
        made = make(**params)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        hint = (
            "" if isinstance(make, type) else f"; if it makes no reward but is one: {KNOWN_FORMS}"
        )
        raise UserError(f"{path}.params: {error}{place_of_function(make)}{hint}") from error
    except (Exception, SystemExit) as error:  # foreign code: a key, a file or a server is missing
        what = f"{path}: {name_of(make)}(...) failed: {named(error)}{place_of(error)}"
        raise UserError(what) from error
    if not callable(made) and not isinstance(made, BatchReward):
        lacks = (
            "has neither __call__ nor score_batch"
            if isinstance(make, type)
            else f"returned {described(made)}, where a function is expected"
        )
        raise UserError(f"{path}: {name_of(make)} {lacks}{place_of_function(make)}")
    return made


def _refuse_setting(path: str, completions: Given | None, what: str) -> None:
    if completions is not None:
        raise UserError(
            f"{path}.completions: {completions!r} has no effect on {what}, which gets the text; "
            "remove it"
        )


def _is_factory(found: Any) -> bool:
    """Whether a function makes a reward, as TRL's `get_soft_overlong_punishment(...)` does."""
    return str(getattr(found, "__name__", "")).startswith("get_") and form_of(found) is None


def adapt(function: Any) -> UserFunction | BatchReward:
    """A function, reward or reward model that was passed from Python, as a reward.

    Raises:
        UserError: it has no form that is known here.
    """
    module = str(getattr(function, "__module__", "") or "")
    given: Given | None = "messages" if module.split(".")[0] == "trl" else None
    return _adapt(function, {}, f"reward_funcs: {name_of(function)}", given)


def name_of(function: Any) -> str:
    """The name under which a function that was passed from Python is logged."""
    while isinstance(function, functools.partial) and not hasattr(function, "__name__"):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))
