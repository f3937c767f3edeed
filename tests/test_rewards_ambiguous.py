"""Marks that can be read in two ways, and how they are read: colons, exclamation marks, labels."""

from __future__ import annotations

import pytest

from rewards import grade

# text, gold, whether it is right
CASES: dict[str, list[tuple[str, str, bool]]] = {
    # A ratio equals one that it reduces to, and its value as a fraction.
    "ratio": [
        (r"\boxed{2:4}", "1:2", True),
        (r"\boxed{1 : 2}", "1:2", True),
        (r"\boxed{2:1}", "1:2", False),
        (r"\boxed{1/2}", "1:2", True),
        (r"\boxed{1:2}", "1/2", True),
        (r"\boxed{5:10}", "1:2", True),
        (r"\boxed{2:4:6}", "1:2:3", True),
        (r"\boxed{1:3:2}", "1:2:3", False),
        (r"\boxed{1:2}", "1:2:3", False),
        (r"\boxed{1:2:3:4}", "1:2:3", False),
        (r"\boxed{0:0}", "1:2", False),
        (r"\boxed{1.5:2}", "3:4", True),
        (r"\boxed{a:b:c}", "a:b:c", True),
        (r"\boxed{a:c:b}", "a:b:c", False),
    ],
    # What could be a time of day is compared as one.
    "time": [
        (r"\boxed{03:45}", "3:45", True),
        (r"\boxed{3:45 PM}", "3:45", True),
        (r"\boxed{3:45\text{ p.m.}}", "3:45 PM", True),
        (r"\boxed{3:45 AM}", "3:45 PM", False),
        (r"\boxed{15:45}", "3:45 PM", True),
        (r"\boxed{15:45}", "3:45", False),
        (r"\boxed{12:30 AM}", "0:30", True),
        (r"\boxed{12:30}", "12:30 PM", True),
        (r"\boxed{1:15}", "3:45", False),
        (r"\boxed{6:90}", "3:45", False),
        (r"\boxed{2:20}", "1:10", False),
        (r"\boxed{0.1}", "1:10", False),
        (r"\boxed{\frac{1}{10}}", "1:10", True),
        (r"\boxed{3:45:10}", "3:45", False),
    ],
    # `5!` is a factorial behind a mark or in a formula, and 5 at the end of a sentence.
    "exclamation": [
        ("The answer is 5!", "5", True),
        ("The answer is 5!", "120", False),
        ("The answer is 5! We are done.", "5", True),
        ("The answer is 72!!", "72", True),
        ("She has 72!!", "72", True),
        ("So we get 5!", "5", True),
        ("It is 5! Great.", "5", True),
        ("So the total is **5**!", "5", True),
        ("I got 42!\n", "42", True),
        ("<answer>She has 72!</answer>", "72", True),
        ("The answer is 5!", "5!", True),
        ("The answer is 5!.", "120", True),
        ("The answer is 5! = 120", "120", True),
        ("The answer is $5!$", "120", True),
        ("The answer is $5!$", "5", False),
        ("Answer: $n!$", "n!", True),
        (r"\boxed{5!}", "120", True),
        (r"\boxed{5!}", "5", False),
        ("<answer>5!</answer>", "120", True),
        ("<answer>5!</answer>", "5", False),
        ("#### 5!", "120", True),
        ("#### 5!", "5", False),
        ("there are $5!$ ways", "5", False),
    ],
    # What is denied is no answer.
    "denied": [
        ("I think the answer isn't 42.", "42", False),
        ("I think the answer isn’t 42.", "42", False),
        ("So it is not 42", "42", False),
        ("It cannot be 42.", "42", False),
        ("Thus 42 is not the answer.", "42", False),
        ("42 isn't the answer", "42", False),
        ("The answer is not 42", "42", False),
        ("It is not 41 but 42.", "42", True),
        ("Thus 42 is the answer.", "42", True),
        ("42 is the answer", "42", True),
        ("Do not forget: 42", "42", True),
    ],
    # The phrase may stand in the formula.
    "label": [
        (r"Answer: \text{Answer: }5", "5", True),
        (r"The answer is $\text{Answer: }5$.", "5", True),
        (r"\text{Answer: } 5", "5", True),
        (r"$\text{Answer: }5$", "5", True),
        ("Hence\n\\[\\text{Answer: }5\\]", "5", True),
        (r"Final: $\text{Answer: } \frac{1}{2}$", "0.5", True),
        (r"$\text{Answer}=\frac{1}{2}$", "0.5", True),
        (r"\textbf{Answer: 5}", "5", True),
        (r"\textbf{Answer:} 5", "5", True),
        (r"\textbf{Answer}: 6", "5", False),
        (r"\boxed{\text{Answer: }5}", "5", True),
        ("Answer: $5", "5", True),
        (r"The answer is \{1,2\}.", r"\{1,2\}", True),
        ("I got 42.", "42", True),
    ],
    # What explains an answer is no part of it.
    "explained": [
        ("The answer is 42, since 3 of 45 are gone.", "42", True),
        ("The answer is x = 42, because 6*8 = 48.", "42", True),
        ("The answer is 42 because 6*8 = 48.", "48", False),
        ("The answer is 42, not 43.", "42", True),
        ("The answer is 42, not 43.", "43", False),
        ("The answer is 42 (6 x 7).", "42", True),
        ("The answer is 42; that is 6 sevens.", "42", True),
        ("The answer is 42 eggs per 3 days.", "42", True),
        ("The answer is 42, or 43.", "42", False),
        ("The answer is 42, which is not right.", "42", False),
        ("<answer>42 (43)</answer>", "42", False),
        ("<answer>42; 43</answer>", "42", False),
        ("#### 6*7=<<6*7=42>>42", "42", True),
        ("#### 42<|im_end|>", "42", True),
        ("The answer is negative 5.", "5", False),
        ("It is negative 5.", "-5", True),
        ("The answer is 17i", "17", False),
        ("It is 100 thousand dollars.", "100000", True),
        ("The answer is 6*7, which is 42.", "42", True),
        ("The answer is the sum of 40 and 2, which is 42.", "42", True),
        ("The answer is 42, which is 6 sevens.", "42", True),
        ("temperature is minus 5", "-5", True),
        ("10 minus 5", "-5", False),
        ("It takes 3 1/2 hours", "3.5", True),
        ("it takes 3½ hours", "3.5", True),
        ("The answer is 3½.", "3", False),
        ("答案是42。", "42", True),
    ],
    # A formula in prose is taken whole, and so are several that "or" or "and" joins.
    "formula": [
        ("The result is $x+1$.", "x+1", True),
        ("The area is \\(12\\pi\\).", "12\\pi", True),
        ("so it is $-\\frac{1}{2}$ as asked", "-0.5", True),
        ("so it is $15\\text{ cm}$", "15\\text{ cm}", True),
        ("so it is $17x$", "17", False),
        ("it is $\\frac{1}{17}$ then", "17", False),
        ("so \\[6 \\times 7 = 42\\] eggs", "42", True),
        ("She pays $5 and then $6", "6", True),
        ("Total: 3 * $2 = $6", "6", True),
        ("so the day is $\\text{Monday}$", "\\text{Monday}", True),
        ("The answer is $41$ or $42$.", "41", False),
        ("The answer is $41$ or $42$.", "42", False),
        ("The answer is \\(2\\) or \\(3\\).", "2,3", True),
        ("The answers are $1$ and $2$.", "1,2", True),
        ("The result is $7$ or $8$.", "8", False),
        ("so $x=1$, $2$, and $3$", "1,2,3", True),
        ("If $x=2$, $y=7$.", "7", True),
        ("so $x = 42$ and $y = 43$", "43", False),
        ("The solutions are $x = 42$ or $x = -42$.", "-42", False),
    ],
    "markdown": [
        ("#### Step 3\nThe total is 42.", "42", True),
        ("#### Final Answer\n42", "42", True),
        ("#### Conclusion\nTherefore, she has 42 eggs.", "42", True),
        ("#### 1. Find the total\n6*7 = 42\n\nThe answer is 42.", "42", True),
        ("#### forty-two", "42", True),
        ("#### Step 1: add\n41\n#### Step 2: answer\nThe answer is 42.", "42", True),
        ("He has **42 apples** left after 27 days.", "42", True),
        ("He has **42 apples** left after 27 days.", "27", False),
    ],
}


@pytest.mark.parametrize("kind", CASES)
def test_each_reading(kind: str) -> None:
    wrong = [
        (text, gold, grade(text, gold))
        for text, gold, right in CASES[kind]
        if grade(text, gold).correct != right
    ]
    assert wrong == []
