"""What sampling takes beside the weights: keys and values, logits, the prefill of prompts.

The engine `slots` gives out memory by `sampling/memory.py`, the same arithmetic as here; what a
plan counts is the pool for all rows at full length, which is the most that the engine takes. It
takes less where less is free, and runs fewer rows at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from groupwise.framework.config import ExperimentConfig, ModelConfig
from groupwise.framework.memory.architecture import Architecture
from groupwise.framework.memory.parts import Part
from groupwise.framework.memory.tensors import Stored, trained_parameters
from groupwise.framework.sampling.blocks import BLOCK, CHUNK, RESERVE
from groupwise.framework.sampling.memory import (
    DRAW_ROWS,
    MOST_ROWS_GPU,
    PREFILL_PROMPTS,
    PREFILL_TOKENS,
    Need,
    Widths,
    most_rows,
)

_DRAWN = 8.25  # bytes for each word of a row
MOST_ROWS_GENERATE = 16  # of `model.generate`, where no number is asked for


@dataclass(frozen=True, slots=True)
class Sampling:
    """One use of the sampler: how many rows of which lengths, by which engine."""

    what: str
    engine: str
    rows: int
    prompt: int
    tokens: int
    shares_prompts: bool
    prompts: int

    def limited(self, rows: int, *, on_gpu: bool) -> Sampling:
        """With so many rows at once, and prompts in a prefill: what engines do that adapt."""
        if self.engine == "generate" and not on_gpu:
            return self
        return replace(self, rows=min(rows, self.rows), prompts=min(rows, self.prompts))


def samplings(
    config: ExperimentConfig, architecture: Architecture, prompt: int, *, on_gpu: bool
) -> list[Sampling]:
    """The rollouts of a step, and an evaluation."""
    training, evaluation = config.training, config.evaluation
    found = []
    if training.method == "grpo":
        engine = _engine(training.sampler, architecture, config)
        rows = _rows(training.max_rows, training.batch_shape.completions_per_step, engine, on_gpu)
        found.append(
            Sampling(
                "rollouts",
                engine,
                rows,
                prompt,
                training.max_completion_length,
                True,
                training.prompts_per_step,
            )
        )
    if evaluation.before or evaluation.after or evaluation.every_steps:
        engine = _engine(evaluation.sampler, architecture, config)
        problems = config.data.max_eval_examples or MOST_ROWS_GPU
        rows = _rows(evaluation.max_rows, problems * evaluation.num_samples, engine, on_gpu)
        tokens = config.eval_max_completion_length
        shares = evaluation.num_samples > 1
        found.append(Sampling("evaluation", engine, rows, prompt, tokens, shares, problems))
    return found


def _engine(asked: str, architecture: Architecture, config: ExperimentConfig) -> str:
    if asked != "auto":
        return asked
    if config.model.fast_inference:
        return "vllm"
    return "slots" if architecture.served_by_slots else "generate"


def _rows(asked: int | None, wanted: int, engine: str, on_gpu: bool) -> int:
    if engine == "generate":
        return min(asked or MOST_ROWS_GENERATE, wanted)
    return min(most_rows(asked, on_gpu=on_gpu), wanted)


def generation_parts(
    sampling: Sampling, architecture: Architecture, stored: Stored, *, on_gpu: bool
) -> list[Part]:
    """Beside weights, adapter and optimiser."""
    widths = widths_of(architecture, stored, on_gpu=on_gpu)
    rows, length = sampling.rows, sampling.prompt + sampling.tokens
    said = f"{sampling.what}: {rows} rows of {length} tokens at once"
    if sampling.engine == "vllm":
        said += "; vLLM takes model.gpu_memory_utilization of the card for these, graphs and more"
        return [Part("kv_cache", rows * length * widths.position, said)]
    if sampling.engine == "generate":
        cache = rows * length * widths.position
        return [
            Part("kv_cache", cache, said),
            # Unsloth's decoding (2026.10.9) has a cache of its own, and the prefill's stays beside.
            Part("prefill", rows * sampling.prompt * widths.position, "the prompts' own cache"),
            Part("logits", rows * widths.draw, f"of {rows} rows"),
        ]
    is_steady = not on_gpu and stored.compute == 4  # as `attention.is_steady`
    block = CHUNK if is_steady else BLOCK
    shares = sampling.shares_prompts and not is_steady
    need = Need(sampling.prompt, sampling.prompt, sampling.tokens, block, shares)
    blocks = rows * need.blocks(sampling.tokens) + rows // RESERVE + 2
    pool = blocks * block * widths.position
    kept = Part("kv_cache", pool, f"{said}, in {blocks} blocks of {block}")
    step = _step(rows, blocks * widths.block(block) - pool, widths)
    return [kept, *max(_prefill(sampling, widths), step, key=_sum)]


def _prefill(sampling: Sampling, widths: Widths) -> list[Part]:
    """Prompts' keys: as they are made, in one piece, and cut by prompt; the first is run alone."""
    each = max(1, sampling.prompt - 1)
    at_once = min(max(1, PREFILL_TOKENS // each), PREFILL_PROMPTS, sampling.prompts - 1)
    copies, tokens = (3, at_once * each) if at_once else (2, each)
    return [Part("prefill", copies * tokens * widths.position, f"{tokens} prompt tokens at once")]


def _step(rows: int, attention: int, widths: Widths) -> list[Part]:
    """Attention is over before there are logits; a card draws tokens a few rows at a time."""
    logits = rows * widths.row
    if widths.on_gpu:
        # 16-bit logits; of those drawn float32 scores and weights, and the sums of 64.
        drawn = round(_DRAWN * min(DRAW_ROWS, rows))
        logits = (rows * widths.element_size + drawn) * widths.vocab
    parts = [
        Part("logits", logits, f"of {rows} rows, and drawing"),
        Part("attention", attention, "queries and results of one layer"),
    ]
    return [max(parts, key=lambda part: part.bytes)]


def _sum(parts: list[Part]) -> int:
    return sum(part.bytes for part in parts)


def copied_weights(
    architecture: Architecture, model: ModelConfig, stored: Stored, *, on_gpu: bool
) -> list[Part]:
    """Weights in the form that the engine `slots` multiplies by, while it samples.

    In float32 on a CPU: adapters merged (`sampling/lora.py`), layers prepacked (`cpu.py`). Else the
    adapter in the type of the hidden states (`lean.py`).
    """
    a = architecture
    if not on_gpu and stored.compute == 4 and stored.form == "plain":
        adapted = () if model.full_finetuning else a.adapted(model.target_modules)
        merged = 4 * sum(linear.parameters for linear in adapted)
        packed = 4 * (a.linear_parameters + a.vocab * a.hidden)
        parts = [Part("merged", merged, "layers with their adapter")] if merged else []
        return [*parts, Part("prepacked", packed, "layers laid out for oneDNN")]
    if model.full_finetuning:
        return []
    size = stored.compute * trained_parameters(a, model)
    return [Part("lora_16_bits", size, "a copy for the time of sampling")]


def widths_of(architecture: Architecture, stored: Stored, *, on_gpu: bool) -> Widths:
    """The widths that the engine divides memory by."""
    return Widths(
        planes=2 * architecture.layers,
        kv_heads=architecture.kv_heads,
        head_dim=architecture.head_dim,
        element_size=stored.compute,
        heads=architecture.heads,
        hidden=architecture.hidden,
        ffn=architecture.ffn,
        vocab=architecture.vocab,
        on_gpu=on_gpu,
    )
