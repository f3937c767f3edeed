"""A GGUF file loaded by llama.cpp alone, as its users load it: a program for the check.

    python -m groupwise.framework.export.llama_cpp '{"file": "exports/gguf/model-q8_0.gguf", …}'

Template, tokenizer, end tokens and weights are the file's own. Tokens are drawn by our own rules
and random numbers, so that an answer differs from the tuned model's only where the logits do.
Neither transformers nor Unsloth is imported. Left out: llama.cpp's own samplers, whose random
numbers are others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import torch
from llama_cpp.llama_chat_format import Jinja2ChatFormatter
from torch import Tensor

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.export.answerer import Reply
from groupwise.framework.export.libllama import Tokens, Vocabulary, forwards, load_model
from groupwise.framework.export.process import serve
from groupwise.framework.sampling.draw import check_params, draw
from groupwise.framework.sampling.randomness import sample_key, uniforms
from groupwise.framework.sampling.requests import completion
from groupwise.framework.sampling.stopping import Stopping
from groupwise.rewards.types import Message

ROWS = 16


class LlamaCppAnswerer:
    """A GGUF `file`, as an `Answerer` that draws `max_rows` answers at once (default: 16)."""

    name = "llama.cpp"

    def __init__(self, file: str, max_rows: int | None) -> None:
        self.model = load_model(file)
        self.vocabulary = Vocabulary(self.model)
        self.max_rows = max_rows or ROWS
        self.loader = f"llama.cpp, of llama-cpp-python {version('llama-cpp-python')}"
        self.end_ids = self.vocabulary.end_ids

    def render(self, messages: Sequence[Message], variables: Mapping[str, Any]) -> list[int]:
        """As `llama-server` does: the file's template, and its beginning-of-text token once."""
        given = dict(variables)
        words = self.vocabulary
        format = Jinja2ChatFormatter(words.chat_template, words.eos_token, words.bos_token)
        vars(format)["strftime_now"] = datetime.fromisoformat(given.pop("strftime_now")).strftime
        turns: Any = [dict(message) for message in messages]
        text = format(messages=turns, **given).prompt
        if words.adds_bos:
            text = text.removeprefix(words.bos_token)
        return words.encode(text, add_special=True)

    def answer(
        self,
        prompt_ids: Sequence[int],
        answer_ids: Sequence[int],
        candidates: Sequence[Sequence[int]],
        max_tokens: int,
    ) -> Reply:
        asked = [Prompt("", "", token_ids=tuple(prompt_ids))]
        greedy = SamplingParams(temperature=0.0, max_tokens=max_tokens)
        (own,) = self.sample(asked, 1, greedy)
        ids = [*prompt_ids, *answer_ids][:-1]
        with forwards(self.model, 1, len(ids)) as forward:
            logits = forward([Tokens(0, 0, ids, len(answer_ids))])  # (T, V)
        logprobs = logits.log_softmax(-1)
        return Reply(
            own.token_ids,
            tuple(map(tuple, logprobs.gather(-1, torch.tensor(candidates)).tolist())),
            tuple(logprobs.argmax(-1).tolist()),
        )

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        check_params(params)
        jobs = deque(
            Row(at, index, self._prompt_ids(prompt), params, prompt.key)
            for at, prompt in enumerate(prompts)
            for index in range(num_samples)
            if index not in prompt.done
        )
        if not jobs:
            return
        stopping = self._stopping(params)
        free = list(range(min(self.max_rows, len(jobs))))
        length = max(len(job.prompt_ids) for job in jobs) + params.max_tokens
        running: dict[int, Row] = {}
        with forwards(self.model, len(free), length) as forward:
            while jobs or running:
                fed = [
                    Tokens(sequence, row.length - 1, row.token_ids[-1:], 1)
                    for sequence, row in running.items()
                ]
                while jobs and free:
                    sequence = free.pop()
                    running[sequence] = jobs.popleft()
                    fed.append(Tokens(sequence, 0, running[sequence].prompt_ids, 1))
                rows = [running[tokens.sequence] for tokens in fed]
                drawn, logprobs = _draw(forward(fed), rows, params)
                for place, (tokens, row) in enumerate(zip(fed, rows, strict=True)):
                    row.token_ids.append(int(drawn[place]))
                    if logprobs is not None:
                        row.logprobs.append(float(logprobs[place]))
                    if stopping.ended(row.token_ids):
                        del running[tokens.sequence]
                        free.append(tokens.sequence)
                        kept = row.logprobs if params.logprobs else None
                        yield completion(
                            row.prompt_index, row.sample_index, row.token_ids, kept, stopping
                        )

    def _prompt_ids(self, prompt: Prompt) -> list[int]:
        if prompt.token_ids is not None:
            return list(prompt.token_ids)
        return self.vocabulary.encode(prompt.text, add_special=False)

    def _stopping(self, params: SamplingParams) -> Stopping:
        """At the file's own end tokens."""
        words = self.vocabulary
        ends = SimpleNamespace(eos_token_id=words.end_ids)
        tokenizer = SimpleNamespace(
            eos_token_id=words.eos_token_id,
            chat_template=None,  # what it ends a turn with is known from the file
            decode=words.decode,
            get_added_vocab=words.named_tokens,
        )
        model = SimpleNamespace(generation_config=ends)
        return Stopping(model, tokenizer, params.stop, params.max_tokens)


@dataclass(slots=True)
class Row:
    """An answer in the making; `uniform` (max_tokens,) draws its tokens."""

    prompt_index: int
    sample_index: int
    prompt_ids: list[int]
    params: SamplingParams
    key: str
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    uniform: Tensor = field(init=False)

    def __post_init__(self) -> None:
        stream = sample_key(self.params.seed, self.key, self.sample_index)
        self.uniform = uniforms([stream], self.params.max_tokens)[0]

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.token_ids)


def _draw(
    logits: Tensor, rows: Sequence[Row], params: SamplingParams
) -> tuple[Tensor, Tensor | None]:
    seen = None
    if params.repetition_penalty != 1.0:
        seen = torch.zeros_like(logits, dtype=torch.bool)
        for mask, row in zip(seen, rows, strict=True):
            mask[row.prompt_ids + row.token_ids] = True
    uniform = torch.stack([row.uniform[len(row.token_ids)] for row in rows])
    return draw(logits, uniform, params, seen)


if __name__ == "__main__":
    serve(lambda options: LlamaCppAnswerer(**options))
