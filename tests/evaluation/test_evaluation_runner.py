"""evaluate(): what it keeps, what it refuses, how it resumes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import ROOT
from evaluation_toy import ToySampler, ToyScorer, toy_examples

from groupwise import evaluation
from groupwise.evaluation.log.records import read_samples
from groupwise.evaluation.runner import EvaluationSettings, Progress, evaluate
from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.evaluation.summary import SUMMARY, TIMING, summarise
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Completion, Example, Score

SETTINGS = EvaluationSettings(num_samples=4, ks=(1, 2, 4), score_batch_size=3, resamples=200)


def run(folder: Path, settings: EvaluationSettings = SETTINGS, order: int = 0) -> ToySampler:
    sampler = ToySampler(order=order)
    evaluate(toy_examples(6), sampler, ToyScorer(), settings, folder)
    return sampler


def test_the_summary_does_not_depend_on_the_order_of_the_samples(tmp_path: Path) -> None:
    run(tmp_path / "a", order=0)
    run(tmp_path / "b", order=1)
    assert (tmp_path / "a/samples.jsonl").read_text() != (tmp_path / "b/samples.jsonl").read_text()
    assert (tmp_path / "a" / SUMMARY).read_bytes() == (tmp_path / "b" / SUMMARY).read_bytes()
    assert set(json.loads((tmp_path / "a" / TIMING).read_text())) == {
        "tokens_per_second",
        "seconds",
    }


def test_a_finished_evaluation_samples_nothing(tmp_path: Path) -> None:
    assert len(run(tmp_path).made) == 24
    assert run(tmp_path).made == []


def test_more_samples_can_be_added_and_fewer_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    more = dataclasses.replace(SETTINGS, num_samples=6)
    added = run(tmp_path, more).made
    assert sorted(added) == [(f"p{i}", j) for i in range(6) for j in (4, 5)]
    with pytest.raises(UserError, match="num_samples: 6 in the log, 4 now"):
        run(tmp_path)
    run(tmp_path / "at_once", more)
    assert (tmp_path / SUMMARY).read_bytes() == (tmp_path / "at_once" / SUMMARY).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": SamplingParams(temperature=0.5)}, "params.temperature: 1.0 in the log, 0.5"),
        ({"params": SamplingParams(seed=7)}, "params.seed: 0 in the log, 7 now"),
        ({"model": "other"}, 'model: "" in the log, "other" now'),
        ({"identity": {"rewards": ["x"]}}, 'identity.rewards: nothing in the log, ["x"] now'),
        ({"solved_at": 0.5}, "solved_at: null in the log, 0.5 now"),
    ],
)
def test_a_log_made_with_other_settings_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    run(tmp_path)
    before = (tmp_path / "samples.jsonl").read_bytes()
    with pytest.raises(UserError, match="made with other settings") as refused:
        run(tmp_path, dataclasses.replace(SETTINGS, **change))
    assert message in str(refused.value)
    assert (tmp_path / "samples.jsonl").read_bytes() == before
    run(tmp_path, dataclasses.replace(SETTINGS, ks=(1,)))  # only another way to count


class Renamed(ToySampler):
    """Stops after some samples; may take another name at its first, as a checked engine does."""

    def __init__(self, name: str, *, becomes: str | None = None, stops_after: int = 99) -> None:
        super().__init__()
        self.name, self.becomes, self.stops_after = name, becomes or name, stops_after

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        self.name = self.becomes
        for count, sample in enumerate(super().sample(prompts, num_samples, params)):
            if count == self.stops_after:
                raise KeyboardInterrupt
            yield sample


def engines(folder: Path, sampler: Renamed) -> str:
    """Who has sampled the log, by its settings, after this sampler."""
    with contextlib.suppress(KeyboardInterrupt):
        evaluate(toy_examples(6), sampler, ToyScorer(), SETTINGS, folder)
    return str(json.loads((folder / "settings.json").read_text())["sampler"])


def test_slots_and_generate_may_finish_each_others_log(tmp_path: Path) -> None:
    """They draw the same answers up to rounding; the log says that both were there."""
    assert engines(tmp_path / "a", Renamed("slots", stops_after=9)) == "slots"
    assert engines(tmp_path / "a", Renamed("generate", stops_after=5)) == "slots, generate"
    assert engines(tmp_path / "a", Renamed("slots")) == "slots, generate"
    assert engines(tmp_path / "b", Renamed("generate")) == "generate"
    assert (tmp_path / "a" / SUMMARY).read_bytes() == (tmp_path / "b" / SUMMARY).read_bytes()
    # Nothing is left to be sampled: the engine of now has no part in it.
    assert engines(tmp_path / "b", Renamed("slots")) == "generate"


def test_an_engine_that_gives_way_is_not_in_the_log(tmp_path: Path) -> None:
    gives_way = Renamed("slots", becomes="generate", stops_after=4)
    assert engines(tmp_path, gives_way) == "generate"
    assert engines(tmp_path, Renamed("slots", becomes="generate")) == "generate"


def test_other_engines_are_refused(tmp_path: Path) -> None:
    assert engines(tmp_path, Renamed("slots", stops_after=9)) == "slots"
    with pytest.raises(UserError, match='sampler: "slots" in the log, "vllm" now'):
        engines(tmp_path, Renamed("vllm"))


def test_other_problems_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    changed = [dataclasses.replace(e, answer="7") for e in toy_examples(6)]
    with pytest.raises(UserError, match=r"problems: .* in the log"):
        evaluate(changed, ToySampler(), ToyScorer(), SETTINGS, tmp_path)


@pytest.mark.parametrize(
    ("examples", "message"),
    [([], "no examples"), ([*toy_examples(1), *toy_examples(1)], "same id, 'p0'")],
)
def test_bad_examples_are_refused(tmp_path: Path, examples: list[Example], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(examples, ToySampler(), ToyScorer(), SETTINGS, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_k_beyond_the_samples_is_refused() -> None:
    with pytest.raises(UserError, match=r"not 16\. Raise num_samples to 16"):
        EvaluationSettings(num_samples=8, ks=(1, 16))
    with pytest.raises(UserError, match="at least 1"):
        EvaluationSettings(num_samples=0, ks=())


class Stopped(ToySampler):
    """Is interrupted after `after` samples."""

    def __init__(self, after: int, error: type[BaseException]) -> None:
        super().__init__()
        self.after, self.error = after, error

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        for i, sample in enumerate(super().sample(prompts, num_samples, params)):
            if i == self.after:
                raise self.error
            yield sample


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_was_finished_before_an_interruption_is_kept(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        evaluate(toy_examples(6), Stopped(10, error), ToyScorer(), SETTINGS, tmp_path)
    assert len(list(read_samples(tmp_path))) == 10
    assert not (tmp_path / SUMMARY).exists()
    assert len(run(tmp_path).made) == 14
    run(tmp_path / "whole")
    assert (tmp_path / SUMMARY).read_bytes() == (tmp_path / "whole" / SUMMARY).read_bytes()


class BrokenScorer(ToyScorer):
    def __init__(self, error: type[BaseException]) -> None:
        self.calls, self.error = 0, error

    def score_batch(
        self,
        examples: Sequence[Example],
        completions: Sequence[Completion],
        progress: float = 0.0,
        groups: object = None,
    ) -> list[Score]:
        self.calls += 1
        if self.calls == 2:
            raise self.error
        return super().score_batch(examples, completions, progress, groups)


@pytest.mark.parametrize(("error", "kept"), [(KeyboardInterrupt, 6), (ZeroDivisionError, 3)])
def test_interrupted_while_scoring(tmp_path: Path, error: type[BaseException], kept: int) -> None:
    scorer = BrokenScorer(error)
    with pytest.raises(error):
        evaluate(toy_examples(6), ToySampler(), scorer, SETTINGS, tmp_path)
    # After Ctrl-C the batch is scored once more; a scorer that failed is not asked again.
    assert len(list(read_samples(tmp_path))) == kept


def test_a_sampler_that_stops_early_or_repeats_itself_is_an_error(tmp_path: Path) -> None:
    class Short(ToySampler):
        def sample(self, prompts, num_samples, params):
            yield from list(super().sample(prompts, num_samples, params))[:5]

    class Twice(ToySampler):
        def sample(self, prompts, num_samples, params):
            first = next(super().sample(prompts, num_samples, params))
            yield from (first, first)

    with pytest.raises(RuntimeError, match="19 samples missing"):
        evaluate(toy_examples(6), Short(), ToyScorer(), SETTINGS, tmp_path / "short")
    with pytest.raises(RuntimeError, match="not asked for"):
        evaluate(toy_examples(6), Twice(), ToyScorer(), SETTINGS, tmp_path / "twice")


def test_progress_counts_what_was_there_before(tmp_path: Path) -> None:
    stopped = Stopped(10, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        evaluate(toy_examples(6), stopped, ToyScorer(), SETTINGS, tmp_path)
    seen: list[Progress] = []
    evaluate(toy_examples(6), ToySampler(), ToyScorer(), SETTINGS, tmp_path, seen.append)
    assert (seen[0].done, seen[0].made, seen[0].total) == (10, 0, 24)
    assert (seen[-1].done, seen[-1].made) == (24, 14)


def test_two_processes_cannot_write_one_log(tmp_path: Path) -> None:
    class Inner(ToySampler):
        def sample(self, prompts, num_samples, params):
            with pytest.raises(UserError, match="another process is writing"):
                run(tmp_path)
            return super().sample(prompts, num_samples, params)

    evaluate(toy_examples(6), Inner(), ToyScorer(), SETTINGS, tmp_path)


class UngradedScorer(ToyScorer):
    def score(self, example: Example, completion: Completion) -> Score:
        return dataclasses.replace(super().score(example, completion), grade=None)


def test_without_grades_accuracy_is_undefined_unless_a_score_decides(tmp_path: Path) -> None:
    summary = evaluate(toy_examples(6), ToySampler(), UngradedScorer(), SETTINGS, tmp_path)
    data = json.loads((tmp_path / SUMMARY).read_text())
    assert data["pass_at_k"]["1"] == {"value": None, "low": None, "high": None}
    assert data["status_counts"]["ungraded"] == 24
    assert summary.mean_score > 0
    decided = summarise(tmp_path, ks=(1,), solved_at=1.0)
    graded = evaluate(toy_examples(6), ToySampler(), ToyScorer(), SETTINGS, tmp_path / "graded")
    assert decided.pass_at_k[1] == summarise(tmp_path / "graded", ks=(1,)).pass_at_k[1]
    assert decided.maj_at_k[1].to_json()["value"] is None  # there are no answers to vote with
    assert graded.maj_at_k[1].value == graded.pass_at_k[1].value


def test_solved_at_writes_what_it_decided_into_the_log(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, solved_at=1.0)
    evaluate(toy_examples(6), ToySampler(), UngradedScorer(), settings, tmp_path)
    assert all(r.correct == (r.score >= 1.0) for r in read_samples(tmp_path))


def test_every_name_of_the_package_can_be_imported() -> None:
    assert [name for name in evaluation.__all__ if not hasattr(evaluation, name)] == []
    # also after the modules behind them were imported, whose names must not hide them
    assert callable(evaluation.compare)
    assert callable(evaluation.pass_at_k)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        evaluation.nonsense  # noqa: B018


def test_the_import_is_light() -> None:
    code = (
        "import sys, evaluation; "
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'pyarrow', 'rich', 'transformers'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = ROOT
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert out.stdout.strip() == "[]"


def test_with_the_real_rubric(tmp_path: Path) -> None:
    """The scorer protocol is what `rewards.build_rubric` gives: the gold answer counts as right."""
    from groupwise.rewards import build_rubric

    class Gold(ToySampler):
        """Says the reference answer at even sample indices, and something else at odd ones."""

        def sample(
            self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
        ) -> Iterator[SampledCompletion]:
            for sample in super().sample(prompts, num_samples, params):
                said = prompts[sample.prompt_index].key if sample.sample_index % 2 == 0 else "-1"
                yield dataclasses.replace(sample, text=f"So it is \\boxed{{{said}}}.")

    examples = [
        dataclasses.replace(e, id=str(i), answer=str(i)) for i, e in enumerate(toy_examples(6))
    ]
    summary = evaluate(examples, Gold(), build_rubric({"correctness": 1.0}), SETTINGS, tmp_path)
    assert summary.pass_at_k[1].value == 0.5
    assert summary.status_counts["correct"] == summary.status_counts["wrong"] == 12
    assert summary.mean_score == pytest.approx(0.5)
    assert {r.extracted for r in read_samples(tmp_path)} == {*(str(i) for i in range(6)), "-1"}
