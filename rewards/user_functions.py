"""The user's own rewards: functions in TRL's form, functions of one completion, reward models.

    load_reward("brevity", "my_rewards.py:brevity", {"longest": 100}, base_dir)
    adapt(function)                                    # one passed from Python

TRL's form is `(prompts, completions, **columns) -> list[float | None]`; the functions of
`trl.rewards` work unchanged, and its factories (`trl.rewards:get_soft_overlong_punishment`) take
their arguments from `params`. What it leaves out: finding the module (`user_modules`), and what
happens when a reward raises (`rubric`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from groupwise.rewards.errors import UserError
from groupwise.rewards.types import BatchReward, Completion, Example, Reward
from groupwise.rewards.user_modules import load_module

_SHOWN_NAMES = 5


@dataclass(frozen=True)
class TRLFunction:
    """A function in TRL's form as a batch reward.

    It receives what TRL gives: `prompts`, `completions`, `completion_ids`, and one list a column:
    the metadata of the examples, with `question`, `answer`, `solution` (the answer under the name
    that TRL's own functions use) and `id`. Prompts and completions are lists of messages where the
    examples have messages, or the function is one of TRL's own, which know no other form.
    TRL's description: https://huggingface.co/docs/trl/main/en/grpo_trainer#using-a-custom-reward-function
    """

    function: Callable[..., Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    conversational: bool | None = None

    def score_batch(
        self, examples: Sequence[Example], completions: Sequence[Completion]
    ) -> list[float | None]:
        conversational = self.conversational
        if conversational is None:
            conversational = all(example.messages for example in examples)
        if conversational:
            prompts: list[Any] = [
                list(e.messages) or [{"role": "user", "content": e.question}] for e in examples
            ]
            texts: list[Any] = [[{"role": "assistant", "content": c.text}] for c in completions]
        else:
            prompts = [example.prompt or example.question for example in examples]
            texts = [completion.text for completion in completions]
        given = self._columns(examples) | {
            "prompts": prompts,
            "completions": texts,
            "trainer_state": None,
            "log_extra": None,
            "log_metric": None,
        }
        if all(completion.token_ids for completion in completions if completion.text):
            given["completion_ids"] = [list(completion.token_ids) for completion in completions]
        elif _requires(self.function, "completion_ids"):
            raise ValueError("it reads completion_ids, but these completions carry no token_ids")
        result = self.function(**_accepted(self.function, {**given, **self.params}))
        if inspect.isawaitable(result):
            import asyncio  # slow: not at start-up

            result = asyncio.run(_awaited(result))
        return list(result)

    @staticmethod
    def _columns(examples: Sequence[Example]) -> dict[str, list[Any]]:
        names = dict.fromkeys(name for example in examples for name in example.metadata)
        columns = {name: [e.metadata.get(name) for e in examples] for name in names}
        return columns | {
            "question": [example.question for example in examples],
            "answer": [example.answer for example in examples],
            "solution": [example.answer for example in examples],
            "id": [example.id for example in examples],
        }


@dataclass(frozen=True)
class CompletionFunction:
    """A function `(example, completion) -> float | None` with its parameters."""

    function: Callable[..., float | None]
    params: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, example: Example, completion: Completion) -> float | None:
        return self.function(example, completion, **self.params)


async def _awaited(result: Any) -> Any:
    return await result


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _takes_any(function: Callable[..., Any]) -> bool:
    kinds = [parameter.kind for parameter in _parameters(function).values()]
    return not kinds or inspect.Parameter.VAR_KEYWORD in kinds


def _requires(function: Callable[..., Any], name: str) -> bool:
    parameter = _parameters(function).get(name)
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _accepted(function: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments to pass: all with `**kwargs`, as TRL does; otherwise those that it names."""
    if _takes_any(function):
        return given
    return {name: value for name, value in given.items() if name in _parameters(function)}


def load_reward(
    name: str, use: str, params: Mapping[str, Any], base_dir: Path | None
) -> Reward | BatchReward:
    """The reward that `use` names.

    Raises:
        UserError: it cannot be found or imported, or has no form that is known here.
    """
    path = f"rewards.parts.{name}.use"
    target, _, attribute = use.rpartition(":")
    if not target or not attribute:
        raise UserError(f"{path}: {use!r} must be module:function or path/to/file.py:function")
    try:
        module = load_module(target, base_dir)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise UserError(f"{path}: {target} has no {attribute!r}{_hint(module, attribute)}")
    if not callable(found) and not hasattr(found, "score_batch"):
        raise UserError(f"{path}: {use} is a {type(found).__name__}, not a function")
    return _adapt(found, params, f"rewards.parts.{name}.params", target)


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


def _adapt(found: Any, params: Mapping[str, Any], path: str, target: str) -> Reward | BatchReward:
    conversational = True if target.split(".")[0] == "trl" else None
    names = list(_parameters(found))
    if isinstance(found, type) or _is_factory(found, names):
        try:
            made = found(**params)
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: {error}") from error
        if isinstance(made, BatchReward):
            return made
        return _adapt(made, {}, path, target)
    if isinstance(found, BatchReward):
        return found
    unknown = [] if _takes_any(found) else [param for param in params if param not in names]
    if unknown:
        raise UserError(f"{path}.{unknown[0]}: the function has no such parameter; it has {names}")
    if names[:2] == ["example", "completion"]:
        return CompletionFunction(found, params)
    return TRLFunction(found, params, conversational)


def _is_factory(found: Any, names: list[str]) -> bool:
    """Whether a function makes a reward, as TRL's `get_soft_overlong_punishment(...)` does."""
    known = {"completions", "prompts", "completion_ids", "example", "completion", "kwargs"}
    return str(getattr(found, "__name__", "")).startswith("get_") and not known & set(names)


def adapt(function: Any) -> Reward | BatchReward:
    """A function, reward or reward model that was passed from Python, as a reward.

    Raises:
        UserError: it has no form that is known here.
    """
    module = str(getattr(function, "__module__", "") or "")
    return _adapt(function, {}, "reward_funcs", module)
