"""Cases for the grader that a test makes, each labelled as it is made, and graded in one batch.

    hold([(gold, text, right), ...])    # fails with every case that is graded otherwise

It leaves out how the cases are made: see the tests that import it.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from groupwise.rewards import grade_many

Case = tuple[str, str, bool]
"""The reference, the text, and whether it is right."""

MARKED = ("\\boxed{%s}", "<answer>%s</answer>", "Some 4 steps.\nThe final answer is $%s$.")
PLAIN = ("\\boxed{%s}", "<answer>%s</answer>", "Some 4 steps.\nAnswer: %s")

MOST_SHOWN = 60


def hold(cases: Iterable[Case]) -> None:
    made = list(dict.fromkeys(cases))
    labels = {(gold, text): right for gold, text, right in made}
    assert len(labels) == len(made), "a case is labelled in two ways"
    assert set(labels.values()) == {True, False}
    grades = grade_many([(text, gold) for gold, text, _ in made])
    wrong = [
        f"gold {gold!r}, text {text!r}: {got}, expected {'right' if right else 'wrong'}"
        for (gold, text, right), got in zip(made, grades, strict=True)
        if got.correct != right
    ]
    if wrong:
        pytest.fail(f"{len(wrong)} of {len(made)}\n" + "\n".join(wrong[:MOST_SHOWN]), pytrace=False)
