"""Engines that draw completions: `slots` (our own), `generate` (the model's own), `vllm`.

make_sampler(model, tokenizer).sample(prompts, num_samples, params)

slots                 our engine: continuous batching on transformers' forward
schedule, blocks      which samples run, and where in a paged pool their keys lie; no tensors
buffers, cache        the same as tensors; keys and values
attention, graphs     attention over blocks; a step as a CUDA graph
forwards              transformers' forward where Unsloth has replaced it
self_check            `slots` beside `generate` on a few tokens, before it is used
generate, vllm        `model.generate`; Unsloth's vLLM
draw, randomness      from logits to a token; the random numbers of a sample
requests, stopping    prompts in tokens; where a completion ends
turn_end              with which token the chat template ends an answer
support, state        which models `slots` serves; a model put into evaluation mode and back
cpu, lora             prepacked weights and threads; adapters folded into the weights
memory, tune_rows     how many rows fit, and how many are fastest
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

from groupwise.evaluation.sampler import Sampler
from groupwise.framework.sampling.support import why_not_slots
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from groupwise.framework.sampling.generate import GenerateSampler
    from groupwise.framework.sampling.self_check import CheckedSampler
    from groupwise.framework.sampling.slots import SlotSampler
    from groupwise.framework.sampling.state import sampling_mode
    from groupwise.framework.sampling.vllm import VllmSampler

Engine = Literal["auto", "slots", "generate", "vllm"]
ENGINES: tuple[Engine, ...] = ("auto", "slots", "generate", "vllm")


_NAMES = {
    "CheckedSampler": "self_check",
    "GenerateSampler": "generate",
    "SlotSampler": "slots",
    "VllmSampler": "vllm",
    "sampling_mode": "state",
}


def __getattr__(name: str) -> Any:
    """Imports what needs torch when it is first used: what fits into memory is asked without."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)


class EngineSampler(Sampler, Protocol):
    """A Sampler that also says why it was picked."""

    @property
    def reason(self) -> str: ...


def make_sampler(
    model: Any,
    tokenizer: Any,
    engine: Engine = "auto",
    *,
    max_rows: int | None = None,
    memory_budget_bytes: int | None = None,
    cuda_graphs: bool = False,
) -> EngineSampler:
    """The sampling engine for a model; `auto` picks the fastest that serves it (see `reason`).

    What `auto` picks as the slot engine is compared with `generate` before it is used, and gives
    way to it if they disagree (`self_check.py`); an engine that is asked for is not checked.

    A sampler is cheap to make, keeps no memory between calls, and samples with the weights that the
    model has when `sample` is called.

    Args:
        max_rows: most samples at once (None: the engine's default for the device).
        memory_budget_bytes: memory for the samples in flight (None: a part of the free memory).
        cuda_graphs: replay the slot engine's steps as CUDA graphs; ignored without a GPU.

    Raises UserError for an engine that does not exist or cannot serve this model.
    """
    if engine not in ENGINES:
        raise UserError(f"sampling: there is no engine {engine!r}; choose one of {ENGINES}.")
    import torch  # slow, and so are the engines: not at start-up

    from groupwise.framework.sampling.generate import GenerateSampler
    from groupwise.framework.sampling.self_check import CheckedSampler
    from groupwise.framework.sampling.slots import Options, SlotSampler
    from groupwise.framework.sampling.vllm import VllmSampler

    reason = "asked for"
    is_checked = engine == "auto"
    if engine == "auto":
        engine, reason = _pick(model)
    if engine == "vllm":
        return VllmSampler(model, tokenizer, reason=reason)
    generate = GenerateSampler(model, tokenizer, max_rows=max_rows, reason=reason)
    if engine == "generate":
        return generate
    slots = SlotSampler(
        model,
        tokenizer,
        max_rows=max_rows,
        memory_budget_bytes=memory_budget_bytes,
        reason=reason,
        options=Options(cuda_graphs=cuda_graphs and torch.cuda.is_available()),
    )
    return CheckedSampler(slots, generate) if is_checked else slots


def _pick(model: Any) -> tuple[Engine, str]:
    from groupwise.framework.sampling.vllm import why_not_vllm  # imports torch: not at start-up

    if why_not_vllm(model) is None:
        return "vllm", "the model was loaded with fast_inference"
    why_not = why_not_slots(model)
    if why_not is None:
        return "slots", f"serves {model.config.model_type} and is the fastest here"
    return "generate", f"slots: {why_not}"


__all__ = [
    "ENGINES",
    "CheckedSampler",
    "Engine",
    "EngineSampler",
    "GenerateSampler",
    "SlotSampler",
    "VllmSampler",
    "make_sampler",
    "sampling_mode",
]
