"""A run from its config to its report: data, preflight, training, evaluation, comparison.

run                    the stages of a run, in order
data                   its problems, demonstrations and groups, each read and tokenised once
preflight, preflight_report   checks before the model is loaded; how they are shown
groups_preflight       the same for scored groups
evaluate               Pass@K as a config asks for it
periodic_evaluation    Pass@K during training: the best model, early stopping
timing                 what is left of a run, evaluations included
less_memory            what to change when memory ran out
rescore, score_change  a log under other rewards, and what that changes
toy                    where `toy` in a config becomes files
chat, tune_rows        the mechanics of `groupwise chat` and `groupwise doctor --rows`
self_test, self_test_probe   a tiny model loaded, sampled from, trained: `groupwise doctor`
"""
