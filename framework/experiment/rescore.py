"""Other rewards on answers that exist: `groupwise rewards --log LOG --config CONFIG`.

    for change in rescore_all({log: config for log in find_logs(Path("runs/first"))}):
        print(change_table(change))

A log is read a few hundred lines at a time and never changed; the re-scored one is written to a
file that the user names. What it leaves out: token ids, which a log does not hold. Counting and
showing the differences is in `score_change.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from groupwise.evaluation.log.evaluations import EVALUATIONS
from groupwise.evaluation.log.files import replacing
from groupwise.evaluation.log.records import (
    ROLLOUTS,
    SAMPLES,
    RolloutRecord,
    SampleRecord,
    has_steps,
    read_rollouts,
    read_samples,
    to_line,
    without_repeats,
)
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.examples import Split
from groupwise.framework.experiment.data import RunData
from groupwise.framework.experiment.evaluate import evaluation_rubric, rubric_of
from groupwise.framework.experiment.score_change import ScoreChange, ScoreTally
from groupwise.framework.experiment.toy import toy_in_scratch, toy_of
from groupwise.framework.run.directory import EVALUATION_CONFIG, RunDir
from groupwise.rewards import Rubric, UserError
from groupwise.rewards.types import Completion, Example, Score
from groupwise.rewards.user.forms import UserFunction

_SPLITS: tuple[Split, ...] = ("train", "eval")
_CHUNK = 256  # samples that are read and scored at a time


def find_logs(target: Path) -> list[Path]:
    """The log itself, that of an evaluation's folder, or every log of a run.

    Raises:
        UserError: there is none.
    """
    if target.is_file():
        return [target]
    below = f"*/{SAMPLES}" if target.name == EVALUATIONS else f"{EVALUATIONS}/*/{SAMPLES}"
    found = [target / SAMPLES, target / ROLLOUTS, *sorted(target.glob(below))]
    logs = [path for path in found if path.is_file()]
    if not logs:
        raise UserError(
            f"--log {target}: no log; name a {SAMPLES} or {ROLLOUTS}, the folder of an evaluation, "
            "or a run directory"
        )
    return logs


def sections_of_log(log: Path) -> dict[str, Any]:
    """The config that a log was made with, as dictionaries; empty if nothing says which.

    That of `groupwise evaluate` is beside the log; that of a run is in the run's folder.
    """
    beside = log.with_name(EVALUATION_CONFIG)
    if beside.is_file():
        return ExperimentConfig.from_yaml(beside).to_dict()
    for folder in log.resolve().parents[:3]:  # rollouts.jsonl, evaluations/LABEL/samples.jsonl
        run_dir = RunDir(folder)
        if run_dir.config_resolved.is_file():
            return toy_of(run_dir, run_dir.config()).to_dict()
    return {}


def rescore_all(
    configs: Mapping[Path, ExperimentConfig], output: Path | None = None
) -> list[ScoreChange]:
    """Every log under the rewards of its config.

    Raises:
        UserError: `output` for more than one log, or one of them cannot be read.
    """
    if output is not None and len(configs) > 1:
        raise UserError(
            f"--output {output}: takes one log, and there are {len(configs)}; name one with --log: "
            + ", ".join(str(path) for path in configs)
        )
    known: dict[str, dict[str, Example]] = {}  # by where they come from: most logs share it
    changes = []
    for path, config in configs.items():
        source = json.dumps(config.to_dict()["data"])
        if source not in known:
            known[source] = load_questions(config)
        make = rubric_of if has_steps(path) else evaluation_rubric
        with make(config) as rubric:
            steps = config.training.max_steps
            questions = known[source]
            changes.append(rescore(path, rubric, questions, output=output, max_steps=steps))
    return changes


def load_questions(config: ExperimentConfig) -> dict[str, Example]:
    """The examples of a config by id: rewards need fields that a log does not hold."""
    with toy_in_scratch(config) as plain:
        data = RunData(plain)
        return {example.id: example for split in _SPLITS for example in data.examples(split)}


def rescore(
    path: Path,
    rubric: Rubric,
    questions: Mapping[str, Example],
    *,
    output: Path | None = None,
    max_steps: int | None = None,
) -> ScoreChange:
    """Scores every answer of a log; `output` gets the log with the new scores.

    `max_steps` places rollouts on the schedule of the weights; by default the log's last step is
    the end of the training. Advantages are null in the output: they follow from the old rewards.

    Raises:
        UserError: the log cannot be read, or `output` is the log itself.
        RewardError: a reward failed, and the rubric's `on_error` is `stop`.
    """
    if output is not None and output.exists() and output.samefile(path):
        raise UserError(f"--output {output}: is the log itself; name another file")
    is_rollouts = has_steps(path)
    if is_rollouts and max_steps is None and _asks_for_progress(rubric):
        max_steps = max((record.step for record in read_rollouts(path)), default=1)
    rubric = replace(rubric, num_steps=max_steps or rubric.num_steps)
    tally = ScoreTally()
    unknown_questions = 0
    destination: AbstractContextManager[Path | None] = (
        replacing(output) if output is not None else nullcontext()
    )
    with destination as beside, _writing(beside) as file:
        for records in _batches(path, is_rollouts):
            examples = [_example(record, questions) for record in records]
            unknown_questions += sum(r.example_id not in questions for r in records)
            scores = rubric.score_batch(
                examples,
                [Completion(r.completion, r.num_tokens, r.finish_reason) for r in records],
                progress=_progress(records[0], max_steps),
            )
            for record, score in zip(records, scores, strict=True):
                after = _rescored(record, score)
                tally.add(record, after)
                if file is not None:
                    file.write(to_line(after))
    return tally.change(path, unknown_questions)


def _asks_for_progress(rubric: Rubric) -> bool:
    """Whether scores depend on the step: by a schedule, or a function that reads trainer_state."""
    return any(spec.schedule for spec in rubric.specs.values()) or any(
        isinstance(reward, UserFunction) for reward in rubric.rewards.values()
    )


def _writing(path: Path | None) -> AbstractContextManager[IO[str] | None]:
    return nullcontext() if path is None else path.open("w", encoding="utf-8", newline="\n")


def _batches(path: Path, is_rollouts: bool) -> Iterator[list[SampleRecord]]:
    """Rollouts step by step, so that rewards can be normalised by group; samples in chunks."""
    if is_rollouts:
        for _, step in groupby(read_rollouts(path), key=lambda record: record.step):
            yield list(step)
        return
    batch: list[SampleRecord] = []
    for record in without_repeats(read_samples(path)):
        batch.append(record)
        if len(batch) == _CHUNK:
            yield batch
            batch = []
    if batch:
        yield batch


def _example(record: SampleRecord, questions: Mapping[str, Example]) -> Example:
    known = questions.get(record.example_id)
    if known is None:
        known = Example(record.example_id, question=record.prompt, answer=record.answer)
    return replace(known, answer=record.answer, prompt=record.prompt, metadata=record.metadata)


def _progress(record: SampleRecord, max_steps: int | None) -> float:
    if not isinstance(record, RolloutRecord):
        return 1.0  # as in the evaluation
    if not max_steps:
        return 0.0
    return min(1.0, (record.step - 1) / max_steps)


def _rescored(record: SampleRecord, score: Score) -> SampleRecord:
    grade = score.grade
    changes: dict[str, Any] = {
        "score": None if math.isnan(score.total) else score.total,
        "parts": score.parts,
        "extra": score.extra,
        "status": grade.status if grade else None,
        "correct": grade.correct if grade else None,
        "extracted": grade.extracted if grade else None,
    }
    if isinstance(record, RolloutRecord):
        changes["advantage"] = None
    return replace(record, **changes)
