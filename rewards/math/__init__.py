"""Grading a final answer: found in the text, spelled in one way, compared with the reference.

    grade          the whole: `grade`, `grade_many`, the reward `Correctness`
    extract        the answer that a text marks: tags, boxes, `####`, "the answer is"
    unmarked       where nothing marks it: bold, the whole text, the last formula or number
    latex          one spelling for LaTeX, Unicode and plain notation
    compare        whether two answers are equal; it asks the files below, by kind of answer
    structure        lists, sets, tuples, intervals, unions, matrices
    values           numbers and formulas, by value
    expressions      the evaluator of formulas
    quantities       a number with sign, currency, percent and unit
    units            names of units, and the factors between them
    numerals         numerals in another base
    ratios           ratios and times of day
    choices          letters of a multiple choice
    words            prose and names
    verify_pool    math-verify in processes that can be killed: asked where `compare` cannot tell
    verify_worker  what runs in such a process

What it leaves out: steps and proofs. Only the final answer counts.
"""
