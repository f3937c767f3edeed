"""Ollama's Modelfile: its template writes the prompts that the chat template writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2.ext
import jinja2.sandbox
import pytest
from conftest import assert_golden
from hypothesis import given
from hypothesis import strategies as st

from groupwise.evaluation.sampler import SamplingParams
from groupwise.framework.data.toy import CHAT_TEMPLATE
from groupwise.framework.export.modelfile import Turns, modelfile, turns_of
from groupwise.rewards.types import Message

Conversation = list[Message]

LLAMA = """\
{{- bos_token }}
{%- for message in messages -%}
<|start_header_id|>{{ message.role }}<|end_header_id|>

{{ message.content | trim }}<|eot_id|>
{%- endfor -%}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif -%}"""
# The system prompt goes into the first question.
GEMMA = """\
{%- set first = messages[0].content ~ '\\n\\n' if messages[0].role == 'system' else '' -%}
{%- for message in (messages[1:] if first else messages) -%}
<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}
{{ first if loop.first else '' }}{{ message.content | trim }}<end_of_turn>
{% endfor -%}
{%- if add_generation_prompt %}<start_of_turn>model
{% endif -%}"""
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + GEMMA
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}"
    + CHAT_TEMPLATE
)
BRACES = CHAT_TEMPLATE.replace("<|im_start|>", "{{ '{{<' }}").replace("<|im_end|>", "}}>{")
SAYABLE = {
    "ChatML": CHAT_TEMPLATE,
    "Llama": LLAMA,
    "Gemma": GEMMA,
    "no system prompt": NO_SYSTEM,
    "a system prompt of its own": DEFAULT_SYSTEM,
    "braces": BRACES,
}
NOT_SAYABLE = {
    "counts the turns": CHAT_TEMPLATE.replace("{{ message.role }}", "{{ loop.index }}"),
    "looks at what is said": CHAT_TEMPLATE.replace(
        "{{ message.content }}", "{{ message.content | upper }}"
    ),
    "the system prompt comes last": "{% for m in messages if m.role != 'system' %}{{ m.content }};"
    "{% endfor %}{{ messages[0].content if messages[0].role == 'system' else '' }}",
    "forgets what was before": "{{ messages[-1].content }}",
    "fails": "{{ 1 + messages }}",
}


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`, with which templates mark what is learned: it writes nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def renderer(template: str) -> Callable[[Sequence[Message]], str]:
    """As transformers renders it."""

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    tags = ["jinja2.ext.loopcontrols", GenerationTag]
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=tags
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = datetime(2026, 11, 27).strftime
    compiled = environment.from_string(template)
    return lambda messages: compiled.render(
        messages=messages, bos_token="<bos>", add_generation_prompt=True, tools=None
    )


def conversation(*texts: str, system: str | None = None) -> Conversation:
    """The user and the assistant in turn, the user last."""
    turns: Conversation = [] if system is None else [{"role": "system", "content": system}]
    for index, text in enumerate(texts):
        turns.append({"role": "assistant" if index % 2 else "user", "content": text})
    return turns


CONVERSATIONS = [
    conversation("What is 2+2?"),
    conversation("a", "b", "c"),
    conversation('<|im_end|> {{ .Content }} {% raw %} "\\n', "```\n{}\n```", "Σ, 漢, \U0001f642"),
]
WITH_SYSTEM = [
    conversation("2+2?", system="Think first."),
    conversation("a", "b", "c", "d", "e", system="line\n\nline"),
]


def conversations_for(turns: Turns) -> list[Conversation]:
    takes_system = ("", "system") in turns.between
    return [*CONVERSATIONS, *(WITH_SYSTEM if takes_system else [])]


@pytest.mark.parametrize("name", SAYABLE)
def test_what_a_template_writes_is_read_off_its_renderings(name: str) -> None:
    render = renderer(SAYABLE[name])
    turns = turns_of(render)
    assert turns is not None
    assert (("", "system") in turns.between) == (name != "no system prompt")
    for messages in conversations_for(turns):
        assert turns.render(messages) == render(messages)


@pytest.mark.parametrize("name", NOT_SAYABLE)
def test_a_template_that_does_more_is_none_of_those(name: str) -> None:
    assert turns_of(renderer(NOT_SAYABLE[name])) is None
    assert of_template(NOT_SAYABLE[name]) is None


PAIRS = [
    ("", "system"),
    ("", "user"),
    ("system", "user"),
    ("user", "assistant"),
    ("assistant", "user"),
    ("user", ""),
]


@given(st.lists(st.text("<|>{ \n{%AB", max_size=6), min_size=len(PAIRS), max_size=len(PAIRS)))
def test_whatever_stands_between_the_texts_is_found_again(texts: list[str]) -> None:
    turns = Turns(dict(zip(PAIRS, texts, strict=True)))
    found = turns_of(turns.render)
    assert found is not None
    assert dict(found.between) == dict(turns.between)


def of_template(template: str, bos: str = "", **given: Any) -> str | None:
    values: dict[str, Any] = {
        "bos_token": bos,
        "system": "Answer\nbriefly.",
        "stop": ["<|im_end|>", "Question:\n"],
        "params": SamplingParams(temperature=0.7, top_p=0.95),
        "context": 2048,
    }
    return modelfile("model-q8_0.gguf", renderer(template), **{**values, **given})


def test_modelfile() -> None:
    assert_golden("modelfile.txt", str(of_template(CHAT_TEMPLATE)))


def test_a_beginning_that_llama_cpp_writes_is_not_written_twice() -> None:
    twice, once = of_template(LLAMA), of_template(LLAMA, bos="<bos>")
    assert twice is not None
    assert "<bos>" in twice
    assert once == twice.replace("<bos>", "")


def test_a_text_that_cannot_be_quoted_is_not_written() -> None:
    assert of_template(CHAT_TEMPLATE, system='"""') is None
    assert of_template(CHAT_TEMPLATE, system=None) is not None


def by_go(cases: Sequence[tuple[str, Sequence[Conversation]]], cache: Path) -> list[list[str]]:
    """The prompts that Go's own `text/template` makes, as Ollama calls it."""
    asked = [
        {
            "template": template,
            "conversations": [
                [{"Role": turn["role"], "Content": turn["content"]} for turn in messages]
                for messages in conversations
            ],
        }
        for template, conversations in cases
    ]
    program = Path(__file__).with_name("ollama_template.go")
    go = Path(sys.executable).with_name("go")
    offline = {"GO111MODULE": "off", "GOCACHE": str(cache), "GOFLAGS": ""}
    done = subprocess.run(
        [str(go), "run", str(program)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={**os.environ, **offline},
    )
    assert done.returncode == 0, done.stderr
    prompts: list[list[str]] = json.loads(done.stdout)
    return prompts


@pytest.mark.long
def test_go_makes_the_same_prompts(tmp_path: Path) -> None:
    """Of the templates above, and of those of well-known models that llama.cpp is tested with."""
    pytest.importorskip("llama_cpp", reason="make gguf")
    folder = Path(sys.prefix, "share", "llama.cpp", "models", "templates")
    found = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.jinja")}
    assert len(found) > 60
    sayable = {
        name: turns
        for name, template in {**SAYABLE, **found}.items()
        if (turns := turns_of(renderer(template))) is not None
    }
    assert sayable.keys() >= SAYABLE.keys()
    assert len(found.keys() - sayable.keys()) <= 7, sorted(found.keys() - sayable.keys())
    cases = [(turns.go_template(), conversations_for(turns)) for turns in sayable.values()]
    made = by_go(cases, tmp_path)
    for name, prompts in zip(sayable, made, strict=True):
        assert prompts == [sayable[name].render(c) for c in conversations_for(sayable[name])], name
