"""Functions as people paste them: what they are given, what they may return, what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise.rewards import Completion, Example, RewardError, UserError, build_rubric
from groupwise.rewards.rubric import Rubric
from groupwise.rewards.user.functions import adapt

ASKED = {"role": "user", "content": "1+1=?"}
ROW = {"task": "sum", "gold": 2, "answer": 2.0, "tests": {"inputs": [[1, 1]]}, "prompt": [ASKED]}
CHAT = Example("7", "1+1=?", "2", messages=(ASKED,), prompt="<u>1+1=?", columns=ROW)
PLAIN = Example("7", "1+1=?", "2", prompt="1+1=?", columns=ROW)
BARE = Example("7", "1+1=?", "2", metadata={"level": 3})
SAID = Completion("so 2", 2, token_ids=(5, 6))
TEXT, MESSAGES = "so 2", [{"role": "assistant", "content": "so 2"}]
VERL = Example(
    "7",
    "1+1=?",
    "2",
    messages=(ASKED,),
    columns={
        "data_source": "sums",
        "reward_model": {"ground_truth": 2, "style": "rule"},
        "extra_info": {"index": 4},
    },
)


def seen(source: str, example: Example = CHAT, setting: str | None = None) -> Any:
    """What `look`, a function of any form, was given as `found`."""
    given: list[Any] = []
    names: dict[str, Any] = {"given": given}
    exec(source, names)
    reward = adapt(names["look"])
    if setting is not None:
        reward = type(reward)(names["look"], completions=setting)  # type: ignore[call-arg]
    score(reward, example)
    return given[0]


def score(reward: Any, example: Example = CHAT, count: int = 1) -> list[float | None]:
    rubric = Rubric({"part": reward}, {"part": spec()})
    return [s.parts["part"] for s in rubric.score_batch([example] * count, [SAID] * count)]


def spec() -> Any:
    from groupwise.rewards import RewardSpec

    return RewardSpec()


def trl(names: str) -> str:
    """A function in TRL's form that shows the values of `names`."""
    return f"def look({names}, **rest):\n    given.append(({names},))\n    return [0.0]\n"


COLUMNS = [
    ("gold", CHAT, [2]),
    ("answer", CHAT, [2.0]),  # the column, not our text "2"
    ("tests", CHAT, [{"inputs": [[1, 1]]}]),
    ("solution", CHAT, ["2"]),  # no column has the name
    ("ground_truth", CHAT, ["2"]),
    ("id", CHAT, ["7"]),
    ("question", CHAT, ["1+1=?"]),
    ("level", BARE, [3]),
    ("completions", CHAT, [MESSAGES]),
    ("completions", PLAIN, [TEXT]),
    ("prompts", CHAT, [[ASKED]]),
    ("prompts", PLAIN, ["1+1=?"]),
    ("completion_ids", CHAT, [[5, 6]]),
]


@pytest.mark.parametrize(("name", "example", "value"), COLUMNS)
def test_trl_s_form_gets_what_trl_gives(name: str, example: Example, value: Any) -> None:
    [found] = seen(trl(name), example)
    assert found == value
    assert list(map(type, found)) == list(map(type, value))


def test_columns_that_trl_keeps_back() -> None:
    source = "def look(**given_):\n    given.append(given_)\n    return [0.0]\n"
    assert "prompt" not in seen(source)
    assert {"task", "gold", "trainer_state", "log_metric", "log_extra"} <= set(seen(source))


def test_a_row_without_the_field_of_another_has_none() -> None:
    other = Example("8", "?", "", columns={"level": 1})
    rubric = Rubric({"part": adapt(levels)}, {"part": spec()})
    scores = rubric.score_batch([BARE, other, CHAT], [SAID] * 3)
    assert [s.parts["part"] for s in scores] == [3.0, 1.0, None]


def levels(completions: Any, level: Any, **_: Any) -> Any:
    assert len(completions) == 3
    return level


AS_TEXT = [
    ("def look(completions, **k): {}", None, [MESSAGES]),
    ("def look(completions: list[str], **k): {}", None, [TEXT]),
    ("from typing import *\ndef look(completions: List[str], **k): {}", None, [TEXT]),
    ("from typing import *\ndef look(completions: Sequence[str], **k): {}", None, [TEXT]),
    ("from typing import *\ndef look(completions: Optional[list[str]], **k): {}", None, [TEXT]),
    ("from __future__ import annotations\ndef look(completions: list[str], **k): {}", None, [TEXT]),
    ("def look(completions: 'list[str]', other: 'Unknown' = 0, **k): {}", None, [TEXT]),
    ("def look(completions: list[list[dict[str, str]]], **k): {}", None, [MESSAGES]),
    ("def look(completions: list, **k): {}", None, [MESSAGES]),
    ("def look(completions: list[list[str]], **k): {}", None, [MESSAGES]),
    ("def look(completions: list[list[dict]] | None = None, **k): {}", None, [MESSAGES]),
    ("def look(completions, **k): {}", "text", [TEXT]),
    ("def look(completions: list[str], **k): {}", "messages", [MESSAGES]),
]


@pytest.mark.parametrize(("head", "setting", "value"), AS_TEXT)
def test_text_where_the_function_asks_for_text(head: str, setting: str | None, value: Any) -> None:
    body = "\n    given.append(completions)\n    return [0.0]\n"
    assert seen(head.format(body), setting=setting) == value


ASKED_IN_TEXT = Example(
    "7", "1+1=?", "2", messages=(ASKED,), prompt="<u>1+1=?", columns={"prompt": "1+1=?\n"}
)


def test_a_column_of_plain_prompts_is_plain_as_in_trl() -> None:
    assert seen(trl("prompts, completions"), ASKED_IN_TEXT) == (["1+1=?\n"], [TEXT])
    assert seen(trl("completions"), ASKED_IN_TEXT, "messages") == ([MESSAGES],)
    other = replace(ASKED_IN_TEXT, columns={"prompt": "You add.", "question": "1+1=?"})
    assert seen(trl("prompts, completions"), other) == ([[ASKED]], [MESSAGES])


def test_messages_where_the_function_asks_for_them() -> None:
    source = (
        "def look(completions: list[list[dict]], prompts, **k):\n    given.append((completions,"
    )
    assert seen(source + " prompts))\n    return [0]\n", BARE) == (
        [MESSAGES],
        [[{"role": "user", "content": "1+1=?"}]],
    )


ONE_ANSWER = [
    ("completion, answer", (MESSAGES, 2.0)),
    ("completion: str, answer", (TEXT, 2.0)),
    ("prompt, completion, answer, state", ([ASKED], MESSAGES, 2.0, {"answer": 2.0})),
    ("completion, gold, **kwargs", (MESSAGES, 2, {"example_id": "7"})),
    ("completion, info, task", (MESSAGES, {}, "sum")),
    ("example, completion", (CHAT, SAID)),
    ("completion, example", (SAID, CHAT)),
]


@pytest.mark.parametrize(("names", "values"), ONE_ANSWER)
@pytest.mark.parametrize("how", ["def", "async def"])
def test_forms_of_one_answer(how: str, names: str, values: tuple[Any, ...]) -> None:
    shown = re.sub(r"\*\*|: str", "", names)
    source = f"{how} look({names}):\n    given.append(({shown}))\n    return 0.0\n"
    found = seen(source)
    for ours, theirs in zip(found, values, strict=True):
        assert ours == theirs if not isinstance(theirs, dict) else ours.items() >= theirs.items()


EATERS = [
    "def look(completions, tests):\n    given.append(tests[0].pop('inputs'))\n    return [0]\n",
    "def look(completion, tests):\n    given.append(tests.pop('inputs'))\n    return 0\n",
    "def look(completion, tests):\n    given.append(list(tests['inputs']))\n"
    "    tests['inputs'].clear()\n    return 0\n",
]


@pytest.mark.parametrize("source", EATERS)
def test_what_a_function_does_to_a_column_is_gone_at_the_next_call(source: str) -> None:
    assert [seen(source), seen(source)] == [[[1, 1]], [[1, 1]]]


VERL_ROWS = [
    (VERL, ("sums", TEXT, 2, {"index": 4})),
    (CHAT, (None, TEXT, "2", {})),
    (Example("1", "?", "2", columns={"ground_truth": [2]}), (None, TEXT, [2], {})),
]


@pytest.mark.parametrize(("example", "values"), VERL_ROWS)
def test_verl_s_form(example: Example, values: tuple[Any, ...]) -> None:
    names = "data_source, solution_str, ground_truth, extra_info"
    source = f"def look({names}=None):\n    given.append(({names}))\n    return 1.0\n"
    assert seen(source, example) == values


def test_verl_s_dictionaries() -> None:
    def compute_score(solution_str: str, ground_truth: Any) -> Any:
        right = str(ground_truth) in solution_str
        return {"score": float(right), "acc": right} if right else 0.0

    rubric = Rubric({"part": adapt(compute_score)}, {"part": spec()})
    first, second = rubric.score_batch([VERL] * 2, [SAID, Completion("no")])
    assert (first.parts["part"], second.parts["part"]) == (1.0, 0.0)
    assert (first.extra, second.extra) == ({"acc": True}, {"acc": None})


class Scorer:
    def __call__(self, completions: list[str], **_: Any) -> Any:
        return (len(text) for text in completions)


def returns(value: Any) -> Any:
    def function(completions: Any) -> Any:  # noqa: ARG001
        return value

    return function


def arrays() -> list[Any]:
    import numpy as np  # slow: not at collection

    return [np.array([1, 0]), np.float32([1, 0]), [np.float64(1), np.bool_(False)]]


def test_sequences_of_numbers_are_values() -> None:
    for value in (
        [1.0, 0.0],
        (1, 0),
        [True, False],
        iter([1, 0]),
        {1: 1, 2: 0}.values(),
        *arrays(),
    ):
        assert score(adapt(returns(value)), count=2) == [1.0, 0.0]
    assert score(adapt(returns([None, 0.5])), count=2) == [None, 0.5]
    assert score(adapt(Scorer()), count=2) == [4.0, 4.0]


@pytest.mark.stack
def test_a_tensor_is_a_sequence() -> None:
    import torch

    learnt = torch.tensor([1.0, 0.0], dtype=torch.bfloat16, requires_grad=True)
    assert score(adapt(returns(learnt)), count=2) == [1.0, 0.0]
    assert score(adapt(returns([torch.tensor(1.0), torch.tensor(0)])), count=2) == [1.0, 0.0]
    with pytest.raises(RewardError, match=r"a Tensor of shape \(2, 1\)"):
        score(adapt(returns([learnt[:, None]] * 2)), count=2)


REFUSED = [
    ({0: 1.0, 1: 1.0}, "a dict, {0: 1.0, 1: 1.0}"),
    ({1.0, 0.0}, "a set"),
    ("11", "a str, '11'"),
    (1.0, "a float, 1.0"),
    (True, "a bool, True"),
    (None, "None (is there a `return`?)"),
    ([1.0], "1 values for 2 completions"),
    ([1.0, 2.0, 3.0], "3 values for 2 completions"),
    ([[1.0], [0.0]], "a list, [1.0], no number"),
    (["1.0", "0.0"], "a str, '1.0', no number"),
    ([1.0, {"score": 1.0}], "a dict, {'score': 1.0}, no number"),
    ([1.0, 1j], "a complex, 1j, no number"),
    ([1.0, float("nan")], "it returned nan"),
    ([1.0, float("inf")], "it returned inf"),
    ([1.0, -1e300], "it returned -1e+300, beyond 1e+18; scale it down"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=lambda value: repr(value)[:30])
def test_anything_else_is_named_with_file_and_line(value: Any, message: str) -> None:
    line = returns.__code__.co_firstlineno + 1
    with pytest.raises(RewardError, match=re.escape(message)) as caught:
        score(adapt(returns(value)), count=2)
    first = str(caught.value).splitlines()[0]
    assert first.endswith(f"(function: {__file__}, line {line})")


UNKNOWN = [
    "def reward(response, gold):\n    return 1.0\n",
    "def reward():\n    return 1.0\n",
    "reward = lambda text: 1.0\n",
]


@pytest.mark.parametrize("source", UNKNOWN)
def test_an_unknown_form_is_refused_with_those_that_are_known(source: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(UserError, match=r"rewards\.parts\.part: this function has no form") as said:
        build_rubric({"part": {"use": "mine.py:reward"}}, base_dir=tmp_path)
    assert f"{tmp_path / 'mine.py'}, line 1)" in str(said.value)
    for form in ("TRL's", "(example, completion)", "verifiers'", "verl's"):
        assert form in str(said.value)


FAILS = """
from broken import deeper


def on_text(completions, **kwargs):
    return [len(c.split()) for c in completions]


def on_messages(completions: list[str], **kwargs):
    return [len(c[0]["content"]) for c in completions]


def in_a_helper(completions, **kwargs):
    return deeper(completions)


async def later(completions, **kwargs):
    raise KeyError("gold")


def lazily(completions, **kwargs):
    for c in completions:
        yield 1 / 0


def by_one(completion, answer):
    return float(completion[0]["content"])


def needs(completions, difficulty, **kwargs):
    return difficulty


def quits(completions, **kwargs):
    raise ValueError


def exits(completion):
    exit("no key")
"""
PLACES = [
    ("on_text", "AttributeError: 'list' object has no attribute 'split'", "mine.py, line 6"),
    ("on_messages", "TypeError: string indices must be integers", "mine.py, line 10"),
    ("in_a_helper", "ZeroDivisionError: division by zero", "broken.py, line 2, in deeper"),
    ("later", "KeyError: 'gold'", "mine.py, line 18, in later"),
    ("lazily", "ZeroDivisionError", "mine.py, line 23, in lazily"),
    ("by_one", "ValueError: could not convert string", "mine.py, line 27, in by_one"),
    ("needs", "'difficulty' is no column of the data", "mine.py, line 30"),
    ("quits", "ValueError (", "mine.py, line 35, in quits"),
    ("exits", "SystemExit('no key')", "mine.py, line 39, in exits"),
]
HINTS = {"on_text": "completions: text", "on_messages": "completions: messages"}


@pytest.mark.parametrize(("name", "what", "place"), PLACES)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_an_error_is_named_with_the_users_line(
    name: str, what: str, place: str, on_error: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(FAILS)
    (tmp_path / "broken.py").write_text("def deeper(x):\n    return 1 / 0\n")
    parts = {"part": {"use": f"mine.py:{name}"}}
    rubric = build_rubric(parts, base_dir=tmp_path, on_error=on_error)
    try:
        rubric.score_batch([CHAT], [SAID])
        said = rubric.errors["part"]
    except RewardError as error:
        said = str(error)
    first, *rest = said.splitlines()
    assert what in first
    assert str(tmp_path / place) in first
    assert (HINTS.get(name, "nothing") in "".join(rest)) == (name in HINTS)
    assert ("rewards.on_error: skip" in rest[-1]) == (on_error == "stop")  # else it is set


SETTINGS = [
    ({"use": "mine.py:by_one", "completions": "text"}, None),
    ({"use": "mine.py:on_text", "completions": "texts"}, 'completions: "texts" is none of text'),
    ({"use": "format", "completions": "text"}, "is for functions of your own"),
    ({"use": "ours.py:ours", "completions": "messages"}, "has no effect on a function of example"),
]


@pytest.mark.parametrize(("part", "message"), SETTINGS)
def test_the_setting(part: dict[str, str], message: str | None, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FAILS)
    (tmp_path / "broken.py").write_text("deeper = None\n")
    (tmp_path / "ours.py").write_text("def ours(example, completion):\n    return 1.0\n")
    if message is None:
        build_rubric({"part": part}, base_dir=tmp_path)
        return
    with pytest.raises(UserError, match=r"rewards\.parts\.part\.completions: ") as said:
        build_rubric({"part": part}, base_dir=tmp_path)
    assert message in str(said.value)
