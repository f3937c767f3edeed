"""The engine that serves every model: `model.generate`, in batches of similar length.

`generate` runs greedily on scores in which a logits processor has left only the token that `draw`
chose. So the sampling rules, the random numbers and the log-probabilities are those of the slot
engine, and both give the same answers up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.sampling.attention import (
    PROMPT_STEP,
    is_steady,
    round_up,
    slot_attention,
)
from groupwise.framework.sampling.cpu import prepacked_linears
from groupwise.framework.sampling.draw import check_params, draw
from groupwise.framework.sampling.memory import default_budget, rows_at_full_length
from groupwise.framework.sampling.randomness import sample_key, uniforms
from groupwise.framework.sampling.requests import PromptTokens, completion, encode_prompts
from groupwise.framework.sampling.state import fast_decoding, sampling_mode
from groupwise.framework.sampling.stopping import Stopping
from groupwise.framework.sampling.support import base_model, why_not_slots


@dataclass(frozen=True, slots=True)
class Job:
    """A sample to draw."""

    prompt: PromptTokens
    sample_index: int


def equal_lengths(jobs: Sequence[Job], most: int) -> Iterator[list[Job]]:
    """Jobs in batches of at most `most`, without padding where enough prompts are equally long.

    A padded batch has a mask, and with a mask Unsloth's decoding of Qwen3 (2026.10.9,
    models/qwen3.py) copies a layer's keys and values for every query head at each step.
    Fewer rows of one length than a quarter of `most` are not worth the steps of a batch of their
    own: they are padded, with others of their kind.
    """
    of_length: dict[int, list[Job]] = {}
    for job in jobs:
        of_length.setdefault(len(job.prompt.ids), []).append(job)
    padded: list[Job] = []
    for equal in of_length.values():
        for batch in _cut(equal, most):
            if 4 * len(batch) >= most:
                yield batch
            else:
                padded += batch
    yield from _cut(padded, most)


def _cut(jobs: list[Job], size: int) -> Iterator[list[Job]]:
    return (jobs[at : at + size] for at in range(0, len(jobs), size))


class GenerateSampler:
    """Samples with `model.generate` and the weights that `model` has when `sample` is called."""

    name = "generate"

    def __init__(
        self, model: Any, tokenizer: Any, *, max_rows: int | None = None, reason: str = "asked for"
    ) -> None:
        self.model, self.tokenizer, self.reason = model, tokenizer, reason
        self.max_rows = max_rows or 16

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        check_params(params)
        encoded = encode_prompts(prompts, num_samples, params, self.model, self.tokenizer)
        encoded.sort(key=lambda p: -len(p.ids))
        jobs = [Job(prompt, index) for prompt in encoded for index in prompt.samples]
        stopping = Stopping(self.model, self.tokenizer, params.stop, params.max_tokens)
        most = self._most_rows(jobs, params)
        # Once for all batches: on leaving, what Unsloth keeps from one batch to the next is freed.
        with sampling_mode(self.model, self.tokenizer), self._packed(), self._attention():
            for batch in self._batches(jobs, most):
                made = self._generate(batch, params, stopping)
                for job, (tokens, logprobs) in zip(batch, made, strict=True):
                    yield completion(job.prompt.index, job.sample_index, tokens, logprobs, stopping)

    @property
    def _has_unsloths_forward(self) -> bool:
        """Unsloth's GPU forward of a family; `_unsloth_fast_path` is its own switch for it."""
        return bool(getattr(base_model(self.model), "_unsloth_fast_path", False))

    @property
    def _steady(self) -> bool:
        weight = self.model.get_input_embeddings().weight
        return is_steady(weight) and not self._has_unsloths_forward

    def _width(self, prompt: PromptTokens) -> int:
        """The padded length of a prompt. It must not depend on the batch if results must not."""
        return round_up(len(prompt.ids), PROMPT_STEP) if self._steady else len(prompt.ids)

    def _most_rows(self, jobs: Sequence[Job], params: SamplingParams) -> int:
        """`max_rows`, or what a GPU has room for if each answer takes all of `max_tokens`."""
        device = self.model.get_input_embeddings().weight.device
        config = base_model(self.model).config
        if device.type != "cuda" or not jobs or not hasattr(config, "num_hidden_layers"):
            return self.max_rows
        positions = len(jobs[0].prompt.ids) + params.max_tokens
        return min(self.max_rows, rows_at_full_length(default_budget(device), positions, config))

    def _batches(self, jobs: Sequence[Job], most: int) -> Iterator[list[Job]]:
        """Jobs, longest first, in batches; of one padded length each if batches must not matter."""
        if self._has_unsloths_forward:
            yield from equal_lengths(jobs, most)
            return
        batch: list[Job] = []
        for job in jobs:
            if len(batch) == most or (
                batch and self._steady and self._width(job.prompt) != self._width(batch[0].prompt)
            ):
                yield batch
                batch = []
            batch.append(job)
        if batch:
            yield batch

    def _attention(self) -> AbstractContextManager[None]:
        """The slots' batch-invariant attention, if the slot engine serves the model."""
        if not self._steady or why_not_slots(self.model) is not None:
            return nullcontext()
        return slot_attention(base_model(self.model).config)

    def _packed(self) -> AbstractContextManager[int]:
        device = self.model.get_input_embeddings().weight.device
        return prepacked_linears(self.model, default_budget(device) // 4)

    @torch.no_grad()
    def _generate(
        self, jobs: Sequence[Job], params: SamplingParams, stopping: Stopping
    ) -> list[tuple[list[int], list[float] | None]]:
        device = self.model.get_input_embeddings().weight.device
        width = self._width(jobs[0].prompt)  # the longest comes first
        pad = _pad_id(self.tokenizer, stopping)
        ids = torch.full((len(jobs), width), pad, dtype=torch.int64)  # padded on the left
        mask = torch.zeros_like(ids)
        for row, job in enumerate(jobs):
            ids[row, width - len(job.prompt.ids) :] = torch.tensor(job.prompt.ids)
            mask[row, width - len(job.prompt.ids) :] = 1
        drawing = _Drawing(jobs, params, width, stopping)
        with fast_decoding():
            self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=_generation_config(self.model, params, stopping, pad),
                logits_processor=[drawing],
                stopping_criteria=[drawing.ended],
            )
        return [
            (tokens, drawing.logprobs[row] if params.logprobs else None)
            for row, tokens in enumerate(drawing.tokens)
        ]


class _Drawing:
    """A logits processor that draws the tokens, and a stopping criterion that looks at them."""

    def __init__(
        self, jobs: Sequence[Job], params: SamplingParams, width: int, stopping: Stopping
    ) -> None:
        self.params, self.width, self.stopping, self.jobs = params, width, stopping, jobs
        keys = [sample_key(params.seed, job.prompt.key, job.sample_index) for job in jobs]
        self.noise = uniforms(keys, params.max_tokens)  # (B, max_tokens)
        self.tokens: list[list[int]] = [[] for _ in jobs]
        self.logprobs: list[list[float]] = [[] for _ in jobs]
        self.done = [False] * len(jobs)
        self.seen: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self.width
        uniform = self.noise[:, step].to(scores.device)
        seen = self._seen(scores) if self.params.repetition_penalty != 1.0 else None
        tokens, logprobs = draw(scores, uniform, self.params, seen)
        if seen is not None:
            seen.scatter_(1, tokens[:, None], True)
        values = None if logprobs is None else logprobs.tolist()
        for row, token in enumerate(tokens.tolist()):
            if self.done[row]:
                continue
            self.tokens[row].append(token)
            if values is not None:
                self.logprobs[row].append(values[row])
            self.done[row] = self.stopping.ended(self.tokens[row])
        only = torch.full_like(scores, float("-inf"))
        return only.scatter_(1, tokens[:, None], 0.0)

    def ended(self, input_ids: Tensor, _scores: Any, **_: Any) -> Tensor:
        return torch.tensor(self.done, device=input_ids.device)

    def _seen(self, scores: Tensor) -> Tensor:
        if self.seen is None:
            self.seen = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
            for row, job in enumerate(self.jobs):
                self.seen[row, list(job.prompt.ids)] = True
        return self.seen


def _pad_id(tokenizer: Any, stopping: Stopping) -> int:
    if tokenizer.pad_token_id is not None:
        return int(tokenizer.pad_token_id)
    return min(stopping.eos_ids, default=0)


def _generation_config(model: Any, params: SamplingParams, stopping: Stopping, pad: int) -> Any:
    """A new config: settings of the model's own generation_config must not apply."""
    from transformers import GenerationConfig  # slow: not at start-up

    return GenerationConfig(
        max_new_tokens=params.max_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        pad_token_id=pad,
        bos_token_id=getattr(model.generation_config, "bos_token_id", None),
        eos_token_id=sorted(stopping.end_ids) or None,
    )
