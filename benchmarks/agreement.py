"""How often the graders agree with labels that were given without them.

    python -m benchmarks.agreement SOLUTIONS.jsonl [--count 5000] [--before REVISION]
                                                   [--graded FILE.jsonl]

Sets, each graded by `groupwise.rewards.grade`, by the grader of an earlier revision (`--before`, in
a checkout of its own), and by math-verify alone:

- GSM8K solutions: the rows of SOLUTIONS.jsonl (GSM8K's training file or one like it) ended in
  many ways, half of them with a wrong number. Nothing of the rows is copied into the result
  except the ends of texts that are graded otherwise than labelled.
- GSM8K texts: short whole answers, written and labelled by hand.
- MATH answers: references in MATH's notation with right and wrong answers, written and labelled
  by hand from MATH's conventions, and put into a closing sentence.
- MATH answers, blind: the same, written without a look at how the graders compare, and graded
  once before anything was fixed for them. `BLIND` is that first figure.
- MATH and GSM8K texts, blind: whole endings as models write them, written after those fixes and
  with them in mind, and graded once. Nothing was fixed for these.
- Kinds: made after public reports of wrong grading and for the rules of
  docs/decisions/rewards-grading.md, written and labelled without a look at the grader. One half
  was used while it was made; the other was graded when that was done. `BLIND_KINDS` is that first
  figure.
- with `--graded`, any further file of lines `{source, gold, text, correct}`; nothing of its rows
  goes into the result but how many agree.

`graded_sets.py` beside this one makes larger sets from random numbers; it was written with the
graders, so it shows speed and that nothing broke, not agreement.

In the data files a line is a reference with answers to it: `right` and `wrong`. `whole` says that
these are whole texts and need no closing. Left out are pairs whose label depends on a question
that is not there: `60 cents` equals 60 and 0.60, but whether `$0.60` may stand for 60 is a matter
of the question, and so is the base of `17_8` where the reference is 17.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks.graded_sets import Case, read_solutions
from benchmarks.rewards import reference_run
from groupwise.rewards import Correctness, Grade
from groupwise.rewards.math.wanted import Case as GradedCase

DATA = Path(__file__).parent / "data"
FURTHER = "further graded texts"
RESULTS = Path(__file__).parent / "results" / "agreement.md"

BLIND = "781 of 788 pairs agree, 99.11 %: 4 wrong answers credited, 3 right ones missed"
BLIND_TEXTS = "271 of 271 agreed when first graded"
BLIND_KINDS = "506 of 519 pairs agree, 97.50 %: 4 wrong answers credited, 9 right ones missed"

# --- GSM8K: real solutions, other endings ------------------------------------------------------

# {n} is the answer as it is spelled, {d} a number that has nothing to do with it
SOLUTION_CLOSINGS = {
    "hash": "{body}\n#### {n}",
    "hash, then another question": "{body}\n#### {n}\n\nQ: Sue has {d} hens. How many eggs?",
    "the answer is": "{body}\nThe answer is {n}.",
    "the answer is, then a reason": "{body}\nThus the final answer is {n}, since {d} are gone.",
    "so the answer": "{body}\n\nSo the answer is: {n}\n",
    "box": "{body}\nWe get $\\boxed{{{n}}}$.",
    "displayed box, then prose": "{body}\n\n\\[\n\\boxed{{{n}}}\n\\]\n\nIt took {d} days.",
    "tags": "<think>{body}</think>\n<answer>{n}</answer>",
    "tags, another number thought": "<think>{body} Or {d}?</think>\n<answer>{n}</answer>",
    "bold answer": "{body}\n\n**Answer: {n}**",
    "final answer": "{body}\nFinal Answer: {n}",
    "answer, then a check": "{body}\nAnswer: {n}\n\nThis shows how {d} of them fit.",
    "heading": "# Solution\n{body}\n\n### Final answer\n\n{n}",
    "prose": "{body}\n\nTherefore, it is {n} in all.",
    "bold in prose": "{body}\n\nTherefore, it is **{n}** after {d} days.",
    "last line": "{body}\nSo the total is {n}",
}


def solution_cases(rows: list[dict[str, str]], count: int, seed: int = 1) -> Iterator[Case]:
    """`count` solutions with a right or a wrong ending, half each."""
    rng = random.Random(seed)
    while count > 0:
        row = rng.choice(rows)
        body, _, final = row["answer"].rpartition("####")
        number = final.strip().replace(",", "")
        # A solution that itself says "the answer" may name another number than the ending does
        if not number.lstrip("-").isdigit() or "answer" in body.lower():
            continue
        correct = rng.random() < 0.5
        value = int(number) if correct else _other_number(rng, int(number), body)
        if (value == int(number)) != correct or (not correct and value == 100 * int(number)):
            continue  # 500% is 5
        kind = rng.choice(list(SOLUTION_CLOSINGS))
        spelled = rng.choice(_spellings(value, boxed="box" in kind))
        text = SOLUTION_CLOSINGS[kind].format(body=body.strip(), n=spelled, d=rng.randint(1, 60))
        yield Case(text, rng.choice([row["answer"], final.strip(), number]), correct, kind)
        count -= 1


def _other_number(rng: random.Random, value: int, body: str) -> int:
    """A number near the right one, made from it, or from the middle of the solution."""
    steps = [int(n) for n in body.replace("<<", " ").replace(">>", " ").split() if n.isdigit()]
    slips = [value + 1, value - 1, value + 10, 2 * value, 10 * value, -value, int(f"{value}5")]
    return rng.choice([*slips, value // 10, rng.choice(steps or slips)])


def _spellings(value: int, boxed: bool) -> list[str]:
    plain = [f"{value}", f"{value}.0", f"{value:,}", f"x = {value}"]
    if boxed:
        return [*plain, f"\\${value:,}", f"{value}\\%", f"{value}\\text{{ apples}}", f"{value}.00"]
    return [*plain, f"${value:,}", f"{value}%", f"{value} apples", f"${value}.00", f"{value} hours"]


# --- Answers in data files ---------------------------------------------------------------------

ANSWER_CLOSINGS = (
    "We first get 3, then 17.\nThus the answer is $\\boxed{%s}$.",
    "<think>Let me see: 3, then 17.</think>\n\n**Final Answer**\n\n\\[\n\\boxed{%s}\n\\]",
    "After 12 lines.\nFinal Answer: The final answer is $%s$. I hope it is correct.",
    "<think>It could be 17.</think>\n<answer>%s</answer>",
    "Therefore, the answer is:\n$$%s$$",
    "Since $x = 3$ was excluded, the final answer is \\(%s\\).",
)


def answer_cases(path: Path) -> Iterator[Case]:
    """The answers of a data file; those that are no whole texts take the closings in turn."""
    turn = 0
    for row in read_solutions(path):
        for correct in (True, False):
            for answer in row["right" if correct else "wrong"]:
                closing = "%s" if row.get("whole") else ANSWER_CLOSINGS[turn % len(ANSWER_CLOSINGS)]
                turn += 1
                yield Case(closing.replace("%s", answer), row["gold"], correct, row["kind"])


def labelled_cases(path: Path) -> Iterator[Case]:
    """The lines of a file of whole texts, one label each."""
    for row in read_solutions(path):
        label = row["right"] if "right" in row else row["correct"]
        kind = row.get("kind") or row.get("source", "")
        options = tuple(row.get("choices", ()))
        yield Case(row["text"], row["gold"], bool(label), kind.partition(":")[0], options)


# --- The result --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Graded:
    """A case, what we say of it with what we took for the answer, what we said before, and what
    math-verify says."""

    case: Case
    ours: bool
    status: str
    extracted: str | None
    before: bool | None
    theirs: bool


def graded(cases: list[Case], earlier: Path | None) -> list[Graded]:
    """Every case under all graders."""
    grades = grade_cases(cases)
    before = earlier_run(cases, earlier) if earlier is not None else [None] * len(cases)
    verdicts, _ = reference_run(cases)
    return [
        Graded(case, grade.correct, grade.status, grade.extracted, old, bool(verdict))
        for case, grade, old, verdict in zip(cases, grades, before, verdicts, strict=True)
    ]


def grade_cases(cases: list[Case]) -> list[Grade]:
    """Our grades, with the options of a multiple choice where a case has them."""
    return Correctness().grade_cases(
        GradedCase(case.text, case.gold, True, case.options) for case in cases
    )


_EARLIER = """
import json, sys
from groupwise.rewards import grade_many
pairs = json.load(sys.stdin)
json.dump([grade.correct for grade in grade_many(map(tuple, pairs))], sys.stdout)
"""


def earlier_run(cases: list[Case], checkout: Path) -> list[bool]:
    """Verdicts of an earlier revision's grader, in a process of its own (without options)."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _EARLIER], input=json.dumps([[c.text, c.gold] for c in cases]),
        capture_output=True, text=True, check=True, cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    return [bool(verdict) for verdict in json.loads(done.stdout)]


@contextmanager
def checkout_of(revision: str) -> Iterator[Path]:
    """A checkout of a revision that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "earlier"
        subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", path, revision], check=True
        )
        try:
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", path], check=True)


def share(verdicts: list[tuple[bool, bool]]) -> str:
    """How many of (verdict, label) agree."""
    return f"{sum(said == label for said, label in verdicts) / len(verdicts):.2%}"


def set_row(name: str, cases: list[Graded]) -> str:
    """Agreement on a set, and which way we err."""
    ours = [(item.ours, item.case.correct) for item in cases]
    before = [(item.before, item.case.correct) for item in cases if item.before is not None]
    theirs = [(item.theirs, item.case.correct) for item in cases]
    columns = [
        f"{share(side)} | {side.count((True, False))} | {side.count((False, True))}"
        if side
        else "– | – | –"
        for side in (ours, before, theirs)
    ]
    return f"| {name} | {len(cases)} | {sum(label for _, label in ours)} | {' | '.join(columns)} |"


def kind_rows(name: str, cases: list[Graded]) -> Iterator[str]:
    """Agreement by kind of answer."""
    by_kind: dict[str, list[Graded]] = defaultdict(list)
    for item in cases:
        by_kind[item.case.made_by].append(item)
    for kind, items in sorted(by_kind.items()):
        ours = share([(item.ours, item.case.correct) for item in items])
        theirs = share([(item.theirs, item.case.correct) for item in items])
        yield f"| {name} | {kind} | {len(items)} | {ours} | {theirs} |"


def disagreement_rows(name: str, cases: list[Graded]) -> Iterator[str]:
    """Every case that we grade otherwise than labelled."""
    for item in cases:
        if item.ours == item.case.correct:
            continue
        error = "credited" if item.ours else f"not credited ({item.status})"
        yield (
            f"| {name} | {error} | {_code(item.case.gold)} | {_code(item.case.text)} | "
            f"{_code(item.extracted or '')} | {'right' if item.theirs else 'wrong'} |"
        )


def _code(text: str, longest: int = 90) -> str:
    """The end of a text as code in a table's cell."""
    shown = json.dumps(text, ensure_ascii=False)[1:-1].replace("\\\\", "\\")
    shown = shown.replace("|", "¦").replace("`", "'")  # a cell can hold neither
    return f"`{'…' if len(shown) > longest else ''}{shown[-longest:]}`" if shown else ""


def sets_of(arguments: argparse.Namespace) -> dict[str, list[Case]]:
    """The cases of every set, by its name."""
    sets = {}
    if arguments.solutions is not None:
        rows = read_solutions(arguments.solutions)
        sets["GSM8K solutions"] = list(solution_cases(rows, arguments.count))
    sets |= {
        "GSM8K texts": list(answer_cases(DATA / "gsm8k_texts.jsonl")),
        "MATH answers": list(answer_cases(DATA / "math_answers.jsonl")),
        "MATH answers, blind": list(answer_cases(DATA / "math_answers_blind.jsonl")),
        "texts, blind": list(answer_cases(DATA / "math_texts_blind.jsonl")),
        "kinds": list(labelled_cases(DATA / "kinds.jsonl")),
        "kinds, blind": list(labelled_cases(DATA / "kinds_blind.jsonl")),
    }
    if arguments.graded is not None:
        sets[FURTHER] = list(labelled_cases(arguments.graded))
    return sets


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("solutions", type=Path, nargs="?", help="GSM8K's solutions, JSON Lines")
    parser.add_argument("--count", type=int, default=5_000, help="of texts made from them")
    parser.add_argument("--before", metavar="REVISION", help="an earlier grader beside ours")
    parser.add_argument("--graded", type=Path, help="further graded texts, JSON Lines")
    arguments = parser.parse_args()

    with checkout_of(arguments.before) if arguments.before else nullcontext() as earlier:
        results = {n: graded(cases, earlier) for n, cases in sets_of(arguments).items()}
    shown = f" gsm8k-train.jsonl --count {arguments.count}" if arguments.solutions else ""
    shown += f" --before {arguments.before}" if arguments.before else ""
    shown += " --graded graded.jsonl" if arguments.graded else ""
    listed = {name: cases for name, cases in results.items() if name != FURTHER}
    lines = [
        "# Rewards: agreement with labels",
        "",
        f"`python -m benchmarks.agreement{shown}`",
        "",
        f"{date.today()}, Python {platform.python_version()}, math-verify "
        f"{version('math-verify')}. What the sets are, and which pairs were left out, is said in "
        "`benchmarks/agreement.py`. For each grader: agreement, credited wrongly, missed.",
        "",
        "| set | pairs | right by label | now | credited | missed | before | credited | missed "
        "| math-verify | credited | missed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(set_row(name, cases) for name, cases in results.items()),
        "",
        f"*MATH answers, blind* when first graded, before anything was fixed for it: {BLIND}. "
        f"*texts, blind* was written after the fixes: {BLIND_TEXTS}. *kinds, blind* when first "
        f"graded: {BLIND_KINDS}; its kinds were fixed afterwards.",
        "",
        "## By kind",
        "",
        "| set | kind | pairs | now | math-verify |",
        "| --- | --- | ---: | ---: | ---: |",
        *(row for name, cases in listed.items() for row in kind_rows(name, cases)),
        "",
        "## Where we and the labels differ",
        "",
        "| set | the answer is | reference | text | answer found | math-verify says |",
        "| --- | --- | --- | --- | --- | --- |",
        *(row for name, cases in listed.items() for row in disagreement_rows(name, cases)),
    ]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
