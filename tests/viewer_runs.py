"""Runs made on the spot for the tests of the review page: small, with every kind of answer."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from groupwise.evaluation.comparison import compare, write_comparison
from groupwise.evaluation.log.records import RolloutRecord, SampleRecord, to_line
from groupwise.evaluation.log.settings import SETTINGS

NUM_PROBLEMS = 120
NUM_SAMPLES = 4

HOSTILE = {
    "script": "<script>window.pwned = 1</script></script><script>window.pwned = 2</script>",
    "handler": "<img src=x onerror='window.pwned = 3'><svg/onload=window.pwned=4>",
    "link": '[click](javascript:window.pwned=5) <a href="javascript:window.pwned=6">x</a>',
    "math": "$\\href{javascript:window.pwned=7}{x}$ $\\htmlClass{y}{z}$ "
    "$\\includegraphics{https://example.org/x.png}$ $\\def\\x{\\x\\x}\\x$ \\(a^{-2} + b\\)",
    "bidi": "abc \u202eevil\u202c \u2066x\u2069 zero\u200bwidth \U000e0041tag",
    "ansi": "\x1b[2J\x1b[31mred\x07\x08 \x9b1m nul\x00",
    "marks": "a" + "\u0301" * 400,
    "data": "\u2028</textarea></title><!-- --!> ]]> {{7*7}} ${window.pwned=8} &lt;b&gt;",
}


def sample(
    example_id: str, index: int, completion: str, correct: bool | None, **more: Any
) -> SampleRecord:
    """A record with what its completion implies; `more` replaces fields."""
    status = {True: "correct", False: "wrong", None: None}[correct]
    fields: dict[str, Any] = {
        "example_id": example_id,
        "sample_index": index,
        "prompt": f"<|user|>\nWhat is {example_id}?<|assistant|>\n",
        "completion": completion,
        "num_tokens": max(1, len(completion) // 4),
        "finish_reason": "stop",
        "answer": "42",
        "extracted": None,
        "status": status,
        "correct": correct,
        "score": None if correct is None else float(correct) + 0.1,
        "parts": {"correctness": float(bool(correct)), "format": 1.0},
        "metadata": {"level": int(example_id[1:]) % 3 if example_id[1:].isdigit() else 0},
    }
    return SampleRecord(**(fields | more))


def write_log(path: Path, records: Iterable[SampleRecord]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(map(to_line, records)), encoding="utf-8")
    return path


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def evaluation_records(seed: int, share: float) -> list[SampleRecord]:
    """Answers of a model that is right this often; p0 and p1 flip between seeds 0 and 1."""
    draw = random.Random(seed)
    records = []
    for problem in range(NUM_PROBLEMS):
        for index in range(NUM_SAMPLES):
            right = draw.random() < share
            if problem in (0, 1):
                right = (problem == 0 and seed == 1) or (problem == 1 and seed == 0)
            if problem == 2:
                right = False
            answer = "42" if right else str(draw.randint(43, 99))
            text = f"<think>first $x^2$, then step {index}</think>So \\boxed{{{answer}}}."
            cut = problem == 3 and index == 0
            records.append(
                sample(
                    f"p{problem}", index, text[:30] if cut else text, right,
                    extracted=None if cut else answer,
                    status="unparseable" if cut else "correct" if right else "wrong",
                    finish_reason="length" if cut else "stop",
                    num_tokens=200 if cut else 20 + problem,
                )
            )  # fmt: skip
    return records


def make_run(folder: Path) -> Path:
    """A finished run: two evaluations, the comparison, training and its findings."""
    for seed, (label, share) in enumerate((("base", 0.3), ("tuned", 0.7))):
        log = write_log(
            folder / "evaluations" / label / "samples.jsonl", evaluation_records(seed, share)
        )
        (log.parent / SETTINGS).write_text("{}")
    write_comparison(
        folder, compare({n: folder / "evaluations" / n for n in ("base", "tuned")}, resamples=200)
    )
    rollouts = []
    for step in range(1, 7):
        for problem in (step % 3, 7):
            for index in range(3):
                base = sample(f"t{problem}", index, f"step {step} says {index}", index < step // 2)
                fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
                rollouts.append(RolloutRecord(**fields, step=step, advantage=0.5 - index))
    write_log(folder / "rollouts.jsonl", rollouts)
    names = ("reward/mean", "reward/correctness/mean", "kl_divergence", "completion_length/mean")
    write_lines(
        folder / "metrics.jsonl",
        [{"step": s, **dict.fromkeys(names, s / 10), "truncated": 0.0} for s in range(1, 7)],
    )
    write_lines(
        folder / "health.jsonl",
        [
            {
                "name": "dead_groups",
                "step": 3,
                "what": "half of the groups are <b>dead</b>",
                "cause": "the problems are too easy",
                "remedy": "take harder ones",
                "numbers": {},
            }
        ],
    )
    return folder


def make_hostile_run(folder: Path) -> Path:
    """An evaluation in which every text is an attack: answers, prompts, ids, names, metadata."""
    records = []
    for number, (name, text) in enumerate(HOSTILE.items()):
        for index in range(2):
            records.append(
                sample(
                    f"{name} {text}"[:80], index, text if index else f"<think>{text}", False,
                    prompt=f"prompt {text}", answer=text, extracted=text,
                    parts={text[:40]: 1.0}, metadata={text[:40]: text[:90], "number": number},
                )
            )  # fmt: skip
    write_log(folder / "evaluations" / "base" / "samples.jsonl", records)
    write_lines(folder / "metrics.jsonl", [{"step": 1, HOSTILE["script"]: 1.0, "reward/mean": 1.0}])
    write_lines(
        folder / "health.jsonl",
        [{"name": HOSTILE["handler"], "what": HOSTILE["link"], "remedy": HOSTILE["script"]}],
    )
    return folder


HOSTILE_NAME = "<img src=x onerror=window.pwned=9>\u202e"


def make_runs(folder: Path, count: int = 10) -> Path:
    """A folder of runs: all of them trained, three measured, one of these on other problems too.

    The first, by its name an attack, is as `make_run` makes it.
    """
    make_run(folder / HOSTILE_NAME)
    make_run(folder / "second")
    other = [replace(r, example_id=f"exam {r.example_id}") for r in evaluation_records(2, 0.5)]
    write_log(folder / "second" / "evaluations" / "tuned-exam" / "samples.jsonl", other[:80])
    write_log(folder / "third" / "evaluations" / "tuned-exam" / "samples.jsonl", other[:80])
    for number in range(2, count):
        name = "third" if number == 2 else f"run-{number}"
        rows = [
            {"step": step, "reward/mean": step * number / 10, "my/own": 0.5, "empty": None}
            for step in range(1, 4 + number)
        ]
        (folder / name).mkdir(exist_ok=True)
        write_lines(folder / name / "metrics.jsonl", rows)
    return folder
