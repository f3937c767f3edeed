"""A run from its config to its report: data, preflight, training, evaluation, comparison."""
