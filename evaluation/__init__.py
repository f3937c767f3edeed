"""How good a model is: Pass@K with every sample kept, and two models compared fairly.

The public face; everything else may move. Each name is imported when it is first used: NumPy and
SciPy come with most of them, and stay out of start-up; torch comes with none.

    from groupwise.evaluation import compare, evaluate, pass_at_k, read_samples, summarise

    runner, sampler       `evaluate`; the protocol of sampling engines
    summary, comparison   the numbers of one evaluation, and of several compared
    differences           what evaluations that are compared must have alike
    metrics/              pass@k, maj@k, intervals, paired tests
    log/                  `samples.jsonl` and its like: writing, reading, counting, export
    export                answers as CSV or Parquet
    tables, text          numbers as text for a terminal
    viewer/, report       the review page; a run as one HTML file
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from groupwise.evaluation.comparison import Comparison, compare, write_comparison
    from groupwise.evaluation.log.records import (
        RolloutRecord,
        SampleRecord,
        read_rollouts,
        read_samples,
    )
    from groupwise.evaluation.metrics.majority import maj_at_k
    from groupwise.evaluation.metrics.pass_at_k import mean_at_n, pass_at_k, pass_hat_k
    from groupwise.evaluation.runner import EvaluationSettings, Progress, evaluate
    from groupwise.evaluation.sampler import Prompt, SampledCompletion, Sampler, SamplingParams
    from groupwise.evaluation.summary import Summary, summarise, write_summary

__all__ = [
    "pass_at_k",
    "pass_hat_k",
    "maj_at_k",
    "mean_at_n",
    "SampleRecord",
    "RolloutRecord",
    "read_samples",
    "read_rollouts",
    "Prompt",
    "SamplingParams",
    "SampledCompletion",
    "Sampler",
    "EvaluationSettings",
    "Progress",
    "evaluate",
    "Summary",
    "summarise",
    "write_summary",
    "Comparison",
    "compare",
    "write_comparison",
]

# No module here may have the name of something it offers: an import of the module would put it in
# the place of the function. So `compare` lives in comparison.py.
_MODULES = {
    "comparison": ("Comparison", "compare", "write_comparison"),
    "log.records": ("RolloutRecord", "SampleRecord", "read_rollouts", "read_samples"),
    "metrics.majority": ("maj_at_k",),
    "metrics.pass_at_k": ("mean_at_n", "pass_at_k", "pass_hat_k"),
    "runner": ("EvaluationSettings", "Progress", "evaluate"),
    "sampler": ("Prompt", "SampledCompletion", "Sampler", "SamplingParams"),
    "summary": ("Summary", "summarise", "write_summary"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'groupwise.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"groupwise.evaluation.{_MODULE_OF[name]}"), name)


if __name__ == "evaluation":  # by its earlier name: the same module, not a second one
    from groupwise._earlier_names import same_module

    same_module(__name__)
