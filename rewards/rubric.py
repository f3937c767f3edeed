"""Several rewards as one: built from a config, computed in one call, summed by weight.

    with build_rubric({"correctness": 1.0, "format": 0.25}) as rubric:
        scores = rubric.score_batch(examples, completions)

Raw values are kept beside the total. A reward that fails stops the run with its name, the example
and the completion, unless the config says `on_error: skip`; then the failure is counted.
What it leaves out: advantages, which the trainer computes from the totals.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Protocol, cast, get_args, runtime_checkable

from pydantic import ValidationError

from groupwise.rewards.errors import RewardError, UserError
from groupwise.rewards.failure import failure
from groupwise.rewards.language import Language
from groupwise.rewards.math.grade import Correctness
from groupwise.rewards.reference import ReferenceQuality
from groupwise.rewards.reward_model import LearnedReward
from groupwise.rewards.spec import Aggregation, OnError, RewardSpec, read_spec
from groupwise.rewards.style import (
    CosineLength,
    Format,
    Length,
    ReasoningSteps,
    Repetition,
    SoftOverlong,
)
from groupwise.rewards.types import BatchReward, Completion, Example, Grade, Reward, Score
from groupwise.rewards.user.batch import Answers, call_functions, importable
from groupwise.rewards.user.call import RewardCall, TrainerState
from groupwise.rewards.user.forms import UserFunction
from groupwise.rewards.user.functions import load_reward
from groupwise.rewards.user.modules import UserFolders
from groupwise.rewards.user.returned import listed, number_of
from groupwise.rewards.validation import explain, nearest
from groupwise.rewards.verify.pool import shared_pool

REWARDS: dict[str, Callable[..., Any]] = {
    "correctness": Correctness,
    "format": Format,
    "language": Language,
    "length": Length,
    "soft_overlong": SoftOverlong,
    "cosine_length": CosineLength,
    "repetition": Repetition,
    "reasoning_steps": ReasoningSteps,
    "reference_quality": ReferenceQuality,
    "reward_model": LearnedReward,
}
"""Every reward that a config can name; the class's fields are its parameters."""

NORMALIZE_EPSILON = 1e-4  # TRL's, so that both give the same numbers


@runtime_checkable
class GradedReward(Protocol):
    """A reward that uses the grade, which the rubric computes once for all rewards."""

    def score_graded(
        self, example: Example, completion: Completion, grade: Grade
    ) -> float | None: ...


AnyReward = Reward | BatchReward | GradedReward | UserFunction


@dataclass(slots=True)
class Rubric:
    """Weighted rewards over completions; close it, or use it with `with`, to end its workers.

    `skipped` counts failures by reward under `on_error="skip"`, `errors` has the first of each.
    `logged` has the numbers that functions gave to `log_metric` for the latest batch, by name.
    `folders`: of the users' rewards, importable while these run. `num_steps`: the length of the
    training, which functions in TRL's form may ask for.
    """

    rewards: Mapping[str, AnyReward]
    specs: Mapping[str, RewardSpec]
    on_error: OnError = "stop"
    aggregation: Aggregation = "sum"
    skipped: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)
    logged: dict[str, list[float]] = field(default_factory=dict)
    folders: Mapping[str, UserFolders] = field(default_factory=dict)
    num_steps: int | None = None
    _grader: Correctness = field(default_factory=Correctness)
    _grading_part: str | None = None

    def __post_init__(self) -> None:
        for name, reward in self.rewards.items():
            if isinstance(reward, Correctness):
                self._grader, self._grading_part = reward, name

    @property
    def names(self) -> tuple[str, ...]:
        """The parts, in the order of the config."""
        return tuple(self.specs)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each part, before its schedule."""
        return {name: spec.weight for name, spec in self.specs.items()}

    def score_batch(
        self,
        examples: Sequence[Example],
        completions: Sequence[Completion],
        *,
        progress: float = 0.0,
        groups: Sequence[int] | None = None,
        trainer_state: Any = None,
    ) -> list[Score]:
        """The score of each completion, in order.

        `examples[i]` is the problem of `completions[i]`. `progress` is the share of the training
        that is done, for schedules. `groups[i]` names the group of completion i, for
        `normalize_then_sum`; without it, completions of the same example are a group.
        `trainer_state` is what functions in TRL's form get under that name; without it they get
        one made from `progress`. A total is NaN if no reward had an opinion: such a completion
        carries no signal.

        Raises:
            RewardError: a reward failed, and `on_error` is `stop`.
        """
        if len(examples) != len(completions):
            raise ValueError(f"{len(examples)} examples for {len(completions)} completions")
        if groups is not None and len(groups) != len(completions):
            raise ValueError(f"{len(groups)} groups for {len(completions)} completions")
        if not completions:
            return []
        grades = self._grader.grades(examples, completions)
        calls = self._calls(len(completions), progress, trainer_state)
        answers = call_functions(self._functions, self.folders, examples, completions, calls)
        columns = {}
        for name, reward in self.rewards.items():
            if name not in answers:
                answers[name] = self._column(name, reward, examples, completions, grades)
            columns[name] = self._numbers(name, answers[name], examples, completions)
        extra = self._logs(calls)
        gated = {name: self._gated(name, columns) for name in columns}
        if self.aggregation == "normalize_then_sum":
            keys: Sequence[object] = groups or [example.id for example in examples]
            gated = {name: _normalized(values, keys) for name, values in gated.items()}
        weights = {name: spec.weight_at(progress) for name, spec in self.specs.items()}
        return [
            Score(
                total=_total({name: gated[name][i] for name in gated}, weights),
                parts={name: column[i] for name, column in columns.items()},
                grade=grades[i] if examples[i].answer or self._grading_part else None,
                extra={name: values[i] for name, values in extra.items()},
            )
            for i in range(len(completions))
        ]

    def warm_up(self) -> None:
        """Start a worker process without waiting for it: it takes half a second to be ready."""
        shared_pool().warm_up()

    def close(self) -> None:
        """End the worker processes; scoring again starts new ones."""
        shared_pool().close()

    def __enter__(self) -> Rubric:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one reward ----------------------------------------------------------------------

    def _calls(self, count: int, progress: float, trainer_state: Any) -> dict[str, RewardCall]:
        if trainer_state is None:
            steps = self.num_steps or 1
            trainer_state = TrainerState(round(progress * steps), steps)
        return {name: RewardCall(trainer_state, count) for name in self._functions}

    @property
    def _functions(self) -> dict[str, UserFunction]:
        return {n: r for n, r in self.rewards.items() if isinstance(r, UserFunction)}

    def _column(
        self,
        name: str,
        reward: AnyReward,
        examples: Sequence[Example],
        completions: Sequence[Completion],
        grades: Sequence[Grade],
    ) -> Answers:
        """The values of a reward that is no function of the user, or what it raised."""
        if isinstance(reward, Correctness):
            return [reward.value(grade) for grade in grades]
        assert not isinstance(reward, UserFunction)
        with importable(name, self.folders):
            if isinstance(reward, BatchReward):
                try:
                    return listed(reward.score_batch(examples, completions), len(completions))
                except Exception as error:  # foreign code: named, then the run stops or it counts
                    return error
            values: list[Any] = []
            for example, completion, grade in zip(examples, completions, grades, strict=True):
                try:
                    if isinstance(reward, GradedReward):
                        values.append(reward.score_graded(example, completion, grade))
                    else:
                        values.append(reward(example, completion))
                except Exception as error:  # as above
                    values.append(error)
            return values

    def _numbers(
        self,
        name: str,
        answers: Answers,
        examples: Sequence[Example],
        completions: Sequence[Completion],
    ) -> list[float | None]:
        """Numbers, None for "no opinion"; failures stop the run, or are counted."""
        if isinstance(answers, Exception):
            self._failed(name, answers, examples, completions)
            return [None] * len(completions)
        numbers: list[float | None] = []
        for value, example, completion in zip(answers, examples, completions, strict=True):
            try:
                if isinstance(value, Exception):
                    raise value
                numbers.append(number_of(value))
            except Exception as error:
                self._failed(name, error, [example], [completion])
                numbers.append(None)
        return numbers

    def _failed(
        self,
        name: str,
        error: Exception,
        examples: Sequence[Example],
        completions: Sequence[Completion],
    ) -> None:
        reward = self.rewards[name]
        message = failure(name, reward, error, examples[0], completions[0], self.on_error)
        if self.on_error == "stop":
            raise RewardError(message) from error
        self.skipped[name] += len(completions)
        self.errors.setdefault(name, message)

    def _logs(self, calls: Mapping[str, RewardCall]) -> dict[str, list[Any]]:
        """Keeps what was given to `log_metric`; returns the columns of `log_extra`.

        Where two rewards have a column of one name, the second is named `reward/column`.
        """
        self.logged = {}
        extra: dict[str, list[Any]] = {}
        for part, call in calls.items():
            for name, values in call.metrics.items():
                self.logged.setdefault(name, []).extend(values)
            for name, values in call.extra.items():
                if len(values) == call.count:  # else the reward failed, and was skipped
                    extra[f"{part}/{name}" if name in extra else name] = values
        return extra

    def _gated(
        self, name: str, columns: Mapping[str, Sequence[float | None]]
    ) -> list[float | None]:
        """Clipped values; 0.0 if a required part is below its bound, None if unknown."""
        spec = self.specs[name]
        low, high = spec.clip or (-math.inf, math.inf)
        values: list[float | None] = []
        for index, value in enumerate(columns[name]):
            if value is not None:
                value = min(max(value, low), high)
                for gate, least in spec.requires.items():
                    held = columns[gate][index]
                    if held is None:
                        value = None
                        break
                    if held < least:
                        value = 0.0
            values.append(value)
        return values


def _normalized(values: Sequence[float | None], keys: Sequence[object]) -> list[float | None]:
    """(value - mean) / (std + 1e-4) within each group, as TRL's `normalize_then_sum`.

    The standard deviation is the sample's (n - 1); that of a single value is 0.
    """
    members: dict[object, list[float]] = {}
    for key, value in zip(keys, values, strict=True):
        if value is not None:
            members.setdefault(key, []).append(value)
    moments = {
        key: (fmean(group), stdev(group) if len(group) > 1 else 0.0)
        for key, group in members.items()
    }
    return [
        None if value is None else (value - moments[key][0]) / (moments[key][1] + NORMALIZE_EPSILON)
        for key, value in zip(keys, values, strict=True)
    ]


def _total(values: Mapping[str, float | None], weights: Mapping[str, float]) -> float:
    known = [weights[name] * value for name, value in values.items() if value is not None]
    return math.fsum(known) if known else math.nan


# --- building ----------------------------------------------------------------------------


def build_rubric(
    specs: Mapping[str, RewardSpec | Mapping[str, Any] | float | None],
    *,
    on_error: OnError = "stop",
    aggregation: Aggregation = "sum",
    base_dir: Path | str | None = None,
    num_steps: int | None = None,
) -> Rubric:
    """A rubric from a config's `rewards.parts`; relative files are found from `base_dir`.

    `base_dir` is importable for users' rewards, beside the folder of each one's file. `num_steps`
    is the length of the training, as functions that read `trainer_state` see it in evaluations.

    Raises:
        UserError: an unknown reward or parameter, a value out of range, a gate on a part that does
            not exist, two correctness parts, no part at all.
    """
    if not specs:
        raise UserError(
            "rewards.parts: at least one reward is needed; known: " + ", ".join(REWARDS)
        )
    for setting, value, known in (
        ("on_error", on_error, get_args(OnError)),
        ("aggregation", aggregation, get_args(Aggregation)),
    ):
        if value not in known:
            raise UserError(f"rewards.{setting}: {value!r} is not one of {', '.join(known)}")
    read = {name: read_spec(name, raw) for name, raw in specs.items()}
    directory = Path(base_dir) if base_dir is not None else None
    folders: dict[str, UserFolders] = {}
    rewards = {name: _build_part(name, spec, directory, folders) for name, spec in read.items()}
    _check_gates(read)
    graders = [name for name, reward in rewards.items() if isinstance(reward, Correctness)]
    if len(graders) > 1:
        raise UserError(
            f"rewards.parts: {' and '.join(graders)} are both correctness rewards; one decides "
            "whether an answer is right, so keep one"
        )
    return Rubric(rewards, read, on_error, aggregation, folders=folders, num_steps=num_steps)


def _build_part(
    name: str, spec: RewardSpec, base_dir: Path | None, folders: dict[str, UserFolders]
) -> AnyReward:
    """The reward of a part; the folders of a user's are added to `folders`."""
    use = spec.use or name
    if ":" in use:
        loaded = load_reward(name, use, spec.params, base_dir, spec.completions)
        folders[name] = loaded.folders
        return loaded.reward
    if spec.completions is not None:
        raise UserError(
            f"rewards.parts.{name}.completions: {spec.completions!r} is for functions of your own "
            f"(use: file.py:function); {use!r} is none"
        )
    maker = REWARDS.get(use)
    if maker is None:
        near = difflib.get_close_matches(use, REWARDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(REWARDS)}"
        raise UserError(
            f"rewards.parts.{name}: there is no reward {use!r}; {hint} "
            "(one of your own is named module:function or path/to/file.py:function)"
        )
    fields = [f for f in getattr(maker, "__dataclass_fields__", {}) if not f.startswith("_")]
    try:
        return cast(AnyReward, maker(**spec.params))
    except ValidationError as error:
        path = ("rewards", "parts", name, "params")
        found = explain(error, spec.params, path, hint=nearest(fields))
        raise UserError("\n".join(f"{path}: {text}" for path, text in found.items())) from None


def _check_gates(specs: Mapping[str, RewardSpec]) -> None:
    for name, spec in specs.items():
        for gate in spec.requires:
            if gate == name:
                raise UserError(f"rewards.parts.{name}.requires: a part cannot require itself")
            if gate not in specs:
                near = difflib.get_close_matches(gate, specs, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"parts: {', '.join(specs)}"
                raise UserError(f"rewards.parts.{name}.requires: there is no part {gate!r}; {hint}")
