"""Graded sets for the graders: answers with a label that is true by construction.

    python -m benchmarks.graded_sets SOLUTIONS.jsonl --count 5000

- `gsm8k_cases`: solutions in GSM8K's form (a JSON object a line with `question` and `answer`, the
  answer ending in `#### N`), rewritten in many right ways (spelling of the number, marks around it)
  and many wrong ones (another number, the right one hidden among others, a broken last mark).
- `math_cases`: answers in MATH's notation, made here from random numbers: fractions, mixed numbers,
  radicals, multiples of pi, sets, intervals, tuples, matrices, units, percent, degrees, words,
  choices, equations, polynomials.

Run by itself it grades both and prints every disagreement. Nothing of the data is copied.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from groupwise.rewards import grade_many


@dataclass(frozen=True)
class Case:
    """A text, its reference, whether the text answers it rightly, how it was made, and the options
    of a multiple choice."""

    text: str
    gold: str
    correct: bool
    made_by: str
    options: tuple[str, ...] = ()


# --- GSM8K -----------------------------------------------------------------------------------

NUMBER_SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda n: n,
    "thousands": lambda n: f"{int(n):,}",
    "dollars": lambda n: f"${int(n):,}",
    "escaped dollars": lambda n: f"\\${n}",
    "decimals": lambda n: f"{n}.00",
    "unit": lambda n: f"{n} apples",
    "money": lambda n: f"{n} dollars",
    "braced comma": lambda n: f"{int(n):,}".replace(",", "{,}"),
    "plus": lambda n: f"+{n}" if not n.startswith("-") else n,
    "percent": lambda n: f"{n}%",
    "full stop": lambda n: f"{n}.",
    "bold": lambda n: f"**{n}**",
    "math": lambda n: f"${n}$",
}
MARKS: dict[str, Callable[[str, str], str]] = {
    "hash": lambda body, n: f"{body}\n#### {n}",
    "boxed": lambda body, n: f"{body}\nSo we get $\\boxed{{{n.strip('$')}}}$.",
    "tags": lambda body, n: f"<think>{body}</think>\n<answer>{n}</answer>",
    "answer is": lambda body, n: f"{body}\nThe answer is {n}",
    "final answer": lambda body, n: f"{body}\n\n**Final Answer:** {n}",
    "answer colon": lambda body, n: f"{body}\nAnswer: {n}",
    "last number": lambda body, n: f"{body}\nSo altogether it makes {n}",
}


def gsm8k_cases(lines: list[dict[str, str]], count: int, seed: int = 0) -> Iterator[Case]:
    """`count` cases, about half of them right."""
    rng = random.Random(seed)
    while count > 0:
        row = rng.choice(lines)
        body, _, final = row["answer"].rpartition("####")
        body, number = body.strip(), final.strip().replace(",", "")
        # A body that already states an answer in words would make the label a matter of taste
        if not number.lstrip("-").isdigit() or "answer" in body.lower():
            continue
        gold = rng.choice([row["answer"], final.strip(), number])
        maker = rng.choice([_right, _wrong])
        made = maker(rng, body, number)
        if made is not None:
            yield Case(made[0], gold, maker is _right, made[1])
            count -= 1


def _right(rng: random.Random, body: str, number: str) -> tuple[str, str]:
    spelling = rng.choice(list(NUMBER_SPELLINGS))
    mark = rng.choice(list(MARKS))
    return MARKS[mark](body, NUMBER_SPELLINGS[spelling](number)), f"{mark}, {spelling}"


def _wrong(rng: random.Random, body: str, number: str) -> tuple[str, str] | None:
    value = int(number)
    others = {
        "off by one": value + rng.choice([-1, 1]),
        "ten times": value * 10,
        "sign": -value,
        "a digit more": int(number + str(rng.randrange(1, 10))),
        "a digit less": int(number[:-1]) if len(number.lstrip("-")) > 1 else value + 3,
        "half more": value + 0.5,
    }
    name = rng.choice(list(others))
    wrong = others[name]
    if wrong == value:
        return None
    kind = rng.choice(["plain", "plain", "plain", "hidden", "late", "hedge", "broken", "none"])
    mark = rng.choice(list(MARKS))
    text = MARKS[mark](body, str(wrong))
    if kind == "plain":
        return text, f"{mark}, {name}"
    if kind == "hidden":  # the right one before the wrong one, under the same mark
        return MARKS[mark](MARKS["hash"](body, number) if mark == "hash" else body, str(wrong)), (
            f"{mark}, hidden"
        )
    if kind == "late":
        first = rng.choice(["boxed", "hash"])
        return MARKS[first](MARKS[first](body, number), str(wrong)), f"{first}, twice"
    if kind == "hedge":
        hedge = rng.choice([f"{number} or {wrong}", f"{wrong} or {number}", f"{number}, {wrong}"])
        mark = rng.choice(["boxed", "tags", "hash"])
        return MARKS[mark](body, hedge), f"{mark}, hedge"
    if kind == "broken":
        return f"{body} \\boxed{{{number}}} and then \\boxed{{{wrong}", "broken last box"
    return "I do not know how to solve this problem.", "no answer"


# --- MATH ------------------------------------------------------------------------------------


def _fraction(rng: random.Random) -> tuple[str, list[str], list[str]]:
    top, bottom = rng.randint(1, 30), rng.choice([2, 4, 5, 8, 10, 16, 20, 25])
    value = Fraction(top, bottom)
    a, b = value.numerator, value.denominator
    if b == 1:
        b, a = 2, 2 * a + 1
    exact = str(a / b)
    right = [f"\\frac{{{a}}}{{{b}}}", f"\\dfrac{{{a}}}{{{b}}}", f"{a}/{b}", exact, f"${a}/{b}$"]
    right += [f"\\frac{{{2 * a}}}{{{2 * b}}}", f"\\tfrac{{{a}}}{{{b}}}"]
    if a > b:
        right += [f"{a // b}\\frac{{{a % b}}}{{{b}}}", f"{a // b} {a % b}/{b}"]
    wrong = [f"\\frac{{{b}}}{{{a}}}", f"-\\frac{{{a}}}{{{b}}}", f"\\frac{{{a + 1}}}{{{b}}}", str(a)]
    return right[0], right, [w for w in wrong if a != b]


def _radical(rng: random.Random) -> tuple[str, list[str], list[str]]:
    k, r = rng.randint(2, 9), rng.choice([2, 3, 5, 7, 11])
    right = [f"{k}\\sqrt{{{r}}}", f"{k} \\sqrt {{{r}}}", f"\\sqrt{{{k * k * r}}}", f"{k}\\sqrt{r}"]
    right += [f"{k}*sqrt({r})", f"{k}√{r}", f"{k}\\sqrt{{{r}}}\\text{{ cm}}"]
    wrong = [f"{k}\\sqrt{{{r + 1}}}", f"{k + 1}\\sqrt{{{r}}}", f"{k}{r}", f"-{k}\\sqrt{{{r}}}"]
    return right[0], right, wrong


def _pi(rng: random.Random) -> tuple[str, list[str], list[str]]:
    a, b = rng.randint(1, 9), rng.choice([2, 3, 4, 6, 7])
    if a % b == 0:
        a += 1
    right = [f"\\frac{{{a}\\pi}}{{{b}}}", f"\\dfrac{{{a}}}{{{b}}}\\pi", f"{a}\\pi/{b}"]
    right += [f"\\frac{{{a}}}{{{b}}} \\pi", f"{a}π/{b}"]
    wrong = [
        f"\\frac{{{a}}}{{{b}}}",
        f"\\frac{{{a + 1}\\pi}}{{{b}}}",
        f"\\frac{{{a}\\pi}}{{{b + 1}}}",
    ]
    return right[0], right, wrong


def _set(rng: random.Random) -> tuple[str, list[str], list[str]]:
    a, b, c = rng.sample(range(-9, 20), 3)
    right = [f"{a}, {b}, {c}", f"\\{{{c},{a},{b}\\}}", f"{b},{c},{a}", f"{{{a}, {c}, {b}}}"]
    right += [f"{a}, {b} \\text{{ and }} {c}", f"{c}, {b}, and {a}", f"x={a}, x={b}, x={c}"]
    wrong = [f"{a}, {b}", f"{a}, {b}, {c + 30}", f"{a}, {b}, {c}, {c + 40}", str(a)]
    return rng.choice(right[:2]), right, wrong


def _interval(rng: random.Random) -> tuple[str, list[str], list[str]]:
    low, high = sorted(rng.sample(range(-9, 20), 2))
    right = [f"[{low},{high})", f"\\left[{low}, {high}\\right)", f"[{low}, {high})"]
    right += [f"{low} \\le x < {high}", f"x \\in [{low},{high})"]
    wrong = [f"({low},{high})", f"[{low},{high}]", f"[{low},{high + 1})", f"({low},{high}]"]
    wrong += [f"\\{{{low},{high}\\}}"]
    return right[0], right, wrong


def _union(rng: random.Random) -> tuple[str, list[str], list[str]]:
    low, high = sorted(rng.sample(range(-9, 20), 2))
    right = [f"(-\\infty,{low})\\cup({high},\\infty)", f"({high},\\infty) \\cup (-\\infty,{low})"]
    right += [f"(-\\infty, {low}) \\cup ({high}, +\\infty)", f"x<{low} \\text{{ or }} x>{high}"]
    wrong = [f"(-\\infty,{low}]\\cup({high},\\infty)", f"({low},{high})", f"({high},\\infty)"]
    return right[0], right, wrong


def _tuple(rng: random.Random) -> tuple[str, list[str], list[str]]:
    a, b = rng.sample(range(-9, 20), 2)
    right = [f"({a},{b})", f"({a}, {b})", f"\\left({a},{b}\\right)", f"(x,y)=({a},{b})"]
    right += [f"x={a}, y={b}", f"( {a} , {b}.0 )"]
    wrong = [f"({b},{a})", f"({a},{b + 1})", f"({a},{b},0)", f"\\{{{a},{b}\\}}", f"[{a},{b}]"]
    return right[0], right, wrong


def _matrix(rng: random.Random) -> tuple[str, list[str], list[str]]:
    a, b, c, d = rng.sample(range(-9, 20), 4)

    def made(kind: str, *n: int) -> str:
        return f"\\begin{{{kind}}} {n[0]} & {n[1]} \\\\ {n[2]} & {n[3]} \\end{{{kind}}}"

    right = [made("pmatrix", a, b, c, d), made("bmatrix", a, b, c, d)]
    right += [made("pmatrix", a, b, c, d).replace(" ", "")]
    wrong = [
        made("pmatrix", a, c, b, d),
        made("pmatrix", a, b, c, d + 1),
        made("pmatrix", d, b, c, a),
    ]
    return right[0], right, wrong


def _unit(rng: random.Random) -> tuple[str, list[str], list[str]]:
    n = rng.randint(2, 900)
    unit = rng.choice(["cm", "feet", "hours", "kg"])
    right = [f"{n}\\text{{ {unit}}}", str(n), f"{n} {unit}", f"{n}\\ \\mathrm{{{unit}}}"]
    right += [f"${n}$ {unit}", f"{n}\\,\\text{{{unit}}}", f"{n}.0"]
    wrong = [f"{n + 1}", f"{n + 1} {unit}", f"-{n}", f"{n}0 {unit}"]
    return rng.choice(right[:2]), right, wrong


def _percent(rng: random.Random) -> tuple[str, list[str], list[str]]:
    n = rng.randint(2, 99)
    right = [f"{n}\\%", f"{n}%", f"{n}", f"{n} \\%", f"{n} percent", f"{n / 100}"]
    return right[0], right, [f"{n + 1}\\%", f"{n * 10}", f"{(n + 1) / 100}"]


def _degree(rng: random.Random) -> tuple[str, list[str], list[str]]:
    n = rng.randint(2, 359)
    right = [
        f"{n}^\\circ",
        f"{n}^{{\\circ}}",
        f"{n}",
        f"{n}°",
        f"{n} degrees",
        f"{n}\\text{{ degrees}}",
    ]
    return rng.choice(right[:3]), right, [f"{n + 1}^\\circ", f"-{n}", f"{n}0"]


def _word(rng: random.Random) -> tuple[str, list[str], list[str]]:
    words = ["east", "Evelyn", "even", "parabola", "Monday", "no solution", "increasing", "yes"]
    word, other = rng.sample(words, 2)
    right = [
        f"\\text{{{word}}}",
        word,
        word.capitalize(),
        f"\\text{{{word}}}.",
        f"\\textbf{{{word}}}",
    ]
    return right[0], right, [other, f"\\text{{{other}}}", f"\\text{{not {word}}}", "5"]


def _choice(rng: random.Random) -> tuple[str, list[str], list[str]]:
    letter, other = rng.sample("ABCDE", 2)
    right = [
        f"\\text{{({letter})}}",
        letter,
        f"({letter})",
        f"\\textbf{{({letter})}}",
        f"{letter}.",
    ]
    return rng.choice(right[:3]), right, [other, f"({other})", f"({letter}) or ({other})"]


def _equation(rng: random.Random) -> tuple[str, list[str], list[str]]:
    a, b = rng.randint(2, 9), rng.randint(1, 9)
    right = [f"y = {a}x + {b}", f"y={a}x+{b}", f"y={b}+{a}x", f"{a}x+{b}", f"{a}x - y + {b} = 0"]
    wrong = [f"y={a}x-{b}", f"y={a + 1}x+{b}", f"x={a}y+{b}", f"{a}x + y + {b} = 0"]
    return right[0], right, wrong


def _assignment(rng: random.Random) -> tuple[str, list[str], list[str]]:
    n = rng.randint(-50, 50)
    right = [f"x={n}", f"x = {n}", str(n), f"x={n}.0", f"$x = {n}$"]
    return rng.choice(right[:3]), right, [f"x={n + 1}", str(n + 1), f"{n}x"]


def _polynomial(rng: random.Random) -> tuple[str, list[str], list[str]]:
    p, q = rng.sample(range(1, 9), 2)
    right = [f"(x+{p})(x-{q})", f"(x-{q})(x+{p})", f"x^2{p - q:+d}x-{p * q}", f"-({q}-x)(x+{p})"]
    return right[0], right, [f"(x-{p})(x+{q})", f"x^2{p - q:+d}x+{p * q}", f"(x+{p})(x-{q + 1})"]


def _large(rng: random.Random) -> tuple[str, list[str], list[str]]:
    n = rng.randint(1_000, 9_999_999)
    right = [
        str(n),
        f"{n:,}",
        f"{n:,}".replace(",", "{,}"),
        f"{n:,}".replace(",", ",\\!"),
        f"\\${n:,}",
    ]
    return rng.choice(right[:3]), right, [str(n + 1), f"{n * 10:,}", str(n)[:-1], str(n)[:1]]


def _power(rng: random.Random) -> tuple[str, list[str], list[str]]:
    base, n = rng.choice([2, 3, 5, 7]), rng.randint(11, 120)
    right = [
        f"{base}^{{{n}}}",
        f"{base}^{{{n - 1}}}\\cdot {base}",
        f"\\frac{{{base}^{{{n + 2}}}}}{{{base**2}}}",
    ]
    return (
        right[0],
        right,
        [f"{base}^{{{n + 1}}}", f"\\frac{{1}}{{{base}^{{{n}}}}}", f"{base}^{n}+1"],
    )


def _complex(rng: random.Random) -> tuple[str, list[str], list[str]]:
    a, b = rng.randint(1, 20), rng.randint(2, 20)
    return f"{a}+{b}i", [f"{a} + {b}i", f"{b}i+{a}"], [f"{a}-{b}i", f"{b}+{a}i" if a != b else "i"]


def _quadratic_root(rng: random.Random) -> tuple[str, list[str], list[str]]:
    a, r, d = rng.randint(1, 9), rng.choice([2, 3, 5, 7]), rng.choice([2, 3, 4])
    gold = f"\\frac{{{a}+\\sqrt{{{r}}}}}{{{d}}}"
    right = [
        gold,
        f"\\frac{{\\sqrt{{{r}}}+{a}}}{{{d}}}",
        f"\\frac{{{a}}}{{{d}}}+\\frac{{\\sqrt{{{r}}}}}{{{d}}}",
    ]
    right += [f"({a}+\\sqrt{{{r}}})/{d}"]
    return gold, right, [gold.replace("+", "-"), f"\\frac{{{a}\\pm\\sqrt{{{r}}}}}{{{d}}}"]


FAMILIES = (
    _fraction, _radical, _pi, _set, _interval, _union, _tuple, _matrix, _unit, _percent, _degree,
    _word, _choice, _equation, _assignment, _polynomial, _large, _power, _complex, _quadratic_root,
)  # fmt: skip
MATH_MARKS: tuple[Callable[[str], str], ...] = (
    lambda a: f"First we have 3 and 17. Therefore the result is $\\boxed{{{a.strip('$')}}}$.",
    lambda a: f"\\boxed{{{a.strip('$')}}}",
    lambda a: f"<think>Let us see, 3 and 17.</think><answer>{a}</answer>",
    lambda a: (
        f"After 3 steps.\nFinal Answer: The final answer is ${a.strip('$')}$. I hope it is correct."
    ),
    lambda a: f"It takes 17 steps.\n\nAnswer: {a}",
    lambda a: a,
)


def math_cases(count: int, seed: int = 0) -> Iterator[Case]:
    """`count` cases over all families and marks, about half of them right."""
    rng = random.Random(seed)
    for index in range(count):
        family = FAMILIES[index % len(FAMILIES)]
        gold, right, wrong = family(rng)
        correct = rng.random() < 0.5
        answer = rng.choice(right if correct else wrong)
        mark = rng.choice(MATH_MARKS)
        whole = f"Then we find $\\boxed{{{gold}}}$." if rng.random() < 0.3 else gold
        yield Case(mark(answer), whole, correct, family.__name__.strip("_"))


def read_solutions(path: Path) -> list[dict[str, str]]:
    """Rows of a JSON Lines file with `question` and `answer`."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def disagreements(cases: list[Case]) -> tuple[float, list[str]]:
    """(share of agreement, a line for each disagreement)."""
    grades = grade_many((case.text, case.gold) for case in cases)
    lines = [
        f"{case.made_by}: want {case.correct}, got {grade.status} "
        f"({grade.extracted!r} by {grade.found_by}), gold {case.gold[-80:]!r}, "
        f"text {case.text[-120:]!r}"
        for case, grade in zip(cases, grades, strict=True)
        if grade.correct != case.correct
    ]
    return 1 - len(lines) / len(cases), lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("solutions", type=Path, nargs="?", help="JSON Lines with GSM8K solutions")
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sets = {"MATH": list(math_cases(arguments.count, arguments.seed))}
    if arguments.solutions is not None:
        rows = read_solutions(arguments.solutions)
        sets["GSM8K"] = list(gsm8k_cases(rows, arguments.count, arguments.seed))
    for name, cases in sets.items():
        start = time.perf_counter()
        share, lines = disagreements(cases)
        seconds = time.perf_counter() - start
        print(*lines, sep="\n", file=sys.stderr)
        print(f"{name}: {share:.2%} of {len(cases)} agree ({seconds:.1f} s)")


if __name__ == "__main__":
    main()
