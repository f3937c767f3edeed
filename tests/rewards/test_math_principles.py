"""The principles of the grader that say which answers are equal, each over generated cases.

Seeds are fixed, and a case is labelled as it is made. The cases of `cases/` are single ones, and
say more about each notation; here pools and templates are crossed, so that a rule made for one case
does not help. Which part of a text is its answer: `test_math_principles_in_texts.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import permutations, product

import pytest
from graded_cases import MARKED, PLAIN, Case, hold

# --- 1. what was not read is not equal --------------------------------------------------------

ONE_PLACE = [  # what may stand at one place: no two of them are equal
    (r"x \equiv %s \pmod{13}", ("2", "3", "10")),
    (r"x \equiv 3 \pmod{%s}", ("5", "7", "11")),
    (r"%s x>0, f(x)=0", (r"\forall", r"\exists", r"\nexists")),
    (r"\forall x %s 0, f(x)=0", ("<", ">", r"\leq", r"\neq")),
    (r"\exists x \in %s: x^2=2", (r"\mathbb{R}", r"\mathbb{Q}", r"\mathbb{Z}")),
    (r"p %s q", (r"\land", r"\lor", r"\oplus", r"\implies", r"\iff")),
    (r"%s(p \lor q)", ("", r"\neg ", r"\Box ")),
    ("f%s(2)", ("", "'", "''")),
    ("%s", ("z", r"\overline{z}", r"\hat{z}", r"\vec{z}", r"\dot{z}", r"\tilde{z}", r"\gyre{z}")),
    ("%s", ("x", "|x|", r"\lfloor x \rfloor", r"\lceil x \rceil", r"\sqrt{x^2}|x|", "x!")),
    ("%s(m,n)", (r"\gcd", r"\operatorname{lcm}", r"\max", r"\min", r"\frobnicate")),
    (r"n^2 \text{ if } n \text{ is %s}", ("even", "odd", "prime")),
    (r"x^2 \text{ for } x %s 0", ("<", ">", r"\geq")),
    (r"A %s B", (r"\cap", r"\cup", r"\setminus", r"\times", r"\subset", r"\supset", r"\wabe")),
    (r"P(A %s B)", (r"\mid", r"\cap", r"\cup")),
    (r"\angle %s", ("ABC", "ACB", "BAC")),
    (r"\lim_{x \to %s} f(x)", ("0", "1", r"\infty")),
    (r"\frac{d%s}{dx}", ("y", "z", "w")),
    (r"\int_0^1 f(%s) \, dx", ("x", "x^2", "1-x^2")),
    ("3 %s n", (r"\mid", r"\nmid")),
    ("a %s b", (r"\parallel", r"\perp", r"\sim", r"\cong", r"\propto", r"\mimsy")),
    (r"\text{a %s}", ("cube", "sphere", "cone", "cylinder")),
    (r"\text{an %s triangle}", ("acute", "obtuse", "isosceles")),
]
STATED_UNITS = ("m", "kg", "s", "A", "florps", "grumbs", "apples", "pears")
UNREAD_AROUND = (
    r"\frobnicate{%s}",
    r"\neg %s",
    r"\forall x: %s",
    r"%s \mid n",
    r"\Delta %s",
    "%s'",
)


@pytest.mark.parametrize("mark", MARKED)
def test_what_was_not_read_is_not_equal(mark: str) -> None:
    cases: list[Case] = []
    for template, pool in ONE_PLACE:
        for mine, other in product(pool, pool):
            text = mark.replace("%s", template.replace("%s", other))
            cases.append((template.replace("%s", mine), text, mine == other))
            if "equiv" not in template:  # a modulus that only one side states is ignored
                cases += [(number, text, False) for number in ("0", "1", "2", "3", "13")]
    for mine, other in product(STATED_UNITS, STATED_UNITS):
        gold, answer = f"5\\text{{ {mine}}}", f"5\\text{{ {other}}}"
        cases.append((gold, mark.replace("%s", answer), mine == other))
    for around, gold in product(UNREAD_AROUND, ("7", "x+1", r"\frac{1}{2}")):
        cases.append((gold, mark.replace("%s", around.replace("%s", gold)), False))
    hold(cases)


# --- 2. notation is not arithmetic ------------------------------------------------------------


def dates(rng: random.Random) -> Iterator[tuple[str, str, bool]]:
    day = date(1900, 1, 1) + timedelta(days=rng.randrange(60_000))
    gold, (y, m, d) = day.isoformat(), (day.year, day.month, day.day)
    yield gold, f"{y}/{m:02}/{d:02}", True
    yield gold, f"{y}–{m:02}–{d:02}", True
    for month in (f"{day:%B}", f"{day:%b}"):
        yield gold, f"{month} {d}, {y}", True
        yield gold, f"{d} {month} {y}", True
        yield gold, f"{d % 28 + 1} {month} {y}", False
        yield gold, f"{month} {d}, {y + 1}", False
    if d > 12:  # else it has two readings
        yield gold, f"{d}/{m}/{y}", True
        yield gold, f"{m}/{d}/{y}", True
        yield gold, f"{d}/{m % 12 + 1}/{y}", False
    elif d != m:
        yield gold, f"{y}-{d:02}-{m:02}", False
        yield f"{d}/{m}/{y}", f"{m}/{d}/{y}", False
    yield gold, (day + timedelta(days=1)).isoformat(), False
    yield gold, (day + timedelta(days=40)).isoformat(), False
    yield gold, str(y - m - d), False


def parts(rng: random.Random) -> Iterator[tuple[str, str, bool]]:
    """Ranges, scores, orders, addresses, versions: the same parts in the same order, or not."""
    first, length = rng.randrange(1000, 1950), rng.randrange(3, 60)
    years = [str(first), str(first + length)]
    score = [str(rng.randrange(60, 120)), str(rng.randrange(10, 59))]
    order = rng.sample("ABCDE", 4)
    for row, value in ((years, -length), (score, int(score[0]) - int(score[1])), (order, None)):
        gold = "-".join(row)
        yield gold, gold, True
        yield gold, "–".join(row), True
        yield gold, " - ".join(row), True
        yield gold, "-".join(reversed(row)), False
        yield gold, "-".join([*row[:-1], "F" if value is None else str(int(row[-1]) + 1)]), False
        if value is None:
            yield gold, "-".join([row[1], row[0], *row[2:]]), False
        else:
            yield gold, str(value), False
            yield gold, "-".join(str(int(part) + 7) for part in row), False
    for count in (3, 4):  # a version, an address
        row = [str(part) for part in rng.sample(range(1, 250), count)]
        gold = ".".join(row)
        yield gold, gold, True
        yield gold, ".".join([*row[:-1], str(int(row[-1]) + 1)]), False
        yield gold, ".".join([*row[:-2], row[-1], row[-2]]), False
        yield gold, ".".join(row[:-1]), False
        yield gold, gold + ".1", False


@pytest.mark.parametrize("mark", PLAIN)
def test_notation_is_not_arithmetic(mark: str) -> None:
    rng = random.Random(2)
    made = [case for _ in range(25) for case in (*dates(rng), *parts(rng))]
    hold((gold, mark.replace("%s", answer), right) for gold, answer, right in made)


# --- 3. quantities ----------------------------------------------------------------------------

UNITS = {  # in the first unit of their row
    "length": {"m": 1, "cm": "1/100", "mm": "1/1000", "km": 1000, "in": "0.0254", "ft": "0.3048"},
    "mass": {"kg": 1, "g": "1/1000", "mg": "1/1000000", "tonnes": 1000},
    "time": {"s": 1, "minutes": 60, "hours": 3600, "days": 86400, "ms": "1/1000"},
    "frequency": {"Hz": 1, "kHz": 1000, "MHz": 10**6, "GHz": 10**9},
    "pressure": {"Pa": 1, "kPa": 1000, "MPa": 10**6, "bar": 10**5},
    "energy": {"J": 1, "kJ": 1000, "MJ": 10**6},
    "power": {"W": 1, "kW": 1000, "mW": "1/1000", "MW": 10**6},
    "volume": {"L": 1, "mL": "1/1000", "m^3": 1000, "cm^3": "1/1000"},
    "area": {"m^2": 1, "cm^2": "1/10000", "km^2": 10**6},
    "current": {"A": 1, "mA": "1/1000"},
    "voltage": {"V": 1, "kV": 1000, "mV": "1/1000"},
    "force": {"N": 1, "kN": 1000},
    "speed": {"m/s": 1, "km/h": "5/18", "cm/s": "1/100"},
}


def decimal(value: Fraction) -> str | None:
    """Without an exponent; None where it has no short decimal number."""
    text = f"{float(value):.9f}".rstrip("0").rstrip(".")
    return text if Fraction(text) == value and len(text) <= 12 else None


@pytest.mark.parametrize("mark", PLAIN)
def test_two_stated_units_must_convert(mark: str) -> None:
    rng = random.Random(3)
    cases: list[Case] = []
    for kind, units in UNITS.items():
        for mine, other in permutations(units, 2):
            value = Fraction(rng.choice((2, 5, 36, 90, 144, 1250)))
            factor = Fraction(units[mine]) / Fraction(units[other])
            converted = decimal(value * factor)
            foreign = rng.choice([u for k, row in UNITS.items() if k != kind for u in row])
            answers = [(f"{value} {foreign}", False), (f"{value}", True), (f"{value + 1}", False)]
            answers.append((f"{value} {other}", factor == 1))
            if converted is not None:
                answers.append((f"{converted} {other}", True))
                answers.append((f"{decimal(value * factor * 2)} {other}", False))
            cases += [(f"{value} {mine}", mark.replace("%s", a), right) for a, right in answers]
            cases.append((f"{value}", mark.replace("%s", f"{value} {mine}"), True))
    hold(cases)


# --- 7. words and scripts ---------------------------------------------------------------------

ZEROS = {"Arabic": "٠", "Persian": "۰", "Devanagari": "०", "Bengali": "০", "full-width": "\uff10"}
WORDS = (
    ("yes", "no"), ("true", "false"), ("monday", "sunday", "friday"), ("да", "нет"), ("sí", "no"),
    ("москва", "киев", "минск"), ("αθήνα", "σπάρτη"), ("東京", "京都"), ("北海道", "四国"),
    ("القاهرة", "بغداد"), ("zürich", "genf"), ("दिल्ली", "मुंबई"), ("marie curie", "emmy noether"),
)  # fmt: skip
ENDS = ("", ".", "!", "。", "।")


@pytest.mark.parametrize("mark", PLAIN)
def test_digits_of_every_script(mark: str) -> None:
    rng = random.Random(7)
    cases: list[Case] = []
    for zero in ZEROS.values():
        digits = str.maketrans("0123456789", "".join(chr(ord(zero) + i) for i in range(10)))
        for _ in range(12):
            number = rng.choice((1, -1)) * rng.randrange(11, 100_000)
            text = mark.replace("%s", str(number).translate(digits))
            cases += [(str(number), text, True), (str(number + 1), text, False)]
            cases.append((str(-number), text, False))
    hold(cases)


def test_case_and_final_punctuation_of_words() -> None:
    cases: list[Case] = []
    for mark, pool in product(("%s", *PLAIN), WORDS):
        for mine, other, end in product(pool, pool, ENDS):
            for gold, answer in ((mine, other.title()), (mine.title(), other.upper())):
                cases.append((gold, mark.replace("%s", answer + end), mine == other))
    hold(cases)


# --- 9. plain source notation -----------------------------------------------------------------


@pytest.mark.parametrize("mark", PLAIN)
def test_source_notation_of_numbers(mark: str) -> None:
    rng = random.Random(9)
    cases: list[Case] = []
    for _ in range(12):
        a, b = Decimal(rng.randrange(101, 999)) / 100, rng.choice((-6, -4, -3, -2, 3, 4, 5, 7))
        a = a.normalize()
        value, tenfold = f"{a.scaleb(b):f}", f"{a.scaleb(b + 1):f}"
        latex = rf"{a} \times 10^{{{b}}}"
        for answer in (f"{a}*10^{b}", f"{a} x 10^{b}", f"{a}e{b}", f"{a}*10**{b}", f"{a}·10^{b}"):
            text = mark.replace("%s", answer)
            cases += [(value, text, True), (tenfold, text, False), (latex, text, True)]
            cases.append((answer, mark.replace("%s", value), True))
            cases.append((answer, mark.replace("%s", tenfold), False))
        base, power = rng.randrange(2, 9), rng.choice((3, 4, 5))
        text = mark.replace("%s", f"{base}**{power}")
        cases += [(str(base**power), text, True), (str(base * power), text, False)]
        cases.append((str(base**power + 1), text, False))
    hold(cases)


@pytest.mark.parametrize("mark", PLAIN)
def test_source_notation_of_formulas(mark: str) -> None:
    cases: list[Case] = []
    for n in (3, 5, 7, 11, 12):
        for gold, answer, other in (
            (rf"\frac{{\sqrt{{{n}}}}}{{2}}", f"sqrt({n})/2", f"sqrt({n})/3"),
            (rf"\sqrt{{{n}}}", f"sqrt({n})", f"sqrt({n + 1})"),
            (rf"|x-{n}|", f"Abs(x-{n})", f"x-{n}"),
            (rf"x^{{{n}}}-1", f"x**{n} - 1", f"x**{n - 1} - 1"),
            (rf"\sqrt[3]{{{n}}}", f"{n}**(1/3)", f"{n}**(1/2)"),
            (rf"e^{{{n}}}", f"exp({n})", f"exp({n + 1})"),
            (str(n * (n - 1) // 2), f"C({n},2)", f"C({n + 1},2)"),
        ):
            cases += [(gold, mark.replace("%s", answer), True)]
            cases += [(gold, mark.replace("%s", other), False)]
    hold(cases)


# --- 11. stated rules -------------------------------------------------------------------------

INTEGRALS = ("x^2", r"\frac{x^3}{3}", r"\sin x", "e^{2x}", r"\ln|x|", "x^4-x")


def clock(hour: int, minute: int) -> Iterator[str]:
    """Spellings of one time of day."""
    half, short = ("am", "pm")[hour >= 12], (hour + 11) % 12 + 1
    dotted = f"{half[0]}.m."
    yield from (f"{hour}:{minute:02}", f"{hour:02}:{minute:02}")[hour > 12 :]
    yield from (f"{short}:{minute:02} {name}" for name in (half, half.upper(), dotted))
    yield f"{short}:{minute:02}{half}"
    if not minute:
        yield from (f"{short}{half}", f"{short} {half.upper()}", f"{short} {dotted}")


@pytest.mark.parametrize("mark", PLAIN)
def test_stated_rules(mark: str) -> None:
    rng = random.Random(11)
    made: list[Case] = []
    for mine, other in product(INTEGRALS, INTEGRALS):
        for constant in ("C", "c", "C_1") if mine == other else ("c",):
            made.append((f"{mine} + C", f"{other} + {constant}", mine == other))
            made.append((f"{mine} + C", f"{constant} + {other}", mine == other))
        made.append((f"f(x) = {mine}", other, mine == other))
        made.append((f"f(x) = {mine}", f"y = {other}", mine == other))
        made.append((f"f(x) = {mine}", f"g(x) = {other}", False))
    for _ in range(12):
        whole, below = rng.randrange(2, 30), rng.choice((3, 5, 7, 9))
        above = rng.randrange(1, below)
        improper = rf"\frac{{{whole * below + above}}}{{{below}}}"
        for mixed in (f"{whole} {above}/{below}", rf"{whole}\frac{{{above}}}{{{below}}}"):
            made += [(improper, mixed, True), (mixed, improper, True)]
            made.append((mixed, rf"\frac{{{whole * above}}}{{{below}}}", False))
            made.append((f"-{mixed}", f"-{improper}", True))
            made.append((f"-{mixed}", rf"-\frac{{{whole * below - above}}}{{{below}}}", False))
    for _ in range(6):
        row = [str(n) for n in rng.sample(range(-9, 60), 3)]
        back = [row[1], row[0], row[2]]
        for joint, ordered in (("; ", True), (", ", False)):
            made.append((joint.join(row), joint.join(row), True))
            made.append((joint.join(row), joint.join(back), not ordered))
            made.append((joint.join(row), joint.join(row[:2]), False))
    hold((gold, mark.replace("%s", answer), right) for gold, answer, right in made)


@pytest.mark.parametrize("mark", PLAIN)
def test_a_time_of_day_in_any_spelling(mark: str) -> None:
    rng = random.Random(12)
    cases: list[Case] = []
    for hour, minute in product((1, 5, 11, 13, 17, 23), (0, rng.randrange(10, 59))):
        others = ((hour + 1) % 24, minute), (hour, (minute + 7) % 60)
        for gold in clock(hour, minute):
            cases += [(gold, mark.replace("%s", same), True) for same in clock(hour, minute)]
            for time in others:
                cases += [(gold, mark.replace("%s", other), False) for other in clock(*time)]
            if "m" in gold:  # the other half of the day
                for other in clock((hour + 12) % 24, minute):
                    if "m" in other:
                        cases.append((gold, mark.replace("%s", other), False))
    hold(cases)
