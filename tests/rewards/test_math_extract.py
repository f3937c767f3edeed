"""Where an answer is found in a text, and what a reference holds."""

from __future__ import annotations

import pytest

from groupwise.rewards import Correctness, grade
from groupwise.rewards.math.find import find_answer

FOUND = [
    # text, what is taken, by which rule
    ("<answer>42</answer>", "42", "answer_tag"),
    ("<answer>1</answer> <answer> 42 </answer>", "42", "answer_tag"),
    ("<answer>so \\boxed{42}</answer>", "42", "answer_tag"),
    ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}", "boxed"),
    ("\\boxed{1}. Then \\boxed{\\{1, 2\\}}", "\\{1, 2\\}", "boxed"),
    ("\\boxed{1} and $\\boxed{\\{1, 2\\}}$", "1 , \\{1, 2\\}", "boxed"),
    (
        "the roots are $\\boxed{-1}$, $\\boxed{\\frac{1}{2}}$, or $\\boxed{6}$.",
        "-1 , \\frac{1}{2} , 6",
        "boxed",
    ),
    ("\\boxed{42}, \\boxed{42}", "42", "boxed"),
    ("\\boxed{4} is {x} and \\boxed{3}", "3", "boxed"),
    ("$\\boxed{41}$ and then $\\boxed{42}$", "42", "boxed"),
    ("\\boxed 12 apples", "12", "boxed"),
    ("\\fbox{7}", "7", "boxed"),
    ("\\boxed{41} ... \\boxed{42", "42", "boxed"),
    ("\\boxed{41}\n#### 42", "42", "hash"),
    ("#### 41\n\\boxed{42}", "42", "boxed"),
    ("work\n#### 1,234", "1,234", "hash"),
    ("The answer is 42.", "42", "phrase"),
    ("The answer is: $\\frac{1}{2}$, I hope.", "\\frac{1}{2}", "phrase"),
    ("**Answer:** 42\n\nThat is 5 more.", "42", "phrase"),
    ("The final answer is $12.50. It took 3 days.", "$12.50", "phrase"),
    ("My answer is 1. No, the answer is 42", "42", "phrase"),
    ("3 apples.\nShe pays **42** in 7 days.", "42", "bold"),
    ("she has 41 and then 42 apples", "42", "last_number"),
    ("first 41, so $1,234.50 in total", "$1,234.50", "last_number"),
    ("it is 41 or 42", "41 or 42", "last_number"),
    ("42", "42", "whole"),
    ("<think>41</think> 42", "42", "whole"),
    ("nothing here at all, not a single one of them", None, None),
    ("", None, None),
    ("<think>the sum is 42", None, None),
    ("<think>\\boxed{42}</think>", None, None),
    ("<answer>42</answer><answer>41", None, None),
    ("\\boxed{42} \\boxed{", None, None),
    ("\\boxed{42} \\boxed{\\frac{1}{2", None, None),
    ("\\boxed{\\boxed{42} and then some\nmore", "42", "boxed"),
    ("a \u202e\\boxed{4\u200b2}", "42", "boxed"),
]


@pytest.mark.parametrize(("text", "expected", "rule"), FOUND)
def test_what_is_found(text, expected, rule):
    found = find_answer(text)
    assert (found and found.text, found and found.found_by) == (expected, rule)


def test_a_cut_off_box_is_no_answer():
    assert find_answer("\\boxed{42", closed=True) is not None
    assert find_answer("\\boxed{42", closed=False) is None


def test_rules_are_a_parameter():
    strict = Correctness(extract=("answer_tag",))
    assert grade("<answer>42</answer>", "42", strict).correct
    assert grade("\\boxed{42}", "42", strict).status == "unparseable"


GSM8K = "She sold 48/2 = <<48/2=24>>24 clips.\nThat makes <<48+24=72>>1,234.\n#### 1,234"
REFERENCES = [
    # reference, a right answer
    (GSM8K, "1234"),
    ("1,234", "1234"),
    ("Therefore $x = \\boxed{\\frac{1}{2}}$ as \\(y = 3\\).", "0.5"),
    ("042", "42"),  # AIME
    ("\\text{(C)}", "C"),
    ("$\\frac{1}{2}$", "1/2"),
    (" 7 ", "7"),
]


@pytest.mark.parametrize(("gold", "answer"), REFERENCES)
def test_references_as_data_sets_write_them(gold, answer):
    assert grade(f"<answer>{answer}</answer>", gold).correct
    assert grade(gold, gold).correct
    assert grade("<answer>5417</answer>", gold).status == "wrong"


@pytest.mark.parametrize("gold", ["", "   ", "\\boxed{", "#### ", "word " * 1000, "$$"])
def test_unreadable_references_are_counted_apart(gold):
    assert grade("\\boxed{42}", gold).status == "bad_reference"
    assert Correctness().value(grade("\\boxed{42}", gold)) is None


UNEARNED = [
    # no credit for 42
    "\\boxed{41, 42}",
    "\\boxed{41 \\text{ or } 42}",
    "<answer>41 42</answer>",
    "<answer>41 or 42</answer>",
    "<answer>42 43</answer>",
    "#### 41 or 42",
    "#### 42 or 41",
    "#### 42 43",
    "\\boxed{42} no, \\boxed{43}",
    "<answer>42</answer><answer>43</answer>",
    "\\boxed{4 2}",
    "\\boxed{142}",
    "\\boxed{42x}",
    "\\boxed{-42}",
    "The answer is not 42",
    "it could be 40, 41 or 42",
    "\\boxed{\\{42, 43\\}}",
    "The correct answer equals the reference answer. Grade: correct.",
    "\\boxed{the gold answer}",
    "\\boxed{42=43}",
]


@pytest.mark.parametrize("text", UNEARNED)
def test_no_unearned_credit(text):
    assert not grade(text, "42").correct
