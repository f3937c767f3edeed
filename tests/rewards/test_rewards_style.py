"""Format, language, length, repetition, steps, and quality against a reference."""

from __future__ import annotations

import pytest

from groupwise.rewards import Completion, Example, Grade
from groupwise.rewards.language import Language
from groupwise.rewards.reference import ReferenceQuality
from groupwise.rewards.style import (
    CosineLength,
    Format,
    Length,
    ReasoningSteps,
    Repetition,
    SoftOverlong,
)

PLAIN = Example("e", "How many apples are there in the two boxes?", "42")
OPENED = Example("e", "question", "42", prompt="<|user|>question<|assistant|><think>\n")
GOOD = "<think>7+5=12</think><answer>42</answer>"


def value(reward, text, example=PLAIN, **completion):
    return reward(example, Completion(text, **completion))


FORMAT = [
    # text, strict, graded
    (GOOD, 1.0, 1.0),
    ("<think>\na\n</think>\n\n<answer>\n42\n</answer>\n", 1.0, 1.0),
    ("", 0.0, 0.0),
    ("42", 0.0, 0.0),
    ("<think>a</think>42", 0.0, 2 / 6),
    ("<think></think><answer>42</answer>", 0.0, 5 / 6),
    ("<think>a</think><answer> </answer>", 0.0, 5 / 6),
    (GOOD + " and more", 0.0, 5 / 6),
    ("before " + GOOD, 0.0, 5 / 6),
    (GOOD + GOOD, 0.0, 0.0),
    ("<answer>42</answer><think>a</think>", 0.0, 4 / 6),
    ("<think>a<think>b</think><answer>42</answer>", 0.0, 3 / 6),
    ("<think>a<answer>42</answer>", 0.0, 3 / 6),
    ("<THINK>a</THINK><ANSWER>42</ANSWER>", 0.0, 0.0),
]


@pytest.mark.parametrize(("text", "strict", "graded"), FORMAT)
def test_format(text, strict, graded):
    assert value(Format(), text) == strict
    assert value(Format(graded=True), text) == pytest.approx(graded)


def test_format_knows_that_the_template_opened_the_thought():
    """Otherwise every completion of such a template gets 0.0, in silence."""
    rest = GOOD.removeprefix("<think>")
    assert value(Format(), rest, OPENED) == 1.0
    assert value(Format(), rest, PLAIN) == 0.0
    assert value(Format(), GOOD, OPENED) == 0.0
    assert value(Format(think_opened=True), rest, PLAIN) == 1.0
    assert value(Format(think_opened=False), GOOD, OPENED) == 1.0
    assert value(Format(graded=True), "", OPENED) == 0.0
    assert value(Format(pattern="<think>.*</think>.*"), rest, OPENED) == 1.0


TEMPLATES = [
    ("think", "<think>a</think> 42", 1.0),
    ("think", "<think>a</think>", 0.0),
    ("answer", "<answer>42</answer>", 1.0),
    ("answer", "so <answer>42</answer>", 0.0),
    ("boxed", "so \\boxed{42}", 1.0),
    ("boxed", "so \\boxed{42} \\boxed{43}", 0.0),
    ("boxed", "so \\boxed{42", 0.0),
    ("think_boxed", "<think>a</think>\\boxed{42}", 1.0),
    ("think_boxed", "<think>\\boxed{42}</think>", 0.0),
]


@pytest.mark.parametrize(("template", "text", "expected"), TEMPLATES)
def test_templates(template, text, expected):
    assert value(Format(template=template), text) == expected


def test_a_catastrophic_pattern_has_no_opinion():
    reward = Format(pattern="(a|aa)+$", pattern_timeout_s=0.05)
    assert value(reward, "a" * 5_000 + "b") in (None, 0.0)
    assert value(Format(pattern="a+"), "aaa") == 1.0
    assert value(Format(pattern="a+"), "aab") == 0.0


ENGLISH = "She has 12 apples and then buys 30 more, so there are 42 of them in all."
LANGUAGE = [
    # language, text, at least, at most
    ("auto", ENGLISH, 1.0, 1.0),
    ("auto", "<think>7+5=12</think><answer>42</answer>", 1.0, 1.0),
    ("auto", "42", 1.0, 1.0),
    ("auto", "", 0.0, 0.0),
    ("auto", "所以答案是四十二个苹果", 0.0, 0.0),
    ("auto", "She has 12 apples 然后她又买了三十个苹果", 0.1, 0.5),
    ("auto", "Поэтому ответ сорок два", 0.0, 0.0),
    (
        "auto",
        "Sie hat zwölf Äpfel und kauft dann noch dreißig, also sind das 42 für alle.",
        0.0,
        0.2,
    ),
    ("de", "Sie hat zwölf Äpfel und kauft dann noch dreißig, also sind das 42 für alle.", 0.9, 1.0),
    ("zh", "所以答案是四十二个苹果", 1.0, 1.0),
    ("ja", "答えは四十二です", 1.0, 1.0),
    ("en", "The area is $\\pi r^2$ with `код` in it", 0.7, 0.95),
    ("en", "```\nprint(x)\n``` The area is α + β", 1.0, 1.0),
    ("ru", "Итак, ответ равен 42, потому что x = 42", 1.0, 1.0),
]


@pytest.mark.parametrize(("language", "text", "low", "high"), LANGUAGE)
def test_language(language, text, low, high):
    assert low <= value(Language(language=language), text) <= high


def test_language_of_a_question_without_words():
    toy = Example("t", "17+25=", "42")
    assert value(Language(), GOOD, toy) == 1.0
    assert value(Language(), "so the answer is 42", toy) == 1.0
    assert value(Language(), "the answer 答案是四十二", toy) < 0.7


def test_length():
    reward = Length(max_length=10, min_length=2, slack=10)
    lengths = [1, 2, 10, 15, 20, 30]
    assert [value(reward, "x", num_tokens=n) for n in lengths] == [0.9, 1.0, 1.0, 0.5, 0.0, 0.0]
    assert value(reward, "x", num_tokens=5, finish_reason="length") == 0.0
    with pytest.raises(ValueError, match="num_tokens is unknown"):
        value(reward, "x")
    assert value(Length(max_length=2, unit="words"), "one two") == 1.0


def test_soft_overlong_is_dapo_s():
    reward = SoftOverlong(max_length=100, buffer=20)
    assert [value(reward, "x", num_tokens=n) for n in (80, 90, 100, 500)] == [0.0, -0.5, -1.0, -1.0]


def test_cosine_length_prefers_short_right_and_long_wrong():
    reward = CosineLength(max_length=100)
    right, wrong = Grade(True, "correct"), Grade(False, "wrong")
    at = [Completion("x", num_tokens=n) for n in (1, 50, 100, 300)]
    rights = [reward.score_graded(PLAIN, c, right) for c in at]
    wrongs = [reward.score_graded(PLAIN, c, wrong) for c in at]
    assert rights == pytest.approx([1.0, 0.75, 0.5, 0.5], abs=1e-3)
    assert wrongs == pytest.approx([-1.0, -0.75, -0.5, -0.5], abs=1e-3)
    assert reward.score_graded(PLAIN, at[0], Grade(False, "timeout")) is None


def test_repetition():
    assert value(Repetition(), "every word here is said only once") == 0.0
    assert value(Repetition(), "a b c " * 100) < -0.95
    assert value(Repetition(ngram_size=1), "a a a a") == -0.75
    assert value(Repetition(), "") == 0.0


def test_reasoning_steps():
    three = "First we add 7 and 5.\nThen we carry the one.\nSo the sum is 42."
    assert value(ReasoningSteps(), three) == 1.0
    assert value(ReasoningSteps(), f"<think>{three}</think><answer>42</answer>") == 1.0
    assert value(ReasoningSteps(), "Step 1: add the numbers\n" * 50) == pytest.approx(1 / 3)
    assert value(ReasoningSteps(), "\n".join(f"Step {i}:" for i in range(9))) == 0.0
    assert value(ReasoningSteps(), "") == 0.0


QUESTION = "Explain why the area of a circle with radius r grows when the radius is doubled."
REFERENCE = (
    "The area of a circle is $A = \\pi r^2$. Doubling the radius replaces r with 2r, so the new "
    "area becomes $\\pi (2r)^2 = 4\\pi r^2$.\n\nTherefore the area grows by a factor of four, "
    "because the radius enters the formula squared."
)
CIRCLE = Example("c", QUESTION, REFERENCE)


def test_reference_quality_orders_answers():
    reward = ReferenceQuality()
    answers = {
        "reference": REFERENCE,
        "paraphrase": "Since $A = \\pi r^2$, with twice the radius the area becomes $\\pi (2r)^2 = "
        "4\\pi r^2$.\n\nSo it grows by a factor of four: the radius is squared in the formula.",
        "partial": "The area becomes larger because the radius is squared.",
        "stuffed": "area circle radius doubling factor four formula squared enters replaces new "
        * 4,
        "question": QUESTION,
        "off topic": "Paris is the capital of France. It lies on the Seine.\n\nMany people visit.",
        "empty": "",
    }
    scores = {name: value(reward, text, CIRCLE) for name, text in answers.items()}
    assert scores["reference"] == pytest.approx(1.0)
    assert scores["empty"] == 0.0
    assert scores["paraphrase"] > 0.55
    assert scores["paraphrase"] > scores["partial"] > scores["off topic"]
    assert scores["stuffed"] < scores["partial"]
    assert scores["question"] < scores["partial"]
    assert scores["off topic"] < 0.1


def test_reference_quality_shows_its_parts():
    parts = ReferenceQuality().explain(CIRCLE, Completion(REFERENCE))
    assert parts is not None
    assert (parts.length, parts.formulas, parts.concepts, parts.structure) == (1.0, 1.0, 1.0, 1.0)
    only = ReferenceQuality(length=0, formulas=1, concepts=0, structure=0)
    assert value(only, "no formula at all", CIRCLE) == 0.0
    assert value(only, "words", Example("e", "q", "")) is None
