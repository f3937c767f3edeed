"""An Ollama Modelfile for a GGUF file: template, system prompt, stop strings, sampling.

    text = modelfile("model-q8_0.gguf", tuned_config, render, stop, bos_token)   # None: no template

Ollama does not read the Jinja template in a GGUF file: it compares it with about twenty that it
knows, and where none is within a hundred edits it sends the bare text of the last message
(`template/template.go`, ollama 10222). Its own templates are in Go's language. In general the one
cannot be turned into the other, but what most chat templates write between two texts depends on
nothing but whose they are: so it is read off the template's own renderings, and the result is
compared with it on longer conversations. Left out: tools, and templates that do more, for which no
Modelfile is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from groupwise.evaluation.sampler import SamplingParams
from groupwise.rewards.types import Message

Render = Callable[[Sequence[Message]], str]

_TEXTS = {"system": "Be brief.", "user": "What is 1+1?", "assistant": "It makes 2"}
_OTHER_TEXTS = {"system": "Think,\n\nthen answer.", "user": "7 {x}, (y)?", "assistant": "a\n- b"}
_SHORT: list[tuple[str, ...]] = [("system", "user"), ("user",), ("user", "assistant", "user")]
_LONGER: list[tuple[str, ...]] = [
    ("user", "assistant", "user"),
    ("user", "assistant", "user", "assistant", "user"),
    ("system", "user"),
    ("system", "user", "assistant", "user", "assistant", "user"),
]


@dataclass(frozen=True, slots=True)
class Turns:
    """What a template writes between the texts of a conversation.

    `between[before, after]`, by the roles of the texts; "" is the beginning, or the end, where the
    assistant is to speak. Without ("", "system"), the template takes no system prompt.
    """

    between: Mapping[tuple[str, str], str]

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt, as Ollama makes it of `go_template`."""
        text, before = "", ""
        for message in messages:
            text += self.between[before, message["role"]] + message["content"]
            before = message["role"]
        return text + self.between[before, ""]

    def go_template(self) -> str:
        """The same in Go's `text/template`, with Ollama's names.

        A conversation that ends with the assistant's words is left open: they are to be continued.
        """
        roles = [role for role in ("system", "user", "assistant") if self._into(role)]
        parts = ['{{ $before := "" }}{{ range .Messages }}']
        for role in roles:
            parts.append("{{ if " if role == roles[0] else "{{ else if ")
            parts.append(f'eq .Role "{role}" }}}}{self._opening(role)}{{{{ .Content }}}}')
        end = _literal(self.between["user", ""])
        parts.append("{{ end }}{{ $before = .Role }}{{ end }}")
        parts.append(f'{{{{ if ne $before "assistant" }}}}{end}{{{{ end }}}}')
        return "".join(parts)

    def _into(self, role: str) -> dict[str, str]:
        return {before: text for (before, after), text in self.between.items() if after == role}

    def _opening(self, role: str) -> str:
        """What comes before a text of this role, whatever came before."""
        ways = self._into(role)
        *cases, (_, otherwise) = ways.items()
        if len(set(ways.values())) == 1:
            return _literal(otherwise)
        chain = "{{ else ".join(
            f'if eq $before "{before}" }}}}{_literal(text)}' for before, text in cases
        )
        return f"{{{{ {chain}{{{{ else }}}}{_literal(otherwise)}{{{{ end }}}}"


def turns_of(render: Render) -> Turns | None:
    """What a template writes, read off its renderings; None if it does more than `Turns` say."""
    between: dict[tuple[str, str], str] = {}
    for roles in _SHORT:
        rendered = _rendered(render, roles, _TEXTS)
        if rendered is None and roles[0] == "system":
            continue  # some templates refuse a system prompt
        pieces = _pieces(rendered or "", [_TEXTS[role] for role in roles])
        if pieces is None:
            return None
        for pair, piece in zip(zip(("", *roles), (*roles, ""), strict=True), pieces, strict=True):
            if between.setdefault(pair, piece) != piece:
                return None
    turns = Turns(between)
    for roles in _LONGER:
        if roles[0] == "system" and ("", "system") not in between:
            continue
        expected = turns.render(_conversation(roles, _OTHER_TEXTS))
        if _rendered(render, roles, _OTHER_TEXTS) != expected:
            return None
    return turns


def _rendered(render: Render, roles: Sequence[str], texts: Mapping[str, str]) -> str | None:
    try:
        return render(_conversation(roles, texts))
    except Exception:  # a template is somebody else's program, and raises what it likes
        return None


def _conversation(roles: Sequence[str], texts: Mapping[str, str]) -> list[Message]:
    return [{"role": role, "content": texts[role]} for role in roles]


def _pieces(rendered: str, texts: Sequence[str]) -> list[str] | None:
    """What is between the texts, in their order; None if one is not there."""
    pieces = []
    for text in texts:
        piece, found, rendered = rendered.partition(text)
        if not found:
            return None
        pieces.append(piece)
    return [*pieces, rendered]


def _literal(text: str) -> str:
    """A text as Go's templates take it."""
    return text.replace("{", '{{ "{" }}')


def modelfile(
    file: str,
    render: Render,
    *,
    bos_token: str,
    system: str | None,
    stop: Sequence[str],
    params: SamplingParams,
    context: int,
) -> str | None:
    """The text of a Modelfile beside `file`; None if the template cannot be said in Go's language.

    `bos_token`: what llama.cpp puts before a prompt by itself ("" for nothing), which the template
    then must not write once more (llama.cpp 7062). `stop`: what ends an answer. `params` become
    Ollama's own, all of them: its defaults are others. `context`: tokens of prompt and answer.
    """
    turns = turns_of(lambda messages: render(messages).removeprefix(bos_token))
    if turns is None:
        return None
    values = [turns.go_template(), *([system] if system else []), *stop]
    if any('"""' in value for value in values):
        return None  # nothing else quotes a text of several lines
    lines = [f"FROM ./{file}", f'TEMPLATE """{turns.go_template()}"""']
    if system:
        lines.append(f'SYSTEM """{system}"""')
    lines += [f'PARAMETER stop """{text}"""' for text in stop]
    numbers = {
        "temperature": params.temperature,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "min_p": params.min_p,
        "repeat_penalty": params.repetition_penalty,
        "num_ctx": context,
    }
    lines += [f"PARAMETER {name} {value:g}" for name, value in numbers.items()]
    return "\n".join(lines) + "\n"
