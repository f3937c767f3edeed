"""The completions of a training step: sampled by the engine, scored by the rubric, kept in a log.

    rollouts.open(last_step)
    output = rollouts.step(rows, trainer, trl_generate_and_score)     # once for each batch
    rollouts.close()

One `Rollouts` serves one trainer. `step` covers a whole generation batch: TRL's code runs inside it
and calls back through its two hooks, `sample` (its `rollout_func`) and `reward` (its reward
function). Each hook makes what it needs and is not there yet, so their order does not matter. When
TRL returns, every completion is logged as a line of `rollouts.jsonl`.

Left out: which problems a step begins with (TRL's data loader), and advantages (TRL's).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.records import RolloutRecord, read_rollouts, to_line
from groupwise.evaluation.log.writer import JsonlWriter
from groupwise.evaluation.sampler import Prompt, SampledCompletion, Sampler
from groupwise.framework.config import TrainingConfig
from groupwise.framework.grpo_trainer.dynamic_sampling import ProblemPool
from groupwise.framework.grpo_trainer.rollout_batch import (
    RolloutBatch,
    joined,
    records_of,
    swap_rows,
)
from groupwise.framework.grpo_trainer.rollout_metrics import (
    rollout_metrics,
    zero_variance_groups,
)
from groupwise.framework.run import processes
from groupwise.rewards import Completion, Example, Rubric

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

TRLRow = dict[str, Any]
"""A row of TRL's data set: `prompt` and `example_id`."""


class Rollouts:
    """Samples, scores and records the completions of each step."""

    def __init__(
        self,
        *,
        sampler: Sampler,
        rubric: Rubric,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        config: TrainingConfig,
        seed: int,
        log_path: Path,
    ) -> None:
        self.sampler, self.rubric, self.config, self.seed = sampler, rubric, config, seed
        self._examples = {example.id: example for example in examples}
        self._tokenizer = tokenizer
        self._path = log_path
        self._log: JsonlWriter | None = None
        self._prompt_ids = {e.prompt: e.prompt_ids for e in examples if e.prompt_ids}
        self._pool = ProblemPool(examples, seed) if config.resample_rounds else None
        self._batch: RolloutBatch | None = None  # of the latest step
        self._trainer_state: Any = None  # the trainer's own, for rewards

    def open(self, last_step: int = 0) -> None:
        """Opens the log for appending; its lines of steps after `last_step` are dropped.

        Of several processes only the main one keeps a log.
        """
        if not processes.is_main():
            return
        self._log = JsonlWriter(self._path, last_step=last_step)
        if self._pool is not None and last_step:
            for record in read_rollouts(self._path):
                self._pool.record(record.step - 1, record.example_id, record.correct)
        self.rubric.warm_up()

    def _append(self, records: Sequence[RolloutRecord]) -> None:
        assert self._log is not None, "open() comes first"
        self._log.append(map(to_line, records))

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
        self.rubric.close()

    def step(
        self,
        rows: Sequence[Mapping[str, Any]],
        trainer: Any,
        generate_and_score: Callable[[list[TRLRow]], dict[str, Any]],
        *,
        log_probs: bool = False,
    ) -> dict[str, Any]:
        """Runs `generate_and_score`, TRL's own, on this step's rows, logs them, returns its output.

        `rows`: B data set rows, each problem repeated `num_generations` times in sequence; with
        `resample_rounds`, rows of other problems may take the place of some. The output has
        `advantages`, a tensor (B,). `log_probs`: whether `log_probs()` will be asked for.
        """
        self._trainer_state = trainer.state
        step = int(trainer.state.global_step)
        group_size = self.config.num_generations
        first = processes.index() * len(rows)
        batch = self._batch = RolloutBatch(
            step=step,
            examples=[self._examples[row["example_id"]] for row in rows],
            sample_indices=[(first + i) % group_size for i in range(len(rows))],
            seed=step_seed(self.seed, step),
            progress=step / max(1, int(trainer.state.max_steps)),
            with_log_probs=log_probs,
        )
        if self._pool is not None:  # which rows TRL gets depends on their scores
            self._make_scores(batch)
            self._replace_zero_variance_groups(batch, self._pool)
        output = generate_and_score(
            [{"prompt": e.prompt, "example_id": e.id} for e in batch.examples]
        )
        self._finish(batch, output["advantages"].tolist())
        return output

    def sample(self, prompts: list[str], _trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: token ids of B prompts and of their completions."""
        batch = self._current()
        self._make_samples(batch)
        return {
            "prompt_ids": [list(self.prompt_ids(prompt)) for prompt in prompts],
            "completion_ids": [list(sample.token_ids) for sample in batch.samples],
            "logprobs": None,
        }

    def reward(self, prompts: Sequence[Any], **_: Any) -> list[float]:
        """TRL's reward function: the rubric's total for each of the B completions."""
        batch = self._current()
        self._make_scores(batch)
        assert len(prompts) == len(batch.scores)
        return [score.total for score in batch.scores]

    def prompt_ids(self, prompt: str) -> tuple[int, ...]:
        """A prompt in tokens, as the model sees it; tokenised at most once by a trainer."""
        ids = self._prompt_ids.get(prompt)
        if ids is None:
            # The chat template has written the special tokens already.
            ids = tuple(self._tokenizer(prompt, add_special_tokens=False)["input_ids"])
            self._prompt_ids[prompt] = ids
        return ids

    def finished(self) -> torch.Tensor:
        """Which of TRL's completions ended by themselves, and were not cut off: (B,) bool."""
        import torch  # slow: not at start-up

        return torch.tensor([s.finish_reason == "stop" for s in self._current().samples])

    def log_probs(self, length: int) -> torch.Tensor:
        """The log-probability of each sampled token: (B, `length`) float32, padded with 0.

        The same as TRL's `old_per_token_logps`: at the temperature, before any other sampling rule.
        """
        import torch  # slow: not at start-up

        values = torch.zeros(len(self._current().samples), length)
        for row, sample in enumerate(self._current().samples):
            assert sample.logprobs is not None, "step() was not asked for log_probs"
            values[row, : len(sample.logprobs)] = torch.tensor(sample.logprobs)
        return values

    def _make_samples(self, batch: RolloutBatch) -> None:
        if batch.samples:
            return
        started = time.perf_counter()
        batch.samples = self._draw(batch)
        batch.first_samples = list(batch.samples)
        batch.seconds += time.perf_counter() - started

    def _draw(self, batch: RolloutBatch) -> list[SampledCompletion]:
        """One sample a row, in the rows' order."""
        group_size = self.config.num_generations
        rows_of: dict[str, dict[int, int]] = {}  # group key -> sample index -> row
        example_of: dict[str, Example] = {}
        turn: dict[str, int] = {}  # a problem that is in a batch twice has two groups
        for row, (example, index) in enumerate(
            zip(batch.examples, batch.sample_indices, strict=True)
        ):
            if index == 0 or example.id not in turn:
                turn[example.id] = turn.get(example.id, -1) + 1
            key = f"{example.id}/{turn[example.id]}" if turn[example.id] else example.id
            rows_of.setdefault(key, {})[index] = row
            example_of[key] = example
        everything = frozenset(range(group_size))
        keys = list(rows_of)
        prompts = [
            Prompt(
                key,
                text := example_of[key].prompt,
                done=everything - rows_of[key].keys(),
                token_ids=self.prompt_ids(text),
            )
            for key in keys
        ]
        drawn: list[SampledCompletion | None] = [None] * len(batch.examples)
        params = replace(self.config.sampling_params(batch.seed), logprobs=batch.with_log_probs)
        for sample in self.sampler.sample(prompts, group_size, params):
            drawn[rows_of[keys[sample.prompt_index]][sample.sample_index]] = sample
        missing = [row for row, sample in enumerate(drawn) if sample is None]
        assert not missing, f"the sampler left out rows {missing}"
        return [sample for sample in drawn if sample is not None]

    def _make_scores(self, batch: RolloutBatch) -> None:
        if batch.scores:
            return
        self._make_samples(batch)
        started = time.perf_counter()
        size, count = self.config.num_generations, len(batch.samples)
        rows = list(zip(batch.examples, batch.samples, strict=True))
        start = 0  # of this process's own rows, among those that are scored
        if count % size:  # groups span processes: score, whole, those of which rows are ours
            first = processes.index() * count
            end = -(-(first + count) // size) * size
            start = first % size
            rows = [row for share in processes.gathered(rows) for row in share][first - start : end]
        scores = self.rubric.score_batch(
            [example for example, _ in rows],
            [_completion(sample) for _, sample in rows],
            progress=batch.progress,
            groups=[row // size for row in range(len(rows))],
            trainer_state=self._trainer_state,
        )
        batch.logged = self.rubric.logged
        batch.scores = scores[start : start + count]
        batch.first_scores = list(batch.scores)
        batch.reward_seconds += time.perf_counter() - started
        if self._pool is not None:
            for example, score in zip(batch.examples, batch.scores, strict=True):
                correct = score.grade.correct if score.grade else None
                self._pool.record(batch.step, example.id, correct)

    def _replace_zero_variance_groups(self, batch: RolloutBatch, pool: ProblemPool) -> None:
        """Replaces them by groups of other problems, in up to `resample_rounds` rounds."""
        size = self.config.num_generations
        tried = {example.id for example in batch.examples}
        for number in range(self.config.resample_rounds):
            replaceable = zero_variance_groups(batch.scores, size)
            others = pool.draw(len(replaceable), (batch.step, number), besides=tried)
            if not others:
                return
            tried |= {example.id for example in others}
            fresh = RolloutBatch(
                step=batch.step,
                examples=[example for example in others for _ in range(size)],
                sample_indices=list(range(size)) * len(others),
                seed=batch.seed,
                progress=batch.progress,
                with_log_probs=batch.with_log_probs,
            )
            self._make_scores(fresh)
            batch.seconds += fresh.seconds
            batch.reward_seconds += fresh.reward_seconds
            useless = zero_variance_groups(fresh.scores, size)
            useful = [j for j in range(0, len(fresh.scores), size) if j not in useless]
            # What is left in `fresh` after the exchange is logged, and not trained on.
            for i, j in zip(replaceable, useful, strict=False):
                swap_rows(batch, i, fresh, j, size)
            batch.resampled_groups += len(useful)
            batch.untrained += records_of(fresh, [None] * len(fresh.samples))

    def _finish(self, batch: RolloutBatch, advantages: Sequence[float]) -> None:
        """Logs the step; `advantages` are those of this process's B rows."""
        records = batch.untrained + records_of(batch, advantages)
        if processes.count() > 1:
            shares = processes.gathered((batch, records))
            self._batch = joined([share for share, _ in shares])
            records = [record for _, share in shares for record in share]
        if processes.is_main():
            self._append(records)

    def count_forward(self, *, skipped: bool) -> None:
        """Counts a forward of the training step, made or skipped."""
        batch = self._current()
        batch.forwards += 1
        batch.skipped_forwards += skipped

    def metrics(self) -> dict[str, float | None]:
        """Numbers of the latest batch, under the names of `metrics.jsonl`."""
        batch = self._batch
        if batch is None or not batch.scores:
            return {}
        size = self.config.num_generations
        numbers = rollout_metrics(batch, size, self.rubric.names)
        if self._pool is not None:
            num_groups = -(-len(batch.scores) // size)
            numbers["resampled_groups"] = batch.resampled_groups / num_groups
            numbers["untrained_completions"] = float(len(batch.untrained))
        return numbers

    def logged(self) -> dict[str, float]:
        """What rewards gave to `log_metric` for the latest batch: the mean of each name."""
        batch = self._batch
        return {name: fmean(values) for name, values in batch.logged.items()} if batch else {}

    def _current(self) -> RolloutBatch:
        assert self._batch is not None, "TRL's hooks are called inside step()"
        return self._batch


def step_seed(seed: int, step: int) -> int:
    """The seed of a training step's samples: the same in every run, different for each step."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=4).digest(), "big")


def _completion(sample: SampledCompletion) -> Completion:
    return Completion(
        sample.text, len(sample.token_ids), sample.finish_reason, token_ids=sample.token_ids
    )
