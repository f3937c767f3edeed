"""The plan for a case: `plan_memory` of the 8 GB preset with the case's settings."""

from __future__ import annotations

from typing import Any

from benchmarks.memory_fake.cases import Generation, Training
from groupwise.framework.config import ExperimentConfig, resolve_config_path
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.estimate import plan_memory
from groupwise.framework.memory.parts import MemoryPlan, Phase

PRESET = "qwen3_4b_gsm8k_8gb"
NAMES = {"Qwen3-4B": "Qwen/Qwen3-4B", "Llama-3.2-3B": "meta-llama/Llama-3.2-3B-Instruct"}


def planned(model: str, case: Training | Generation) -> MemoryPlan:
    changes: dict[str, Any] = {
        "model.name": NAMES[model],
        "model.max_seq_length": case.prompt + case.completion,
        "data.max_prompt_length": case.prompt,
        "training.max_completion_length": case.completion,
        "evaluation.before": False,
        "evaluation.after": False,
    }
    if isinstance(case, Training):
        changes["training.completions_per_forward"] = case.per_forward
        changes["model.use_gradient_checkpointing"] = case.checkpointing
    else:
        changes["training.num_generations"] = case.group
        changes["training.prompts_per_step"] = case.rows // case.group
        changes["training.max_rows"] = case.rows
    overrides = [f"{key}={_yaml(value)}" for key, value in changes.items()]
    config = ExperimentConfig.from_yaml(resolve_config_path(PRESET), overrides=overrides)
    return plan_memory(config, read_architecture(config.model))


def phase_of(plan: MemoryPlan, case: Training | Generation) -> Phase:
    name = "training" if isinstance(case, Training) else "generation"
    return next(phase for phase in plan.phases if phase.name == name)


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
