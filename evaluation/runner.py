"""evaluate: examples x sampler x rubric -> samples.jsonl -> summary.json.

    summary = evaluate(examples, sampler, build_rubric(specs), EvaluationSettings(), folder)

The log is written as samples finish. Stopped at any moment and started again with the same
arguments, it resumes with what is missing; the summary is the same to the byte, because samples
depend on (seed, example, index) alone and the summary does not depend on their order.

What it leaves out: making completions (a `Sampler`), judging them (a `Scorer`), tables (tables.py).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from groupwise.evaluation.log.jsonl import clean
from groupwise.evaluation.log.lock import is_locked
from groupwise.evaluation.log.record_log import RecordLog, settings_to_keep
from groupwise.evaluation.log.records import SAMPLES, SampleRecord, fields_of, read_samples
from groupwise.evaluation.log.settings import load_settings
from groupwise.evaluation.log.writer import in_use
from groupwise.evaluation.metrics.intervals import CONFIDENCE, RESAMPLES
from groupwise.evaluation.sampler import Prompt, SampledCompletion, Sampler, SamplingParams
from groupwise.evaluation.summary import KS, Summary, summarise, write_summary
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Completion, Example, Score

MAY_GROW = ("num_samples",)
# Engines whose answers are the same up to rounding: one may finish what the other has begun.
ALIKE = {"sampler": frozenset({"slots", "generate"})}
_LONGEST_WAIT_S = 2.0


class Scorer(Protocol):
    """Scores completions; `rewards.build_rubric` makes one."""

    def score_batch(
        self,
        examples: Sequence[Example],
        completions: Sequence[Completion],
        *,
        progress: float = 0.0,
        groups: Sequence[int] | None = None,
    ) -> list[Score]: ...


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How to sample, and what to count.

    Everything that answers and scores depend on is written to `settings.json` beside the log, and a
    log with other settings is refused: `model` (a name for what is evaluated), `params` (with the
    seed), `solved_at`, and `identity` for anything else, such as the rubric or the adapter's
    revision. `num_samples` may be raised later: existing samples are kept. The other fields only
    affect the counting.

    `solved_at`: a sample is right when its score reaches this, for data without verifiable answers.
    `score_batch_size`: samples scored together; the most finished samples that a kill can lose.
    """

    num_samples: int = 8
    ks: tuple[int, ...] = KS
    params: SamplingParams = field(default_factory=SamplingParams)
    model: str = ""
    identity: Mapping[str, Any] = field(default_factory=dict)
    solved_at: float | None = None
    category_fields: tuple[str, ...] = ()
    resamples: int = RESAMPLES
    confidence: float = CONFIDENCE
    score_batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("num_samples", "score_batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: at least 1, not {getattr(self, name)}")
        if bad := [k for k in self.ks if not 1 <= k <= self.num_samples]:
            raise UserError(
                f"pass@k needs k between 1 and the number of samples a problem, which is "
                f"{self.num_samples}; not {', '.join(map(str, bad))}. Raise num_samples to "
                f"{max(self.num_samples, *bad)} or leave out that k."
            )


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress in samples; `made`, `correct`, `num_tokens` and `seconds` are of this session."""

    done: int
    total: int
    made: int
    correct: int
    num_tokens: int
    seconds: float


def evaluate(
    examples: Sequence[Example],
    sampler: Sampler,
    scorer: Scorer,
    settings: EvaluationSettings,
    out_dir: str | Path,
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Samples and scores what the log in `out_dir` lacks, then writes the summary of the log.

    Examples need distinct ids and rendered prompts. Scores are taken at the end of any schedule
    (`progress=1.0`), so that two checkpoints are judged alike. On an exception or Ctrl-C all
    finished samples are in the log. `slots` may finish a log of `generate`, and the other way
    round; `settings.json` names both then.

    Raises:
        UserError: the log was made with other settings, or another process is writing it.
    """
    out_dir = Path(out_dir)
    by_id = _by_id(examples)
    fingerprint = log_settings(examples, sampler.name, settings)
    with RecordLog(out_dir / SAMPLES, SampleRecord, fingerprint, MAY_GROW, ALIKE) as log:
        prompts = _owed(by_id, settings.num_samples, log.path)
        if prompts:
            run = _Run(by_id, prompts, scorer, settings, log, on_progress)
            run.consume(sampler)
        summary = summarise(
            log.path,
            ks=settings.ks,
            category_fields=settings.category_fields,
            solved_at=settings.solved_at,
            confidence=settings.confidence,
            resamples=settings.resamples,
        )
        write_summary(out_dir, summary)
    return summary


def log_settings(
    examples: Sequence[Example], sampler: str, settings: EvaluationSettings
) -> dict[str, Any]:
    """The content of `settings.json`: all that the samples of a log and their scores depend on."""
    return {
        "model": settings.model,
        "sampler": sampler,
        "num_samples": settings.num_samples,
        "params": asdict(settings.params),
        "solved_at": settings.solved_at,
        "num_examples": len(examples),
        "problems": digest((e.id, e.question, e.answer) for e in examples),
        "prompts": digest((e.id, e.prompt) for e in examples),
        "identity": dict(settings.identity),
    }


def check_log(
    examples: Sequence[Example], settings: EvaluationSettings, out_dir: str | Path
) -> None:
    """Refuses what `evaluate` would refuse of a log in `out_dir`, whatever the engine.

    Nothing is written, and no model is needed: for a check before one is loaded.

    Raises:
        UserError: the log was made with other settings, or another process is writing it.
    """
    log = Path(out_dir) / SAMPLES
    if is_locked(log):
        raise in_use(log)
    _by_id(examples)
    engine = (load_settings(log.parent) or {}).get("sampler", "")  # known once there is a model
    settings_to_keep(log, clean(log_settings(examples, engine, settings)), MAY_GROW)


class _Run:
    """Takes completions as they finish, scores them in small batches, and appends."""

    def __init__(
        self,
        by_id: Mapping[str, Example],
        prompts: Sequence[Prompt],
        scorer: Scorer,
        settings: EvaluationSettings,
        log: RecordLog[SampleRecord],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.examples = [by_id[prompt.key] for prompt in prompts]
        self.prompts, self.scorer, self.settings, self.log = prompts, scorer, settings, log
        self.on_progress = on_progress
        self.owed = [set(range(settings.num_samples)) - prompt.done for prompt in prompts]
        self.total = len(by_id) * settings.num_samples
        self.done_before = self.total - sum(map(len, self.owed))
        self.waiting: list[tuple[SampledCompletion, float]] = []
        self.made = self.correct = self.num_tokens = 0
        self.seconds = 0.0
        self.scorer_failed = False

    def consume(self, sampler: Sampler) -> None:
        stream = iter(sampler.sample(self.prompts, self.settings.num_samples, self.settings.params))
        first_waited = time.monotonic()
        self._report()
        try:
            while True:
                asked = time.monotonic()
                sample = next(stream, None)
                now = time.monotonic()
                if sample is None:
                    break
                self.log.note("sampler", sampler.name)  # which may change at its first sample
                self._take(sample, sampler.name)
                if not self.waiting:
                    first_waited = now
                self.waiting.append((sample, now - asked))
                full = len(self.waiting) >= self.settings.score_batch_size
                if full or now - first_waited > _LONGEST_WAIT_S:
                    self._flush()
        finally:
            # Also on Ctrl-C and on an engine's error: finished samples belong in the log.
            close = getattr(stream, "close", None)
            try:
                if close is not None:
                    close()
            finally:
                if not self.scorer_failed:
                    self._flush()
        if left := sum(map(len, self.owed)):
            raise RuntimeError(f"the sampler {sampler.name!r} stopped with {left} samples missing")

    def _take(self, sample: SampledCompletion, name: str) -> None:
        owed = self.owed[sample.prompt_index]
        if sample.sample_index not in owed:
            raise RuntimeError(
                f"the sampler {name!r} gave sample {sample.sample_index} of "
                f"{self.prompts[sample.prompt_index].key!r}, which was not asked for"
            )
        owed.remove(sample.sample_index)

    def _flush(self) -> None:
        batch = self.waiting
        if not batch:
            return
        examples = [self.examples[sample.prompt_index] for sample, _ in batch]
        completions = [
            Completion(
                sample.text,
                len(sample.token_ids),
                sample.finish_reason,
                token_ids=tuple(sample.token_ids),
            )
            for sample, _ in batch
        ]
        # Each sample is a group of its own: a score that depended on which samples happened to
        # finish together would not be the same after a resume.
        alone = list(range(len(batch)))
        self.scorer_failed = True  # until it returns; Ctrl-C is not a failure of the scorer
        try:
            scores = self.scorer.score_batch(examples, completions, progress=1.0, groups=alone)
        except KeyboardInterrupt:
            self.scorer_failed = False
            raise
        self.scorer_failed = False
        if len(scores) != len(batch):
            raise RuntimeError(f"{len(batch)} completions were scored, {len(scores)} scores came")
        records = [
            make_record(example, sample, score, self.settings, seconds)
            for example, (sample, seconds), score in zip(examples, batch, scores, strict=True)
        ]
        self.waiting = []  # before append: after a second Ctrl-C they must not be written twice
        self.log.append(records)
        self.made += len(records)
        self.correct += sum(bool(record.correct) for record in records)
        self.num_tokens += sum(record.num_tokens for record in records)
        self.seconds += sum(record.seconds for record in records)
        self._report()

    def _report(self) -> None:
        if self.on_progress is not None:
            done = self.done_before + self.made
            self.on_progress(
                Progress(done, self.total, self.made, self.correct, self.num_tokens, self.seconds)
            )


def make_record(
    example: Example,
    sample: SampledCompletion,
    score: Score,
    settings: EvaluationSettings,
    seconds: float,
) -> SampleRecord:
    """One line of the log. With `solved_at` the score decides what is correct, else the grade."""
    fields = fields_of(example, sample, score)
    if settings.solved_at is not None:
        fields["correct"] = score.total >= settings.solved_at
    return SampleRecord(**fields, seed=settings.params.seed, seconds=round(seconds, 6))


def _by_id(examples: Sequence[Example]) -> dict[str, Example]:
    if not examples:
        raise UserError("there are no examples to evaluate on")
    by_id: dict[str, Example] = {}
    for example in examples:
        # As the log holds it, by which a resume finds what is there.
        if by_id.setdefault(clean(example.id), example) is not example:
            raise UserError(f"two examples have the same id, {example.id!r}: ids must differ")
        if not example.prompt:
            raise ValueError(f"the prompt of example {example.id!r} was not rendered")
    return by_id


def _owed(by_id: Mapping[str, Example], num_samples: int, log: Path) -> list[Prompt]:
    """The prompts that lack samples, in the order of the examples, with what each has already."""
    done: dict[str, set[int]] = {key: set() for key in by_id}
    for record in read_samples(log):
        if record.example_id not in done or record.sample_index >= num_samples:
            raise UserError(
                f"{log}: sample {record.sample_index} of {record.example_id!r} is not of this "
                "evaluation. Choose another folder or label."
            )
        done[record.example_id].add(record.sample_index)
    return [
        Prompt(key, example.prompt, frozenset(done[key]), example.prompt_ids or None)
        for key, example in by_id.items()
        if len(done[key]) < num_samples
    ]


def digest(rows: Iterable[tuple[str, ...]]) -> str:
    """A hash of a set of rows, independent of their order."""
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()[:16]
