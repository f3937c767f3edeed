"""The principles of the grader that say what the answer of a text is, each over generated cases.

Seeds are fixed, and a case is labelled as it is made: templates are crossed with answers. Which
answers are equal: `test_math_principles.py`.
"""

from __future__ import annotations

import random
from itertools import product

import pytest
from graded_cases import PLAIN, Case, hold

from groupwise.rewards import grade

# --- 4. a clause replaces a number only if it states a value ----------------------------------

STATED = (  # v is stated; d and e are not
    "The answer is {v}, since {d} of the {e} are gone.",
    "The answer is {v} because each of the {d} boxes holds {e}.",
    "The answer is {v}, all told, so they are glad.",
    "The answer is {v}, which is what was asked.",
    "The answer is {v}; it was {d} before.",
    "The answer is {v} (not {d}).",
    "The answer is not {d} but {v}.",
    "The answer is {v} metres, as {d} were cut off.",
    "The answer is: With {d}% off, the coat costs {v} dollars.",
    "The answer is that {v} seeds grow.",
    "#### {v} for the coat after the {d}% discount",
    "#### {v} litres in {d} hours",
    "<answer>She has {v} left, as she gave {d} away.</answer>",
    "<answer>After {d} days there are {v} left</answer>",
    "<answer>The bus is late by {v} minutes, that is a pity</answer>",
    "Answer: {v} grams of rice for {d} guests",
    "Die Antwort ist {v}, weil {d} fehlen.",
    "La respuesta es {v}, porque faltan {d}.",
    "La réponse est {v}, car il en manque {d}.",
    "Ответ: {v}, потому что {d} лишние.",
)
TAKEN_BACK = (
    "The answer is {v}, or {d}.",
    "The answer is {v}; on second thought, {d}.",
    "The answer is between {v} and {d}.",
    "The answer is less than {v}.",
    "The answer is not {v}.",
    "<answer>{v} or {d}</answer>",
)


def test_a_clause_replaces_a_number_only_if_it_states_a_value() -> None:
    rng = random.Random(4)
    cases: list[Case] = []
    for template in STATED * 4:
        v, d, e = rng.sample(range(11, 99), 3)
        text = template.format(v=v, d=d, e=e)
        cases += [(str(v), text, True), (str(d), text, False), (str(e), text, False)]
    for template in TAKEN_BACK * 4:
        v, d = rng.sample(range(11, 99), 2)
        cases.append((str(v), template.format(v=v, d=d), False))
    for _ in range(10):
        d, e = rng.sample(range(11, 99), 2)
        for clause in ("which is", "that is", "so"):
            text = f"The answer is {d} + {e}, {clause} {d + e}."
            cases += [(str(d + e), text, True), (str(d), text, False), (str(e), text, False)]
    hold(cases)


# --- 5. layout is not content -----------------------------------------------------------------

ANSWERS = (  # gold, answer, equal
    ("27", "27", True),
    ("27", "72", False),
    ("-6", "-6", True),
    ("6", "-6", False),
    ("-6", "6", False),
    (r"\frac{3}{4}", "0.75", True),
    (r"\frac{3}{4}", r"\frac{4}{3}", False),
    ("(2,5)", "(2, 5)", True),
    ("(2,5)", "(5, 2)", False),
    ("x^2+1", "1 + x^2", True),
    ("x^2+1", "x^2 - 1", False),
    ("Monday", "monday", True),
    ("Monday", "Sunday", False),
    ("C", "(C)", True),
    ("C", "(B)", False),
)
BEFORE = ("Answer:", "The answer is:", "**Final answer:**", "FINAL ANSWER:")
HEADINGS = ("# Answer", "**Final Answer**", "### Final answer:", "**Answer**")
ON_THE_LINE = (" %s", " **%s**", ' "%s"', " `%s`", " “%s”")
BELOW = (
    "\n%s", "\n\n%s", '\n"""\n%s\n"""', "\n```\n%s\n```", "\n> %s", "\n- %s", "\n* %s", "\n• %s",
    "\n**%s**", "\n\n\"%s\"", "\n```text\n%s\n```",
)  # fmt: skip


def test_layout_is_not_content() -> None:
    layouts = [
        *("We add 3 and 4.\n\n" + a + b for a, b in product(BEFORE, ON_THE_LINE + BELOW)),
        *("We add 3 and 4.\n\n" + a + b for a, b in product(HEADINGS, BELOW)),
        *(f"<answer>{layout.strip(' ')}</answer>" for layout in ON_THE_LINE + BELOW),
    ]
    hold((g, layout.replace("%s", a), right) for layout, (g, a, right) in product(layouts, ANSWERS))


# --- 6. choices -------------------------------------------------------------------------------

CHOSEN = (
    "The answer is {0}.", "The answer is ({0}).", "Answer: {0}", "\\boxed{{{0}}}", "**{0}**",
    "The answer is {0} because I computed it.", "<answer>{0}, since a half is more</answer>",
    "The correct option is ({0}).", "Option {0} is correct.", "\\boxed{{\\text{{({0})}}}}",
    "<answer>\n{0}\n\nA short reason.</answer>", "So \\boxed{{y = 4}} holds.\n\n**Answer: {0}**",
    "答案：{0}", "答案是 {0}。", "正确答案是({0})", "故选{0}。", "正解は {0} です。", "정답: {0}",
    "Die richtige Antwort ist {0}.", "Antwort: {0}", "La respuesta correcta es ({0}).",
    "Respuesta: {0}", "La bonne réponse est {0}.", "Réponse : {0}", "La risposta corretta è {0}.",
    "Risposta: {0}", "A resposta correta é {0}.", "Resposta: {0}", "Ответ: {0}",
    "Правильный ответ: {0}.", "الجواب هو {0}", "الإجابة: {0}",
)  # fmt: skip
SMALL = ("<answer>{0}</answer>", "<answer>({0})</answer>", "{0}) the text of it", "\\boxed{{{0}}}")


def test_a_choice_is_its_letter() -> None:
    cases: list[Case] = []
    for mine, other in product("ABCDE", "ABCDE"):
        cases += [(mine, text.format(other), mine == other) for text in CHOSEN]
        cases += [(mine, text.format(other.lower()), mine == other) for text in SMALL]
        if mine != other:
            two = (f"The answer is {mine} or {other}.", f"<answer>{mine}, {other}</answer>")
            cases += [(mine, text, False) for text in two]
    hold(cases)


OPTIONS = (
    ("12", "15", "18", "21"),
    ("red", "green", "blue", "black"),
    (r"\frac{1}{2}", r"\frac{1}{3}", r"\frac{2}{3}", "1"),
    ("7:15 a.m.", "7:15 p.m.", "8:45 a.m.", "8:45 p.m."),
    ("3 kg", "30 kg", "3 t", "30 t"),
)


@pytest.mark.parametrize("choices", OPTIONS, ids=lambda choices: choices[1])
def test_the_text_of_an_option_counts_as_its_letter(choices: tuple[str, ...]) -> None:
    wrong = []
    for (i, mine), (j, other) in product(enumerate(choices), enumerate(choices)):
        texts = (other, "ABCD"[j], f"({'ABCD'[j]}) {other}", f"{'ABCD'[j]}. {other}")
        for gold, answer, mark in product((mine, "ABCD"[i]), texts, PLAIN):
            text = mark.replace("%s", answer)
            if grade(text, gold, choices=choices).correct != (i == j):
                wrong.append((gold, text))
    assert wrong == []


# --- 8. the last number is a last resort ------------------------------------------------------

NOT_LAST = (
    "We look at the parts.\n\nStep {n}",
    "We look at the parts.\n\nStep {n}: Conclude",
    "We look at the parts.\n\n### Step {n}",
    "So it grows like x^{n}",
    "So it grows like $x^{{{n}}}$ at most",
    "The values lie between 3 and {n}.",
    "It takes from 3 to {n} days.",
    "It takes 3-{n} days.",
    "We run it.\n```python\nprint(y + {n})\n```",
    "We run it.\n```output\n(x**2 - {n})/y\n```",
    "# Report of 20{n}\n\nAll went well.",
    "## Plans for 20{n}\n\nThere is much to do.",
)
LAST = (
    "So there are {n} birds.",
    "Step 3: 5 and 6 make {n}.",
    "# Report of 2021\n\nIn all {n} were sold.",
    "We run it.\n```python\nprint(y + 4)\n```\nSo there are {n} birds.",
    "He had 8 before, and he has {n} now.",
    "Of the 3-9 kinds that live here he saw {n}.",
    "The sum of 2^3 and the rest is {n}.",
)


def test_the_last_number_is_a_last_resort() -> None:
    numbers = [str(n) for n in random.Random(8).sample(range(11, 99), 8)]
    cases: list[Case] = []
    for n in numbers:
        cases += [(n, text.format(n=n), True) for text in LAST]
        cases += [(str(int(n) + 1), text.format(n=n), False) for text in LAST]
        cases += [(n, text.format(n=n), False) for text in NOT_LAST]
        cases += [("20" + n, text.format(n=n), False) for text in NOT_LAST]
    hold(cases)


# --- 10. references ---------------------------------------------------------------------------

MISSING = ("NaN", "None", "N/A", "null", "notfound", "proof", "")
PROSE = (
    "He buys {d} and later more. So he has {v}.",
    "Each of the {d} rows has some. Therefore, the answer is {v}.",
    "From ${d}$ steps we get $x = {v}$.",
    "There are {d} of them at first.\nIn total there are {v} cups.",
    "With {d} in mind we go on.\n\n**Answer:** {v}",
    "Wir beginnen mit {d}.\nDie Antwort ist {v}.",
)
NOT_KNOWN = ("I don't know", "I don't know.", "I do not know.", "I don’t know!", "I DON'T KNOW")


def test_prose_whose_last_statement_gives_the_value_is_a_reference() -> None:
    rng = random.Random(10)
    cases: list[Case] = []
    for template, mark in product(PROSE, PLAIN):
        v, d = rng.sample(range(11, 99), 2)
        gold = template.format(v=v, d=d)
        cases += [(gold, mark.replace("%s", str(n)), n == v) for n in (v, d, v + 1)]
    hold(cases)


@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_reference_grades_nothing(missing: str) -> None:
    for gold, mark in product((missing, missing.lower(), missing.upper(), f" {missing} "), PLAIN):
        for answer in ("42", missing or "0", "x+1"):
            assert grade(mark.replace("%s", answer), gold).status == "bad_reference", gold


@pytest.mark.parametrize("gold", ["42", "x+1", "Monday", "B", "no solution", r"\{1, 2\}"])
def test_not_to_know_is_no_answer(gold: str) -> None:
    for said, mark in product(NOT_KNOWN, ("%s", "We try.\n\n%s", *PLAIN)):
        text = mark.replace("%s", said)
        assert grade(text, gold).status == "unparseable", text
