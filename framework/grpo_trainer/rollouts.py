"""The completions of a training step: sampled by the engine, scored by the rubric, kept in a log.

One `Rollouts` serves one trainer. TRL calls it in this order, once for each generation batch:
`begin` (which rows), `sample` (TRL's `rollout_func`), `reward` (TRL's reward function), `finish`
(the advantages). Then one line a completion is in `rollouts.jsonl`. With `resample_rounds`, `begin`
samples and scores already, since what comes of it decides which rows there are.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from groupwise.evaluation.log.files import full_disk_is_the_users
from groupwise.evaluation.log.records import read_rollouts, to_line
from groupwise.evaluation.sampler import Prompt, SampledCompletion, Sampler
from groupwise.framework.config import TrainingConfig
from groupwise.framework.grpo_trainer.dynamic_sampling import ProblemPool
from groupwise.framework.grpo_trainer.rollout_batch import (
    RolloutBatch,
    joined,
    records_of,
    swap_rows,
)
from groupwise.framework.grpo_trainer.rollout_metrics import flat_groups, rollout_metrics
from groupwise.framework.run import processes
from groupwise.framework.run.checkpoints import cut_log
from groupwise.rewards import Completion, Example, Rubric

if TYPE_CHECKING:
    import torch


class Rollouts:
    """Samples, scores and records the completions of each step."""

    def __init__(
        self,
        *,
        sampler: Sampler,
        rubric: Rubric,
        examples: Sequence[Example],
        config: TrainingConfig,
        seed: int,
        log_path: Path,
    ) -> None:
        self.sampler, self.rubric, self.config, self.seed = sampler, rubric, config, seed
        self._examples = {example.id: example for example in examples}
        self._path = log_path
        self._log: TextIO | None = None
        self._prompt_ids: dict[str, list[int]] = {}
        self._pool = ProblemPool(examples, seed) if config.resample_rounds else None
        self.batch: RolloutBatch | None = None

    def open(self, last_step: int = 0) -> None:
        """Opens the log for appending; what it has of steps after `last_step` is dropped.

        Of several processes only the main one keeps a log.
        """
        if not processes.is_main():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut_log(self._path, last_step)
        if self._pool is not None and last_step:
            for record in read_rollouts(self._path):
                self._pool.record(record.step - 1, record.example_id, record.correct)
        self.rubric.warm_up()
        self._log = self._path.open("a", encoding="utf-8")

    def begin(
        self, rows: Sequence[Mapping[str, Any]], trainer: Any, *, log_probs: bool = False
    ) -> list[dict[str, Any]]:
        """The rows to go on with, of which some may be other problems'.

        `rows`: B dataset rows, each problem repeated `num_generations` times in sequence.
        `log_probs`: whether `log_probs()` will be asked for.
        """
        step = int(trainer.state.global_step)
        group_size = self.config.num_generations
        first = trainer.accelerator.process_index * len(rows)
        self.batch = RolloutBatch(
            step=step,
            examples=[self._examples[row["example_id"]] for row in rows],
            sample_indices=[(first + i) % group_size for i in range(len(rows))],
            seed=step_seed(self.seed, step),
            samples=[],
            scores=[],
            progress=step / max(1, int(trainer.state.max_steps)),
            with_log_probs=log_probs,
        )
        if self._pool is not None:
            self._sample_and_score(self.batch)
            self._replace_flat_groups(self.batch, self._pool)
        return [{"prompt": e.prompt, "example_id": e.id} for e in self.batch.examples]

    def sample(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: token ids of B prompts and of their completions."""
        batch = self._current()
        if not batch.samples:
            self._sample(batch)
        return {
            "prompt_ids": self.prompt_ids(prompts, trainer),
            "completion_ids": [list(sample.token_ids) for sample in batch.samples],
            "logprobs": None,
        }

    def prompt_ids(self, prompts: Sequence[str], trainer: Any) -> list[list[int]]:
        """The prompts as the model sees them."""
        tokenize = trainer._tokenizer
        for prompt in set(prompts) - self._prompt_ids.keys():
            self._prompt_ids[prompt] = tokenize(prompt, add_special_tokens=False)["input_ids"]
        return [self._prompt_ids[prompt] for prompt in prompts]

    def reward(self, prompts: Sequence[Any], **_: Any) -> list[float]:
        """TRL's reward function: the rubric's total for each of the B completions."""
        batch = self._current()
        assert len(prompts) == len(batch.samples)
        if not batch.scores:
            self._score(batch)
        return [score.total for score in batch.scores]

    def log_probs(self, length: int) -> torch.Tensor:
        """What each token was drawn with, at the temperature: (B, `length`) float32, padded by 0.

        The same quantity as TRL's `old_per_token_logps`: no other sampling rule has a part in it.
        """
        import torch

        values = torch.zeros(len(self._current().samples), length)
        for row, sample in enumerate(self._current().samples):
            assert sample.logprobs is not None, "begin() was not told"
            values[row, : len(sample.logprobs)] = torch.tensor(sample.logprobs)
        return values

    def _sample(self, batch: RolloutBatch) -> None:
        started = time.perf_counter()
        batch.samples = self._draw(batch)
        batch.first_samples = list(batch.samples)
        batch.seconds += time.perf_counter() - started

    def _draw(self, batch: RolloutBatch) -> list[SampledCompletion]:
        """One sample a row, in the rows' order."""
        group_size = self.config.num_generations
        rows_of: dict[str, dict[int, int]] = {}  # group key -> sample index -> row
        example_of: dict[str, Example] = {}
        turn: dict[str, int] = {}  # a problem that comes twice in one batch: two groups
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
            Prompt(key, example_of[key].prompt, done=everything - rows_of[key].keys())
            for key in keys
        ]
        drawn: list[SampledCompletion | None] = [None] * len(batch.examples)
        params = replace(self.config.sampling_params(batch.seed), logprobs=batch.with_log_probs)
        for sample in self.sampler.sample(prompts, group_size, params):
            drawn[rows_of[keys[sample.prompt_index]][sample.sample_index]] = sample
        missing = [row for row, sample in enumerate(drawn) if sample is None]
        assert not missing, f"the sampler left out rows {missing}"
        return [sample for sample in drawn if sample is not None]

    def _score(self, batch: RolloutBatch) -> None:
        started = time.perf_counter()
        size, count = self.config.num_generations, len(batch.samples)
        rows = list(zip(batch.examples, batch.samples, strict=True))
        start = 0  # of this process's own rows, among those that are scored
        if count % size:  # groups lie across processes: score those of which a part is ours, whole
            first = processes.index() * count
            end = -(-(first + count) // size) * size
            start = first % size
            rows = [row for share in processes.gathered(rows) for row in share][first - start : end]
        scores = self.rubric.score_batch(
            [example for example, _ in rows],
            [_completion(sample) for _, sample in rows],
            progress=batch.progress,
            groups=[row // size for row in range(len(rows))],
        )
        batch.scores = scores[start : start + count]
        batch.first_scores = list(batch.scores)
        batch.reward_seconds += time.perf_counter() - started

    def _sample_and_score(self, batch: RolloutBatch) -> None:
        self._sample(batch)
        self._score(batch)
        assert self._pool is not None
        for example, score in zip(batch.examples, batch.scores, strict=True):
            correct = score.grade.correct if score.grade else None
            self._pool.record(batch.step, example.id, correct)

    def _replace_flat_groups(self, batch: RolloutBatch, pool: ProblemPool) -> None:
        """Puts groups with variance where groups without are, in up to `resample_rounds` rounds."""
        size = self.config.num_generations
        tried = {example.id for example in batch.examples}
        for number in range(self.config.resample_rounds):
            flat = flat_groups(batch.scores, size)
            others = pool.draw(len(flat), (batch.step, number), besides=tried)
            if not others:
                return
            tried |= {example.id for example in others}
            fresh = replace(
                batch,
                examples=[example for example in others for _ in range(size)],
                sample_indices=list(range(size)) * len(others),
                seconds=0.0,
                reward_seconds=0.0,
            )
            self._sample_and_score(fresh)
            batch.seconds += fresh.seconds
            batch.reward_seconds += fresh.reward_seconds
            dull = flat_groups(fresh.scores, size)
            useful = [j for j in range(0, len(fresh.scores), size) if j not in dull]
            # Each useful group changes places with a flat one; what stays in `fresh` is over.
            for i, j in zip(flat, useful, strict=False):
                swap_rows(batch, i, fresh, j, size)
            batch.resampled_groups += len(useful)
            batch.untrained += records_of(fresh, [None] * len(fresh.samples))

    def count_forward(self, *, skipped: bool) -> None:
        """Hears of each forward of the training step, made or left out."""
        batch = self._current()
        batch.forwards += 1
        batch.skipped_forwards += skipped

    def finish(self, advantages: Any) -> None:
        """`advantages`: tensor (B,), of this process's rows. Appends the step to the log."""
        batch = self._current()
        records = batch.untrained + records_of(batch, advantages.tolist())
        if processes.count() > 1:
            shares = processes.gathered((batch, records))
            self.batch = joined([share for share, _ in shares])
            records = [record for _, share in shares for record in share]
        if not processes.is_main():
            return
        assert self._log is not None, "open() comes first"
        with full_disk_is_the_users(self._path):
            self._log.write("".join(to_line(record) for record in records))
            self._log.flush()

    def metrics(self) -> dict[str, float | None]:
        """Numbers of the latest batch, under the names of `metrics.jsonl`."""
        batch = self.batch
        if batch is None or not batch.scores:
            return {}
        size = self.config.num_generations
        numbers = rollout_metrics(batch, size, self.rubric.names)
        if self._pool is not None:
            num_groups = -(-len(batch.scores) // size)
            numbers["resampled_groups"] = batch.resampled_groups / num_groups
            numbers["untrained_completions"] = float(len(batch.untrained))
        return numbers

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
        self.rubric.close()

    def _current(self) -> RolloutBatch:
        assert self.batch is not None, "TRL asked for a rollout before begin()"
        return self.batch


def step_seed(seed: int, step: int) -> int:
    """The seed of a training step's samples: the same run draws the same, each step anew."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=4).digest(), "big")


def _completion(sample: SampledCompletion) -> Completion:
    return Completion(
        sample.text, len(sample.token_ids), sample.finish_reason, token_ids=sample.token_ids
    )
