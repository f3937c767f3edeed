"""The completions of a training step: sampled by the engine, scored by the rubric, kept in a log.

One `Rollouts` serves one trainer. TRL calls it in this order, once for each generation batch:
`begin` (which rows), `sample` (TRL's `rollout_func`), `reward` (TRL's reward function), `finish`
(the advantages). Then one line a completion is in `rollouts.jsonl`.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from evaluation.files import full_disk_is_the_users
from evaluation.records import RolloutRecord, to_line
from evaluation.sampler import Prompt, SampledCompletion, Sampler
from framework.checkpoints import cut_log
from framework.config import TrainingConfig
from rewards import Completion, Example, RewardSpec, Rubric, Score, UserError
from rewards.functions import adapt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class RolloutBatch:
    """A generation batch on this process: parallel lists of B rows, and what they cost."""

    step: int
    examples: list[Example]
    sample_indices: list[int]
    seed: int
    samples: list[SampledCompletion]
    scores: list[Score]
    progress: float = 0.0  # share of the training that is done
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
        self.batch: RolloutBatch | None = None

    def open(self, last_step: int = 0) -> None:
        """Opens the log for appending; what it has of steps after `last_step` is dropped."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut_log(self._path, last_step)
        self._log = self._path.open("a", encoding="utf-8")

    def begin(self, rows: Sequence[Mapping[str, Any]], trainer: Any) -> None:
        """`rows`: B dataset rows, each problem repeated `num_generations` times in sequence."""
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
        )

    def sample(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: token ids of B prompts and of their completions."""
        batch = self._current()
        started = time.perf_counter()
        batch.samples = self._draw(batch)
        batch.seconds = time.perf_counter() - started
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
        params = self.config.sampling_params(batch.seed)
        for sample in self.sampler.sample(prompts, group_size, params):
            drawn[rows_of[keys[sample.prompt_index]][sample.sample_index]] = sample
        missing = [row for row, sample in enumerate(drawn) if sample is None]
        assert not missing, f"the sampler left out rows {missing}"
        return [sample for sample in drawn if sample is not None]

    def reward(self, prompts: Sequence[Any], **_: Any) -> list[float]:
        """TRL's reward function: the rubric's total for each of the B completions."""
        batch = self._current()
        started = time.perf_counter()
        group_size = self.config.num_generations
        groups = [row // group_size for row in range(len(prompts))]
        batch.scores = self.rubric.score_batch(
            batch.examples,
            [_completion(sample) for sample in batch.samples],
            progress=batch.progress,
            groups=groups,
        )
        batch.reward_seconds = time.perf_counter() - started
        return [score.total for score in batch.scores]

    def count_forward(self, *, skipped: bool) -> None:
        """Hears of each forward of the training step, made or left out."""
        batch = self._current()
        batch.forwards += 1
        batch.skipped_forwards += skipped

    def finish(self, advantages: Any) -> None:
        """`advantages`: tensor (B,), of this process's rows. Appends the batch to the log."""
        batch = self._current()
        rows = zip(
            batch.examples,
            batch.samples,
            batch.scores,
            batch.sample_indices,
            advantages.tolist(),
            strict=True,
        )
        assert self._log is not None, "open() comes first"
        with full_disk_is_the_users(self._path):
            self._log.write("".join(to_line(_record(batch, *row)) for row in rows))
            self._log.flush()

    def metrics(self) -> dict[str, float | None]:
        """Numbers of the latest batch, under the names of `metrics.jsonl`."""
        batch = self.batch
        if batch is None or not batch.scores:
            return {}
        totals = [score.total for score in batch.scores]
        known = [total for total in totals if not math.isnan(total)]  # NaN: no reward had a say
        lengths = [len(sample.token_ids) for sample in batch.samples]
        group_size = self.config.num_generations
        groups_at = range(0, len(totals), group_size)
        groups = [
            [total for total in totals[i : i + group_size] if not math.isnan(total)]
            for i in groups_at
        ]
        texts = [sample.text for sample in batch.samples]
        numbers: dict[str, float | None] = {
            "reward/mean": _mean(known) if known else None,
            "reward/std": _std(known) if known else None,
            "reward/group_std": _mean([_std(group) for group in groups]) if groups else None,
        }
        for name in self.rubric.names:
            values = [v for score in batch.scores if (v := score.parts.get(name)) is not None]
            numbers[f"reward/{name}/mean"] = _mean(values) if values else None
            numbers[f"reward/{name}/std"] = _std(values) if values else None
        graded = [score.grade for score in batch.scores if score.grade is not None]
        if graded:
            numbers["correct"] = _mean([float(grade.correct) for grade in graded])
            for status in ("unparseable", "timeout", "bad_reference"):
                numbers[f"status/{status}"] = _mean([float(g.status == status) for g in graded])
        numbers |= {
            "completion_length/mean": _mean(lengths),
            "completion_length/max": float(max(lengths)),
            "truncated": _mean([float(s.finish_reason == "length") for s in batch.samples]),
            "zero_variance_groups": _mean([float(_std(group) < 1e-6) for group in groups]),
            "distinct_completions": _mean(
                [len(set(texts[i : i + group_size])) / group_size for i in groups_at]
            ),
            "most_common_completion": Counter(texts).most_common(1)[0][1] / len(texts),
            "completion_tokens": float(sum(lengths)),
            "rollout_seconds": batch.seconds,
            "rollout_tokens_per_second": sum(lengths) / batch.seconds if batch.seconds else None,
            "reward_seconds": batch.reward_seconds,
            "skipped_forwards": batch.skipped_forwards / batch.forwards if batch.forwards else 0.0,
        }
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


def as_rubric(reward_funcs: Rubric | Sequence[Any]) -> Rubric:
    """A rubric of equal weights from a list of functions, as TRL takes them."""
    if isinstance(reward_funcs, Rubric):
        return reward_funcs
    if callable(reward_funcs):
        reward_funcs = [reward_funcs]
    if not reward_funcs:
        raise UserError("reward_funcs: at least one reward is needed")
    rewards: dict[str, Any] = {}
    for function in reward_funcs:
        if not callable(function) and not hasattr(function, "score_batch"):
            raise UserError(f"reward_funcs: a function is expected, not {function!r}")
        name = getattr(function, "__name__", type(function).__name__)
        if name in rewards:
            raise UserError(f"reward_funcs: two of them are called {name!r}; names must differ")
        rewards[name] = adapt(function)
    return Rubric(rewards, {name: RewardSpec() for name in rewards})


def as_examples(rows: Iterable[Any], tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    """Examples with rendered prompts, from examples or from rows as TRL's data sets have them.

    A row has `prompt` (text, or messages) or `question`, and `answer`; other columns become
    metadata, where functions in TRL's form find them.
    """
    examples = [
        row if isinstance(row, Example) else _example_of_row(i, row) for i, row in enumerate(rows)
    ]
    return [example if example.prompt else _rendered(example, tokenizer) for example in examples]


def _example_of_row(number: int, row: Any) -> Example:
    if isinstance(row, tuple) and len(row) == 2:
        row = {"question": row[0], "answer": row[1]}
    if not isinstance(row, Mapping):
        raise UserError(f"train_dataset: row {number} is a {type(row).__name__}, not a mapping")
    columns = dict(row)
    asked = columns.pop("prompt", None) or columns.pop("question", None)
    if not asked:
        raise UserError(f"train_dataset: row {number} has neither `prompt` nor `question`")
    is_text = isinstance(asked, str)
    messages = ({"role": "user", "content": asked},) if is_text else tuple(asked)
    return Example(
        id=str(columns.pop("id", number)),
        question=asked if is_text else str(messages[-1]["content"]),
        answer=str(columns.pop("answer", "")),
        messages=messages,
        metadata=columns,
    )


def _rendered(example: Example, tokenizer: PreTrainedTokenizerBase) -> Example:
    messages = example.messages or ({"role": "user", "content": example.question},)
    prompt = tokenizer.apply_chat_template(
        [dict(message) for message in messages], add_generation_prompt=True, tokenize=False
    )
    return replace(example, messages=messages, prompt=str(prompt))


def _record(
    batch: RolloutBatch,
    example: Example,
    sample: SampledCompletion,
    score: Score,
    index: int,
    advantage: float,
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
