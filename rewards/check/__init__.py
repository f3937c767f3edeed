"""Proof that the rewards of a config do what they should on a user's own data.

prove    `prove(rubric, examples)`: asks the probes, and judges the weighted totals
parts    what the probes say of one reward
probes   completions whose worth is known: the reference, a wrong answer, an empty one, ...
"""
