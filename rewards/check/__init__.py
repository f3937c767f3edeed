"""Proof that the rewards of a config do what they should on a user's own data.

prove    `prove(rubric, examples)`: scores the probes, and judges the weighted totals
parts    the verdict on one reward, from its scores on the probes
probes   completions whose worth is known: the reference, a wrong answer, an empty one, ...
missing  references that say that there is no answer: which, how many, in which rows
"""
