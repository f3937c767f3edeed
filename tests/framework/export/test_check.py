"""What is compared between an export and the policy: divergences, near ties, what fails."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.evaluation.comparison import Difference, Pair
from groupwise.evaluation.metrics.intervals import Estimate
from groupwise.framework.export.answerer import Question, Reply
from groupwise.framework.export.check import (
    Findings,
    expected_error,
    failures,
    findings_of,
    lost,
    mean_divergence,
    pass_at_k_failure,
)
from groupwise.framework.export.precision import Rounding, rounding
from groupwise.framework.export.reference import Reference

VOCABULARY = 50
PLACES = 40


def model(seed: int, noise: float = 0.0) -> np.ndarray[Any, Any]:
    """Logits (T, V) of one model; with noise, of one that was rounded."""
    logits = 3 * np.random.default_rng(seed).standard_normal((PLACES, VOCABULARY))
    return logits + noise * np.random.default_rng(seed + 99).standard_normal(logits.shape)


def question_of(logits: np.ndarray[Any, Any]) -> Question:
    """A policy that has answered with its likeliest tokens."""
    best = np.argsort(-logits, axis=-1)[:, :8]
    answer = tuple(best[:, 0].tolist())
    return Question((), (1, 2), answer, tuple(map(tuple, best.tolist())))


def reply_of(logits: np.ndarray[Any, Any], question: Question) -> Reply:
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rows = [
        [float(row[i]) for i in ids] for row, ids in zip(logprobs, question.candidates, strict=True)
    ]
    best = tuple(logits.argmax(-1).tolist())
    return Reply(best, tuple(map(tuple, rows)), best)


def reference_of(tuned: np.ndarray[Any, Any], base: np.ndarray[Any, Any]) -> Reference:
    question = question_of(tuned)
    own, other = reply_of(tuned, question), reply_of(base, question)
    return Reference((question,), (own,), (other,), frozenset({7}), 3.0, 8, 64)


def found(reference: Reference, logits: np.ndarray[Any, Any], sigma: float) -> Findings:
    reply = reply_of(logits, reference.questions[0])
    return findings_of(reference, [reply], frozenset({7, 8}), 0, sigma, "a loader")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_a_divergence_is_positive_and_zero_for_the_same(one: int, other: int) -> None:
    question = question_of(model(one))
    first, second = (reply_of(model(seed), question) for seed in (one, other))
    assert mean_divergence([first], [first]) == 0
    assert mean_divergence([first], [second]) >= (0 if one == other else 0.1)


@pytest.mark.parametrize("sigma", [0.001, 0.01, 0.1])
def test_noise_of_a_size_makes_the_divergence_that_is_expected(sigma: float) -> None:
    """sigma^2 / 2, less what the certainty of the policy takes away from it."""
    of = [question_of(model(seed)) for seed in range(20)]
    pairs = [(reply_of(model(s), q), reply_of(model(s, sigma), q)) for s, q in enumerate(of)]
    measured = mean_divergence(*map(list, zip(*pairs, strict=True)))
    assert 0.2 < measured / (sigma**2 / 2) < 1


def test_rounding_is_that_of_the_type() -> None:
    """The relative error of numbers whose logarithm is uniform, rounded to 8 bits of mantissa."""
    x = np.exp2(np.random.default_rng(0).uniform(-8, 8, 100_000)).astype(np.float32)
    step = np.exp2(np.floor(np.log2(x)) - 7)
    rounded = np.round(x / step) * step
    assert rounding("bfloat16") == pytest.approx(np.sqrt(np.mean((rounded / x - 1) ** 2)), rel=0.02)
    assert rounding("float16") == pytest.approx(rounding("bfloat16") / 8)


def test_expected_error_is_that_of_weights_and_of_arithmetic() -> None:
    """The one as deep as it may be, the other by the layer; beside what was measured."""
    assert expected_error(Rounding(0.01, 0), 2, 3.0) == expected_error(Rounding(0.01, 0), 99, 3.0)
    assert expected_error(Rounding(0.01, 0), 2, 3.0) == pytest.approx(0.03 * math.sqrt(10))
    assert expected_error(Rounding(0, 0.01), 4, 3.0) == pytest.approx(0.03 * 6)


def test_what_is_the_same_passes() -> None:
    reference = reference_of(model(0), model(1))
    same = found(reference, model(0), 1e-4)
    assert (same.same_answers, same.other_answers, same.token_agreement) == (1, 0, 1.0)
    assert same.divergence == same.largest_difference == 0
    assert list(failures(same)) == []


def test_rounding_passes_within_what_it_explains() -> None:
    reference = reference_of(model(0), model(1))
    rounded = found(reference, model(0, noise=0.02), 0.02)
    assert 0 < rounded.divergence < rounded.tolerance
    assert list(failures(rounded)) == []


def test_a_near_tie_is_no_other_answer() -> None:
    tied = model(0)
    first, second = np.argsort(-tied[5])[:2]
    tied[5, second] = tied[5, first] - 1e-4
    swapped = tied.copy()
    swapped[5, second] += 2e-4
    reference = reference_of(tied, model(1))
    seen = found(reference, swapped, 1e-4)
    assert (seen.same_answers, seen.other_answers) == (0, 0)
    assert seen.greedy_agreement == 5 / PLACES
    assert found(reference, swapped, 1e-5).other_answers == 1


def reply(reference: Reference, **changes: Any) -> Findings:
    answer = replace(reply_of(model(0), reference.questions[0]), **changes)
    return findings_of(reference, [answer], frozenset({7}), 0, 1e-3, "a loader")


def test_an_answer_that_goes_on_is_another() -> None:
    reference = reference_of(model(0), model(1))
    answer = reference.questions[0].answer_ids
    assert reply(reference, greedy_ids=(*answer, 3)).other_answers == 1
    assert reply(reference, greedy_ids=answer[:-1]).other_answers == 1


TUNED, BASE = model(0), model(1)
WRONG = {
    "the base model's weights": (
        lambda r: found(r, BASE, 1e-3),
        ["its probabilities", "greedy answers differ", "is nearer to the model before training"],
    ),
    "other weights": (
        lambda r: found(r, model(2), 1e-3),
        ["its probabilities", "greedy answers differ", "is nearer to"],
    ),
    "another template": (
        lambda r: replace(found(r, TUNED, 1e-3), other_prompts=1),
        ["1 of 1 prompts have other tokens than in the run"],
    ),
    "no end": (
        lambda r: replace(found(r, TUNED, 1e-3), missing_ends=(7,)),
        ["does not end an answer at token 7"],
    ),
    "no number": (
        lambda r: replace(found(r, TUNED, 1e-3), divergence=math.nan),
        ["its probabilities", "is nearer to the model before training"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str) -> None:
    make, expected = WRONG[name]
    said = list(failures(make(reference_of(TUNED, BASE))))
    assert len(said) == len(expected), said
    for text, part in zip(said, expected, strict=True):
        assert part in text


def test_an_adapter_that_changes_little_is_still_told_from_none() -> None:
    """A change far below what rounding to 4 bits explains: the base model's answers are nearer."""
    tuned, base = model(0), model(0, noise=0.01)
    reference = reference_of(tuned, base)
    sigma = 0.5
    assert list(failures(found(reference, model(0), sigma))) == []
    (said,) = failures(found(reference, base, sigma))
    assert "is nearer to the model before training" in said


def test_training_that_has_changed_nothing_is_no_failure_but_shows() -> None:
    assert found(reference_of(TUNED, BASE), TUNED, 1e-3).shows_training
    nothing = found(reference_of(TUNED, TUNED), TUNED, 1e-3)
    assert (nothing.shows_training, list(failures(nothing))) == (False, [])


def pair(value: float, low: float, high: float) -> Pair:
    row = Difference(Estimate(0.8), Estimate(0.8), Estimate(value, low, high), 0.5, "exact")
    side: Any = None
    return Pair(
        "tuned", "tuned-merged", 200, (side, side), {1: row}, {}, row, (), (), 0, (), (), None,
        None, 0.0, "",
    )  # fmt: skip


LOSSES = {
    "lost": ((-0.012, -0.029, 0.004), "lost 1.2 points [-0.4, 2.9]", False),
    "gained": ((0.01, -0.005, 0.02), "gained 1.0 points [-0.5, 2.0]", False),
    "none": ((0.0, 0.0, 0.0), "lost 0.0 points [0.0, 0.0]", False),
    "no problem differs": ((0.0, math.nan, math.nan), "lost 0.0 points", False),
    "not for certain": ((-0.2, -0.4, -0.05), "lost 20.0 points [5.0, 40.0]", False),
    "much": ((-0.2, -0.3, -0.1), "lost 20.0 points [10.0, 30.0]", True),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_lost_in_pass_at_1(name: str) -> None:
    numbers, text, fails = LOSSES[name]
    assert lost(pair(*numbers)) == f"pass@1: the export {text} on 200 problems"
    assert bool(list(pass_at_k_failure(pair(*numbers)))) == fails
