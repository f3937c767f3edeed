"""The forms in which people write reward functions, told apart by the names of the parameters.

    reward = form_of(function)(function, params, completions="text")
    results = reward.start(examples, completions, call)       # some may have to be awaited
    values = reward.read(results, call)

TRL's `completions`, `prompts`, `completion_ids` and columns come once for a batch; all others are
called for each completion: our `example, completion`, verifiers' `completion`, `prompt`, `answer`,
`state`, `info`, `task`, verl's `data_source, solution_str, ground_truth, extra_info`.

Sources: https://huggingface.co/docs/trl/main/en/grpo_trainer#using-a-custom-reward-function,
https://verifiers.readthedocs.io/en/latest/environments.html (rubrics),
https://verl.readthedocs.io/en/latest/preparation/reward_function.html. What is left out: group
rewards of verifiers (`completions, answers, states`) and batched ones of verl.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar, Literal

from groupwise.rewards.types import Completion, Example
from groupwise.rewards.user.call import RewardCall
from groupwise.rewards.user.returned import ReturnedError, as_exception, listed

Given = Literal["text", "messages"]
"""How completions are given: as text, or as a list of chat messages."""

KNOWN_FORMS = (
    "the known forms are (completions, **columns) -> a list of numbers (TRL's), "
    "(example, completion) -> a number, (completion, answer, **kwargs) -> a number (verifiers'), "
    "and (data_source, solution_str, ground_truth, extra_info) -> a number (verl's)"
)

_OF_A_BATCH = ("completions", "prompts", "completion_ids")
_NO_COLUMNS = ("prompt", "completion", "completion_ids")  # as in TRL


@dataclass(frozen=True)
class UserFunction(ABC):
    """A function with its parameters of the config, and how completions are given to it.

    `completions` None: as the annotation of the parameter says, else as the form has them. Forms
    that are not `settable` know one way only.
    """

    settable: ClassVar[bool] = True

    function: Callable[..., Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    completions: Given | None = None

    @abstractmethod
    def start(
        self, examples: Sequence[Example], completions: Sequence[Completion], call: RewardCall
    ) -> list[Any]:
        """Calls the function: its results, the exceptions it raised, what has to be awaited."""

    @abstractmethod
    def read(self, results: Sequence[Any], call: RewardCall) -> list[Any]:
        """A value, or the exception in place of one, for each completion of the call.

        Raises:
            Exception: the function failed on the whole batch, or returned no list of values.
        """

    @functools.cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The function's parameters by name."""
        return parameters(self.function)

    @property
    def is_async(self) -> bool:
        """Whether it was written with `async def`; TRL runs such functions last, at once."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        called = type(function).__call__
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)

    def gives_messages(self, example: Example) -> bool:
        """Whether it gets chat messages for this example, and no text."""
        given = self.completions or self._annotated
        return self.takes_messages(example) if given is None else given == "messages"

    def takes_messages(self, example: Example) -> bool:
        """Whether the form itself has chat messages for this example."""
        return bool(example.messages)

    @functools.cached_property
    def _annotated(self) -> Given | None:
        named = [self.parameters[n] for n in ("completions", "completion") if n in self.parameters]
        return next((g for p in named if (g := _given_by(p.annotation))), None)

    def hint(self, error: BaseException, example: Example) -> str:
        """What to do if it seems to take messages for text, or text for messages; else empty."""
        if not self.settable or not isinstance(error, TypeError | AttributeError):
            return ""
        if self.gives_messages(example):
            return WANTS_TEXT if re.search("'(list|dict)'|list indices", str(error)) else ""
        return WANTS_MESSAGES if re.search("'str'|string indices", str(error)) else ""

    def _arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments to pass: all with `**kwargs`, as TRL does; otherwise those that it names.

        Raises:
            ReturnedError: it needs a parameter that there is nothing for.
        """
        given = {**given, **self.params}
        for name, parameter in self.parameters.items():
            if name not in given and _is_required(parameter):
                near = get_close_matches(name, given, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ReturnedError(
                    f"its parameter {name!r} is no column of the data; {hint}there are "
                    f"{', '.join(given)}; {KNOWN_FORMS}"
                )
        if takes_any(self.parameters):
            return given
        return {name: value for name, value in given.items() if name in self.parameters}


@dataclass(frozen=True)
class TRLFunction(UserFunction):
    """A function in TRL's form: what it gets is what TRL gives.

    `prompts`, `completions`, `completion_ids`, `trainer_state`, `log_metric`, `log_extra`, and one
    list a column: the fields of the examples' rows under their own names, with their own types.
    Where no column has that name also `question`, `id`, and the answer as `answer`, `solution` and
    `ground_truth`, the names that TRL's own and many other functions use. Prompts and completions
    are lists of messages where the examples have messages; both are text, as in TRL, where the
    question is a text in a column `prompt`, although the model is asked through its chat template.
    """

    def takes_messages(self, example: Example) -> bool:
        return bool(example.messages) and not _asks_in_text(example)

    def start(
        self, examples: Sequence[Example], completions: Sequence[Completion], call: RewardCall
    ) -> list[Any]:
        conversational = all(map(self.gives_messages, examples))
        given = columns_of(examples) | {
            "prompts": [prompt_of(example, conversational) for example in examples],
            "completions": [answer_of(completion, conversational) for completion in completions],
            "trainer_state": call.trainer_state,
            "log_extra": call.log_extra,
            "log_metric": call.log_metric,
        }
        try:
            if all(completion.token_ids for completion in completions if completion.text):
                given["completion_ids"] = [list(c.token_ids) for c in completions]
            elif _is_required(self.parameters.get("completion_ids")):
                raise ReturnedError(
                    "it reads completion_ids, but these completions carry no token_ids"
                )
            return [self.function(**self._arguments(given))]
        except (Exception, SystemExit) as error:  # foreign code: the rubric reports what it raises
            return [as_exception(error)]

    def read(self, results: Sequence[Any], call: RewardCall) -> list[Any]:
        [result] = results
        if isinstance(result, Exception):
            raise result
        values = listed(result, call.count)
        call.check_extra()
        return values


class AnswerFunction(UserFunction):
    """A function that is called for each completion and returns a number."""

    @abstractmethod
    def given(self, example: Example, completion: Completion) -> dict[str, Any]:
        """The arguments that there are for one completion, by name."""

    def start(
        self, examples: Sequence[Example], completions: Sequence[Completion], call: RewardCall
    ) -> list[Any]:
        logs = {"trainer_state": call.trainer_state, "log_metric": call.log_metric}
        results: list[Any] = []
        for example, completion in zip(examples, completions, strict=True):
            try:
                arguments = self._arguments(logs | self.given(example, completion))
                results.append(self.function(**arguments))
            except (Exception, SystemExit) as error:  # as above
                results.append(as_exception(error))
        return results

    def read(self, results: Sequence[Any], call: RewardCall) -> list[Any]:
        assert len(results) == call.count
        return list(results)


class CompletionFunction(AnswerFunction):
    """`(example, completion) -> float | None`."""

    settable = False

    def given(self, example: Example, completion: Completion) -> dict[str, Any]:
        return {"example": example, "completion": completion}


class VerifiersFunction(AnswerFunction):
    """verifiers' form: what it gets by name is what that library's `Rubric` gives, and columns."""

    def given(self, example: Example, completion: Completion) -> dict[str, Any]:
        conversational = self.gives_messages(example)
        columns = {name: values[0] for name, values in columns_of([example]).items()}
        info = columns.get("info")
        known = {
            "prompt": prompt_of(example, conversational),
            "completion": answer_of(completion, conversational),
            "answer": columns["answer"],
            "task": columns.get("task") or "default",
            "info": info if isinstance(info, Mapping) else {},
            "example_id": example.id,
        }
        known["state"] = {**known, "trajectory": [], "metrics": {}, "reward": None}
        return columns | known


class VerlFunction(AnswerFunction):
    """verl's `compute_score`. A dict with `score` is read too; the rest of it goes to the log."""

    settable = False

    def given(self, example: Example, completion: Completion) -> dict[str, Any]:
        row = _row(example)
        nested = row.get("reward_model")
        gold = nested.get("ground_truth") if isinstance(nested, Mapping) else None
        extra = row.get("extra_info")
        return {
            "data_source": row.get("data_source"),
            "solution_str": completion.text,
            "ground_truth": row.get("ground_truth", example.answer) if gold is None else gold,
            "extra_info": extra if isinstance(extra, Mapping) else {},
        }

    def read(self, results: Sequence[Any], call: RewardCall) -> list[Any]:
        rows = [
            result if isinstance(result, dict) and "score" in result else {} for result in results
        ]
        for name in dict.fromkeys(name for row in rows for name in row if name != "score"):
            call.log_extra(str(name), [row.get(name) for row in rows])
        return [row["score"] if row else result for row, result in zip(rows, results, strict=True)]


def form_of(function: Callable[..., Any]) -> type[UserFunction] | None:
    """The form of a function by the names of its parameters; None: it is none that is known."""
    known = parameters(function)
    names = list(known)
    if "completions" in names:
        return TRLFunction
    if {"example", "completion"} <= known.keys():
        return CompletionFunction
    if "solution_str" in names:
        return VerlFunction
    if "completion" in names:
        return VerifiersFunction
    if takes_any(known) or any(name in names for name in _OF_A_BATCH):
        return TRLFunction
    return None


# --- what functions are given ------------------------------------------------------------


def _row(example: Example) -> dict[str, Any]:
    """The columns. What is nested is the function's own: it may change it, also in TRL."""
    return {name: _own(v) for name, v in {**example.metadata, **example.columns}.items()}


def _own(value: Any) -> Any:
    if type(value) is dict:
        return {key: _own(inner) for key, inner in value.items()}
    return [_own(inner) for inner in value] if type(value) is list else value


def columns_of(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """One list for each column of the data, as it was read, and for each name of our own."""
    rows = [_row(example) for example in examples]
    names = dict.fromkeys(name for row in rows for name in row if name not in _NO_COLUMNS)
    own = {
        "question": [example.question for example in examples],
        "answer": [example.answer for example in examples],
        "solution": [example.answer for example in examples],
        "ground_truth": [example.answer for example in examples],
        "id": [example.id for example in examples],
    }
    return own | {name: [row.get(name) for row in rows] for name in names}


def prompt_of(example: Example, conversational: bool) -> Any:
    """The prompt as chat messages, or as the text that the model sees."""
    if conversational:
        return [dict(m) for m in example.messages] or [
            {"role": "user", "content": example.question}
        ]
    if _asks_in_text(example):
        return example.columns["prompt"]
    return example.prompt or example.question


def _asks_in_text(example: Example) -> bool:
    """Whether the question is a text in a column `prompt`, as in TRL's data sets of plain text."""
    text = example.columns.get("prompt")
    return isinstance(text, str) and text.strip() == example.question.strip()


def answer_of(completion: Completion, conversational: bool) -> Any:
    """The completion as the assistant's message, or as text."""
    if conversational:
        return [{"role": "assistant", "content": completion.text}]
    return completion.text


# --- signatures --------------------------------------------------------------------------


def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters by name, annotations evaluated where possible; `**kwargs` if unknown."""
    try:
        return inspect.signature(function, eval_str=True).parameters
    except Exception:  # an annotation is code too: of a name that exists for type checkers only
        pass
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


def takes_any(known: Mapping[str, inspect.Parameter]) -> bool:
    """Whether a function with these parameters takes arguments of any name."""
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())


def _is_required(parameter: inspect.Parameter | None) -> bool:
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return (
        parameter is not None
        and parameter.kind not in variable
        and parameter.default is inspect.Parameter.empty
    )


def _given_by(annotation: Any) -> Given | None:
    """What `list[str]`, `str`, `list[list[dict[str, str]]]` and the like ask for."""
    if annotation in (str, "str", "list[str]", "List[str]"):
        return "text"
    if isinstance(annotation, type) and issubclass(annotation, dict | Mapping):
        return "messages"
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        found = {_given_by(option) for option in inner if option is not type(None)}
        return found.pop() if len(found) == 1 else None
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "messages"
    if isinstance(origin, type) and issubclass(origin, Iterable) and inner:
        found_inside = _given_by(inner[0])
        is_nested = typing.get_origin(inner[0]) is not None  # lists of lists of text are neither
        return None if found_inside == "text" and is_nested else found_inside
    return None


WANTS_TEXT = (
    "completions are lists of chat messages here, as TRL gives them for chat prompts; if the "
    "function is written for text, set `completions: text` beside its `use`, or annotate the "
    "parameter (completions: list[str])"
)
WANTS_MESSAGES = (
    "completions are text here; if the function is written for chat messages, set `completions: "
    "messages` beside its `use`, or annotate the parameter (completions: list[list[dict]])"
)
