"""The tables of benchmarks/results/gpu_figures.md, from the counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.gpu_figures import model as models
from benchmarks.gpu_figures import predict, training
from benchmarks.gpu_figures.cards import CARDS, Card
from benchmarks.gpu_figures.counts import Counts
from benchmarks.gpu_figures.plan import (
    ENGINES,
    GROUP,
    LIMIT,
    POSITION_BYTES,
    POSITIONS,
    PROMPT,
    ROLLOUTS,
    ROWS,
    schedule,
)  # fmt: skip
from benchmarks.gpu_figures.predict import EAGER, EAGER_RANGE, REPLAYED, VARIANTS, Variant
from benchmarks.gpu_figures.products import on_card

CARD = CARDS[0]  # for tables of one card
GIVEN = VARIANTS[0]
PEAK = f"slots, peak in {POSITIONS * POSITION_BYTES}"


KEYS = f"{POSITIONS * POSITION_BYTES / 1e9:.2f}"


def table(head: list[str], rows: list[list[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def gb(count: float) -> str:
    return f"{count / 1e9:.2f}"


def report(counts: Counts) -> str:
    return "\n\n".join(_sections(counts)) + "\n"


def _sections(counts: Counts) -> Iterator[str]:
    yield _head()
    yield "## Bytes"
    yield _weights(counts)
    yield _rollout_bytes(counts)
    yield _training_bytes(counts)
    yield "## One step of sampling, counted"
    yield _steps(counts)
    yield "## One step of training, counted"
    yield _training(counts)
    yield "## A rollout, simulated"
    yield _rollouts(counts)
    yield "## Prediction"
    yield _cards()
    for label, rollout in ROLLOUTS.items():
        yield _tokens(counts, label)
        yield _step_times(counts, label, rollout)
    yield "## The goal"
    yield _goal(counts)


def _head() -> str:
    return f"""# What sampling and training cost, without a card

`python -m benchmarks.gpu_figures`. **Nothing here was measured on a GPU.** Bytes and operations are
counted on fake tensors of Qwen3-4B's real shapes (36 layers, all executed; NF4 with double
quantisation, LoRA rank 16 on seven projections, computing in bfloat16); seconds are a roofline of
data sheets. GB = 1e9 bytes.

- Counted as a launch: every operation that would start a kernel. Not counted: views, metadata,
  allocations. Attention is one operation, and so is what Unsloth does in one Triton kernel.
- Bytes moved: inputs read and outputs written, once each; of an embedding only what is looked up.
  A 4-bit weight is read packed. Where a card dequantises it, the 16-bit copy is written and read.
- `slots` runs transformers' and PEFT's layers; their 4-bit product is bitsandbytes' `gemm_4bit`,
  which by its own rule multiplies packed weights or dequantises, by card, shape and rows.
- `generate` and stock Unsloth run Unsloth's decoding (its code, executed in emulation): above four
  rows it dequantises every weight at each step (on a T4 not up to 16 rows).
- Prompts of {PROMPT} tokens, answers of at most {LIMIT}: log-normal, sigma 0.8, mean 35 % of the
  limit, from a fixed seed. {GROUP} answers a prompt. Prompts in one batch are of one length;
  with mixed lengths `generate` copies its keys for every query head (the row "mixed" below).
- All engines have room for the same {POSITIONS:,} positions of keys and values, {KEYS} GB, as many
  as {ROWS} rows of prompt and limit take; stock Unsloth uses half of it, one group of {GROUP} rows.
- Rows in flight are simulated with these lengths: for `slots` by the engine's own schedule. A step
  is counted at the mean rows and positions that come out. Not counted: some ten small copies to the
  card before a step of `slots`, which a CPU does not make; padding to sizes of captured graphs."""


def _weights(counts: Counts) -> str:
    rows: list[list[Any]] = []
    formula = 0.51587 * 3633e6 + 2 * 151_936 * 2560 + 4 * counts.adapter_parameters
    rows.append(["Qwen3-4B, weights and adapter at load", gb(counts.load_bytes), gb(formula)])
    text = "Counted beside the derivation by parts (`0.51587` bytes a quantised weight, 16-bit\n"
    text += (
        "embedding, float32 adapter). A small model of the architecture, quantised for real by\n"
    )
    text += "bitsandbytes, has "
    for name, (fake, real) in counts.checked.items():
        text += f"{real:,} bytes where the counter says {fake:,} ({name}).\n\n"
    return text + table(["", "counted GB", "formula GB"], rows)


def _rollout_bytes(counts: Counts) -> str:
    rows = []
    long = counts.steps["generate, peak"]
    # What a prompt of that length leaves, and one of PROMPT does not: the prefill's cache, which
    # stays beside Unsloth's, and the 512 positions that this one is made longer than the prompt.
    extra = (long.window - PROMPT) + (long.window + 513 - (PROMPT + LIMIT + 1))
    for name, prefill, held in (
        (
            f"`generate`, {ROWS} rows at prompt + limit",
            "generate, prefill",
            long.held_bytes - extra * ROWS * POSITION_BYTES,
        ),
        (f"`slots`, {KEYS} GB allowed", "slots", counts.steps[PEAK].held_bytes),
    ):
        above = held - counts.load_bytes
        rows.append([name, gb(counts.prefill_peaks[prefill]), gb(held), gb(above)])
    return (
        "Most bytes that live in a rollout, as torch would allocate them (without the CUDA "
        "context of some 0.5 GB, and without what the allocator keeps in reserve). `generate` was "
        f"counted behind a prompt of {long.window} tokens, and corrected for what a prompt of "
        f"{PROMPT} leaves less. Its prefill's cache stays beside Unsloth's own. After a rollout "
        "`slots` holds nothing; `generate` its cache, until it is released:\n\n"
        + table(["", "prefill GB", "decoding GB", "above the weights"], rows)
    )


def _training_bytes(counts: Counts) -> str:
    settings = models.config()
    optimiser = training.optimiser(counts.adapter_parameters, 504).peak_bytes
    rows = []
    for one in counts.passes:
        head = training.head(settings, one.rows * min(LIMIT, one.tokens - PROMPT)).peak_bytes
        whole = one.tally.peak_bytes + head + optimiser
        p = counts.adapter_parameters
        formula = counts.load_bytes + 2 * 2560 * 9728 + 2.03 * p + 4 * p + head
        formula += (
            one.rows * one.tokens * (2 * (4 * 9728 + 8 * 2560 + 2 * 6144 + 2 * 4096) + 12 * 2560)
        )
        rows.append([
            one.checkpointing, f"{one.rows} x {one.tokens}", gb(one.tally.peak_bytes), gb(head),
            gb(optimiser), gb(whole), gb(formula) if one.checkpointing == "unsloth" else "",
        ])  # fmt: skip
    return (
        "Most bytes that live in a training pass. Executed: embedding, layers, last norm and their "
        "backward pass, in Unsloth's code. Modelled: the head and the loss in tiles of 16,384 "
        "words by "
        '4,096 tokens, 8-bit Adam, and checkpointing "unsloth" as one copy to the host and back '
        "for "
        "each layer. The last column is the derivation by parts that the presets' figures are "
        "from:\n\n"
        + table(
            [
                "checkpointing",
                "completions x tokens",
                "executed GB",
                "head",
                "Adam",
                "sum",
                "formula",
            ],
            rows,
        )
    )


def _steps(counts: Counts) -> str:
    rows = []
    for name, step in counts.steps.items():
        if "peak" in name:
            continue
        tally = on_card(step.whole, CARD, predict.decode_rows(step))
        rows.append([
            name, step.rows, step.window, step.model.launches, step.rest.launches,
            tally.host_reads, gb(tally.moved), f"{step.whole.launches / step.rows:.0f}",
            f"{tally.moved / step.rows / 1e6:.0f}",
        ])  # fmt: skip
    return (
        f"At the mean number of rows and positions of a rollout; bytes on a {CARD.name}. `rows` "
        "are "
        "those computed, finished ones too.\n\n"
        + table(
            [
                "step",
                "rows",
                "positions",
                "launches: model",
                "rest",
                "host reads",
                "GB",
                "launches a row",
                "MB a row",
            ],
            rows,
        )
        + "\n\n"
        + _parts(counts)
    )


def _parts(counts: Counts) -> str:
    text = "What the launches of the model are: "
    found = []
    for name in ("generate", "slots, 128 answers"):
        parts = counts.steps[name].model.by_name().most_common(9)
        found.append(f"{name}: " + ", ".join(f"{n} {op}" for op, n in parts))
    return text + "; ".join(found) + "."


def _training(counts: Counts) -> str:
    rows = []
    for one in counts.passes:
        tokens = one.rows * one.tokens
        tally = on_card(one.tally, CARD)
        rows.append([
            one.checkpointing, f"{one.rows} x {one.tokens}", tally.launches, gb(tally.moved),
            f"{tally.flops / 1e12:.1f}", f"{tally.launches / tokens:.2f}",
            f"{tally.moved / tokens / 1e6:.1f}",
        ])  # fmt: skip
    return (
        "Forward and backward of the layers, the same for all engines (the head is modelled, see "
        "above, and not in these):\n\n"
        + table(
            [
                "checkpointing",
                "completions x tokens",
                "launches",
                "GB moved",
                "TFLOP",
                "launches a token",
                "MB a token",
            ],
            rows,
        )
    )


def _rollouts(counts: Counts) -> str:
    rows = []
    for label, rollout in ROLLOUTS.items():
        for engine, title in ENGINES.items():
            plan = schedule(engine, rollout)
            variant = Variant(engine, "segments" if engine == "stock" else "")
            launches = predict.launches_per_token(counts, variant, label, rollout)
            moved = predict.bytes_per_token(counts, variant, label, rollout, CARD)
            rows.append([
                label, title, plan.steps, f"{plan.rows:.1f}", plan.most_rows, plan.pauses,
                f"{plan.tokens / plan.steps:.1f}", plan.prompts_run, f"{launches:.0f}",
                f"{moved / 1e6:.0f}",
            ])  # fmt: skip
    return (
        f"Useful tokens are those of answers, up to their end. Launches by the host and MB (on a "
        f"{CARD.name}) include running the prompts.\n\n"
        + table(
            [
                "rollout",
                "engine",
                "steps",
                "mean rows",
                "most",
                "put back",
                "useful tokens a step",
                "prompts run",
                "launches a token",
                "MB a token",
            ],
            rows,
        )
    )


def _cards() -> str:
    rows = [
        [c.name, f"{c.bandwidth:,.0f}", f"{c.teraflops:g}", f"{c.cache:g}", c.processors, c.source]
        for c in CARDS
    ]
    return (
        "A step takes the longer of two: its operations one after the other, each the longer of "
        "its bytes and its products at these peaks; and its launches, "
        f"{EAGER:g} µs each by the host, {REPLAYED:g} µs from a CUDA graph. Both are assumptions: "
        "descriptions of torch's dispatch give 5 to 25 µs an operation, Python included. A "
        "dequantised weight that fits into the L2 cache is not charged (which favours `generate` "
        "on cards of the Ada generation). Real kernels reach less than peaks; take "
        "ratios more seriously than "
        "seconds.\n\n" + table(["card", "GB/s", "TFLOP/s, 16 bit", "L2 MB", "SMs", "source"], rows)
    )


def _tokens(counts: Counts, label: str) -> str:
    rollout = ROLLOUTS[label]
    rows = []
    for variant in VARIANTS:
        cells = []
        for card in CARDS:
            low, high = (
                predict.tokens_per_second(counts, variant, label, rollout, card, eager)
                for eager in (EAGER_RANGE[1], EAGER_RANGE[0])
            )
            middle = predict.tokens_per_second(counts, variant, label, rollout, card)
            spread = f" ({low:,.0f}–{high:,.0f})" if high > 1.02 * low else ""
            cells.append(f"{middle:,.0f}{spread}")
        rows.append([variant.title, *cells])
    return (
        f"**Predicted** useful tokens a second, {label} a rollout, prompts included; in brackets "
        "with "
        f"{EAGER_RANGE[1]:g} and {EAGER_RANGE[0]:g} µs a launch where that matters:\n\n"
        + table(["engine", *(c.name for c in CARDS)], rows)
    )


def _step_times(counts: Counts, label: str, rollout: Any) -> str:
    settings = models.config()
    rows = []
    for variant in VARIANTS:
        cells = []
        for card in CARDS:
            sampling = predict.rollout_seconds(counts, variant, label, rollout, card)
            cells.append(
                f"{sampling + predict.training_seconds(counts, settings, rollout, card):.1f}"
            )
        rows.append([variant.title, *cells])
    only = [f"{predict.training_seconds(counts, settings, rollout, c):.1f}" for c in CARDS]
    rows.append(["of it training, the same for all", *only])
    return (
        f"**Predicted** seconds of a GRPO step, {label}: sampling, and training in passes of four "
        'completions with checkpointing "unsloth"; rewards and the copies to the host are left '
        "out:\n\n" + table(["engine", *(c.name for c in CARDS)], rows)
    )


def _goal(counts: Counts) -> str:
    rows = []
    for label, rollout in ROLLOUTS.items():
        base = predict.launches_per_token(counts, GIVEN, label, rollout)
        for variant in VARIANTS[3:]:
            launches = predict.launches_per_token(counts, variant, label, rollout) / base
            cells = [_ratio(counts, variant, label, card) for card in CARDS]
            rows.append([label, variant.title, f"{launches:.2f}", *cells])
    return (
        "Goal at the bytes of an 8 GB card: at least 3 times the tokens a second of `generate` "
        "as the "
        "framework calls it, and at most a third (0.33) of its launches a token. What comes out, "
        "as "
        "ratios to that `generate`, launches first:\n\n"
        + table(["rollout", "engine", "launches", *(c.name for c in CARDS)], rows)
        + "\n\n"
        + _verdict(counts)
    )


def _verdict(counts: Counts) -> str:
    lines = []
    small = [card for card in CARDS if card.gigabytes <= 16]
    for label, rollout in ROLLOUTS.items():
        base = predict.launches_per_token(counts, GIVEN, label, rollout)
        for variant in VARIANTS[3:]:
            ratios = [float(_ratio(counts, variant, label, card)) for card in small]
            launches = predict.launches_per_token(counts, variant, label, rollout) / base
            speed = (
                "met on all"
                if min(ratios) >= 3
                else (f"met on {sum(r >= 3 for r in ratios)} of {len(ratios)}")
            )
            lines.append(
                f"- {label}, {variant.title}: tokens a second {speed} of the cards up to 16 GB "
                f"({min(ratios):.1f} to {max(ratios):.1f} times); launches "
                f"{'met' if launches <= 1 / 3 else 'not met'} ({launches:.2f})."
            )
    mixed = counts.steps["generate, mixed"]
    given = counts.steps["generate"]
    more = on_card(mixed.whole, CARD, ROWS).moved / on_card(given.whole, CARD, ROWS).moved
    lines.append(
        "- Where a verdict hangs on launches (brackets above), it hangs on the assumed time of one."
    )
    lines.append(
        f"- Prompts of mixed lengths in a batch make `generate` move {more:.2f} times the bytes, "
        "and "
        "`slots` none more; the ratios above do not count that."
    )
    return "\n".join(lines)


def _ratio(counts: Counts, variant: Variant, label: str, card: Card) -> str:
    rollout = ROLLOUTS[label]
    ours = predict.tokens_per_second(counts, variant, label, rollout, card)
    return f"{ours / predict.tokens_per_second(counts, GIVEN, label, rollout, card):.1f}"
