"""The plan of a config: which parts it has, and that asking for more never predicts less."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.estimate import plan_memory
from groupwise.framework.memory.parts import MemoryPlan, Part

QWEN = "unsloth/Qwen3-4B"
BASE = {
    "model.name": QWEN,
    "model.max_seq_length": 8192,
    "data.train": "none.jsonl",
    "data.max_prompt_length": 256,
    "training.max_completion_length": 512,
    "training.prompts_per_step": 2,
    "training.num_generations": 4,
    "training.completions_per_forward": 2,
    "evaluation.before": False,
    "evaluation.after": False,
}


def planned(changes: Mapping[str, Any] | None = None, **options: Any) -> MemoryPlan:
    values = list({**BASE, **(changes or {})}.items())
    config = ExperimentConfig.from_dict({}, values)
    return plan_memory(config, read_architecture(config.model), **options)


def part(plan: MemoryPlan, phase: str, name: str) -> Part | None:
    parts = {p.name: p for found in plan.phases if found.name == phase for p in found.parts}
    return parts.get(name)


WITH_PART: dict[str, tuple[dict[str, Any], str, str]] = {
    "a reference after a warm start": (
        {"training.beta": 0.04, "training.warm_start.enabled": True},
        *("training", "reference"),
    ),
    "a reward model": (
        {"rewards.parts": {"judge": {"use": "reward_model", "params": {"model": QWEN}}}},
        *("training", "reward_model"),
    ),
    "keys of vLLM in training": ({"model.fast_inference": True}, "training", "kv_cache"),
    "the adapter in 16 bits": ({}, "generation", "lora_16_bits"),
}


@pytest.mark.parametrize("case", WITH_PART)
def test_a_setting_adds_its_part(case: str) -> None:
    changes, phase, name = WITH_PART[case]
    found = part(planned(changes), phase, name)
    assert found is not None
    assert found.bytes > 0
    if changes:
        assert part(planned(), phase, name) is None


def test_main_memory_and_disk() -> None:
    plan = planned({"training.optim": "paged_adamw_8bit", "evaluation.every_steps": 5})
    assert {p.name for p in plan.host} == {
        *("process", "loading", "offloaded_activations", "paged_optimizer"),
    }
    assert {p.name for p in plan.disk} == {
        *("checkpoints", "final_model", "best_model", "hub_download"),
    }
    [download] = [p for p in plan.disk if p.name == "hub_download"]
    assert download.bytes == 2 * 4_022_468_096
    kept = planned({"model.use_gradient_checkpointing": False})
    assert "offloaded_activations" not in {p.name for p in kept.host}


def test_an_evaluation_that_needs_more_than_the_rollouts_decides() -> None:
    rollouts = planned().phases[1]
    both = planned({"evaluation.after": True, "evaluation.max_rows": 64}).phases[1]
    assert both.expected > rollouts.expected
    [cache] = [p for p in both.parts if p.name == "kv_cache"]
    assert cache.what.startswith("evaluation: 64 rows of 768 tokens")
    assert (both.use, both.rows) == ("evaluation", 64)
    assert rollouts.use == "rollouts"


def test_a_supervised_run_without_evaluation_samples_nothing() -> None:
    changes = {"training.method": "sft", "training.warm_start.enabled": True}
    assert [phase.name for phase in planned(changes).phases] == ["loading", "training"]


def test_an_unknown_dynamic_quantisation_widens_the_interval() -> None:
    plain = planned({"model.name": f"{QWEN}-bnb-4bit"}).peak
    dynamic = planned({"model.name": f"{QWEN}-unsloth-bnb-4bit"}).peak
    assert dynamic.expected == plain.expected
    assert dynamic.low == plain.low
    assert dynamic.high > plain.high + 500_000_000


def test_layers_that_a_quantised_checkpoint_names_stay_in_16_bits(tmp_path: Path) -> None:
    shape = {
        **{"model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "vocab_size": 64},
        **{"num_hidden_layers": 4, "num_attention_heads": 4, "tie_word_embeddings": True},
    }
    skipped = [
        "lm_head",
        "model.layers.1.mlp",
        "model.layers.3.self_attn.q_proj",
        "model.layers.30",
    ]
    quantised = {"load_in_4bit": True, "llm_int8_skip_modules": skipped}
    (tmp_path / "config.json").write_text(json.dumps({**shape, "quantization_config": quantised}))
    config = ExperimentConfig.from_dict({}, list({**BASE, "model.name": str(tmp_path)}.items()))
    found = read_architecture(config.model)
    assert found.kept_in_16_bits == 3 * 256 * 512 + 256 * 256


MORE = {
    "training.max_completion_length": (64, 512, 4096),
    "data.max_prompt_length": (16, 256, 2048),
    "training.num_generations": (2, 4, 32),
    "training.completions_per_forward": (1, 2, 4),
    "training.prompts_per_step": (2, 8, 64),
    "model.lora_r": (4, 16, 128),
    "training.optim": ("sgd", "adamw_8bit", "paged_adamw_32bit"),
}


@settings(max_examples=60, deadline=None)
@given(
    key=st.sampled_from(sorted(MORE)),
    checkpointing=st.sampled_from([False, True, "unsloth"]),
    device=st.sampled_from(["cpu", "cuda"]),
    quantised=st.booleans(),
)
def test_asking_for_more_never_predicts_less(
    key: str, checkpointing: object, device: str, quantised: bool
) -> None:
    before: dict[str, int] = {}
    for value in MORE[key]:
        changes = {"model.use_gradient_checkpointing": checkpointing, key: value}
        changes |= {"model.load_in_4bit": quantised}
        plan = planned(changes, device=device)
        for phase in plan.phases:
            assert phase.low <= phase.expected <= phase.high
            assert phase.expected >= before.get(phase.name, 0)
            before[phase.name] = phase.expected
