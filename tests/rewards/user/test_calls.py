"""What goes along with a batch: the trainer's state, logs, one event loop for async functions."""

# ruff: noqa: ARG001 (the names of parameters decide what a function is given)

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from groupwise.rewards import Completion, Example, RewardError, RewardSpec, UserError
from groupwise.rewards.rubric import Rubric
from groupwise.rewards.user.functions import adapt

EXAMPLE = Example("e", "1+1=?", "2")
TEXTS = [Completion(text) for text in ("", "b", "cc", "ddd")]


def rubric(*functions: Any, **options: Any) -> Rubric:
    rewards = {function.__name__: adapt(function) for function in functions}
    return Rubric(rewards, {name: RewardSpec() for name in rewards}, **options)


def values(made: Rubric, **options: Any) -> list[dict[str, Any]]:
    scores = made.score_batch([EXAMPLE] * len(TEXTS), TEXTS, **options)
    return [dict(score.parts) for score in scores]


# --- the trainer's state -----------------------------------------------------------------


def curriculum(completions: Any, trainer_state: Any) -> Any:
    return [trainer_state.global_step / trainer_state.max_steps for _ in completions]


STATES = [
    ({}, {}, 0.0),
    ({}, {"progress": 1.0}, 1.0),
    ({"num_steps": 8}, {"progress": 0.25}, 0.25),
    ({"num_steps": 8}, {"trainer_state": SimpleNamespace(global_step=3, max_steps=4)}, 0.75),
]


@pytest.mark.parametrize(("made", "asked", "value"), STATES)
def test_a_curriculum(made: dict[str, Any], asked: dict[str, Any], value: float) -> None:
    assert values(rubric(curriculum, **made), **asked)[0]["curriculum"] == value


def test_the_length_of_the_training_where_it_is_known() -> None:
    def late(completions: Any, trainer_state: Any) -> Any:
        return [float(trainer_state.global_step >= 100) for _ in completions]

    assert values(rubric(late, num_steps=200), progress=1.0)[0] == {"late": 1.0}


def test_a_state_that_no_trainer_has_is_named() -> None:
    def by_loss(completions: Any, trainer_state: Any) -> Any:
        return [trainer_state.log_history[-1]["loss"] for _ in completions]

    with pytest.raises(RewardError, match=r"no 'log_history' where no trainer runs; it has global"):
        values(rubric(by_loss))


# --- logs --------------------------------------------------------------------------------


def test_numbers_and_columns() -> None:
    def first(completions: Any, log_metric: Any, log_extra: Any) -> Any:
        lengths = list(map(len, completions))
        log_metric("mean_length", sum(lengths) / len(lengths))
        log_metric(name="any", value=True)
        log_extra("length", lengths)
        return lengths

    def second(completions: Any, log_metric: Any, log_extra: Any, **_: Any) -> Any:
        log_metric("mean_length", 3)
        for text in completions:
            log_extra(column="length", values=[text.upper()])
        return [None] * len(completions)

    made = rubric(first, second)
    scores = made.score_batch([EXAMPLE] * 4, TEXTS)
    assert made.logged == {"mean_length": [1.5, 3.0], "any": [1.0]}
    assert [score.extra for score in scores] == [
        {"length": len(said.text), "second/length": said.text.upper()} for said in TEXTS
    ]
    made.score_batch([EXAMPLE], TEXTS[:1])
    assert made.logged["mean_length"] == [0.0, 3.0], "of the latest batch alone"


def logs(*arguments: Any, method: str = "log_extra") -> Any:
    def logging(completions: Any, **given: Any) -> Any:
        given[method](*arguments)
        return [1.0] * len(completions)

    return logging


BAD_LOGS = [
    (logs("kind", ["a"]), "log_extra('kind', …) was given 1 values for 4 completions"),
    (logs("kind", "abcd"), "log_extra('kind', …) was given a str, 'abcd'; a list is expected"),
    (logs("kind", 1), "log_extra('kind', …) was given an int, 1; a list is expected"),
    (
        logs("n", [1.0], method="log_metric"),
        "log_metric('n', …) was given a list, [1.0], no number",
    ),
    (logs("n", None, method="log_metric"), "log_metric('n', …) was given None, no number"),
    (logs("n", float("nan"), method="log_metric"), "was given a float, nan, no number"),
]


@pytest.mark.parametrize(("function", "message"), BAD_LOGS)
def test_what_cannot_be_logged(function: Any, message: str) -> None:
    with pytest.raises(RewardError) as said:
        values(rubric(function))
    assert message in str(said.value)
    assert f"{__file__}, line" in str(said.value)
    skipping = rubric(function, on_error="skip")
    [score, *_] = skipping.score_batch([EXAMPLE] * 4, TEXTS)
    assert (score.parts, score.extra) == ({"logging": None}, {})


# --- one event loop ----------------------------------------------------------------------

gate = asyncio.Semaphore(1)


async def judged(completions: Any) -> Any:
    async def one(text: str) -> float:
        async with gate:
            for _ in range(3):
                await asyncio.sleep(0)
            return float(len(text))

    return await asyncio.gather(*map(one, completions))


def judged_indirectly(completions: Any) -> Any:
    return judged(completions)


LENGTHS = [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("function", [judged, judged_indirectly])
def test_a_semaphore_of_the_module_serves_every_batch(function: Any) -> None:
    made = rubric(function)
    for _ in range(3):
        assert [part[function.__name__] for part in values(made)] == LENGTHS

    async def in_a_notebook() -> Any:
        return values(made)

    assert asyncio.run(in_a_notebook())[3] == {function.__name__: 3.0}


async def by_one(example: Any, completion: Any) -> float:
    async with gate:
        await asyncio.sleep(0)
        return float(len(completion.text))


def test_one_loop_in_one_thread() -> None:
    loops = []

    async def which(completions: Any) -> Any:
        loops.append((asyncio.get_running_loop(), threading.current_thread()))
        return [0.0] * len(completions)

    for _ in range(2):
        values(rubric(which, by_one))
    assert len(set(loops)) == 1
    assert loops[0][1] is not threading.main_thread()
    assert loops[0][1].daemon


def test_async_functions_run_at_the_same_time() -> None:
    """Each waits for the other: one after the other would never end."""
    met = [asyncio.Event(), asyncio.Event()]

    def meets(mine: int) -> Any:
        async def function(completions: Any) -> Any:
            met[mine].set()
            await asyncio.wait_for(met[1 - mine].wait(), 60)
            return [float(mine)] * len(completions)

        function.__name__ = f"meets{mine}"
        return function

    def sync(completions: Any) -> Any:
        assert not met[0].is_set(), "as in TRL, functions that are not async come first"
        return [2.0] * len(completions)

    found = values(rubric(meets(0), sync, meets(1)))
    assert found[0] == {"meets0": 0.0, "sync": 2.0, "meets1": 1.0}
    assert list(found[0]) == ["meets0", "sync", "meets1"]


@pytest.mark.parametrize("error", [KeyError("gold"), SystemExit(3), asyncio.CancelledError()])
def test_an_error_of_an_async_function_is_reported(error: BaseException) -> None:
    async def fails(completions: Any) -> Any:
        raise error

    line = fails.__code__.co_firstlineno + 1
    for _ in range(2):  # the loop lives on
        with pytest.raises(RewardError, match=f"{type(error).__name__}.*line {line}, in fails"):
            values(rubric(fails))
    assert values(rubric(judged))[1] == {"judged": 1.0}


def test_one_failing_answer_of_several() -> None:
    async def partly(example: Any, completion: Any) -> float:
        return 1 / len(completion.text)

    made = rubric(partly, on_error="skip")
    assert [part["partly"] for part in values(made)] == [None, 1.0, 1 / 2, 1 / 3]
    assert made.skipped == {"partly": 1}


def test_ctrl_c_ends_the_wait_and_cancels() -> None:
    cancelled = threading.Event()

    async def waits(completions: Any) -> Any:
        main = threading.main_thread().ident
        assert main is not None
        while sys._current_frames()[main].f_code.co_name != "wait":
            await asyncio.sleep(0)  # until the main thread waits for this function
        signal.pthread_kill(main, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt):
        values(rubric(waits))
    assert cancelled.wait(60)


def test_a_forked_process_has_a_loop_of_its_own() -> None:
    made = rubric(by_length)
    assert values(made)[3] == {"by_length": 3.0}
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # instead of waiting for ever for the parent's thread
        os._exit(0 if values(made)[3] == {"by_length": 3.0} else 1)
    assert os.waitpid(child, 0)[1] == 0


async def by_length(completions: Any) -> Any:
    return [float(len(text)) for text in completions]


def test_two_functions_of_one_name_are_refused() -> None:
    from groupwise.framework.grpo_trainer.inputs import as_rubric

    with pytest.raises(UserError, match="two of them are called 'judged'"):
        as_rubric([judged, judged])
