"""What changes no verdict: layout, thoughts and courtesies around whole texts.

The texts are those of the cases and of the labelled sets of `benchmarks/data`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

from groupwise.rewards import grade_many

FOLDERS = (Path(__file__).parent / "cases", ROOT / "benchmarks" / "data")
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.jsonl"))]

CHANGES: dict[str, Callable[[str], str]] = {
    "a courtesy below": lambda t: t.rstrip() + "\n\nI hope this helps! Let me know if it does not.",
    "a courtesy about the answer": lambda t: t.rstrip() + "\n\nI hope the answer is clear.",
    "a courtesy behind": lambda t: t.rstrip() + " I hope this helps!",
    "a thought before": lambda t: f"<think>\nHm, 17 or 3?\n</think>\n{t}",
    "an end mark": lambda t: t + "<|im_end|>",
    "Windows line breaks": lambda t: t.replace("\n", "\r\n"),
    "no-break spaces": lambda t: t.replace(" ", "\u00a0"),
    "quoted": lambda t: "\n".join(f"> {line}" for line in t.splitlines()),
    "space behind": lambda t: t + "  \n\n",
}


def whole_texts() -> list[tuple[str, str]]:
    """(text, gold) of every case that is a whole text and says nothing else."""
    rows = [json.loads(line) for path in FILES for line in path.read_text().splitlines()]
    return [
        (row["text"], row["gold"])
        for row in rows
        if "text" in row and not row.keys() & {"choices", "grader", "cut_off"}
    ]


@pytest.mark.parametrize("change", CHANGES)
def test_no_verdict_changes(change: str) -> None:
    # A text that hides an answer in a courtesy or a thought is another text with one behind it
    marks = ("think>", "<|", "</s>")
    pairs = [
        (text, gold)
        for text, gold in whole_texts()
        if text.strip() and not any(mark in text for mark in marks)
    ]
    assert len(pairs) > 1_500
    before = grade_many(pairs)
    after = grade_many((CHANGES[change](text), gold) for text, gold in pairs)
    changed = [
        f"gold {gold!r}, text {text!r}: {old} -> {new}"
        for (text, gold), old, new in zip(pairs, before, after, strict=True)
        if old.correct != new.correct
    ]
    assert changed == []
