"""The slot engine: continuous batching, K answers for N prompts, on the plain transformers forward.

Each prompt is prefilled once, and its keys and values are copied into the slots of its K samples. A
slot whose sample has ended takes the next sample at once; when none is left, the batch shrinks to
the rows that still run. `model.generate` runs the prompt of every row, and every row until the last
one ends.

The last token of a prompt is not part of its prefill: it is the slot's first input, so that the
first token of a completion is drawn by the same code as all others.

Left out: paged memory (a slot has room for its prompt and `max_tokens`), speculative decoding,
models spread over several devices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.sampling.cache import (
    CHUNK,
    PROMPT_STEP,
    PromptCache,
    SlotCache,
    is_steady,
    round_up,
    slot_attention,
)
from groupwise.framework.sampling.cpu import Threads, prepacked_linears
from groupwise.framework.sampling.draw import check_params, draw
from groupwise.framework.sampling.lora import merged_adapters
from groupwise.framework.sampling.memory import Room, default_budget, room_within
from groupwise.framework.sampling.randomness import sample_key, uniforms
from groupwise.framework.sampling.requests import PromptTokens, completion, encode_prompts
from groupwise.framework.sampling.state import sampling_mode
from groupwise.framework.sampling.stopping import Stopping
from groupwise.framework.sampling.support import FAMILIES, base_model, mask_kinds, why_not_slots
from groupwise.rewards.errors import UserError

PREFILL_TOKENS = 2048  # padded tokens in one run of prompts
PREFILL_PROMPTS = 16
MOST_ROWS_CPU = 128
MOST_ROWS_GPU = 256


@dataclass(slots=True)
class Row:
    """A sample in its slot."""

    prompt: PromptTokens
    sample_index: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Positions in the cache: all but the newest token, which is the next input."""
        return len(self.prompt.ids) - 1 + len(self.tokens)


class SlotSampler:
    """Samples with the weights that `model` has when `sample` is called; keeps no memory after."""

    name = "slots"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_rows: int | None = None,
        memory_budget_bytes: int | None = None,
        reason: str = "asked for",
    ) -> None:
        """Raise UserError if the model's family is not served.

        Args:
            max_rows: most slots at once; by default 128 on a CPU, 256 on a GPU.
            memory_budget_bytes: most memory for keys, values and logits; by default a part of
                what is free when sampling starts.
        """
        why_not = why_not_slots(model)
        if why_not is not None:
            raise UserError(
                f"sampling: the slots engine cannot serve this model: {why_not}. "
                "Use engine: generate."
            )
        self.model, self.tokenizer, self.reason = model, tokenizer, reason
        self.max_rows = max_rows
        self.memory_budget_bytes = memory_budget_bytes

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        check_params(params)
        encoded = encode_prompts(prompts, num_samples, params, self.model, self.tokenizer)
        if not encoded:
            return
        stopping = Stopping(self.model, self.tokenizer, params.stop, params.max_tokens)
        with self.running(encoded, params, stopping) as run:
            while run.advance():
                for row in run.take_finished():
                    yield completion(
                        row.prompt.index,
                        row.sample_index,
                        row.tokens,
                        row.logprobs if params.logprobs else None,
                        stopping,
                    )

    @contextmanager
    def running(
        self, prompts: list[PromptTokens], params: SamplingParams, stopping: Stopping
    ) -> Iterator[Run]:
        """A run over `prompts`, one step per `advance`; afterwards the model is as it was before.

        Raises UserError if not even one sample fits into memory.
        """
        # Longest first: rows of similar length run together, and what does not fit fails at once.
        prompts = sorted(prompts, key=lambda p: -len(p.ids))
        base = base_model(self.model)
        budget = self.memory_budget_bytes or default_budget(base.device)
        rows = min(most_rows(self.max_rows, base.device), sum(len(p.samples) for p in prompts))
        with (
            sampling_mode(self.model, self.tokenizer),
            slot_attention(base.config, is_steady(base.get_input_embeddings().weight)),
            ExitStack() as stack,
        ):
            merged = stack.enter_context(merged_adapters(self.model, budget // 4))
            packed = stack.enter_context(prepacked_linears(base, budget // 4))
            most = Room(rows, PREFILL_TOKENS)
            room = partial(room_within, budget - merged - packed, most=most)
            yield Run(base, prompts, params, stopping, room)


def most_rows(max_rows: int | None, device: torch.device) -> int:
    """The number of slots that a setting of `max_rows` allows; None: the device's default."""
    return max_rows or (MOST_ROWS_CPU if device.type == "cpu" else MOST_ROWS_GPU)


class Run:
    """One call of `sample`: the slots, the prefilled prompts, and the samples left to draw."""

    def __init__(
        self,
        base: Any,
        prompts: list[PromptTokens],
        params: SamplingParams,
        stopping: Stopping,
        room_for: Callable[[Tensor, int, int, Any], Room],
    ) -> None:
        self.base, self.params, self.stopping = base, params, stopping
        self.device = base.get_input_embeddings().weight.device
        self.vocabulary = base.get_output_embeddings().weight.shape[0]
        self.waiting = deque(prompts)  # not yet prefilled
        # Prefilled: prompt, its keys and values, the samples left to start.
        self.ready: deque[tuple[PromptTokens, Tensor, deque[int]]] = deque()
        self.rows: list[Row] = []
        self.finished: list[Row] = []
        self.both_masks = FAMILIES[base.config.model_type]
        self.mask_full, self.mask_sliding = mask_kinds(base.config)
        self.sliding_window: int = getattr(base.config, "sliding_window", None) or 0
        # If results must not depend on the batch, lengths are padded to fixed multiples.
        self.steady = is_steady(base.get_input_embeddings().weight)
        self.prompt_step = PROMPT_STEP if self.steady else 1
        self.chunk = CHUNK if self.steady else 1

        # The first prompt is prefilled alone: the shape of its keys gives the size of a slot.
        self.room = Room(rows=1, prompt_tokens=1)
        longest = self._padded(prompts[0])
        capacity = round_up(len(prompts[0].ids) + params.max_tokens - 1, self.chunk)
        self._run_prompts()
        kv = self.ready[0][1]
        self.room = room_for(kv, capacity, longest, base.config)
        self.max_rows = self.room.rows
        self.threads = Threads(self.device, base.config, self.max_rows)
        self.cache = SlotCache(kv[:, None], self.max_rows, capacity)
        count = self.max_rows
        self.inputs = torch.zeros(count, 1, dtype=torch.int64, device=self.device)
        self.lengths = torch.zeros(count, 1, dtype=torch.int64, device=self.device)
        self.steps = torch.zeros(count, 1, dtype=torch.int64, device=self.device)
        self.origins = torch.arange(count, device=self.device) * capacity
        self.columns = torch.arange(capacity, device=self.device)
        self.noise = torch.zeros(
            count, params.max_tokens, dtype=torch.float64, device=self.device
        )  # (rows, max_tokens)
        self.seen = None
        if params.repetition_penalty != 1.0:
            self.seen = torch.zeros(count, self.vocabulary, dtype=torch.bool, device=self.device)

    def advance(self) -> bool:
        """Fill free slots and make one step; False when nothing is left to do."""
        with torch.no_grad(), self.threads:
            while len(self.rows) < self.max_rows and (self.ready or self.waiting):
                self._admit()
            if not self.rows:
                return False
            self._step()
        return True

    def take_finished(self) -> list[Row]:
        finished, self.finished = self.finished, []
        return finished

    @torch.no_grad()
    def _run_prompts(self) -> None:
        """Run the next few prompts, padded on the right: no row sees the padding of another."""
        batch = [self.waiting.popleft()]
        longest = self._padded(batch[0])
        while (
            self.waiting
            and len(batch) < PREFILL_PROMPTS
            and longest * (len(batch) + 1) <= self.room.prompt_tokens
            # Attention's rounding depends on the padded length, which must be the prompt's own.
            and (not self.steady or self._padded(self.waiting[0]) == longest)
        ):
            batch.append(self.waiting.popleft())
        ids = torch.zeros(len(batch), longest, dtype=torch.int64)
        for i, prompt in enumerate(batch):
            known = prompt.ids[:longest]
            ids[i, : len(known)] = torch.tensor(known)
        cache = PromptCache()
        self.base(
            input_ids=ids.to(self.device),
            position_ids=torch.arange(longest, device=self.device)[None].expand(len(batch), -1),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        stacked = cache.stacked()  # (2 * layers, B, P, H, D)
        for i, prompt in enumerate(batch):
            kv = stacked[:, i, : len(prompt.ids) - 1]
            self.ready.append((prompt, kv, deque(prompt.samples)))

    def _padded(self, prompt: PromptTokens) -> int:
        """Positions of a prompt's prefill, padded; its last token is not among them."""
        return round_up(max(len(prompt.ids) - 1, 1), self.prompt_step)

    def _admit(self) -> None:
        """Give free slots to samples of the next prompt."""
        if not self.ready:
            self._run_prompts()
        prompt, kv, left = self.ready[0]
        first = len(self.rows)
        count = min(self.max_rows - first, len(left))
        indices = [left.popleft() for _ in range(count)]
        if not left:
            self.ready.popleft()
        rows = slice(first, first + count)
        self.rows.extend(Row(prompt, index) for index in indices)
        self.cache.fill(rows, kv)
        self.inputs[rows] = prompt.ids[-1]
        self.lengths[rows] = len(prompt.ids) - 1
        self.steps[rows] = 0
        if self.params.temperature > 0:
            keys = [sample_key(self.params.seed, prompt.key, i) for i in indices]
            self.noise[rows] = uniforms(keys, self.params.max_tokens, self.device)
        if self.seen is not None:
            self.seen[rows] = False
            self.seen[rows, list(prompt.ids)] = True

    def _step(self) -> None:
        count = len(self.rows)
        window = round_up(1 + max(row.length for row in self.rows), self.chunk)
        lengths = self.lengths[:count]  # (B, 1)
        self.cache.begin_step(count, window, self.origins[:count] + lengths[:, 0])
        logits = self.base(
            input_ids=self.inputs[:count],
            position_ids=lengths,
            attention_mask=self._masks(lengths, window),
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]  # (B, V)
        seen = None if self.seen is None else self.seen[:count]
        uniform = self.noise[:count].gather(1, self.steps[:count])[:, 0]  # (B,)
        tokens, logprobs = draw(logits, uniform, self.params, seen)
        self.inputs[:count, 0] = tokens
        self.lengths[:count] += 1
        self.steps[:count] += 1
        if seen is not None:
            seen.scatter_(1, tokens[:, None], True)
        self._book(tokens.tolist(), logprobs)

    def _masks(self, lengths: Tensor, window: int) -> Any:
        """Additive masks, 0 or the least number: (B, 1, 1, W) for each kind of layer."""
        columns = self.columns[:window]
        dtype = self.cache.data.dtype
        masks = {}
        if self.mask_full:
            masks["full_attention"] = _additive(columns > lengths, dtype)
        if self.mask_sliding:
            outside = (columns > lengths) | (columns <= lengths - self.sliding_window)
            masks["sliding_attention"] = _additive(outside, dtype)
        return masks if self.both_masks else next(iter(masks.values()))

    def _book(self, tokens: list[int], logprobs: Tensor | None) -> None:
        """Append the new tokens, and give up the slots of samples that ended."""
        for row, token in zip(self.rows, tokens, strict=True):
            row.tokens.append(token)
        if logprobs is not None:
            for row, value in zip(self.rows, logprobs.tolist(), strict=True):
                row.logprobs.append(value)
        ended = [i for i, row in enumerate(self.rows) if self.stopping.ended(row.tokens)]
        # From the back: the last row, which moves into the gap, is one that still runs.
        for slot in reversed(ended):
            self.finished.append(self.rows[slot])
            last = len(self.rows) - 1
            if slot != last:
                self._move(last, slot)
            self.rows.pop()

    def _move(self, source: int, target: int) -> None:
        self.rows[target] = self.rows[source]
        self.cache.move(source, target, self.rows[source].length)
        for state in (self.inputs, self.lengths, self.steps, self.noise, self.seen):
            if state is not None:
                state[target] = state[source]


def _additive(outside: Tensor, dtype: torch.dtype) -> Tensor:
    mask = torch.zeros(outside.shape, dtype=dtype, device=outside.device)
    return mask.masked_fill_(outside, torch.finfo(dtype).min)[:, None, None]
