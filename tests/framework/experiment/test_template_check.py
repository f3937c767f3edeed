"""What does not fit between chat template, tokenizer and generation config, and what is done."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.prompts import apply_chat_template, template_variables

pytestmark = pytest.mark.stack

QUESTION = [{"role": "user", "content": "2+2?"}]

# TurnEnd's text for the templates that TRL ships of each family.
ENDS = {
    "qwen2_5": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "qwen3_5_nothink": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "llama3_2": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "gemma3": "<end_of_turn>",
    "phi3": "<|end|>",
    "gptoss": "<|return|>",
    "deepseekv3": "<｜end▁of▁sentence｜>",
    "lfm2": "<|im_end|>",
    "glm4moe": "<|user|>",  # which begins the next question: its answers have no end of their own
}

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
START = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
FAMILIES = {
    "chatml": (CHATML + START, "<|im_end|>"),
    "no line break at the end": (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|end|>{% endfor %}",
        "<|end|>",
    ),
    "mistral": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} "
        "[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        "</s>",
    ),
    "the last answer is left open": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% if not loop.last %}<|im_end|>\n{% endif %}{% endfor %}",
        "<|im_end|>",
    ),
    "plain text": (
        "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n### End\n{% endfor %}",
        "### End",
    ),
    "no end at all": (
        "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}",
        "### user:",
    ),
}


def shipped(name: str) -> str:
    origin = importlib.util.find_spec("trl").origin  # type: ignore[union-attr]
    return (Path(str(origin)).parent / "chat_templates" / f"{name}.jinja").read_text("utf-8")


def tokenizer(template: str, *, adds_bos: bool = False) -> Any:
    """The toy's tokenizer with this template, its tokens, and other ends than it writes."""
    from tokenizers.processors import TemplateProcessing

    from groupwise.framework.data.toy import make_tokenizer

    made = make_tokenizer()
    tokens = re.findall(r"<[|｜][A-Za-z_▁]+[|｜]>|<(?:start|end)_of_turn>", template)
    made.add_special_tokens({"additional_special_tokens": sorted({*tokens, "<|im_end|>"})})
    made.add_special_tokens({"eos_token": "</s>", "bos_token": "<s>", "pad_token": "</s>"})
    if adds_bos:
        made._tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", made.bos_token_id)]
        )
    made.chat_template = template
    return made


def config(**model: Any) -> ExperimentConfig:
    training = {"stop": model.pop("stop", [])}
    made = {"name": "m", "load_in_4bit": False, **model}
    return ExperimentConfig.from_dict(
        {"model": made, "data": {"train": "d.jsonl"}, "training": training}
    )


def notices(made: Any, *, ends: tuple[str, ...] = ("</s>",), **model: Any) -> list[str]:
    from groupwise.framework.experiment.template_check import template_notices

    declared = frozenset(made.convert_tokens_to_ids(list(ends)))
    return template_notices(config(**model), made, declared)


@pytest.mark.parametrize(
    ("template", "text"),
    [*((shipped(name), text) for name, text in ENDS.items()), *FAMILIES.values()],
    ids=[*ENDS, *FAMILIES],
)
def test_the_end_of_a_turn_is_found(template: str, text: str) -> None:
    from groupwise.framework.sampling.turn_end import end_token_id, turn_end

    made = tokenizer(template)
    end = turn_end(made)
    assert end is not None
    assert end.text == text
    token = made.get_added_vocab().get(text)
    assert end.token_id == token
    is_taught = token is not None and not end.is_header
    assert end_token_id(made) == (token if is_taught else made.eos_token_id)


@pytest.mark.parametrize("template", [None, "{{ messages[0].content }}", "{{ 1 / 0 }}"])
def test_no_end_is_found_where_there_is_none(template: str | None) -> None:
    from groupwise.framework.sampling.turn_end import end_token_id, turn_end

    made = tokenizer("")
    made.chat_template = template
    assert turn_end(made) is None
    assert end_token_id(made) == made.eos_token_id


@pytest.mark.parametrize("name", sorted(ENDS))
def test_a_family_whose_tokens_agree_gives_no_notice(name: str) -> None:
    made = tokenizer(shipped(name))
    assert notices(made, ends=("</s>", ENDS[name])) == []


FITS = CHATML + START
CASES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "another end": (FITS, {}, "ends a turn with '<|im_end|>', while tokenizer and generation"),
    "text": (FAMILIES["plain text"][0], {}, 'training.stop: ["### End"] ends samples there'),
    "no end": (
        FAMILIES["no end at all"][0],
        {},
        "writes nothing behind an answer, and the next question begins with '### user:'",
    ),
    "doubled": ("{{ bos_token }}{{ bos_token }}" + FITS, {}, "prompts begin with '<s>' twice"),
    "no header": (
        CHATML,
        {},
        "writes '<|im_start|>assistant' before an answer, but not at the end of a prompt",
    ),
    "unfilled": (
        "{{ company }}" + FITS,
        {},
        "its variable 'company', which has no value: that place is empty in every prompt; set "
        "model.chat_template_kwargs.company",
    ),
    "unfilled, by way of another": (
        "{% set who = company %}{{ who }}" + FITS,
        {},
        "its variable 'company'",
    ),
    "unknown": (
        "{% if enable_thinking is defined and enable_thinking %}x{% endif %}" + FITS,
        {"chat_template_kwargs": {"enable_thinkin": True}},
        "model.chat_template_kwargs.enable_thinkin: the chat template has no such variable; did "
        "you mean 'enable_thinking'?",
    ),
    "unknown, and none known": (
        FITS,
        {"chat_template_kwargs": {"enable_thinking": True}},
        "it has none of its own",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_does_not_fit_is_said(name: str) -> None:
    template, model, words = CASES[name]
    ends = ("</s>",) if name == "another end" else ("</s>", "<|im_end|>")
    (notice,) = [n for n in notices(tokenizer(template), ends=ends, **model) if words in n]
    assert notice


def test_a_beginning_that_only_the_tokenizer_writes_is_said() -> None:
    words = "the tokenizer puts '<s>' before a text, and the chat template does not write it"
    ends = ("<|im_end|>",)
    (notice,) = notices(tokenizer(FITS, adds_bos=True), ends=ends)
    assert words in notice
    assert notices(tokenizer("{{ bos_token }}" + FITS, adds_bos=True), ends=ends) == []
    assert notices(tokenizer(FITS), ends=ends) == []


@pytest.mark.parametrize(
    ("template", "model"),
    [
        (FITS, {}),
        (FAMILIES["mistral"][0], {}),
        (FAMILIES["plain text"][0] + "{% if add_generation_prompt %}### assistant:{% endif %}",
         {"stop": ["### End"]}),
        ("{{ company }}" + FITS, {"chat_template_kwargs": {"company": "us"}}),
        ("{{ company | default('us') }}" + FITS, {}),
        ("{% if company is defined %}{{ company }}{% endif %}" + FITS, {}),
        ("{% if messages %}{% set x = 'a' %}{% endif %}{{ x }}" + FITS, {}),
        ("{% generation %}{{ eos_token }}{% endgeneration %}" + FITS, {}),
        ("{{ raise_exception('never') if messages is not defined }}" + FITS, {}),
    ],
)  # fmt: skip
def test_what_fits_is_not_spoken_of(template: str, model: dict[str, Any]) -> None:
    assert notices(tokenizer(template), ends=("</s>", "<|im_end|>"), **model) == []


CLOSED = "{% if not (X) %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"


@pytest.mark.parametrize(
    ("test", "setting"),
    [
        ("enable_thinking is defined and enable_thinking",
         "model.chat_template_kwargs.enable_thinking: true"),
        ("thinking", "model.chat_template_kwargs.thinking: true"),
        ("reasoning_effort | default('none') != 'none'",
         'model.chat_template_kwargs.reasoning_effort: "high"'),
        ("reasoning_effort == 'high'", 'model.chat_template_kwargs.reasoning_effort: "high"'),
        ("company", None),
    ],
)  # fmt: skip
def test_the_setting_that_opens_the_thought_is_named(test: str, setting: str | None) -> None:
    from groupwise.framework.experiment.template_check import switches_thinking_on

    made = tokenizer(FITS + CLOSED.replace("X", test))
    assert apply_chat_template(made, QUESTION, {}).rstrip().endswith("</think>")
    assert switches_thinking_on(config().model, made, QUESTION) == setting


def test_the_settings_that_the_shipped_family_takes() -> None:
    from groupwise.framework.experiment.template_check import switches_thinking_on

    made, model = tokenizer(shipped("qwen3")), config().model
    for value, end in ((False, "</think>"), (True, "assistant")):
        given = template_variables(model, {"enable_thinking": value})
        assert apply_chat_template(made, QUESTION, given).rstrip().endswith(end)
    made = tokenizer(shipped("qwen3_5_nothink"))
    assert switches_thinking_on(model, made, QUESTION) == (
        "model.chat_template_kwargs.enable_thinking: true"
    )
