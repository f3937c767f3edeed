"""A plan beside what is really there: the engine's cache, and the peaks of a process on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.estimate import plan_memory

pytestmark = pytest.mark.stack

PROMPT, TOKENS, ROWS = 70, 200, 6


def config_of(folder: Path, dtype: str) -> ExperimentConfig:
    return ExperimentConfig.from_dict(
        {
            "model": {"name": str(folder), "dtype": dtype, "load_in_4bit": False},
            "data": {"train": "none.jsonl", "max_prompt_length": PROMPT},
            "training": {
                "prompts_per_step": 2,
                "num_generations": ROWS // 2,
                "completions_per_forward": 1,
                "max_completion_length": TOKENS,
            },
            "evaluation": {"before": False, "after": False},
        }
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_keys_and_values_take_the_bytes_that_are_planned(dtype: str, tmp_path: Path) -> None:
    """In float32 rows share nothing and blocks are longer."""
    import torch
    from sampling_toys import make_model, make_tokenizer

    from groupwise.framework.sampling.requests import encode_prompts
    from groupwise.framework.sampling.slots import SlotSampler
    from groupwise.framework.sampling.stopping import Stopping

    model, tokenizer = make_model().to(getattr(torch, dtype)), make_tokenizer()
    model.save_pretrained(tmp_path)
    config = config_of(tmp_path, dtype)
    params = SamplingParams(max_tokens=TOKENS)
    prompts = [Prompt(key, "x" * PROMPT) for key in "ab"]
    encoded = encode_prompts(prompts, ROWS // 2, params, model, tokenizer)
    assert len(encoded[0].ids) == PROMPT
    stopping = Stopping(model, tokenizer, (), TOKENS)
    plan = plan_memory(config, read_architecture(config.model), device="cpu")
    [planned] = [p for p in plan.phases[1].parts if p.name == "kv_cache"]
    sampler = SlotSampler(model, tokenizer, memory_budget_bytes=10**9)
    with sampler.running(encoded, params, stopping) as run:
        assert run.cache.data.nbytes == planned.bytes


@pytest.mark.long
def test_the_peaks_of_a_real_run_on_a_cpu_are_within_15_percent(tmp_path: Path) -> None:
    """`python -m benchmarks.memory` has another family, too."""
    from benchmarks.memory_peak import config_for, measured

    real = measured(tmp_path, "llama")
    config = config_for(tmp_path, "llama")
    plan = plan_memory(config, read_architecture(config.model), device="cpu")
    for phase in plan.phases[1:]:
        assert real[phase.name] == pytest.approx(phase.expected, rel=0.15), phase.name
