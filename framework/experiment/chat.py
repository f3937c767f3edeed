"""Talk to a tuned model in the terminal: streamed, with the base model's answer beside it if asked.

Reads one question per line from standard input, so it works in a pipe as well. Control characters
in the model's output are shown escaped.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from groupwise.evaluation.text import printable
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.prompts import apply_chat_template, template_variables
from groupwise.framework.data.templates import with_question
from groupwise.framework.policy import Policy
from groupwise.framework.run.out_of_memory import out_of_memory_as_user_error
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Message

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

COMMANDS = {
    "/reset": "drop the earlier questions and answers, which are otherwise kept",
    "/help": "list these commands",
    "/quit": "end, as Ctrl-D does",
}


def chat(
    config: ExperimentConfig,
    policy: Policy,
    *,
    with_base: bool,
    temperature: float,
    max_tokens: int,
    terminal: Terminal,
    log: Path,
) -> None:
    """Runs the conversation until standard input ends; what libraries print goes to `log`.

    With `with_base` each question is answered twice, by the base model first; the conversation
    continues with the tuned model's answer.

    Raises:
        UserError: there is no base model to switch to.
    """
    if with_base and not policy.is_adapter:
        raise UserError(
            "--compare base: this run trained all weights, so the base model is not in it. "
            "Evaluate the base model apart: groupwise evaluate MODEL --config CONFIG"
        )
    stop = config.eval_sampling_params.stop
    system = config.data.system_prompt
    opening: list[Message] = [{"role": "system", "content": system}] if system else []
    turns: list[Message] = []  # question, answer, question, …
    for question in _questions(terminal):
        if question == "/reset":
            turns = []
            continue
        text = with_question(config.data.prompt_template, config.data.question_field, question)
        with terminal.libraries_to(log) as out:
            new: Message = {"role": "user", "content": text}
            asked = _that_fit(policy, opening, [*turns, new], max_tokens, terminal)
            if not asked:
                continue
            turns, answer = asked, ""
            for name in ("base", "tuned") if with_base else ("tuned",):
                print(f"{name}> ", end="", file=out, flush=True)
                with _adapter_off(policy) if name == "base" else nullcontext():
                    said = [*opening, *turns]
                    answer = _answer(policy, said, temperature, max_tokens, stop, out)
                print(file=out, flush=True)
        turns.append({"role": "assistant", "content": answer})


def _that_fit(
    policy: Policy,
    opening: list[Message],
    turns: list[Message],
    max_tokens: int,
    terminal: Terminal,
) -> list[Message]:
    """The turns that leave room for an answer: all, or all but the earliest, or none.

    Says which were dropped, or what to do where even the question alone is too long.
    """
    from groupwise.framework.sampling import requests  # imports torch: not at start-up

    limit = requests.limit_of(policy.model)
    if limit is None:
        return turns
    length = 0
    for first in range(0, len(turns), 2):
        kept = turns[first:]
        length = len(_tokens(policy, [*opening, *kept]))
        if length + max_tokens > limit.tokens:
            continue
        if first:
            terminal.line(
                f"[questions dropped from the start of the conversation: {first // 2}; with them "
                f"and --max-tokens {max_tokens} it would be more than {limit.words}]"
            )
        return kept
    remedies = "ask a shorter one"
    if length < limit.tokens:
        remedies += f", or start again with --max-tokens {limit.tokens - length}"
    terminal.line(
        f"[the question has {length} tokens; with --max-tokens {max_tokens} that is more than "
        f"{limit.words}: {remedies}]"
    )
    return []


def _tokens(policy: Policy, messages: Sequence[Message]) -> list[int]:
    variables = template_variables(policy.config)
    prompt = apply_chat_template(policy.tokenizer, messages, variables)
    ids: list[int] = policy.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return ids


def _questions(terminal: Terminal) -> Iterator[str]:
    """What is asked, and `/reset`; the other commands are carried out here."""
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        terminal.line(f"Ask something. Commands: {', '.join(COMMANDS)}; /help says what they do.")
    while True:
        try:
            line = input("you> " if is_terminal else "").strip()
        except EOFError:
            return
        if line == "/quit":
            return
        if line == "/help":
            for command, what in COMMANDS.items():
                terminal.line(f"{command:<8} {what}")
        elif line not in COMMANDS and re.fullmatch(r"/[A-Za-z]+", line):
            terminal.line(f"[there is no command {line}; there are {', '.join(COMMANDS)}]")
        elif line:
            yield line


def _adapter_off(policy: Policy) -> AbstractContextManager[Any]:
    disabled: AbstractContextManager[Any] = policy.model.disable_adapter()
    return disabled


def _answer(
    policy: Policy,
    messages: Sequence[Message],
    temperature: float,
    max_tokens: int,
    stop: Sequence[str],
    out: TextIO,
) -> str:
    """One answer, printed to `out` as it is made; its text, which ends before a stop string."""
    import torch  # slow, as the others are: not at start-up
    from transformers import TextStreamer

    from groupwise.framework.sampling import sampling_mode, stopping

    class Shown(TextStreamer):  # type: ignore[misc]
        """Prints what is decoded so far, escaped."""

        def on_finalized_text(self, text: str, **_: Any) -> None:
            print(printable(text, lines=True), end="", file=out, flush=True)

    def has_ended(rows: Any, _scores: Any, **_: Any) -> Any:  # (1, T) -> (1,)
        return torch.tensor([ends.ended(rows[0, ids.shape[1] :].tolist())], device=rows.device)

    tokenizer = policy.tokenizer
    ends = stopping.Stopping(policy.model, tokenizer, stop, max_tokens)
    ids = torch.tensor([_tokens(policy, messages)], device=policy.device)
    streamer = Shown(tokenizer, skip_prompt=True, skip_special_tokens=True)
    how: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        how = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
    too_long = out_of_memory_as_user_error(
        "chat",
        [
            f"--max-tokens {max(1, max_tokens // 2)} (now {max_tokens})",
            "/reset, which drops earlier turns",
        ],
    )
    with sampling_mode(policy.model, tokenizer), torch.no_grad(), too_long:
        rows = policy.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **how,
            max_new_tokens=max_tokens,
            streamer=streamer,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=sorted(ends.end_ids) or None,
            stopping_criteria=[has_ended],
        )
    text, _ = ends.text_and_reason(rows[0, ids.shape[1] :].tolist())
    return text.strip()
