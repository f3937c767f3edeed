"""How good a model is: Pass@K with every sample kept, and two models compared fairly.

No torch, and nothing heavy at import.
"""

from groupwise.evaluation.compare import Comparison, compare, write_comparison
from groupwise.evaluation.log.records import (
    RolloutRecord,
    SampleRecord,
    read_rollouts,
    read_samples,
)
from groupwise.evaluation.metrics.majority import maj_at_k
from groupwise.evaluation.metrics.pass_at_k import mean_at_n, pass_at_k, pass_hat_k
from groupwise.evaluation.runner import EvaluationSettings, Progress, evaluate, samples_owed
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
    "samples_owed",
    "Summary",
    "summarise",
    "write_summary",
    "Comparison",
    "compare",
    "write_comparison",
]

if __name__ == "evaluation":  # by its earlier name: the same module, not a second one
    from groupwise._earlier_names import same_module

    same_module(__name__)
