"""The memory that a run needs, predicted from its config: no weights are read, no GPU is needed.

    plan = plan_memory(config, read_architecture(config.model))

Three phases are added up by part: loading; generation (rollouts or evaluation, whichever needs
more), with the optimiser's state and without gradients; training. What each part is made of:
`tensors.py` (exact), `generation.py`, `training.py`, `machine.py` (main memory and disk).

The interval around a phase: weights, adapter, optimiser and gradients have none (tests hold them
against real tensors). The other parts agree with the real code on fake tensors, where no kernel
has a workspace of its own and no allocator holds more than is in use: they may be `_LESS` smaller
or `_MORE` larger, and all of it takes up to `_FRAGMENTS` more in the allocator. No card has shown
this; the upper end is as wide as it is so that it holds the peaks which Unsloth has published
(`benchmarks/memory.py`).

Sampling takes what memory is left, so that keys and values are those of all rows that are asked
for (`training.max_rows`, else the whole step): with less memory there are fewer rows at once, which
is slower and no error. Left out: several GPUs, a display on the same card.
"""

from __future__ import annotations

from dataclasses import replace

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import Architecture
from groupwise.framework.memory.generation import copied_weights, generation_parts, samplings
from groupwise.framework.memory.machine import disk_parts, host_parts
from groupwise.framework.memory.parts import MemoryPlan, Part, Phase, PhaseName
from groupwise.framework.memory.rewards import reward_model_parts
from groupwise.framework.memory.tensors import (
    Stored,
    optimizer_bytes,
    stored_as,
    trained_parameters,
    weight_bytes,
)
from groupwise.framework.memory.training import cpu_parts, forwards, gpu_parts

CONTEXT = 550_000_000  # CUDA's context, cuBLAS and the kernels that are loaded; not measured here
LIBRARIES = 100_000_000  # of a process on a CPU beyond its imports; measured on x86-64 Linux
_LESS, _MORE = 0.1, 0.25
_FRAGMENTS = 0.06
_KEPT_AT_MOST = 0.15  # of a dynamic quantisation whose list is not here, in 16 bits; a guess
_EXACT = {"weights", "lora", "optimizer", "gradients", "reference"}


def plan_memory(
    config: ExperimentConfig,
    architecture: Architecture,
    *,
    prompt_tokens: int | None = None,
    device: str = "cuda",
    rows: int | None = None,
) -> MemoryPlan:
    """The plan of a run on a card, or with `device="cpu"` of this process without one.

    `prompt_tokens`: of the longest prompt; None: `data.max_prompt_length`. `rows`: most rows that
    are sampled at once, by engines that adapt to the memory; None: as many as are asked for. With
    `use_gradient_checkpointing: auto`, a card is taken to need it.
    """
    on_gpu = device != "cpu"
    stored = stored_as(architecture, config.model, on_gpu=on_gpu)
    prompt = config.data.max_prompt_length if prompt_tokens is None else prompt_tokens
    checkpointing: object = config.model.use_gradient_checkpointing
    if checkpointing == "auto":
        checkpointing = "unsloth" if on_gpu else False
    base = _base_parts(config, architecture, stored, on_gpu=on_gpu)
    state, gradients = _trained(config, architecture, stored, on_gpu=on_gpu)
    state += reward_model_parts(config, on_gpu=on_gpu)
    sampled: list[Phase] = []
    kept: list[Part] = []
    for use in samplings(config, architecture, prompt, on_gpu=on_gpu):
        sampling = use if rows is None else use.limited(rows, on_gpu=on_gpu)
        parts = generation_parts(sampling, architecture, stored, on_gpu=on_gpu)
        if sampling.engine == "slots":
            parts += copied_weights(architecture, config.model, stored, on_gpu=on_gpu)
        if sampling.engine == "vllm":  # whose pool stays for as long as the process
            kept = [part for part in parts if part.name == "kv_cache"]
        phase = _phase("generation", [*base, *state, *parts], architecture)
        sampled.append(replace(phase, use=sampling.what, rows=sampling.rows))
    steps = forwards(config, prompt)
    parts_of = gpu_parts if on_gpu else cpu_parts
    trained = [parts_of(forward, architecture, stored, checkpointing) for forward in steps]
    phases = [_phase("loading", base, architecture)]
    if sampled:
        phases.append(max(sampled, key=lambda phase: phase.expected))
    if trained:
        parts = [*base, *state, *kept, *gradients, *max(trained, key=_sum)]
        phases.append(_phase("training", parts, architecture))
    longest = max(steps, key=lambda forward: forward.tokens, default=None)
    return MemoryPlan(
        tuple(phases),
        host_parts(config, architecture, stored, longest, checkpointing) if on_gpu else (),
        disk_parts(config, architecture, stored),
    )


def _base_parts(
    config: ExperimentConfig, architecture: Architecture, stored: Stored, *, on_gpu: bool
) -> list[Part]:
    model = config.model
    form = {"4bit": "NF4", "8bit": "8 bits", "plain": f"{8 * stored.size} bits"}[stored.form]
    said = f"{architecture.parameters:,} parameters, {form}"
    parts = [
        Part("context", CONTEXT, "CUDA and its kernels")
        if on_gpu
        else Part("libraries", LIBRARIES, "what training makes torch load")
    ]
    parts.append(Part("weights", weight_bytes(architecture, stored), said))
    if not model.full_finetuning:
        lora = trained_parameters(architecture, model)
        parts.append(Part("lora", 4 * lora, f"{lora:,} parameters, float32"))
    return parts


def _trained(
    config: ExperimentConfig, architecture: Architecture, stored: Stored, *, on_gpu: bool
) -> tuple[list[Part], list[Part]]:
    """The optimiser's state, with a reference where there is one; the gradients."""
    model, training = config.model, config.training
    trained = trained_parameters(architecture, model)
    optim = "adamw_8bit" if training.method == "sft" else training.optim
    if not on_gpu and "adamw" in optim:
        optim = "adamw_torch_fused"  # as `trainers.common.machine_arguments`
    state = [Part("optimizer", optimizer_bytes(architecture, model, optim, stored), optim)]
    # A fresh adapter needs no copy on a card (`policy.unsloth.add_reference`); TRL's own makes one.
    is_fresh = not (model.full_finetuning or model.adapter or training.warm_start.enabled)
    if training.beta > 0 and training.method == "grpo" and not (is_fresh and on_gpu):
        state.append(Part("reference", stored.trained * trained, "what the KL is measured from"))
    said = f"{trained:,} parameters, {8 * stored.trained} bits"
    return state, [Part("gradients", stored.trained * trained, said)]


def _sum(parts: list[Part]) -> int:
    return sum(part.bytes for part in parts)


def _phase(name: PhaseName, parts: list[Part], architecture: Architecture) -> Phase:
    total = _sum(parts)
    modelled = sum(part.bytes for part in parts if part.name not in _EXACT)
    low = total - _LESS * modelled
    high = (total + _MORE * modelled) * (1 + _FRAGMENTS)
    if architecture.kept_in_16_bits is None:
        high += 1.5 * _KEPT_AT_MOST * architecture.linear_parameters
    return Phase(name, tuple(parts), round(low), round(high))
