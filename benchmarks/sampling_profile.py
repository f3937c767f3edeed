"""Where the time of the slots engine goes, by torch's profiler: `benchmarks.sampling --profile`.

Shares of the time of whole calls of `sample`, prompts and packing included. The profiler itself
adds to each operation, so what is made of many small ones looks larger than it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.sampling_sides import Workload, slots
from groupwise.framework.sampling import cache as kv
from groupwise.framework.sampling import slots as engine
from groupwise.framework.sampling.buffers import Buffers

# Operations of torch, with all that they call.
OPERATIONS = {
    "matrix products": ("mkldnn::_linear_pointwise", "aten::mm", "aten::addmm"),
    "attention": ("aten::scaled_dot_product_attention",),
    "packing the weights": ("mkldnn::_reorder_linear_weight",),
}
WHOLE = "all of sample()"
REST = "the calls themselves: modules, views, residuals, activations"
CALLS = 3  # of `sample`: other work on the machine falls into some part or other


def shares(work: Workload, threads: int) -> dict[str, float]:
    """Each part's share of the time of `sample`, largest first; they sum to 1."""
    was = torch.get_num_threads()
    torch.set_num_threads(threads)
    slots(work)  # warm
    with (
        _named_parts(work.model) as names,
        profile(activities=[ProfilerActivity.CPU]) as found,
        record_function(WHOLE),
    ):
        for _ in range(CALLS):
            slots(work)
    torch.set_num_threads(was)
    microseconds = {event.key: event.cpu_time_total for event in found.key_averages()}
    parts = {name: microseconds.get(name, 0.0) for name in names}
    for name, operations in OPERATIONS.items():
        parts[name] = sum(microseconds.get(operation, 0.0) for operation in operations)
    parts[REST] = microseconds[WHOLE] - sum(parts.values())
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    return {name: value / microseconds[WHOLE] for name, value in ordered}


@contextmanager
def _named_parts(model: Any) -> Iterator[list[str]]:
    """Inside, the parts of a step carry their names in the profile, which are yielded.

    None of them contains another, or one of `OPERATIONS`: they can be added up.
    """
    norms = {type(m) for m in model.modules() if type(m).__name__.endswith("RMSNorm")}
    rotary = {type(m) for m in model.modules() if type(m).__name__.endswith("RotaryEmbedding")}
    modeling = sys.modules[type(model).__module__]
    parts: list[tuple[str, Any, str]] = [
        *(("RMS norms", norm, "forward") for norm in norms),
        *(("rotary embedding", table, "forward") for table in rotary),
        ("rotary embedding", modeling, "apply_rotary_pos_emb"),
        ("drawing", engine, "draw"),
        ("writing the cache", kv.BlockCache, "update"),
        ("masks", Buffers, "step"),
        ("bookkeeping", engine.Run, "_book"),
        ("copying prompts into slots", kv.BlockCache, "fill"),
    ]
    with ExitStack() as stack:
        for name, owner, attribute in parts:
            named = _named(name, getattr(owner, attribute))
            stack.enter_context(patch.object(owner, attribute, named))
        yield list(dict.fromkeys(name for name, _, _ in parts))


def _named(name: str, function: Any) -> Any:
    def named(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return function(*args, **kwargs)

    return named


def section(work: Workload, threads: int) -> str:
    """The shares as a section of the report."""
    parameters = sum(p.numel() for p in work.model.parameters())
    lines = [
        f"## {parameters / 1e6:.1f}M parameters",
        "",
        f"{len(work.prompts)} prompts x {work.num_samples} samples, at most {work.max_tokens} "
        f"tokens, texts end early, float32, threads: {threads}.",
        "",
        "| part | share |",
        "|---|---|",
        *(f"| {name} | {share:.1%} |" for name, share in shares(work, threads).items()),
    ]
    return "\n".join([*lines, ""])
