"""A self-test of the whole stack, in a process of its own, and what it showed.

    ended = run_child(SELF_TEST, limit_s=600, environment=scratch_environment(folder))
    findings = self_test_findings(ended)

The child (`self_test_probe.py`) loads a tiny model, samples from it, and trains it for one step. It
tells which engine samples, whose trainer trains, and that a step changes the adapter; nothing about
speed or memory of a real model. Only the standard library here: the doctor needs no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from groupwise.framework.run.doctor.children import Ended
from groupwise.framework.run.doctor.findings import Finding
from groupwise.framework.run.doctor.reading import error_finding
from groupwise.framework.run.machine import installed

SELF_TEST = "groupwise.framework.experiment.self_test_probe"

STEPS = ("import Unsloth", "make a tiny model", "load it", "sample", "train one GRPO step")


def self_test_findings(ended: Ended) -> Iterator[Finding]:
    """What the self-test showed, as far as it came."""
    facts, seconds = ended.facts, ended.seconds
    if STEPS[1] in seconds:  # it ended
        where = "its CPU backend" if facts.get("device") == "cpu" else "its GPU code"
        text = f"{installed('unsloth')} imports in {seconds[STEPS[0]]:.0f} s"
        yield _ok("Unsloth", f"{text}, {where}" if "device" in facts else text)
    if "kernels" in facts:
        triton = f"Triton {installed('triton')}" if installed("triton") else "no Triton"
        yield _ok("kernels", "; ".join([*facts["kernels"], triton]))
    if "engine" in facts:
        yield _engine(facts)
        yield _ok("vLLM", _vllm())
    if "trainer" in facts:
        yield _trainer(facts)
    if ended.error is not None:
        yield error_finding("self-test", ended.error)
        return
    each = ", ".join(
        f"{name} {seconds[step]:.1f} s"
        for name, step in zip(("load", "sample", "one GRPO step"), STEPS[2:], strict=True)
    )
    yield _ok("self-test", f"passed: {each}")


def _ok(subject: str, text: str) -> Finding:
    return Finding("Stack", subject, "ok", text)


def _engine(facts: dict[str, Any]) -> Finding:
    if facts["engine"] == "generate":
        advice = "Report it (--report): sampling works, and is slower than it could be."
        return Finding(
            "Stack", "sampling", "note", f"generate: {facts['engine_check']}", advice=advice
        )
    return _ok("sampling", f"{facts['engine']}: {facts['engine_reason']}; agrees with generate")


def _vllm() -> str:
    version = installed("vllm")
    if version is None:
        return "not installed, and not needed"
    return f"{version}, used where model.fast_inference is true"


def _trainer(facts: dict[str, Any]) -> Finding:
    name = facts["trainer"]
    if facts["device"] == "cpu":
        return _ok("trainer", f"TRL's {name}, as on every CPU")
    if name.startswith("Unsloth"):
        return _ok("trainer", f"{name} is in place")
    return Finding(
        "Stack",
        "trainer",
        "problem",
        f"TRL's own {name}: Unsloth did not put its own in place",
        does="It would train without Unsloth's savings of memory.",
        advice="Install the tested versions of unsloth, unsloth_zoo and trl.",
    )
