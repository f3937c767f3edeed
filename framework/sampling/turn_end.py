"""How the chat template ends an assistant's turn: with a token, with plain text, or not at all.

    turn_end(tokenizer)        # TurnEnd("<|im_end|>", 151645)
    end_token_id(tokenizer)    # what a demonstration ends with

A tokenizer may name another end of text than its template writes (a base model whose template came
with it), and then a model that ends its turn as the template does would be sampled on. Left out:
rendering prompts (`framework/data/prompts.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from groupwise.rewards.errors import UserError

_QUESTION, _ANSWER, _NEXT = "What is 1+1?", "It makes 2", "And 1+2?"


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """`text` is what the template writes behind an answer, without white space around it.

    `token_id` is the token that it begins with, None where it is plain text. `is_header`: nothing
    is written behind an answer, and `text` is what begins the next question.
    """

    text: str
    token_id: int | None
    is_header: bool = False


def turn_end(tokenizer: Any) -> TurnEnd | None:
    """How an answer ends in the tokenizer's template.

    None where there is no template, it renders no answer, or nothing is written behind one.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    text = _behind_an_answer(tokenizer)
    if text:
        return _described(text, tokenizer, is_header=False)
    between = _between_turns(tokenizer)
    if between is None:
        return None
    end, header = between
    text = end or header
    return _described(text, tokenizer, is_header=not end) if text else None


def end_token_id(tokenizer: Any) -> int:
    """The token that ends an answer: the template's, or else the tokenizer's end of text.

    Raises UserError if there is neither.
    """
    end = turn_end(tokenizer)
    if end is not None and end.token_id is not None and not end.is_header:
        return end.token_id
    if tokenizer.eos_token_id is None:
        raise UserError(
            "the tokenizer has no end-of-text token, and its chat template ends no turn with one: "
            "an answer could not be taught to end. Set eos_token in its tokenizer_config.json"
        )
    return int(tokenizer.eos_token_id)


def render_chat(tokenizer: Any, *texts: str, add_generation_prompt: bool = False) -> str | None:
    """A conversation of user and assistant in turn, rendered; None if the template refuses it."""
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    try:
        return str(
            tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )
    except Exception:  # a template is somebody else's program, and raises what it likes
        return None


def _behind_an_answer(tokenizer: Any) -> str:
    """What follows the last answer of a conversation, without white space around it."""
    rendered = render_chat(tokenizer, _QUESTION, _ANSWER)
    if rendered is None or _ANSWER not in rendered:
        return ""
    return rendered.rpartition(_ANSWER)[2].strip()


def _between_turns(tokenizer: Any) -> tuple[str, str] | None:
    """What ends an answer with a question behind it, and what begins that question.

    For templates that leave the last answer open. What stands before the first question and before
    the second alike belongs to the question.
    """
    rendered = render_chat(tokenizer, _QUESTION, _ANSWER, _NEXT)
    if rendered is None or not (_QUESTION in rendered and _ANSWER in rendered):
        return None
    before, _, rest = rendered.partition(_QUESTION)
    between = rest.partition(_ANSWER)[2].partition(_NEXT)[0]
    size = 0
    while size < min(len(before), len(between)) and before[-size - 1] == between[-size - 1]:
        size += 1
    header = between[len(between) - size :]
    return between[: len(between) - size].strip(), header.strip()


def _described(text: str, tokenizer: Any, *, is_header: bool) -> TurnEnd:
    added = tokenizer.get_added_vocab()
    token = max((token for token in added if text.startswith(token)), key=len, default=None)
    return TurnEnd(text if token is None else token, added.get(token), is_header)
