"""The slot engine: continuous batching, K answers for N prompts, on the plain transformers forward.

Each prompt is prefilled once, and its K samples share its keys and values (or have copies, where
results must not depend on the batch). A slot whose sample has ended takes the next sample at once;
when none is left, the batch shrinks to the rows that still run. `model.generate` runs the prompt of
every row, and every row until the last one ends.

The last token of a prompt is not part of its prefill: it is the slot's first input, so that the
first token of a completion is drawn by the same code as all others.

Memory is paged: rows are admitted by what they use (`schedule.py`), and attention reads blocks
where they lie (`attention.py`). Under Unsloth's GPU code, the model runs transformers' forward
meanwhile (`forwards.py`).

Left out: speculative decoding, models spread over several devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
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
from groupwise.framework.sampling.blocks import BLOCK, CHUNK
from groupwise.framework.sampling.buffers import Buffers, Sizes, bucketed, exact
from groupwise.framework.sampling.cache import BlockCache, PromptCache
from groupwise.framework.sampling.cpu import Threads, prepacked_linears
from groupwise.framework.sampling.draw import check_params, draw
from groupwise.framework.sampling.forwards import transformers_forwards
from groupwise.framework.sampling.graphs import Graphs
from groupwise.framework.sampling.lean import lean_layers
from groupwise.framework.sampling.lora import merged_adapters
from groupwise.framework.sampling.memory import (
    DRAW_ROWS,
    PREFILL_PROMPTS,
    PREFILL_TOKENS,
    Need,
    Room,
    Widths,
    default_budget,
    most_rows,
    room_within,
)
from groupwise.framework.sampling.randomness import sample_key, uniforms
from groupwise.framework.sampling.requests import PromptTokens, completion, encode_prompts
from groupwise.framework.sampling.schedule import Row, Schedule
from groupwise.framework.sampling.state import sampling_mode
from groupwise.framework.sampling.stopping import Stopping
from groupwise.framework.sampling.support import FAMILIES, base_model, mask_kinds, why_not_slots
from groupwise.rewards.errors import UserError


@dataclass(frozen=True, slots=True)
class Options:
    """How the engine works; none of them changes an answer by more than rounding."""

    block: int = BLOCK  # positions of a block of memory
    cuda_graphs: bool = False
    buckets: bool = False  # sizes of a step rounded up to few different ones; with graphs, always
    mirrors: bool = False  # the schedule's arrays are copied; on a GPU, always


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
        options: Options | None = None,
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
        self.options = options or Options()

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
        most_at_once = most_rows(self.max_rows, on_gpu=base.device.type != "cpu")
        rows = min(most_at_once, sum(len(p.samples) for p in prompts))
        with (
            sampling_mode(self.model, self.tokenizer),
            transformers_forwards(
                self.model, round_up(len(prompts[0].ids), PROMPT_STEP) + params.max_tokens
            ),
            slot_attention(base.config),
            ExitStack() as stack,
        ):
            merged = stack.enter_context(merged_adapters(self.model, budget // 4))
            packed = stack.enter_context(prepacked_linears(base, budget // 4))
            if not is_steady(base.get_input_embeddings().weight):
                stack.enter_context(lean_layers(self.model, base.dtype))
            most = Room(rows, PREFILL_TOKENS)
            budget -= merged + packed
            room = partial(room_within, budget, most=most)
            run = Run(base, prompts, params, stopping, room, self.options)
            try:
                yield run
            finally:
                run.close()


class Run:
    """One call of `sample`: the schedule, the pool of keys and values, and the model's steps."""

    def __init__(
        self,
        base: Any,
        prompts: list[PromptTokens],
        params: SamplingParams,
        stopping: Stopping,
        room_for: Callable[[Widths, Need], Room],
        options: Options,
    ) -> None:
        self.base, self.params, self.stopping = base, params, stopping
        weight = base.get_input_embeddings().weight
        self.device = weight.device
        self.finished: list[Row] = []
        self.takes_kinds = FAMILIES[base.config.model_type]
        self.has_full, self.has_sliding = mask_kinds(base.config)
        # If results must not depend on the batch, lengths are padded to fixed multiples, and a
        # product has the queries of one row only.
        self.steady = is_steady(weight)
        self.prompt_step = PROMPT_STEP if self.steady else 1
        block = CHUNK if self.steady else options.block
        shares = not self.steady and any(len(prompt.samples) > 1 for prompt in prompts)

        # The first prompt is run alone: the shape of its keys gives the size of a block.
        self.prompt_tokens = 1
        self.kept: dict[int, Tensor] = {}  # by prompt: keys and values, (2 * layers, H, P, D)
        self._run_prompts(prompts[:1])
        kv = self.kept[prompts[0].index]
        need = Need(len(prompts[0].ids), self._padded(prompts[0]), params.max_tokens, block, shares)
        room = room_for(Widths.of(kv, base.config), need)
        self.max_rows, self.prompt_tokens = room.rows, room.prompt_tokens
        self.threads = Threads(self.device, base.config, room.rows)
        self.cache = BlockCache(kv, room.blocks, block)
        self.schedule = Schedule(
            prompts,
            room.rows,
            room.blocks,
            block,
            params.max_tokens,
            shares,
            self.cache.move,
            self.cache.save,
        )
        self.buffers = Buffers(
            self.schedule,
            base.config,
            self.cache.data,
            is_steady=self.steady,
            mirrors=options.mirrors,
        )
        self.bucket = bucketed if options.buckets or options.cuda_graphs else exact
        self.graphs = Graphs() if options.cuda_graphs else None
        self.seen = None
        if params.repetition_penalty != 1.0:
            words = base.get_output_embeddings().weight.shape[0]
            self.seen = torch.zeros(room.rows, words, dtype=torch.bool, device=self.device)

    @property
    def rows(self) -> list[Row]:
        return self.schedule.rows

    def advance(self) -> bool:
        """Fill free slots and make one step; False when nothing is left to do."""
        with torch.no_grad(), self.threads:
            self.schedule.compact()
            self.schedule.make_room()
            while self.schedule.may_start():
                self._start_samples()
            if not self.rows:
                return False
            self._step()
        return True

    def close(self) -> None:
        """Frees keys, buffers and graphs: a caller may hold the run for longer."""
        self.kept.clear()
        del self.cache, self.schedule, self.buffers, self.graphs
        if self.device.type == "cuda":  # libraries plan by what is free, and see no reserves
            torch.cuda.empty_cache()

    def take_finished(self) -> list[Row]:
        finished, self.finished = self.finished, []
        return finished

    def _start_samples(self) -> None:
        """Starts as many samples of the next prompt as there is room for."""
        schedule, prompt = self.schedule, self.schedule.head
        has_prefix = schedule.has_keys(prompt)
        started = []
        while schedule.may_start() and schedule.head is prompt:
            started.append(schedule.start())
        new = [row for row in started if row.saved is None]
        if (schedule.shares and not has_prefix) or (new and not schedule.shares):
            if prompt.index not in self.kept:
                self._run_prompts([prompt, *(waiting.prompt for waiting in schedule.waiting)])
            blocks = [row.blocks for row in new]
            if started[0].prefix is not None:
                blocks = [[schedule.pool_index(number) for number in started[0].prefix.blocks]]
            self.cache.fill(blocks, self.kept[prompt.index])
        is_next = schedule.waiting and schedule.waiting[0].prompt is prompt
        if schedule.shares or not is_next:
            self.kept.pop(prompt.index, None)
        for row in started:
            if row.saved is not None:
                self.cache.restore(row.blocks, row.saved)
                row.saved = None
        if self.params.temperature > 0:
            keys = [sample_key(self.params.seed, prompt.key, row.sample_index) for row in new]
            for row, noise in zip(new, uniforms(keys, self.params.max_tokens), strict=True):
                row.noise = noise.numpy()
        if self.seen is not None:
            for row in started:
                self.seen[row.home] = False
                known = torch.tensor([*prompt.ids, *row.tokens], device=self.device)
                self.seen[row.home, known] = True

    @torch.no_grad()
    def _run_prompts(self, prompts: Sequence[PromptTokens]) -> None:
        """Run the next few prompts, padded on the right: no row sees the padding of another."""
        batch = [prompts[0]]
        longest = self._padded(batch[0])
        for prompt in prompts[1:]:
            if prompt is batch[0]:
                continue
            if (
                len(batch) == PREFILL_PROMPTS
                or longest * (len(batch) + 1) > self.prompt_tokens
                # Attention's rounding depends on the padded length, which must be the prompt's own.
                or (self.steady and self._padded(prompt) != longest)
            ):
                break
            if self._padded(prompt) <= longest and prompt.index not in self.kept:
                batch.append(prompt)
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
        stacked = cache.stacked()  # (2 * layers, B, H, P, D)
        for i, prompt in enumerate(batch):
            # A copy, so that one prompt does not keep the keys of all.
            self.kept[prompt.index] = stacked[:, i, :, : len(prompt.ids) - 1].contiguous()

    def _padded(self, prompt: PromptTokens) -> int:
        """Positions of a prompt's prefill, padded; its last token is not among them."""
        return round_up(max(len(prompt.ids) - 1, 1), self.prompt_step)

    def _step(self) -> None:
        rows, buffers = self.rows, self.buffers
        count = len(rows)
        buffers.inputs[:count] = [(row.tokens or row.prompt.ids)[-1] for row in rows]
        if self.params.temperature > 0:
            buffers.uniform[:count] = [row.noise[len(row.tokens)] for row in rows]
        buffers.upload()
        sizes = buffers.sizes(self.bucket)
        if self.graphs is None:
            logits = self._forward(sizes)
        else:
            logits = self.graphs(self._forward, sizes, self.max_rows)
        logits = logits[:count]  # (B, V)
        tokens, logprobs = self._draw(logits)
        # The one time in a step that the host waits for the device.
        values = torch.stack([tokens.double(), logprobs.double()]).tolist()
        self.schedule.advance()
        self._book([int(token) for token in values[0]], values[1])

    def _forward(self, sizes: Sizes) -> Tensor:
        """The logits of each row's next token: (rows, V)."""
        buffers = self.buffers
        lengths = buffers["lengths"][: sizes.rows]
        blocks = buffers["write_block"][: sizes.rows]
        block = self.cache.block
        # A place that is only padding writes into block 0, whose start is out of reach.
        positions = (lengths - buffers["begin"][blocks]).clamp(0, block - 1)
        self.cache.begin_step(blocks, positions)
        step = buffers.step(sizes, full=self.has_full, sliding=self.has_sliding)
        # With four dimensions a mask is taken as it is; the attention has the step's own.
        nothing = torch.zeros(1, 1, 1, 1, dtype=self.cache.data.dtype, device=self.device)
        kinds = {"full_attention": nothing, "sliding_attention": nothing}
        logits: Tensor = self.base(
            input_ids=buffers["inputs"][: sizes.rows, None],
            position_ids=lengths[:, None],
            attention_mask=kinds if self.takes_kinds else nothing,
            past_key_values=self.cache,
            use_cache=True,
            slots=step,
        ).logits
        return logits[:, -1]

    def _draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The next token of each row, and its log-probability or 0."""
        count = len(logits)
        uniform = self.buffers["uniform"][:count]
        seen = homes = None
        if self.seen is not None:
            homes = self.buffers["home"][:count]
            seen = self.seen[homes]
        tokens, logprobs = [], []
        size = count if self.device.type == "cpu" else DRAW_ROWS
        for start in range(0, count, size):
            part = slice(start, start + size)
            drawn, values = draw(
                logits[part], uniform[part], self.params, None if seen is None else seen[part]
            )
            tokens.append(drawn)
            logprobs.append(
                torch.zeros(len(drawn), device=self.device) if values is None else values
            )
        drawn = torch.cat(tokens)
        if self.seen is not None and homes is not None:
            self.seen[homes, drawn] = True
        return drawn, torch.cat(logprobs)

    def _book(self, tokens: list[int], logprobs: list[float]) -> None:
        """Append the new tokens, and give up the slots of samples that ended."""
        ended = []
        for row, token, logprob in zip(self.rows, tokens, logprobs, strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            if self.stopping.ended(row.tokens):
                ended.append(row)
        for row in reversed(ended):  # the last row, which takes a free place, still runs
            self.schedule.end(row)
        self.finished.extend(ended)
