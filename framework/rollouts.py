"""The completions of a training step: sampled by the engine, scored by the rubric, kept in a log.

One `Rollouts` serves one trainer. TRL calls it in this order, once for each generation batch:
`begin` (which rows), `sample` (TRL's `rollout_func`), `reward` (TRL's reward function), `finish`
(the advantages). Then one line a completion is in `rollouts.jsonl`. With `resample_rounds`, `begin`
samples and scores already, since what comes of it decides which rows there are.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from evaluation.files import full_disk_is_the_users
from evaluation.records import RolloutRecord, read_rollouts, to_line
from evaluation.sampler import Prompt, SampledCompletion, Sampler
from framework import processes
from framework.checkpoints import cut_log
from framework.config import TrainingConfig
from framework.dynamic_sampling import ProblemPool
from rewards import Completion, Example, Rubric, Score

if TYPE_CHECKING:
    import torch

FLAT = 1e-6
"""A group whose rewards have a smaller standard deviation than this has no variance."""


@dataclass(slots=True)
class RolloutBatch:
    """A generation batch on this process: parallel lists of B rows, and what they cost.

    `first_samples`, `first_scores`: of the problems that the data set gave for this step, which the
    metrics are about. They differ from `samples` and `scores`, which are trained on, in groups that
    were replaced by those of other problems.
    """

    step: int
    examples: list[Example]
    sample_indices: list[int]
    seed: int
    samples: list[SampledCompletion]
    scores: list[Score]
    progress: float = 0.0  # share of the training that is done
    with_log_probs: bool = False
    first_samples: list[SampledCompletion] = field(default_factory=list)
    first_scores: list[Score] = field(default_factory=list)
    resampled_groups: int = 0  # put in the place of groups without variance
    untrained: list[RolloutRecord] = field(default_factory=list)  # drawn, and not trained on
    seconds: float = 0.0
    reward_seconds: float = 0.0
    forwards: int = 0
    skipped_forwards: int = 0


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
            flat = [i for i in range(0, len(batch.scores), size) if _is_flat(batch, i, size)]
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
            useful = [j for j in range(0, len(fresh.scores), size) if not _is_flat(fresh, j, size)]
            # Each useful group changes places with a flat one; what stays in `fresh` is over.
            for i, j in zip(flat, useful, strict=False):
                for name in ("examples", "samples", "scores", "sample_indices"):
                    ours, theirs = getattr(batch, name), getattr(fresh, name)
                    ours[i : i + size], theirs[j : j + size] = (
                        theirs[j : j + size],
                        ours[i : i + size],
                    )
            batch.resampled_groups += len(useful)
            batch.untrained += _records(fresh, [None] * len(fresh.samples))

    def count_forward(self, *, skipped: bool) -> None:
        """Hears of each forward of the training step, made or left out."""
        batch = self._current()
        batch.forwards += 1
        batch.skipped_forwards += skipped

    def finish(self, advantages: Any) -> None:
        """`advantages`: tensor (B,), of this process's rows. Appends the step to the log."""
        batch = self._current()
        records = batch.untrained + _records(batch, advantages.tolist())
        if processes.count() > 1:
            shares = processes.gathered((batch, records))
            self.batch = _whole([share for share, _ in shares])
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
        samples, scores = batch.first_samples, batch.first_scores
        totals = [score.total for score in scores]
        known = [total for total in totals if not math.isnan(total)]  # NaN: no reward had a say
        lengths = [len(sample.token_ids) for sample in samples]
        group_size = self.config.num_generations
        groups_at = range(0, len(totals), group_size)
        groups = [
            [total for total in totals[i : i + group_size] if not math.isnan(total)]
            for i in groups_at
        ]
        texts = [sample.text for sample in samples]
        numbers: dict[str, float | None] = {
            "reward/mean": _mean(known) if known else None,
            "reward/std": _std(known) if known else None,
            "reward/group_std": _mean([_std(group) for group in groups]) if groups else None,
        }
        for name in self.rubric.names:
            values = [v for score in scores if (v := score.parts.get(name)) is not None]
            numbers[f"reward/{name}/mean"] = _mean(values) if values else None
            numbers[f"reward/{name}/std"] = _std(values) if values else None
        graded = [score.grade for score in scores if score.grade is not None]
        if graded:
            numbers["correct"] = _mean([float(grade.correct) for grade in graded])
            for status in ("unparseable", "timeout", "bad_reference"):
                numbers[f"status/{status}"] = _mean([float(g.status == status) for g in graded])
        tokens = sum(len(sample.token_ids) for sample in batch.samples)
        tokens += sum(record.num_tokens for record in batch.untrained)
        numbers |= {
            "completion_length/mean": _mean(lengths),
            "completion_length/max": float(max(lengths)),
            "truncated": _mean([float(s.finish_reason == "length") for s in samples]),
            "zero_variance_groups": _mean([float(_std(group) < FLAT) for group in groups]),
            "distinct_completions": _mean(
                [len(set(texts[i : i + group_size])) / group_size for i in groups_at]
            ),
            "most_common_completion": Counter(texts).most_common(1)[0][1] / len(texts),
            "completion_tokens": float(tokens),
            "rollout_seconds": batch.seconds,
            "rollout_tokens_per_second": tokens / batch.seconds if batch.seconds else None,
            "reward_seconds": batch.reward_seconds,
            "skipped_forwards": batch.skipped_forwards / batch.forwards if batch.forwards else 0.0,
        }
        if self._pool is not None:
            numbers["resampled_groups"] = batch.resampled_groups / len(groups)
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


def _is_flat(batch: RolloutBatch, start: int, size: int) -> bool:
    """Whether the rewards of the group that begins at row `start` are all the same."""
    totals = [score.total for score in batch.scores[start : start + size]]
    return _std([total for total in totals if not math.isnan(total)]) < FLAT


def _whole(shares: Sequence[RolloutBatch]) -> RolloutBatch:
    """What the processes have of a step, in one; they worked at the same time."""
    lists = ("examples", "sample_indices", "samples", "scores", "first_samples", "first_scores")
    joined: dict[str, Any] = {
        name: [row for share in shares for row in getattr(share, name)] for name in lists
    }
    for name in ("seconds", "reward_seconds"):
        joined[name] = max(getattr(share, name) for share in shares)
    return replace(shares[processes.index()], **joined)


def _records(batch: RolloutBatch, advantages: Sequence[float | None]) -> list[RolloutRecord]:
    rows = zip(
        batch.examples, batch.samples, batch.scores, batch.sample_indices, advantages, strict=True
    )
    return [_record(batch, *row) for row in rows]


def _record(
    batch: RolloutBatch,
    example: Example,
    sample: SampledCompletion,
    score: Score,
    index: int,
    advantage: float | None,
) -> RolloutRecord:
    grade = score.grade
    return RolloutRecord(
        example_id=example.id,
        sample_index=index,
        prompt=example.prompt,
        completion=sample.text,
        num_tokens=len(sample.token_ids),
        finish_reason=sample.finish_reason,
        answer=example.answer,
        extracted=grade.extracted if grade else None,
        status=grade.status if grade else None,
        correct=grade.correct if grade else None,
        score=score.total,
        parts=score.parts,
        seed=batch.seed,
        seconds=batch.seconds / len(batch.examples),
        metadata=example.metadata,
        step=batch.step + 1,
        advantage=advantage,
    )


def _completion(sample: SampledCompletion) -> Completion:
    return Completion(
        sample.text, len(sample.token_ids), sample.finish_reason, token_ids=sample.token_ids
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _std(values: Sequence[float]) -> float:
    """Sample standard deviation (n - 1), as TRL has it; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    mean = _mean(values)
    return float((sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5)
