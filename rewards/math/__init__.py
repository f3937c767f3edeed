"""Grading a final answer: found in the text, read once into values, compared with the reference.

    grade          the whole: `grade`, `grade_many`, the reward `Correctness`
    reference      what a reference answer is
  find
    find           the answer that a text marks: tags, boxes, `####`, "the answer is"
    guess          where nothing marks it: bold, the whole text, the last formula or sentence
    layout         quote marks, fences, bullets, bold and headings around an answer
    wanted         of what was found, what the reference asks for: a value, letter or word
    statement      the value that a sentence states
    letters        the letter of a choice in a sentence
    sentences      truth values and names in a sentence
    refusals       what takes an answer back
  read
    read           every value that a text may stand for, by rules in their order
    spelling       one spelling for LaTeX, Unicode and source notation
    build          what has parts: matrices, sets, points, intervals, lists, relations
    formula        formulas as trees: a new function or operator goes here
    numbers        numerals in digits and in words
    units          units of measure, money and labels
    calendar       dates, times, ranges, versions, orders
    words          prose and names
    values         the kinds of value
  compare
    compare        the table of kinds, and the rule for each pair
    amounts        numbers and formulas by their values
    evaluate       the value of a formula at a point
  vocabulary       tables of words and signs: a new spelling of something known goes here

What it leaves out: steps and proofs. Only the final answer counts.
"""
