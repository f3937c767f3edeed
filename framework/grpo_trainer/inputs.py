"""The trainer's inputs from Python: rewards become a rubric, data sets become examples.

    rubric = as_rubric([my_reward])
    examples = as_examples([{"question": "2+2=?", "answer": "4"}], tokenizer)

Both accept TRL's forms (functions, rows with a `prompt`) and those of this project. Left out:
files, which `framework/data` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from groupwise.framework.data.conversations import Conversation, NoConversationError
from groupwise.framework.data.fields import field_names, plain, text_of
from groupwise.framework.data.prompts import apply_chat_template
from groupwise.framework.data.rows import answer_of, question_of, with_letters
from groupwise.rewards import Correctness, Example, RewardSpec, Rubric, UserError
from groupwise.rewards.user.functions import adapt, name_of
from groupwise.rewards.user.returned import described

_ASKED = ("prompt", "question", "messages")

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def as_rubric(reward_funcs: Rubric | Sequence[Any]) -> Rubric:
    """A rubric with equal weights from a function or a list of them, as TRL takes them."""
    if isinstance(reward_funcs, Rubric):
        return reward_funcs
    if callable(reward_funcs) or isinstance(reward_funcs, str):
        reward_funcs = [reward_funcs]
    if not reward_funcs:
        raise UserError("reward_funcs: at least one reward is needed")
    rewards: dict[str, Any] = {}
    for function in reward_funcs:
        if not callable(function) and not hasattr(function, "score_batch"):
            raise UserError(
                f"reward_funcs: a function is expected, not {function!r}; rewards by name and "
                "reward models come as a rubric: build_rubric({'correctness': 1.0})"
            )
        name = name_of(function)
        if name in rewards:
            raise UserError(
                f"reward_funcs: two of them are called {name!r}; give one another `__name__`, "
                "under which it is logged"
            )
        rewards[name] = adapt(function)
    return Rubric(rewards, {name: RewardSpec() for name in rewards})


def as_examples(
    rows: Iterable[Any],
    tokenizer: PreTrainedTokenizerBase,
    variables: Mapping[str, Any] | None = None,
    *,
    source: str = "train_dataset",
) -> list[Example]:
    """Examples with rendered prompts, from examples or from rows as TRL's data sets have them.

    A row has `prompt` (text, or messages), `question` or `messages`, and `answer`; without one, the
    assistant's turn that ends `messages` is the answer. Other columns become metadata. Functions in
    TRL's form get all columns, None where a row lacks one. As in files, an answer that is the
    position of an option is read as its letter. `variables` are the chat template's, `source` is
    for messages.

    Raises:
        UserError: these are no rows, one of them cannot be used, or two have the same id.
    """
    _refuse_other_tables(rows, source)
    rows = list(rows)
    names = field_names(row for row in rows if isinstance(row, Mapping))
    examples = [
        row if isinstance(row, Example) else _example_of_row(f"{source}: row {i}", i, row, names)
        for i, row in enumerate(rows)
    ]
    _refuse_equal_ids(examples, source)
    read = [i for i, row in enumerate(rows) if not isinstance(row, Example) and examples[i].answer]
    letters = with_letters([examples[i].answer for i in read], [examples[i].metadata for i in read])
    for i, letter in zip(read, letters, strict=True):
        examples[i] = replace(examples[i], answer=letter)
    given = variables or {}
    return [e if e.prompt else _rendered(e, tokenizer, given) for e in examples]


_OTHER_TABLES = {
    "DatasetDict": "; take one of its splits",
    "DataFrame": "; give .to_dict('records')",
    "str": "; read the file first, as by datasets.load_dataset",
}


def _refuse_other_tables(rows: Any, source: str) -> None:
    """What yields names, not rows, when it is iterated."""
    kind = type(rows).__name__
    if kind in _OTHER_TABLES or isinstance(rows, Mapping):
        raise UserError(
            f"{source}: is a {kind}, where a list of rows or a Dataset is expected"
            f"{_OTHER_TABLES.get(kind, '')}"
        )


def refuse_ungradable(examples: Sequence[Example], rubric: Rubric, source: str) -> None:
    """Raises UserError if a reward compares with answers, and one is no text, or there is none."""
    graded = [n for n, reward in rubric.rewards.items() if isinstance(reward, Correctness)]
    if not graded or not examples:
        return
    if not any(example.answer for example in examples):
        columns = ", ".join(examples[0].columns) or "none"
        raise UserError(
            f"{source}: the reward {graded[0]!r} compares with the column `answer`, and no row has "
            f"one; the columns are {columns}"
        )
    for number, example in enumerate(examples):
        answer = example.columns.get("answer")
        if example.answer == str(answer) and answer_of(answer) is None:
            raise UserError(
                f"{source}: row {number}: `answer` is {described(answer)}; the reward "
                f"{graded[0]!r} compares with a text or a number"
            )


def _refuse_equal_ids(examples: Sequence[Example], source: str) -> None:
    first: dict[str, int] = {}
    for number, example in enumerate(examples):
        if (other := first.setdefault(example.id, number)) != number:
            raise UserError(
                f"{source}: the id {example.id!r} appears twice (row {other} and row {number}); "
                "ids must differ; without a column `id`, rows are numbered"
            )


def _example_of_row(where: str, number: int, row: Any, names: Sequence[str]) -> Example:
    if isinstance(row, tuple) and len(row) == 2:
        row = {"question": row[0], "answer": row[1]}
    if not isinstance(row, Mapping):
        raise UserError(f"{where} is a {type(row).__name__}, not a mapping")
    columns = dict(row)
    asked = _asked(where, columns)
    answer = columns.pop("answer", asked.solution)
    try:
        text = answer_of(answer)
    except NoConversationError as error:
        raise UserError(f"{where} has {error} in `answer`") from None
    return Example(
        id=text_of(columns.pop("id", None)) or str(number),
        question=asked.question,
        # What is no text is for functions, which get the column itself
        answer=text or ("" if _is_nothing(answer) else str(answer)),
        messages=asked.messages,
        metadata={name: plain(value) for name, value in columns.items()},
        columns=dict.fromkeys(names) | dict(row),
    )


def _asked(where: str, columns: dict[str, Any]) -> Conversation:
    """What a row asks, taken out of its columns."""
    name = next((n for n in _ASKED if not _is_nothing(columns.get(n))), None)
    if name is None:
        raise UserError(f"{where} has none of {', '.join(f'`{n}`' for n in _ASKED)}")
    value = columns.pop(name)
    try:
        found = question_of(value)
    except NoConversationError as error:
        raise UserError(f"{where} has {error} in `{name}`") from None
    if found is None:
        raise UserError(f"{where}: `{name}` is {value!r:.60}, which is neither text nor messages")
    if name == "prompt" and found.solution is not None:
        raise UserError(
            f"{where}: `prompt` ends with an assistant's turn, and an answer that has begun cannot "
            "be continued; leave it out, or call the column `messages`"
        )
    return found


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _rendered(
    example: Example, tokenizer: PreTrainedTokenizerBase, variables: Mapping[str, Any]
) -> Example:
    messages = example.messages or ({"role": "user", "content": example.question},)
    prompt = apply_chat_template(tokenizer, messages, variables)
    return replace(example, messages=messages, prompt=prompt)
