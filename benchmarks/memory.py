"""Predicted memory beside what is real: tensors, a process' peaks, and peaks that others published.

    python -m benchmarks.memory      writes benchmarks/results/memory.md

Tensors: weights, adapter, 8-bit Adam and gradients of random models with the widths of real ones,
and accelerate's estimate of the same config. Peaks: two steps of a real GRPO training on this CPU
(`memory_peak.py`). Published: what others measured on a card, with earlier versions of Unsloth.

Left out: a card. `python -m benchmarks.gpu` measures there; `benchmarks/memory_fake` counts the
same code on fake tensors.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks import memory_peak
from groupwise.framework.config import ExperimentConfig, ModelConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.estimate import plan_memory
from groupwise.framework.memory.tensors import stored_as, weight_bytes

RESULTS = Path(__file__).parent / "results" / "memory.md"
GB, GIB = 1e9, 2**30
MODELS = (
    "Qwen/Qwen2.5-0.5B",
    "Qwen/Qwen2.5-3B",
    "Qwen/Qwen3-4B",
    "Qwen/Qwen3-8B",
    "meta-llama/Llama-3.2-1B",
    "meta-llama/Llama-3.2-3B",
    "google/gemma-3-4b-it",
    "mistralai/Mistral-7B-v0.3",
    "microsoft/Phi-4-mini-instruct",
)
# Unsloth's README, "Context length benchmarks" (https://github.com/unslothai/unsloth): the longest
# sequence that fits, QLoRA of rank 32 on all linear layers, batch size 1. GB are taken as GiB.
LONGEST_8B = {8: 2_972, 12: 21_848, 16: 40_724, 24: 78_475, 40: 153_977, 48: 191_728, 80: 342_733}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as scratch:
        parts = [*head(), *tensors(Path(scratch)), *estimates(), *peaks(Path(scratch))]
    out.write_text("\n".join([*parts, *published()]) + "\n", encoding="utf-8")


def head() -> Iterator[str]:
    yield "# Predicted memory, and what is real"
    yield ""
    yield (
        "`python -m benchmarks.memory`. Nothing here ran on a card; GB are 1e9 bytes. Errors are "
        "predicted against real, in percent."
    )


def table(*columns: str) -> list[str]:
    return ["", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]


def row(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def error(predicted: float, real: float) -> str:
    return f"{100 * (predicted / real - 1):+.2f} %"


def tensors(scratch: Path) -> Iterator[str]:
    """One layer of each family in each form: bytes of real tensors."""
    from benchmarks.memory_tensors import MIDDLE, WAYS, compared, loaded, make_folder

    yield from ["", "## Tensors", ""]
    yield (
        "One layer with the widths of a real model (Mistral's of half the width), 4,096 words, "
        "random weights, loaded by transformers, bitsandbytes and PEFT; LoRA of rank 16. In MB. "
        "`accelerate` is the size that its `estimate-memory` gives for the form."
    )
    yield from table("model", "form", "what", "predicted", "real", "error", "accelerate")
    for family, shape in MIDDLE.items():
        folder = make_folder(scratch / family, family, shape)
        for way, settings in WAYS.items():
            model = ModelConfig(name=str(folder), **settings)
            theirs = accelerate_size(read_config(folder), way)
            pairs = compared(model, loaded(model), ["adamw_8bit"], on_gpu=False)
            for what, predicted, real in pairs:
                beside = f"{theirs / 1e6:.2f}, {error(theirs, real)}" if what == "weights" else ""
                numbers = f"{predicted / 1e6:.3f}", f"{real / 1e6:.3f}", error(predicted, real)
                yield row(family, way, what, *numbers, beside)


def read_config(folder: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder)


def accelerate_size(config: Any, way: str) -> float:
    """Bytes by `accelerate estimate-memory`'s own code, on the same config."""
    import torch
    from accelerate.commands import estimate
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):  # as its create_empty_model does, which asks the hub first
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    dtype = {"4bit": "int4", "8bit": "int8"}.get(way, "float16")
    before, estimate.create_empty_model = estimate.create_empty_model, lambda *_, **__: model
    asked = {"model_name": "", "library_name": None, "trust_remote_code": False, "dtypes": [dtype]}
    try:
        [[_, _, size, _]] = estimate.gather_data(SimpleNamespace(**asked))
    finally:
        estimate.create_empty_model = before
    return float(size)


def estimates() -> Iterator[str]:
    """Of well-known models: the weights beside accelerate's, and the plan of a run."""
    from transformers import AutoConfig

    from groupwise.framework.memory.architecture import find_config

    yield from ["", "## Well-known models in 4 bits", ""]
    yield (
        "Weights as predicted, and as `accelerate estimate-memory` says (which counts embedding "
        "and vision tower as quantised); the predicted peak of GRPO with LoRA of rank 16, 8 "
        "completions of up to 1,024 tokens for a prompt of 256, sampled at once, one in a forward. "
        "accelerate says nothing of training in 4 bits."
    )
    yield from table("model", "weights, GB", "accelerate, GB", "peak, GB", "low", "high", "phase")
    for name in MODELS:
        model = ModelConfig(name=name)
        architecture = read_architecture(model)
        weights = weight_bytes(architecture, stored_as(architecture, model, on_gpu=True))
        values = {key: v for key, v in find_config(name)[0].items() if key != "rope_scaling"}
        theirs = accelerate_size(AutoConfig.for_model(**values), "4bit")
        peak = plan_memory(grpo_config(name), architecture).peak
        sizes = [f"{size / GB:.2f}" for size in (weights, theirs, peak.expected)]
        yield row(name, *sizes, f"{peak.low / GB:.2f}", f"{peak.high / GB:.2f}", peak.name)


def grpo_config(name: str) -> ExperimentConfig:
    return ExperimentConfig.from_dict(
        {
            "model": {"name": name, "max_seq_length": 1280},
            "data": {"train": "none.jsonl", "max_prompt_length": 256},
            "training": {
                "prompts_per_step": 1,
                "num_generations": 8,
                "completions_per_forward": 1,
                "max_completion_length": 1024,
            },
            "evaluation": {"before": False, "after": False},
        }
    )


def peaks(scratch: Path) -> Iterator[str]:
    """Of a process: sampling and training of a real run on this machine."""
    yield from ["", "## Peaks of a process on a CPU", ""]
    yield (
        f"Two GRPO steps in float32 with LoRA of rank 16: {memory_peak.ROWS} completions of "
        f"{memory_peak.COMPLETION} tokens for prompts of {memory_peak.PROMPT}, in one forward, "
        "without gradient checkpointing. MB beyond what the process had after its imports."
    )
    yield from table("model", "parameters", "phase", "predicted", "measured", "error", "largest")
    for family in memory_peak.SHAPES:
        real = memory_peak.measured(scratch / "peaks", family)
        config = memory_peak.config_for(scratch / "peaks", family)
        architecture = read_architecture(config.model)
        for phase in plan_memory(config, architecture, device="cpu").phases[1:]:
            mb = f"{phase.expected / 1e6:.0f}", f"{real[phase.name] / 1e6:.0f}"
            size = f"{architecture.parameters / 1e6:.0f} M"
            off = error(phase.expected, real[phase.name])
            yield row(family, size, phase.name, *mb, off, phase.largest.name)


def published() -> Iterator[str]:
    """Longest sequences that others found to fit, and the peak that is predicted for them."""
    yield from ["", "## Peaks that others published", ""]
    yield (
        "Llama 3.1 8B, QLoRA of rank 32 on all linear layers, one sequence at a time: the longest "
        "that Unsloth's README says to fit (of its Llama 3.3 blog, supervised training), and the "
        "peak predicted for it. The card's GB are taken as GiB, all of it used."
    )
    yield from table("card, GB", "longest", "predicted, GB", "error", "within the interval")
    architecture = read_architecture(ModelConfig(name="unsloth/Llama-3.1-8B"))
    for card, length in LONGEST_8B.items():
        phase = plan_memory(supervised_config(length), architecture).peak
        room = card * GIB
        inside = "yes" if phase.low <= room <= phase.high else "no"
        sizes = f"{room / GB:.2f}", f"{length:,}", f"{phase.expected / GB:.2f}"
        yield row(*sizes, error(phase.expected, room), inside)
    yield from ["", *NOT_COMPARABLE]


def supervised_config(length: int) -> ExperimentConfig:
    return ExperimentConfig.from_dict(
        {
            "model": {
                "name": "unsloth/Llama-3.1-8B",
                "max_seq_length": length,
                "lora_r": 32,
                "use_gradient_checkpointing": "unsloth",
            },
            "data": {"train": "none.jsonl"},
            "training": {"method": "sft", "warm_start": {"enabled": True, "batch_size": 1}},
            "evaluation": {"before": False, "after": False},
        }
    )


NOT_COMPARABLE = (
    "Published, and not comparable:",
    "",
    "- unsloth issue 4985 (April 2026): peaks of 18.06, 18.45, 19.25, 20.85, 22.45 and 24.04 GB at "
    "256, 512, 1,024, 2,048, 3,072 and 4,095 tokens on a Hopper card, 17.66 GB of them before. The "
    "model and what was run are not said (the reporter's was Qwen3.5-9B, whose family is not built "
    "in). These 1.56 MB a token are what logits take that are made all at once; the version locked "
    "here makes them in tiles of 4,096 tokens by 16,384 words, 0.27 GB.",
    "- Unsloth's blog on GRPO (https://unsloth.ai/blog/grpo, February 2025): 54.3 GB for Llama 3.1 "
    "8B, 8 completions of 20,000 tokens in one forward: 42 for training, 9.8 for the loss, 2.5 for "
    "keys and values. It is of the trainer before the one that is locked here.",
    "- unsloth issue 1840 (September 2026): 0.92 GiB of GRPO in 4 bits and 1.81 in 16 on a 0.6B "
    "model. Lengths and rows are not given.",
)


if __name__ == "__main__":
    main()
