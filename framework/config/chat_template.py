"""What may stand in `model.chat_template_kwargs` and `model.chat_template_date`.

Left out: which variables a template knows (`experiment/template_check.py`, which has a tokenizer).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

_ABOUT_TOKENS = "it is about tokens, and this is about what the template writes"
_THE_TURN = "a prompt always asks for the assistant's turn"

# `apply_chat_template` of transformers 5.17 takes these itself, or they have keys of their own.
REFUSED = {
    "messages": "the messages come from the data",
    "conversation": "the messages come from the data",
    "add_generation_prompt": _THE_TURN,
    "continue_final_message": _THE_TURN,
    "chat_template": "that is model.chat_template",
    "strftime_now": "that is model.chat_template_date",
    "tokenize": _ABOUT_TOKENS,
    "tokenizer_kwargs": _ABOUT_TOKENS,
    "padding": _ABOUT_TOKENS,
    "truncation": _ABOUT_TOKENS,
    "max_length": _ABOUT_TOKENS,
    "return_tensors": _ABOUT_TOKENS,
    "return_dict": _ABOUT_TOKENS,
    "return_assistant_tokens_mask": _ABOUT_TOKENS,
}


def template_kwargs(value: dict[str, Any]) -> dict[str, Any]:
    """The mapping itself. Raises ValueError for a name or a value that no template can be given."""
    for name in value:
        if name in REFUSED:
            raise ValueError(f"{name!r} cannot be set here: {REFUSED[name]}")
        if not name.isidentifier():
            raise ValueError(f"{name!r} is not the name of a template's variable")
    for name in ("tools", "documents"):
        listed = value.get(name, [])
        if not (isinstance(listed, list) and all(isinstance(item, dict) for item in listed)):
            raise ValueError(f"{name!r} is a list of mappings, not {listed!r}")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"values are what JSON can hold, not {value!r}: {error}") from None
    return value


def moment(value: str) -> str:
    """The text itself. Raises ValueError if it is neither a date nor a date with a time."""
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is no date such as 2026-11-26 or 2026-11-26T14:30") from None
    return value
