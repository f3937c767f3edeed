"""Completions with scores, for method `group_scores`: the file format, and a log exported to it.

    export_groups("runs/first", "groups.jsonl")
    groups = read_groups("groups.jsonl")

One JSON object per group, as JSON Lines or as a JSON list:

    {"prompt": "<|im_start|>user\\n2+2=?…", "completions": [{"text": "4", "score": 1.0}, …]}

`prompt` is a text exactly as the model sees it (or, with `prompt_format: chat`, the user's
message), or a list of messages for the chat template. A
completion that was cut off has `finished: false`: no end-of-text token is added to it, so the model
does not learn to stop there. `logprob` (optional) is the log-probability of the whole completion
under the model that wrote it. Groups may differ in size; each needs two completions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.evaluations import EVALUATIONS, find_evaluations
from groupwise.evaluation.log.files import replacing
from groupwise.evaluation.log.jsonl import dumps_line
from groupwise.evaluation.log.records import (
    ROLLOUTS,
    SAMPLES,
    RolloutRecord,
    SampleRecord,
    has_steps,
    read_records,
    without_repeats,
)
from groupwise.framework.data.conversations import NoConversationError, conversation
from groupwise.framework.data.fields import opened
from groupwise.framework.data.files import Notice, ignored, read_rows
from groupwise.framework.data.prompts import apply_chat_template
from groupwise.framework.data.tables import Row
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example, Message

_PROBE = "What is 1+1?"


@dataclass(frozen=True, slots=True)
class ScoredCompletion:
    """One answer with its score; `logprob` is of the whole sequence, its end included."""

    text: str
    score: float
    finished: bool = True
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """The answers to one prompt: a text as the model sees it, or messages."""

    prompt: str | tuple[Message, ...]
    completions: tuple[ScoredCompletion, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """The result of an export: groups and completions written; what was left out, and why."""

    groups: int
    completions: int
    unscored: int
    too_small: int
    equal: int

    def __str__(self) -> str:
        text = f"{self.groups} groups with {self.completions} completions"
        reasons = (
            (self.unscored, "completions without a score"),
            (self.too_small, "groups with fewer than two completions"),
            (self.equal, "groups whose scores are all equal"),
        )
        left_out = [f"{count} {what}" for count, what in reasons if count]
        return text + (f"; left out: {', '.join(left_out)}" if left_out else "")


def read_groups(source: str, notice: Notice = ignored) -> list[ScoredGroup]:
    """The groups of a file or of a hub data set; in a table, nested cells are JSON.

    Raises:
        UserError: there is no such source, or a row is no group; the message says which and why.
    """
    return [_group(row, source) for row in read_rows(source, notice=notice)]


def _group(row: Row, source: str) -> ScoredGroup:
    def wrong(what: str) -> UserError:
        return UserError(f"{source}, {row.where}: {what}")

    prompt, completions = row.fields.get("prompt"), opened(row.fields.get("completions"))
    try:
        asked = conversation(prompt)
    except NoConversationError as error:
        raise wrong(f"`prompt` has {error}") from None
    if asked is not None and asked.solution is None:
        prompt = asked.messages
    elif not isinstance(prompt, str) or not prompt:
        raise wrong("`prompt` must be a text, or a list of messages that ends with the user's turn")
    if not isinstance(completions, list) or len(completions) < 2:
        raise wrong("`completions` must be a list of at least two")
    found = []
    for number, item in enumerate(completions, start=1):
        if not isinstance(item, Mapping) or not isinstance(item.get("text"), str):
            raise wrong(f"completion {number} needs a `text`")
        for key, needed in (("score", True), ("logprob", False)):
            value = item.get(key)
            if value is None and not needed:
                continue
            if not _is_finite(value):
                raise wrong(f"completion {number}: `{key}` is {value!r:.40}, no finite number")
        finished, logprob = item.get("finished"), item.get("logprob")
        if finished not in (None, True, False):
            raise wrong(f"completion {number}: `finished` is {finished!r:.40}, not true or false")
        found.append(
            ScoredCompletion(
                item["text"],
                float(item["score"]),
                finished is not False,
                None if logprob is None else float(logprob),
            )
        )
    return ScoredGroup(prompt, tuple(found))


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # true and false are no numbers


def notice_known_problems(
    groups: Sequence[ScoredGroup], held_out: Sequence[Example], notice: Callable[[str], None]
) -> None:
    """Reports how many held-out problems the groups answer: those of an exported evaluation do."""
    texts = {group.prompt for group in groups if isinstance(group.prompt, str)}
    chats = [group.prompt for group in groups if not isinstance(group.prompt, str)]
    repeated = sum(example.prompt in texts or example.messages in chats for example in held_out)
    if repeated:
        notice(
            f"{repeated} of the held-out problems are answered in the training data: their Pass@K "
            "is not measured on new problems"
        )


def as_chat(groups: Sequence[ScoredGroup], system: str | None) -> list[ScoredGroup]:
    """Groups whose prompts that are texts become the user's message, after the system prompt."""
    first: list[Message] = [{"role": "system", "content": system}] if system else []
    return [
        replace(group, prompt=(*first, {"role": "user", "content": group.prompt}))
        if isinstance(group.prompt, str)
        else group
        for group in groups
    ]


def plain_prompts_notice(
    groups: Sequence[ScoredGroup], tokenizer: Any, variables: Mapping[str, Any]
) -> str:
    """A notice on prompts that are texts outside the chat template, which evaluations use.

    Empty where there are none, and where the tokenizer has no template. A text that has what the
    template writes after a question (as exported ones do) is inside it.
    """
    texts = [group.prompt for group in groups if isinstance(group.prompt, str)]
    if not texts or not getattr(tokenizer, "chat_template", None):
        return ""
    asked: Message = {"role": "user", "content": _PROBE}
    before, _, after = apply_chat_template(tokenizer, [asked], variables).partition(_PROBE)
    marks = [part.split()[0] for part in (after, before) if part.split()]
    plain = [text for text in texts if marks and marks[0] not in text]
    if not plain:
        return ""
    return (
        f"{len(plain)} of {len(groups)} prompts are plain texts, as {plain[0]!r:.60}: the model is "
        "trained on them as they are, while evaluations (and `chat`) put a question into the chat "
        "template. Set training.group_scores.prompt_format: chat to train in the template too, or "
        'write each prompt as messages: [{"role": "user", "content": "…"}]'
    )


def export_groups(
    run: str | Path, to: str | Path, *, score: str = "score", keep_equal: bool = False
) -> Export:
    """Writes the log of `run` (`samples.jsonl`, `rollouts.jsonl`, or its folder) as scored groups.

    A group is the samples of one problem, in a rollout log those of one problem at one step.
    `score` names the score to export: `score` (the rubric's total), `correct` (1 or 0), or a
    reward. Answers that could not be judged are left out; so are groups whose scores are all equal,
    which rank nothing, unless `keep_equal` is set.

    Raises:
        UserError: there is no such log or score, or nothing is left.
    """
    log, to = _log(Path(run)), Path(to)
    if to.suffix != ".jsonl":
        raise UserError(f"{to}: groups are written as JSON Lines; end the name in .jsonl")
    groups: dict[tuple[int, str, str], list[dict[str, Any]]] = {}
    unscored, names = 0, set[str]()
    if to.exists() and log.exists() and to.samefile(log):
        raise UserError(f"{to}: is the log itself; name another file")
    kind = RolloutRecord if log.is_file() and has_steps(log) else SampleRecord
    for record in without_repeats(read_records(log, kind, log.name)):
        names |= record.parts.keys()
        step = record.step if isinstance(record, RolloutRecord) else 0
        group = groups.setdefault((step, record.example_id, record.prompt), [])
        value = _score(record, score)
        if value is None or record.status in ("timeout", "bad_reference"):
            unscored += 1  # nothing is known about the answer
            continue
        finished = {} if record.finish_reason == "stop" else {"finished": False}
        group.append({"text": record.completion, "score": float(value), **finished})
    if score not in ("score", "correct", *names):
        known = ", ".join(["score", "correct", *sorted(names)])
        raise UserError(f"--score {score}: the log has no such score; it has {known}")
    big = {key: group for key, group in groups.items() if len(group) >= 2}
    kept = {k: g for k, g in big.items() if keep_equal or len({c["score"] for c in g}) > 1}
    export = Export(
        groups=len(kept),
        completions=sum(map(len, kept.values())),
        unscored=unscored,
        too_small=len(groups) - len(big),
        equal=len(big) - len(kept),
    )
    if not kept:
        raise UserError(f"{log}: no group is left to train on ({export})")
    with replacing(to) as beside, beside.open("w", encoding="utf-8") as file:
        for (_, _, prompt), group in kept.items():
            file.write(dumps_line({"prompt": prompt, "completions": group}))
    return export


def _score(record: SampleRecord, name: str) -> float | None:
    if name == "score":
        return record.score
    return record.correct if name == "correct" else record.parts.get(name)


def _log(run: Path) -> Path:
    """The log that a path names: the file itself, or `samples.jsonl` or `rollouts.jsonl` in it."""
    if not run.is_dir():
        return run
    for name in (SAMPLES, ROLLOUTS):
        if (run / name).is_file():
            return run / name
    raise UserError(f"{run}: has neither {SAMPLES} nor {ROLLOUTS}; {_instead(run)}")


def _instead(run: Path) -> str:
    try:
        logs = [str(found.log.parent) for found in find_evaluations(run)]
    except UserError:
        return f"name a folder that has one of them, such as RUN/{EVALUATIONS}/LABEL"
    return f"name one of {', '.join(logs)}"
