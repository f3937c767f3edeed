"""Counts of `generate`, as the framework calls it and as stock Unsloth's GRPO trainer does.

Unsloth's own decoding, in the emulation of tests/gpu_emulation.py, on fake tensors of real shapes.
All of it is executed but the kernels of unsloth_kernels.py.
"""

from __future__ import annotations

import gc
import tempfile
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.model import TINY, make_model
from benchmarks.gpu_figures import model as models
from benchmarks.gpu_figures import unsloth_kernels
from benchmarks.gpu_figures.counter import Counter, Tally
from benchmarks.gpu_figures.counts import Counts, Step, plus

STEPS = 3  # the first prefills, the second makes the cache


class EnoughError(Exception):
    """Fake tokens never end an answer: the loop is left by this."""


def patched() -> Any:
    """Emulates the GPU path, and applies all patches by loading a tiny model; its tokenizer."""
    unsloth_kernels.install()
    from unsloth import FastLanguageModel  # slow: not at start-up; after the emulation

    with tempfile.TemporaryDirectory() as name:
        make_model(Path(name) / "model", TINY, quantised=False)
        tiny, tokenizer = FastLanguageModel.from_pretrained(
            f"{name}/model", max_seq_length=512, load_in_4bit=True, fast_inference=False
        )
        FastLanguageModel.get_peft_model(
            tiny, r=16, lora_alpha=32, target_modules=models.PROJECTIONS,
            use_gradient_checkpointing="unsloth",
        )  # fmt: skip
    return tokenizer


def build(settings: Any) -> Any:
    """The model of fake tensors as Unsloth's loader leaves one; in `fake_mode`."""
    from unsloth import FastLanguageModel  # slow, both: not at start-up
    from unsloth.models.llama import unsloth_fast_generate

    model = models.build(settings)
    model.max_seq_length = models.POSITIONS
    base = model.get_base_model()
    for layer in base.model.layers:
        layer.self_attn.rotary_emb = base.model.rotary_emb
    base._old_generate = base.generate
    base.generate = types.MethodType(unsloth_fast_generate, base)
    # Always "unsloth": without it Unsloth undoes its patch, and frees buffers that are not fake.
    return FastLanguageModel.patch_peft_model(model, use_gradient_checkpointing="unsloth")


def count(settings: Any, cases: list[tuple[str, int, int, bool, bool]]) -> Counts:
    """Counts of steps, and for a name that ends in "prefill" of the first one.

    Args:
        cases: name, rows, window, whether stock Unsloth calls, whether prompts differ in length.
    """
    counts = Counts()
    tokenizer = patched()
    for name, rows, window, stock, mixed in cases:
        # A mode each: buffers that stay on the layers belong to one.
        with models.fake_mode():
            unsloth_kernels.SCRATCH.clear()
            model = build(settings).eval()
            first, later = run(model, tokenizer, rows, window, stock, mixed)
        if name.endswith("prefill"):
            counts.prefills[name] = plus(*first)
            counts.prefill_peaks[name] = max(tally.peak_bytes for tally in first)
        else:
            engine = "stock" if stock else "generate"
            counts.steps[name] = Step(engine, rows, window, *later)
    return counts


def run(
    model: Any, tokenizer: Any, rows: int, width: int, stock: bool, mixed: bool
) -> tuple[tuple[Tally, Tally], tuple[Tally, Tally]]:
    """The prefill and a later step, each in the model's forward and the rest."""
    counter = Counter(models.tensors(model))
    counter.unpadded = not mixed
    unsloth_kernels.COUNTER.append(counter)
    parts: list[Tally] = []
    base = model.get_base_model()

    def before(*_: Any) -> None:
        gc.collect()  # what hangs in circles is freed at some time in a run
        parts.append(counter.fresh())
        if len(parts) > 2 * STEPS:
            raise EnoughError

    hooks = [
        base.register_forward_pre_hook(before),
        base.register_forward_hook(lambda *_: parts.append(counter.fresh())),
    ]
    with counter, suppress(EnoughError):
        (_stock if stock else _ours)(model, tokenizer, rows, width)
    for hook in hooks:
        hook.remove()
    unsloth_kernels.COUNTER.pop()
    # What is before the first forward, then forward and rest by turns.
    if len(parts) != 2 * STEPS + 1:
        raise RuntimeError(f"generate made {len(parts) // 2} steps, and {STEPS} were asked for")
    return (parts[1], parts[2]), (parts[-2], parts[-1])


def _ours(model: Any, tokenizer: Any, rows: int, width: int) -> None:
    from groupwise.evaluation.sampler import SamplingParams  # slow, all: not at start-up
    from groupwise.framework.sampling.generate import GenerateSampler, Job
    from groupwise.framework.sampling.requests import PromptTokens
    from groupwise.framework.sampling.stopping import Stopping

    prompt = PromptTokens(0, "0", tuple(range(3, 3 + width)), tuple(range(rows)))
    jobs = [Job(prompt, i) for i in range(rows)]
    params = SamplingParams(max_tokens=STEPS + 1, temperature=1.0)
    sampler = GenerateSampler(model, tokenizer, max_rows=rows)
    sampler._generate(jobs, params, Stopping(model, tokenizer, (), STEPS + 1))


def _stock(model: Any, tokenizer: Any, rows: int, width: int) -> None:
    """As TRL's trainer samples with its defaults: temperature 1, top-p 1, top-k off."""
    ids = torch.zeros(rows, width, dtype=torch.int64)
    with torch.no_grad():
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0,
            top_p=1.0, top_k=0, use_cache=True, max_new_tokens=STEPS + 1,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
