"""Chat template, tokenizer and generation config beside each other: where they do not fit.

    template_notices_of(config, tokenizer)                   # for `groupwise check`
    notice_template(config, tokenizer, terminal.notice)      # at the start of a run

What is found here does not stop a run; each notice says what the run does about it, or what to set.
Left out: whether the prompts ask for what the rewards want (`preflight.py`).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from groupwise.framework.config import ExperimentConfig, ModelConfig
from groupwise.framework.data.prompts import apply_chat_template, template_variables
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Message

# What transformers 5.17 gives every template itself (`render_jinja_template`), and Jinja's own.
STANDARD = {
    *("messages", "tools", "documents", "add_generation_prompt", "raise_exception"),
    *("strftime_now", "range", "dict", "lipsum", "cycler", "joiner", "namespace"),
}
_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
_PROBE = "What is 1+1?"
_MARK = "value of a variable"


def notice_template(
    config: ExperimentConfig, tokenizer: Any, notify: Callable[[str], None]
) -> None:
    """Reports what does not fit, at the start of a run or an evaluation."""
    for notice in template_notices_of(config, tokenizer):
        notify(notice)


def template_notices_of(config: ExperimentConfig, tokenizer: Any) -> list[str]:
    """What does not fit, by the model's files: once it is loaded, it ends as its template does."""
    return template_notices(config, tokenizer, declared_ends(config.model, tokenizer))


def declared_ends(model: ModelConfig, tokenizer: Any) -> frozenset[int]:
    """The end-of-text tokens that the model's files and the tokenizer name; no model is loaded."""
    from transformers import GenerationConfig, PretrainedConfig  # slow, both: not at start-up

    from groupwise.framework.sampling import stopping

    found: Any = None
    try:
        found = GenerationConfig.from_pretrained(model.name).eos_token_id
    except OSError:  # transformers makes one of the model's config then
        with suppress(OSError):
            found = PretrainedConfig.get_config_dict(model.name)[0].get("eos_token_id")
    return stopping.as_ids(found, tokenizer.eos_token_id)


def template_notices(
    config: ExperimentConfig, tokenizer: Any, declared: frozenset[int]
) -> list[str]:
    """A sentence for each thing that does not fit; `declared` are the end-of-text tokens besides
    the template's own. Empty without a template, or with one that fails: that is an error later.
    """
    if not getattr(tokenizer, "chat_template", None):
        return []
    system = config.data.system_prompt
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": _PROBE})

    def render(**more: Any) -> str:
        return apply_chat_template(tokenizer, messages, template_variables(config.model, more))

    try:
        prompt = render()
    except UserError:
        return []
    return [
        *_end_notices(config, tokenizer, declared),
        *_bos_notices(tokenizer, prompt),
        *_header_notices(tokenizer),
        *_unknown_variables(config.model, tokenizer),
        *_unfilled_variables(config.model, tokenizer, render),
    ]


def _end_notices(config: ExperimentConfig, tokenizer: Any, declared: frozenset[int]) -> list[str]:
    """On an end of turn that generation config and tokenizer do not know."""
    from groupwise.framework.sampling import turn_end  # imports torch: not at start-up

    end = turn_end.turn_end(tokenizer)
    if end is None or end.token_id in declared:
        return []
    others = " and ".join(repr(tokenizer.decode([i])) for i in sorted(declared)) or "no token"
    if end.token_id is not None and not end.is_header:
        return [
            f"the chat template ends a turn with {end.text!r}, while tokenizer and generation "
            f"config end a text with {others}: samples end at either, and a warm start teaches "
            f"{end.text!r}; a program that loads a tuned adapter has to stop there too"
        ]
    what = "ends a turn with the text"
    if end.is_header:
        what = "writes nothing behind an answer, and the next question begins with"
    if end.token_id is not None:
        return [f"the chat template {what} {end.text!r}: samples end there, too"]
    if any(text in end.text for text in config.training.stop):
        return []
    line = end.text.splitlines()[0]
    return [
        f"the chat template {what} {line!r}, which is no token of its own: a model that writes it "
        f"is sampled on until {others}; training.stop: {json.dumps([line])} ends samples there, "
        "in evaluation too"
    ]


def _bos_notices(tokenizer: Any, prompt: str) -> list[str]:
    """On a beginning-of-text token that is missing in prompts, or doubled."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return []
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    token = tokenizer.bos_token
    if ids[:2] == [bos, bos]:
        return [
            f"prompts begin with {token!r} twice; write it once in the chat template "
            "(model.chat_template)"
        ]
    if ids[:1] != [bos] and tokenizer(_PROBE)["input_ids"][:1] == [bos]:
        return [
            f"the tokenizer puts {token!r} before a text, and the chat template does not write it: "
            "the model has rarely seen a text without; where its authors' prompts have it, begin "
            "the template with {{ bos_token }} (model.chat_template)"
        ]
    return []


def _header_notices(tokenizer: Any) -> list[str]:
    """On a template that marks whose turn it is, and does not begin the assistant's."""
    from groupwise.framework.sampling import turn_end  # imports torch: not at start-up

    answer = "It makes 2"
    asked = turn_end.render_chat(tokenizer, _PROBE, add_generation_prompt=True)
    whole = turn_end.render_chat(tokenizer, _PROBE, answer)
    if asked is None or whole is None or asked != turn_end.render_chat(tokenizer, _PROBE):
        return []
    header = whole.removeprefix(asked).partition(answer)[0].strip()
    if not whole.startswith(asked) or not header:
        return []
    return [
        f"the chat template writes {header!r} before an answer, but not at the end of a prompt: it "
        "ignores add_generation_prompt, and the model would have to begin with it; see "
        "model.chat_template"
    ]


def _unknown_variables(model: ModelConfig, tokenizer: Any) -> list[str]:
    """On variables of the config that the template does not ask for."""
    given = model.chat_template_kwargs
    known = variables_of(tokenizer, given)
    notices = []
    for name in sorted(given.keys() - known):
        near = difflib.get_close_matches(name, known - STANDARD, n=1)
        own = ", ".join(sorted(n for n in known - STANDARD if not n.endswith("_token")))
        remedy = f"did you mean {near[0]!r}?" if near else f"it has {own or 'none of its own'}"
        notices.append(
            f"model.chat_template_kwargs.{name}: the chat template has no such variable; {remedy}"
        )
    return notices


def _unfilled_variables(
    model: ModelConfig, tokenizer: Any, render: Callable[..., str]
) -> list[str]:
    """On variables that the template writes into a prompt and that have no value."""
    given = model.chat_template_kwargs
    filled = STANDARD | given.keys() | set(tokenizer.special_tokens_map)
    notices = []
    for name in sorted(variables_of(tokenizer, given) - filled - _asked_for(tokenizer, given)):
        try:
            is_written = _MARK in render(**{name: _MARK})
        except UserError:  # it is used, as something else than text
            is_written = True
        if is_written:
            notices.append(
                f"the chat template writes its variable {name!r}, which has no value: that place "
                f"is empty in every prompt; set model.chat_template_kwargs.{name}"
            )
    return notices


def variables_of(tokenizer: Any, given: Mapping[str, Any]) -> frozenset[str]:
    """The variables that the template asks for, those that every template has included."""
    from jinja2 import meta  # slow: not at start-up

    return frozenset(meta.find_undeclared_variables(_tree(tokenizer, given)))


def _asked_for(tokenizer: Any, given: Mapping[str, Any]) -> frozenset[str]:
    """The names that the template tests before it uses them: they may be without a value."""
    from jinja2 import nodes  # slow: not at start-up

    tree = _tree(tokenizer, given)
    tests: list[Any] = [node.test for node in tree.find_all((nodes.If, nodes.CondExpr))]
    tests += tree.find_all((nodes.Test, nodes.Filter, nodes.Or))
    own = [test for test in tests if isinstance(test, nodes.Name)]
    return frozenset(name.name for test in tests for name in (*own, *test.find_all(nodes.Name)))


def _tree(tokenizer: Any, given: Mapping[str, Any]) -> Any:
    from jinja2 import Environment  # slow: not at start-up

    text = tokenizer.get_chat_template(tools=given.get("tools"))
    # A tag of transformers' own, without a meaning for variables.
    return Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_GENERATION.sub("", text))


def switches_thinking_on(
    model: ModelConfig, tokenizer: Any, prompt: Sequence[Message]
) -> str | None:
    """The setting with which a template leaves a prompt's thought open; None if it has none.

    `prompt`: the messages of a prompt whose thought the template has closed.
    """
    variables = template_variables(model)
    for name in sorted(variables_of(tokenizer, model.chat_template_kwargs) - STANDARD):
        if not re.search("think|reason", name):
            continue
        for value in ("high", True) if "effort" in name else (True, "high"):
            try:
                text = apply_chat_template(tokenizer, prompt, {**variables, name: value})
            except UserError:
                continue
            if not text.rstrip().endswith("</think>"):
                return f"model.chat_template_kwargs.{name}: {json.dumps(value)}"
    return None
