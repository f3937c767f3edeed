"""Chat messages in data: a prompt of several turns, and the assistant's turn that answers it.

    found = conversation([{"role": "user", "content": "2+2?"}, {"role": "assistant", …}])
    found.messages, found.question, found.solution

TRL's form (`role`, `content`) is read, with content in parts of text, and ShareGPT's (`from`,
`value`). Turns stay as they are. What it leaves out: the chat template (`prompts.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.framework.data.fields import opened, plain_text
from groupwise.rewards.types import Message

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_OTHER_NAMES = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "model", "bot", "ai"), "assistant"),
}
SYSTEM = ("system", "developer")


class NoConversationError(ValueError):
    """Messages that cannot be read; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a model is asked: messages up to a user's turn; `solution` is the turn that followed."""

    messages: tuple[Message, ...]
    question: str  # the last user's turn
    solution: str | None = None

    @property
    def key(self) -> str:
        """The same for the same conversation: its question, if it has nothing else."""
        if len(self.messages) == 1 and self.messages[0].keys() == {"role", "content"}:
            return self.question
        return messages_as_text(self.messages)

    @property
    def has_system(self) -> bool:
        """Whether it begins with instructions of its own."""
        return self.messages[0]["role"] in SYSTEM


def messages_as_text(messages: Sequence[Message]) -> str:
    """Every key of every message, in one text that is the same for equal messages."""
    turns = [dict(message) for message in messages]
    return json.dumps(turns, ensure_ascii=False, sort_keys=True, default=str)


def plain_question(text: str) -> Conversation:
    """The conversation of a single question."""
    return Conversation(({"role": "user", "content": text},), text)


def conversation(value: Any) -> Conversation | None:
    """The conversation that a value holds; None if it holds no messages.

    An assistant's turn at the end is the solution, and not a part of what is asked.

    Raises:
        NoConversationError: a role or a content is not known, or nobody asks anything.
    """
    turns = _turns(value)
    if turns is None:
        return None
    messages = [_message(number, turn) for number, turn in enumerate(turns, start=1)]
    solution = messages.pop()["content"] if messages[-1]["role"] == "assistant" else None
    asked = [m["content"] for m in messages if m["role"] == "user"]
    if not asked:
        raise NoConversationError("messages without a user's turn")
    if (last := messages[-1]["role"]) in (*SYSTEM, "assistant"):
        raise NoConversationError(f"messages that end with a turn of role {last!r}")
    if not asked[-1].strip():
        raise NoConversationError("messages whose last user's turn is empty")
    return Conversation(tuple(messages), asked[-1].strip(), solution)


def last_answer(value: Any) -> str | None:
    """The assistant's last turn of messages, such as a `completion`; None if it is no such thing.

    Raises:
        NoConversationError: a role or a content is not known.
    """
    turns = _turns(value)
    if turns is None:
        return None
    last = _message(len(turns), turns[-1])
    return last["content"].strip() or None if last["role"] == "assistant" else None


def _turns(value: Any) -> Sequence[Mapping[str, Any]] | None:
    """The messages of a list of them, also as JSON; None if it is no such list."""
    value = opened(value)
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, list | tuple) or not value:
        return None
    return value if all(isinstance(turn, Mapping) and _is_turn(turn) for turn in value) else None


def _is_turn(turn: Mapping[str, Any]) -> bool:
    return ("role" in turn and ("content" in turn or "tool_calls" in turn)) or (
        "from" in turn and "value" in turn
    )


def _message(number: int, turn: Mapping[str, Any]) -> dict[str, str]:
    name, text = ("role", "content") if "role" in turn else ("from", "value")
    role = str(turn[name]).strip().lower()
    role = _OTHER_NAMES.get(role, role)
    if role not in ROLES:
        raise NoConversationError(
            f"messages with a turn of the unknown role {turn[name]!r:.40} (known: "
            f"{', '.join(ROLES)})"
        )
    # Templates read further keys, such as `name` and `tool_calls`; data sets fill up with null
    more = {k: v for k, v in turn.items() if k not in (name, text) and v is not None}
    content = _content(number, turn.get(text), may_be_null="tool_calls" in more)
    return {"role": role, "content": content, **more}


def _content(number: int, content: Any, *, may_be_null: bool) -> str:
    if isinstance(content, str):
        return plain_text(content)
    if content is None and may_be_null:
        return ""
    if isinstance(content, list | tuple):
        return "".join(_part(number, part) for part in content)
    kind = "nothing" if content is None else f"a value of type {type(content).__name__}"
    raise NoConversationError(f"messages of which turn {number} has {kind} in place of text")


def _part(number: int, part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
    if kind != "text" or not isinstance(text, str):
        raise NoConversationError(
            f"messages of which turn {number} has a part of type {kind!r:.40}, where only text can "
            "be read"
        )
    return plain_text(text)
