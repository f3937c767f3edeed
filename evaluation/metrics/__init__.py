"""Pass@K, majority votes, intervals and paired tests.

pass_at_k   pass@k, pass^k, mean@n, and the k at which two curves cross
majority    maj@k, and which answers count as one
intervals   bootstrap and posterior intervals of a mean over problems
paired      the paired test of two models, and how many problems a difference needs
"""
