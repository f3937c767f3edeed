"""Findings from what the child processes report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from groupwise.framework.run.doctor.children import ChildError, Ended
from groupwise.framework.run.doctor.findings import Finding, known_finding
from groupwise.framework.run.doctor.known import by_error, known
from groupwise.framework.run.doctor.system import Cards, cards_are_hidden


def error_finding(subject: str, error: ChildError) -> Finding:
    """A step that failed, with what is known about its words."""
    text = f"{error.step}: {error.message}"
    # A crash leaves no message, but perhaps a word on standard error.
    for entry in (*by_error(error.message), *by_error(error.printed)):
        return known_finding(entry, text, group="Stack", subject=subject)
    if "crashed" in error.message:
        does = "A compiled library ended the process: one that is built for another torch or CUDA."
    else:
        does = ""
    advice = "Install the tested set (`make install` in a new environment), or report it: --report"
    return Finding("Stack", subject, "problem", text, does, advice)


def torch_findings(ended: Ended, cards: Cards) -> Iterator[Finding]:
    """What torch is, whether it computes on the cards, and with which attention."""
    facts = ended.facts
    if "torch" in facts:
        built = f"CUDA {facts['cuda']}" if facts["cuda"] else "a CPU build"
        built = f"ROCm {facts['hip']}" if facts.get("hip") else built
        seconds = ended.seconds.get("import torch", 0.0)
        text = f"{facts['torch']}, {built}, imports in {seconds:.1f} s"
        yield Finding("Stack", "torch", "ok", text)
    sees = facts.get("cuda_available", True) or cards_are_hidden()
    if facts.get("cuda") and cards.cards and not sees:
        yield _unseen(facts)
    for device in facts.get("devices", ()):
        precision = "bfloat16" if device["bfloat16"] else "float16"
        text = f"{device['name']}: a product in {precision} is right"
        yield Finding("Stack", "compute", "ok", text)
    if "attention" in facts:
        where = "" if facts.get("devices") else f", {facts['cpu']}"
        text = f"PyTorch's: {', '.join(facts['attention'])}{where}"
        yield Finding("Stack", "attention", "ok", text)
    if ended.error is not None:
        yield error_finding("torch", ended.error)


def _unseen(facts: dict[str, Any]) -> Finding:
    """torch with CUDA, a card, and nothing that torch can use."""
    said = "; ".join(facts.get("cuda_warnings", ())) or "it does not say why"
    for entry in by_error(said):
        return known_finding(entry, f"sees no GPU: {said}", group="Stack")
    return Finding(
        "Stack",
        "torch",
        "problem",
        f"sees no GPU, nvidia-smi does: {said}",
        known("torch-cpu-build").does,
        "Restart the machine; in a container, start it with --gpus all.",
    )
