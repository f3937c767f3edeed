"""Talk to a tuned model in the terminal: streamed, with the base model's answer beside it if asked.

Reads one question per line from standard input, so it works in a pipe as well. Control characters
in the model's output are shown escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.text import printable
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.prompts import apply_chat_template
from groupwise.framework.policy import Policy
from groupwise.framework.run.out_of_memory import out_of_memory_as_user_error
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

HELP = (
    "Ask something. Earlier turns are kept, although the training had single questions only: "
    "/reset drops them. /quit or Ctrl-D ends."
)


def chat(
    config: ExperimentConfig,
    policy: Policy,
    *,
    with_base: bool,
    temperature: float,
    max_tokens: int,
) -> None:
    """Runs the conversation until standard input ends.

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
    policy.model.eval()
    system = config.data.system_prompt
    opening = [{"role": "system", "content": system}] if system else []
    messages: list[Mapping[str, str]] = list(opening)
    for question in _questions():
        if question == "/reset":
            messages = list(opening)
            continue
        text = config.data.prompt_template.replace("{question}", question)
        messages.append({"role": "user", "content": text})
        answer = ""
        for name in ("base", "tuned") if with_base else ("tuned",):
            print(f"{name}> ", end="", flush=True)
            with _adapter_off(policy) if name == "base" else nullcontext():
                answer = _answer(policy, messages, temperature, max_tokens)
            print(flush=True)
        messages.append({"role": "assistant", "content": answer})


def _questions() -> Iterator[str]:
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        print(HELP, file=sys.stderr)
    while True:
        try:
            line = input("you> " if is_terminal else "").strip()
        except EOFError:
            return
        if line == "/quit":
            return
        if line:
            yield line


def _adapter_off(policy: Policy) -> AbstractContextManager[Any]:
    disabled: AbstractContextManager[Any] = policy.model.disable_adapter()
    return disabled


def _answer(
    policy: Policy, messages: list[Mapping[str, str]], temperature: float, max_tokens: int
) -> str:
    """One answer, printed as it is generated; returns its text."""
    import torch  # slow, as transformers is: not at start-up
    from transformers import TextStreamer

    class Shown(TextStreamer):  # type: ignore[misc]
        """Prints what is decoded so far, escaped, and keeps it."""

        said = ""

        def on_finalized_text(self, text: str, **_: Any) -> None:
            self.said += text
            print(printable(text, lines=True), end="", flush=True)

    tokenizer = policy.tokenizer
    prompt = apply_chat_template(tokenizer, messages)
    inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(policy.device)
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
    with torch.no_grad(), too_long:
        policy.model.generate(
            **inputs,
            **how,
            max_new_tokens=max_tokens,
            streamer=streamer,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
        )
    return streamer.said.strip()
