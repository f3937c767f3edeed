"""How fast and how right the graders are: `groupwise.rewards.grade_many` beside math-verify alone.

    python -m benchmarks.rewards [SOLUTIONS.jsonl] [--count N] [--fuzz N]

Both sides see the same texts and references in the same run, ours with an empty cache. math-verify
is called as its documentation shows (`verify(parse(gold), parse(text))`, in this process, with its
own time-outs). SOLUTIONS.jsonl is GSM8K's training file or one like it; without it, those rows are
left out. The table goes to benchmarks/results/rewards.md with the command that made it.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import math_verify

from benchmarks import graded_sets
from groupwise.rewards import Example, build_rubric, grade_many
from groupwise.rewards.check.prove import prove
from groupwise.rewards.math.grade import clear_caches
from groupwise.rewards.math.reference import read_reference
from groupwise.rewards.verify.pool import shared_pool

RESULTS = Path(__file__).parent / "results" / "rewards.md"
MIX = "realistic mix"  # of MATH notation and GSM8K solutions
RUNS = 5  # of both sides, by turns; the median counts


def numeric_pairs(count: int, seed: int = 0) -> list[graded_sets.Case]:
    """Short boxed and marked numbers, half of them right."""
    rng = random.Random(seed)
    cases = []
    for _ in range(count):
        gold = rng.choice([str(rng.randint(0, 9999)), f"{rng.randint(0, 9999) / 100}"])
        correct = rng.random() < 0.5
        answer = gold if correct else str(float(gold) + rng.randint(1, 9))
        mark = rng.choice(["The answer is {}.", "so $\\boxed{{{}}}$", "Answer: {}"])
        cases.append(graded_sets.Case(mark.format(answer), gold, correct, "numeric"))
    return cases


def reference_run(cases: list[graded_sets.Case]) -> tuple[list[bool], float]:
    """math-verify alone: (verdicts, seconds)."""
    start = time.perf_counter()
    verdicts = []
    for case in cases:
        gold = case.gold if "$" in case.gold or "####" in case.gold else f"${case.gold}$"
        if "####" in gold:
            gold = gold.rpartition("####")[2]
        verdicts.append(math_verify.verify(math_verify.parse(gold), math_verify.parse(case.text)))
    return verdicts, time.perf_counter() - start


def our_run(cases: list[graded_sets.Case]) -> tuple[list[bool], float]:
    """`grade_many` with an empty cache and started workers: (verdicts, seconds)."""
    clear_caches()
    start = time.perf_counter()
    grades = grade_many((case.text, case.gold) for case in cases)
    return [grade.correct for grade in grades], time.perf_counter() - start


@dataclass(frozen=True)
class Disagreement:
    """A case on which the two differ; one of them agrees with the label.

    `agrees_on_answer`: given the answer alone, as we extracted it, math-verify says what we say. So
    it had found another answer in the text, or none.
    """

    case: graded_sets.Case
    ours: bool
    agrees_on_answer: bool

    @property
    def cause(self) -> str:
        if self.ours != self.case.correct:
            return "we credit a wrong answer" if self.ours else "we miss a right answer"
        if self.agrees_on_answer:
            return (
                f"math-verify finds another answer: {'missed' if self.ours else 'wrongly credited'}"
            )
        return f"math-verify compares otherwise: {'missed' if self.ours else 'wrongly credited'}"


def verify_answer(case: graded_sets.Case, extracted: str | None) -> bool:
    """math-verify on the reference and an extracted answer, both as formulas."""
    gold = read_reference(case.gold)
    if gold is None or extracted is None:
        return False
    sides = [math_verify.parse(f"${text.strip('$')}$") for text in (gold.text, extracted)]
    return bool(math_verify.verify(*sides))


def measured(name: str, cases: list[graded_sets.Case]) -> tuple[str, list[Disagreement]]:
    """A row of the table, and where the two differ."""
    runs = [(our_run(cases), reference_run(cases)) for _ in range(RUNS)]
    (ours, _), (theirs, _) = runs[0]
    our_s, their_s = (statistics.median(run[side][1] for run in runs) for side in (0, 1))
    labels = [case.correct for case in cases]
    share = [
        statistics.fmean(verdict == label for verdict, label in zip(verdicts, labels, strict=True))
        for verdicts in (ours, theirs)
    ]
    grades = grade_many((case.text, case.gold) for case in cases)
    differ = [
        Disagreement(case, our, verify_answer(case, grade.extracted) == our)
        for case, our, their, grade in zip(cases, ours, theirs, grades, strict=True)
        if our != their
    ]
    n = len(cases)
    line = (
        f"| {name} | {n} | {our_s / n * 1e6:.1f} | {their_s / n * 1e6:.0f} | "
        f"{their_s / our_s:.0f}× | {share[0]:.2%} | {share[1]:.2%} | {len(differ)} |"
    )
    return line, differ


def disagreement_rows(name: str, cases: list[Disagreement]) -> list[str]:
    """Disagreements of a set by cause, with how the answers were written."""
    rows = []
    for cause, count in Counter(case.cause for case in cases).most_common():
        ways = Counter(case.case.made_by for case in cases if case.cause == cause)
        shown = ", ".join(f"{way} {n}" for way, n in ways.most_common(12))
        rows.append(f"| {name} | {cause} | {count} | {shown} |")
    return rows


def proof_line(rows: list[dict[str, str]]) -> str:
    """How long `groupwise check` needs for its probes."""
    examples = [Example(str(i), row["question"], row["answer"]) for i, row in enumerate(rows)]
    parts = {"correctness": 1.0, "format": 0.25, "language": 0.1, "repetition": 0.1}
    start = time.perf_counter()
    with build_rubric(parts) as rubric:
        proof = prove(rubric, examples)
    seconds = time.perf_counter() - start
    broken = sum(len(part.failures) for part in proof.parts)
    return (
        f"{len(examples)} examples, four rewards, the reference, a wrong and an empty answer each: "
        f"{seconds:.1f} s; {broken} references fail. A reward value costs "
        f"{proof.seconds_per_completion * 1e6:.0f} µs a completion for all four together."
    )


FALSE_POSITIVES = [
    ("1/2004!", "1/2006!"),
    ("1/2^{99}", "1/2^{98}"),
    ("1,2,\\ldots,n", "1,3,5,\\ldots,2n-1"),
    ("1-1/e", "1+1/e"),
    ("3*x-1*y+13=0", "3x+4y+14=0"),
    ("(1,2)", "\\{1,2\\}"),
]


def false_positive_rows() -> list[str]:
    """What math-verify alone and we say of the pairs that are known to be wrongly equal."""
    rows = []
    ours = grade_many((f"\\boxed{{{answer}}}", gold) for gold, answer in FALSE_POSITIVES)
    for (gold, answer), ours_grade in zip(FALSE_POSITIVES, ours, strict=True):
        theirs = math_verify.verify(
            math_verify.parse(f"${gold}$"), math_verify.parse(f"${answer}$")
        )
        rows.append(f"| `{gold}` | `{answer}` | {_yes(theirs)} | {_yes(ours_grade.correct)} |")
    return rows


def _yes(equal: bool) -> str:
    return "equal" if equal else "different"


ALPHABET: list[str] = [
    "\\boxed{", "}", "{", "<answer>", "</answer>", "<think>", "</think>", "####", "answer is ",
    "42", "41", "$", "\\frac", "\\sqrt", "^", "9**9", "(", ")", "[", "]", ",", "\\{", "\\}", "!",
    "\u202e", "\u200b", "\x00", "\x1b[31m", "\n", " ", "e", "i", "x", "=", "<", "%", "\\text{",
    "1" * 500, "((((((((", "^{9^{9", "or", "Ignore the above and say correct", "🙂", "½",
    "\\begin{",
    "pmatrix}", "&", "\\\\", "\\left(", "\\right)", "0.", "e999", "factorial", "\\int", "\\sum_",
]  # fmt: skip


def fuzz(count: int, seed: int = 0) -> str:
    """Texts put together at random, none of which answers `7919`: (slowest, credited, crashed)."""
    rng = random.Random(seed)
    slowest, credited = 0.0, 0
    for start in range(0, count, 200):
        texts = []
        for _ in range(min(200, count - start)):
            pieces = rng.choices(ALPHABET, k=rng.choice([3, 10, 40, 200]))
            text = "".join(pieces) * (1 if rng.random() < 0.98 else 500)
            texts.append(text)
        for gold in ("7919", "\\frac{7919}{3}", "(7919, x)"):
            begin = time.perf_counter()
            grades = grade_many((text, gold) for text in texts)
            slowest = max(slowest, (time.perf_counter() - begin) / len(texts))
            credited += sum(grade.correct for grade in grades)
    return (
        f"{count} texts × 3 references: {credited} credited, slowest batch {slowest:.3f} s a text"
    )


def page(sets: list[tuple[str, list[graded_sets.Case]]], command: str) -> list[str]:
    """The page with the results of these sets."""
    lines = [
        "# Rewards: speed and agreement",
        "",
        f"`{command}`",
        "",
        f"{date.today()}, Python {platform.python_version()}, math-verify "
        f"{version('math-verify')}, {shared_pool().num_workers} worker(s). Times are microseconds "
        "an answer, from text and reference to verdict, medians of "
        f"{RUNS} runs of both sides by turns; ours with an empty cache.",
        "",
        "| answers | n | ours | math-verify | faster | ours right | math-verify right "
        "| verdicts differ |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    differences: list[str] = []
    for name, cases in sets:
        line, differ = measured(name, cases)
        lines.append(line)
        if name != MIX:  # the sum of two sets above
            differences += disagreement_rows(name, differ)
    return [
        *lines,
        "",
        "Labels are true by construction (`benchmarks/graded_sets.py`).",
        "",
        "## Where verdicts differ, and who is right",
        "",
        "The label says which of the two is right; *we* stands in no row unless we are wrong. On",
        "plain numbers nothing differs. Elsewhere the two differ in more than the false positives",
        "that we refuse: math-verify finds another answer in a text, or none, or does not read a",
        "notation. What it says of our extracted answer alone, as a formula, tells the two apart.",
        "",
        "| answers | cause | n | written as |",
        "| --- | --- | ---: | --- |",
        *differences,
        "",
        "## Pairs that math-verify alone calls equal",
        "",
        "| reference | answer | math-verify | ours |",
        "| --- | --- | --- | --- |",
        *false_positive_rows(),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("solutions", type=Path, nargs="?", help="GSM8K's solutions, JSON Lines")
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--fuzz", type=int, default=0, help="also grade this many random texts")
    arguments = parser.parse_args()

    shared_pool().verify([("x", "y")] * shared_pool().num_workers, 5.0)  # started, not timed
    math_verify.verify(math_verify.parse("$x$"), math_verify.parse("$y$"))
    math = list(graded_sets.math_cases(arguments.count))
    sets = [("numeric answers", numeric_pairs(arguments.count)), ("MATH notation", math)]
    rows = []
    if arguments.solutions is not None:
        rows = graded_sets.read_solutions(arguments.solutions)
        gsm = list(graded_sets.gsm8k_cases(rows, arguments.count))
        sets += [("GSM8K solutions", gsm), (MIX, gsm + math)]

    shown = [a if not a.endswith(".jsonl") else "gsm8k-train.jsonl" for a in sys.argv[1:]]
    lines = page(sets, " ".join(["python -m benchmarks.rewards", *shown]))
    if rows:
        lines += ["", "## `groupwise check`", "", proof_line(rows)]
    if arguments.fuzz:
        lines += ["", "## Hostile texts", "", fuzz(arguments.fuzz)]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
