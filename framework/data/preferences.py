"""Preference pairs from data files: which of two answers to a question is the better one.

    pairs = load_pairs("preferences.jsonl")
    train, held_out = split_pairs(pairs, 0.1)

Three kinds of rows are read, with the question under `question` or `prompt` (text, or messages):
`chosen` and `rejected`; `completions: [{"text": …, "score": …}]`; one answer per row under
`completion`, `text` or `answer`, with its `score`. Scored answers to a question are paired, the
better with the worse. What it leaves out: answers with equal scores, which teach nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from groupwise.framework.data.conversations import (
    NoConversationError,
    conversation,
    last_answer,
)
from groupwise.framework.data.fields import opened
from groupwise.framework.data.files import Notice, ignored, read_rows
from groupwise.framework.data.rows import digest
from groupwise.framework.data.tables import Row
from groupwise.rewards.errors import UserError

MAX_PAIRS = 8
"""Most pairs from the scored answers to one question; those furthest apart come first."""

_COMPLETION = ("completion", "text", "answer")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to a question, of which `chosen` is the better."""

    question: str
    chosen: str
    rejected: str


def load_pairs(source: str, notice: Notice = ignored) -> list[Pair]:
    """The pairs of a file or hub data set, in its order.

    Raises:
        UserError: the source cannot be read, a row has none of the three forms, or no two answers
            to a question differ in their score.
    """
    pairs: list[Pair] = []
    scored: dict[str, list[tuple[float, str]]] = {}
    for row in read_rows(source, notice=notice):
        fields = row.fields
        if "chosen" in fields and "rejected" in fields:
            pairs.append(_stated(source, row))
            continue
        question = _question(source, row)
        answers = scored.setdefault(question, [])
        if isinstance(completions := opened(fields.get("completions")), list | tuple):
            answers += [_scored(source, row, item) for item in completions]
        else:
            answers.append(_scored(source, row, fields))
    for question, answers in scored.items():
        pairs += [Pair(question, chosen, rejected) for chosen, rejected in paired(answers)]
    if not pairs:
        raise UserError(
            f"{source}: no preference in it: no two answers to a question have different scores"
        )
    return pairs


def paired(answers: Sequence[tuple[float, str]]) -> list[tuple[str, str]]:
    """(better, worse) of scored answers: at most MAX_PAIRS, the widest differences first."""
    ranked = sorted(answers, key=lambda answer: -answer[0])
    found = [
        (high - low, better, worse)
        for i, (high, better) in enumerate(ranked)
        for low, worse in ranked[i + 1 :]
        if high > low and better != worse
    ]
    found.sort(key=lambda pair: -pair[0])
    return [(better, worse) for _, better, worse in found[:MAX_PAIRS]]


def split_pairs(pairs: Sequence[Pair], eval_fraction: float) -> tuple[list[Pair], list[Pair]]:
    """(train, held out): by the hash of the question, so that none is on both sides.

    Raises:
        UserError: there are not two questions.
    """
    questions = sorted({pair.question for pair in pairs}, key=digest)
    if len(questions) < 2:
        raise UserError(
            "the data have one question; at least two are needed, one to train on and one to "
            "measure on"
        )
    count = min(len(questions) - 1, max(1, round(eval_fraction * len(questions))))
    apart = set(questions[:count])
    return (
        [pair for pair in pairs if pair.question not in apart],
        [pair for pair in pairs if pair.question in apart],
    )


def _stated(source: str, row: Row) -> Pair:
    chosen, rejected = row.fields["chosen"], row.fields["rejected"]
    asked = row.fields.get("question") or row.fields.get("prompt")
    if not asked and isinstance(chosen, list):
        asked = chosen[:-1]  # `chosen` and `rejected` hold the whole conversation
    question, better, worse = _user_text(asked), _answer_text(chosen), _answer_text(rejected)
    for name, value in (("question", question), ("chosen", better), ("rejected", worse)):
        if value is None:
            raise UserError(f"{source}: {row.where} has no text in {name!r} (text, or messages)")
    assert question is not None
    assert better is not None
    assert worse is not None
    if better == worse:
        raise UserError(f"{source}: {row.where}: 'chosen' and 'rejected' are the same text")
    return Pair(question, better, worse)


def _question(source: str, row: Row) -> str:
    fields = row.fields
    if "example_id" in fields and "question" not in fields:
        raise UserError(
            f"{source}: a log holds prompts as the model saw them, chat template and all, and a "
            "reward model is asked with the question alone; add a field 'question' to its rows"
        )
    question = _user_text(fields.get("question") or fields.get("prompt"))
    if question is None:
        raise UserError(
            f"{source}: {row.where} has neither 'question' nor 'prompt'; it has "
            f"{', '.join(map(str, fields))}"
        )
    return question


def _scored(source: str, row: Row, item: Any) -> tuple[float, str]:
    if not isinstance(item, Mapping):
        raise UserError(
            f"{source}: {row.where}: a completion is not an object with 'text' and 'score'"
        )
    text = next((item[name] for name in _COMPLETION if isinstance(item.get(name), str)), None)
    score = item.get("score")
    if isinstance(score, str):  # of a CSV
        with suppress(ValueError):
            score = float(score)
    if text is None or isinstance(score, str | list | dict) or score is None:
        raise UserError(
            f"{source}: {row.where} has no preference: it needs 'chosen' and 'rejected', or "
            f"'completions', or one of {', '.join(_COMPLETION)} with a number under 'score' "
            f"(found {score!r:.40})"
        )
    value = float(score)
    if not math.isfinite(value):
        raise UserError(f"{source}: {row.where}: score is {value}, and must be finite")
    return value, text


def _user_text(asked: Any) -> str | None:
    """The question: a text, or the last user message of a list of messages."""
    if isinstance(asked, str):
        return asked.strip() or None
    with suppress(NoConversationError):
        found = conversation(asked)
        return None if found is None else found.question
    return None


def _answer_text(answered: Any) -> str | None:
    """The answer: a text, or the assistant's turn at the end of a list of messages."""
    if isinstance(answered, str):
        return answered
    with suppress(NoConversationError):
        return last_answer(answered)
    return None
