"""From counts and schedules to seconds: a prediction for a card, never a measurement."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.gpu_figures import training
from benchmarks.gpu_figures.cards import Card, device_seconds
from benchmarks.gpu_figures.counter import Tally
from benchmarks.gpu_figures.counts import Counts, Step
from benchmarks.gpu_figures.plan import (
    ENGINES,
    GROUP,
    MEAN_LENGTH,
    PROMPT,
    ROWS,
    schedule,
    step_name,
)
from benchmarks.gpu_figures.products import on_card
from benchmarks.gpu_figures.schedule import Rollout

# Host time for a launch, in microseconds. Nothing here was measured on a card. Eager: descriptions
# of torch's dispatch give 5 to 25 for one operation, Python included; 10 is taken for all engines,
# and the tables give 5 and 20 as well. Replayed from a CUDA graph: 1 to 2 between small kernels.
EAGER = 10.0
EAGER_RANGE = (5.0, 20.0)
REPLAYED = 1.5

LAYERS = 36
# Unsloth's captured step (unsloth/models/_decode_graphs.py): a segment for each layer and one more;
# between them, in each layer, attention and a copy of its result; four copies around the step.
SEGMENTS = LAYERS + 1
BETWEEN = 2 * LAYERS + 4


@dataclass(frozen=True)
class Variant:
    """An engine, and how its launches reach the card."""

    engine: str
    captured: str = ""  # "", "segments" as Unsloth does, "forward" as our engine can

    @property
    def title(self) -> str:
        how = {"": "", "segments": ", CUDA graphs", "forward": ", forward as a CUDA graph"}
        name = ENGINES[self.engine].removesuffix(", CUDA graphs")
        return name + how[self.captured]


VARIANTS = (
    Variant("generate"),
    Variant("generate", "segments"),
    Variant("stock", "segments"),
    Variant("slots"),
    Variant("slots", "forward"),
)


def host_launches(model: Tally, rest: Tally, captured: str) -> tuple[int, int]:
    """Launches by the host, and kernels that a graph starts."""
    if captured == "forward":
        return 1 + rest.launches, model.launches
    if captured == "segments":
        return SEGMENTS + BETWEEN + rest.launches, model.launches - LAYERS
    return model.launches + rest.launches, 0


def decode_rows(step: Step) -> int | None:
    """Rows of Unsloth's own decoding, which has a rule of its own for 4-bit products."""
    return None if step.engine == "slots" else step.rows


def step_seconds(step: Step, card: Card, captured: str, eager: float = EAGER) -> float:
    model, rest = (on_card(t, card, decode_rows(step)) for t in (step.model, step.rest))
    by_host, by_graph = host_launches(model, rest, captured)
    launching = (by_host * eager + by_graph * REPLAYED) * 1e-6
    return max(device_seconds(model, card) + device_seconds(rest, card), launching)


def rollout_seconds(
    counts: Counts, variant: Variant, label: str, rollout: Rollout, card: Card, eager: float = EAGER
) -> float:
    plan = schedule(variant.engine, rollout)
    step = counts.steps[step_name(variant.engine, label)]
    prefill, prompts = prefill_of(counts, variant.engine)
    once = max(device_seconds(on_card(prefill, card), card), prefill.launches * eager * 1e-6)
    return plan.steps * step_seconds(step, card, variant.captured, eager) + (
        once * plan.prompts_run / prompts
    )


def prefill_of(counts: Counts, engine: str) -> tuple[Tally, int]:
    """The tally of running prompts, and how many these were."""
    if engine == "generate":
        return counts.prefills["generate, prefill"], ROWS
    if engine == "stock":
        return counts.prefills["stock, prefill"], GROUP
    return counts.prefills["slots"], 4


def tokens_per_second(
    counts: Counts, variant: Variant, label: str, rollout: Rollout, card: Card, eager: float = EAGER
) -> float:
    made = schedule(variant.engine, rollout).tokens
    return made / rollout_seconds(counts, variant, label, rollout, card, eager)


def launches_per_token(counts: Counts, variant: Variant, label: str, rollout: Rollout) -> float:
    """Launches by the host, prompts included."""
    plan = schedule(variant.engine, rollout)
    step = counts.steps[step_name(variant.engine, label)]
    by_host, _ = host_launches(step.model, step.rest, variant.captured)
    prefill, prompts = prefill_of(counts, variant.engine)
    total = plan.steps * by_host + prefill.launches * plan.prompts_run / prompts
    return total / plan.tokens


def bytes_per_token(
    counts: Counts, variant: Variant, label: str, rollout: Rollout, card: Card
) -> float:
    plan = schedule(variant.engine, rollout)
    step = counts.steps[step_name(variant.engine, label)]
    prefill, prompts = prefill_of(counts, variant.engine)
    total = plan.steps * on_card(step.whole, card, decode_rows(step)).moved
    return (total + on_card(prefill, card).moved * plan.prompts_run / prompts) / plan.tokens


def training_seconds(counts: Counts, settings: object, rollout: Rollout, card: Card) -> float:
    """All passes of a step, four completions each, and the optimiser."""
    (each,) = (p for p in counts.passes if (p.checkpointing, p.tokens) == ("unsloth", MEAN_LENGTH))
    head = training.head(settings, each.rows * (MEAN_LENGTH - PROMPT))
    passes = rollout.prompts * rollout.group / each.rows
    total = passes * (timed(each.tally, card) + timed(head, card))
    return total + timed(training.optimiser(counts.adapter_parameters, 504), card)


def timed(tally: Tally, card: Card) -> float:
    return max(device_seconds(tally, card), tally.launches * EAGER * 1e-6)
