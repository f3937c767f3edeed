"""What `groupwise plan` shows: peaks by part, the verdict on a card, what to change, what fits.

    report = make_report(config, architecture, card, machine)
    report_lines(report); report_json(report)

Left out: reading the architecture, finding the card, and writing the config that fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from groupwise.evaluation.tables import aligned
from groupwise.evaluation.text import printable
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import Architecture
from groupwise.framework.memory.chart import GB, Line, Span, amount, chart
from groupwise.framework.memory.fit import Change, Fitted, Largest, fitted, largest_settings
from groupwise.framework.memory.parts import Part, Phase
from groupwise.framework.memory.planner import Fit, Planner, Verdict, fit
from groupwise.framework.memory.tensors import stored_as
from groupwise.framework.run.machine import Memory

CARDS = (6, 8, 10, 12, 16, 24)
"""GB of common cards, for a report without one. A card that is sold as 8 GB has 8.6 of 1e9 bytes;
the difference is left for a display, which takes about 0.7."""

_SAID: dict[Verdict, str] = {"fits": "fits", "tight": "may not fit", "too large": "does not fit"}


@dataclass(frozen=True, slots=True)
class Report:
    """A run beside a card: its plan, changes that make it fit, what is largest.

    Where no card was named or found, `cards` has the verdict on each of `CARDS`, and `card` is the
    smallest that it fits.
    """

    config: ExperimentConfig
    architecture: Architecture
    machine: Memory
    card: Memory
    fit: Fit
    fitted: Fitted
    largest: tuple[Largest, ...]
    cards: tuple[tuple[int, Verdict], ...] = ()
    hours: str = ""  # how long the run takes, where that is known
    disk: int | None = None  # bytes that are free where the run writes


def make_report(
    config: ExperimentConfig,
    architecture: Architecture,
    card: Memory | None,
    machine: Memory,
    hours: str = "",
    disk: int | None = None,
) -> Report:
    """Plans the run for the free memory of `card`, or for common cards where that is None."""
    cards: tuple[tuple[int, Verdict], ...] = ()
    if card is None:
        cards = tuple(
            (size, fit(config, Planner(architecture, size * GB), size * GB).verdict)
            for size in CARDS
        )
        card = card_of(next((size for size, verdict in cards if verdict == "fits"), CARDS[-1]))
    planner = Planner(architecture, card.total)
    return Report(
        config,
        architecture,
        machine,
        card,
        fit(config, planner, card.free),
        fitted(config, planner, card.free),
        largest_settings(config, planner, card.free),
        cards,
        hours,
        disk,
    )


def card_of(size: float) -> Memory:
    """A card of so many GB, all of them free."""
    return Memory(f"a card of {size:g} GB", int(size * GB), int(size * GB))


# --- as JSON ---------------------------------------------------------------------------------


def report_json(report: Report) -> dict[str, Any]:
    """For scripts: all of it, in bytes."""
    found, best = report.fit, report.fitted
    return {
        "config": report.config.name,
        "model": report.config.model.name,
        "parameters": report.architecture.parameters,
        "architecture_from": report.architecture.source,
        "card": report.card._asdict(),
        "cards": {str(size): verdict for size, verdict in report.cards},
        "verdict": found.verdict,
        "needed": {"low": found.low, "high": found.high, "phase": found.decides.name},
        "spare": found.memory - found.high,
        "rows_at_once": found.rows,
        "phases": {phase.name: _phase_json(phase) for phase in found.plan.phases},
        "host": [asdict(part) for part in found.plan.host],
        "disk": [asdict(part) for part in found.plan.disk],
        "largest": {one.key: _largest_json(one) for one in report.largest},
        "changes": [change._asdict() for change in best.changes],
        "fits_with_changes": best.config is not None,
    }


def _phase_json(phase: Phase) -> dict[str, Any]:
    return {
        "expected": phase.expected,
        "low": phase.low,
        "high": phase.high,
        **({"use": phase.use, "rows": phase.rows} if phase.use else {}),
        "parts": [asdict(part) for part in phase.parts],
    }


def _largest_json(one: Largest) -> dict[str, Any]:
    found = one._asdict()
    del found["key"]
    return found


# --- for people ------------------------------------------------------------------------------


def report_lines(report: Report) -> Iterator[Line]:
    """The page, in lines of at most 80 columns but for prose, which a terminal folds."""
    found = report.fit
    generation = (phase for phase in found.plan.phases if phase.use)
    notes: dict[str, str] = {phase.name: _rows_note(phase, found.rows) for phase in generation}
    yield from _head(report)
    yield ()
    yield from chart(found.plan.phases, found.memory, notes)
    yield ()
    yield _sum("main memory", found.plan.host, f" of {amount(report.machine.total)} here")
    yield _sum("disk", found.plan.disk)
    yield from _too_much(report)
    if report.config.model.fast_inference:
        share = f"{report.config.model.gpu_memory_utilization:.0%} of the card"
        counted = "all that is counted here are the keys and values of one answer"
        yield (Span("vLLM         ", "bold"), Span(f"takes {share}; {counted}"))
    if report.hours:
        yield (Span("time         ", "bold"), Span(report.hours))
    yield ()
    yield from _verdict(report)
    if report.largest:
        yield ()
        yield from _table(report)


def _rows_note(phase: Phase, most: int | None) -> str:
    """Whose answers they are, and how many at once; `most`: as many as fit, if not all do."""
    if phase.rows == 1:
        return f"{phase.use}: 1 answer at a time"
    bounded = ", as many as fit" if phase.rows == most else ""
    return f"{phase.use}: {phase.rows:,} answers at once{bounded}"


def _head(report: Report) -> Iterator[Line]:
    model, count = report.config.model, report.architecture.parameters
    stored = stored_as(report.architecture, model, on_gpu=True)
    bits = {"4bit": 4, "8bit": 8}.get(stored.form, 8 * stored.size)
    trained = "all weights trained" if model.full_finetuning else f"LoRA of rank {model.lora_r}"
    name = printable(model.name, limit=40)
    yield (Span(printable(report.config.name, limit=36), "bold"), Span(f": {name}"))
    parameters = f"{count / 1e9:.2f}B" if count >= 1e9 else f"{count / 1e6:.3g}M"
    yield (Span(f"{parameters} parameters in {bits} bits, {trained}"),)
    said = "Predicted peaks by part, in GB of 1e9 bytes; nothing was loaded."
    yield (Span(said, "bright_black"),)


def _sum(name: str, parts: tuple[Part, ...], of: str = "") -> Line:
    listed = ", ".join(
        f"{part.name.replace('_', ' ')} {amount(part.bytes)}"
        for part in sorted(parts, key=lambda part: -part.bytes)
        if part.bytes >= GB / 20
    )
    total = amount(sum(part.bytes for part in parts))
    return (Span(f"{name:<13}", "bold"), Span(f"{total}{of}{': ' if listed else ''}{listed}"))


def _too_much(report: Report) -> Iterator[Line]:
    """Warnings where main memory or the disk is too small; the hub's cache may be on another."""
    host = sum(part.bytes for part in report.fit.plan.host)
    written = sum(part.bytes for part in report.fit.plan.disk if part.name != "hub_download")
    if host > report.machine.total:
        said = f"Main memory: {amount(host)} are more than this machine has."
        yield (Span(said, "yellow"),)
    if report.disk is not None and written > report.disk:
        said = f"Disk: {amount(written)} are more than the {amount(report.disk)} that are free"
        yield (Span(f"{said} in {printable(report.config.output_dir, limit=40)}.", "yellow"),)


def _verdict(report: Report) -> Iterator[Line]:
    found, best = report.fit, report.fitted
    if report.cards:
        yield (Span(f"{_cards(report)}. Above and below: {report.card.name} (`--vram GB`)."),)
    said = verdict_text(found, printable(report.card.name, limit=40))
    if report.config.model.fast_inference:
        said += " The rest of vLLM's share is not predicted, and comes on top."
    yield (Span(said, f"bold {_STYLES[found.verdict]}"),)
    if found.verdict == "fits":
        return
    if best.config is None:
        yield (Span(nothing_fits(best, found.memory)),)
        return
    yield (Span(f"It fits, with up to {amount(best.needed)}, after:"),)
    for change in best.changes:
        yield (Span(f"  {change_text(change)}"),)


_STYLES: dict[Verdict, str] = {"fits": "green", "tight": "yellow", "too large": "red"}


def verdict_text(found: Fit, name: str) -> str:
    """Whether a run fits memory of that name, by how much, and what decides."""
    phase, digits = found.decides, 1 if amount(found.low) != amount(found.memory) else 2
    there = f"there are {amount(found.memory, digits)}"
    if found.verdict == "fits":
        spare = amount(found.memory - found.high)
        return f"Fits {name}: {phase.name} needs up to {amount(found.high)}, which leaves {spare}."
    if found.verdict == "tight":
        needs = f"{amount(found.low, digits)} to {amount(found.high)}"
        return f"May not fit {name}: {phase.name} needs {needs}, and {there}."
    first, second = sorted(phase.parts, key=lambda part: -part.bytes)[:2]
    needs = f"{phase.name} needs at least {amount(found.low, digits)}, and {there}"
    return f"Does not fit {name}: {needs}. Most of it: {_part(first)}, {_part(second)}."


def _part(part: Part) -> str:
    return f"{part.name.replace('_', ' ')} {amount(part.bytes)}"


def change_text(change: Change) -> str:
    """A change as the config would have it, with what was there and what follows."""
    result = "the result is the same" if change.same_result else "changes the result"
    return f"{change.key}: {_yaml(change.new)}   (now {_yaml(change.old)}; {result}: {change.why})"


def _yaml(value: Any) -> str:
    return (
        str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    )


def nothing_fits(best: Fitted, memory: int) -> str:
    """What is still needed when everything that is tried has been, and what would fit instead."""
    tried = ", ".join(f"{change.key} {_yaml(change.new)}" for change in best.changes)
    tried = f"Even with {tried} it" if tried else "Nothing that could be changed makes it fit: it"
    digits = 1 if amount(best.needed) != amount(memory) else 2
    return f"{tried} needs up to {amount(best.needed, digits)}; {best.instead}."


def _cards(report: Report) -> str:
    by_verdict: dict[Verdict, list[str]] = {}
    for size, verdict in report.cards:
        by_verdict.setdefault(verdict, []).append(str(size))
    said = [f"{_SAID[verdict]} {', '.join(by_verdict[verdict])} GB" for verdict in by_verdict]
    text = "; ".join(reversed(said))
    return text[0].upper() + text[1:]


def _table(report: Report) -> Iterator[Line]:
    rows = [["largest that fits, by itself", "now", "largest", ""]]
    for one in report.largest:
        value = "none" if one.value is None else f"{one.value:,}" if one.bounded else "any"
        rows.append([one.key, f"{one.now:,}", value, one.note])
    head, *lines = aligned(rows, left=(0, -1))
    yield (Span(head, "bold"),)
    for line in lines:
        yield (Span(line),)
