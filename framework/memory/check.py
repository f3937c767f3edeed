"""Whether a run can fit here, before it starts: the GPU's free memory, or the machine's.

    found = check_memory(config)
    if found and found.cannot_fit: raise UserError(found.remedy())

Only where the model's architecture is known at once: a run is not kept waiting. The prompts are not
read yet: what cannot fit does not fit with the shortest either, and beyond that a longest prompt is
taken to have `data.max_prompt_length` tokens. Left out: vLLM, and several models in one process.
"""

from __future__ import annotations

from dataclasses import dataclass

from groupwise.evaluation.text import printable
from groupwise.framework.config import ExperimentConfig, ModelConfig
from groupwise.framework.memory.architecture import Architecture, find_config, read_architecture
from groupwise.framework.memory.chart import amount
from groupwise.framework.memory.families import count
from groupwise.framework.memory.fit import Fitted, fitted
from groupwise.framework.memory.planner import Fit, Planner, fit
from groupwise.framework.memory.report import change_text, nothing_fits, verdict_text
from groupwise.framework.memory.tensors import stored_as
from groupwise.framework.run.machine import Memory, card, main_memory
from groupwise.rewards.errors import UserError


@dataclass(frozen=True, slots=True)
class MemoryCheck:
    """A run beside the memory there is; `shortest`: the same if prompts were of one token."""

    config: ExperimentConfig
    planner: Planner
    memory: Memory
    found: Fit
    shortest: Fit

    @property
    def cannot_fit(self) -> bool:
        return self.shortest.verdict == "too large"

    @property
    def fits(self) -> bool:
        return self.found.verdict == "fits"

    @property
    def on_card(self) -> bool:
        return self.planner.device == "cuda"

    def __str__(self) -> str:
        name = printable(self.memory.name, limit=40)
        if self.fits:
            needed, there = amount(self.found.high), amount(self.found.memory)
            return f"{self.found.decides.name} needs up to {needed} of the {there} of {name}"
        return verdict_text(self.shortest if self.cannot_fit else self.found, name)

    def remedy(self) -> str:
        """What does not fit, and the nearest settings that do, line by line."""
        best: Fitted = fitted(self.config, self.planner, self.found.memory)
        if best.config is None:
            return f"{self}\n{nothing_fits(best, self.found.memory)}"
        lines = [f"  {change_text(change)}" for change in best.changes]
        return "\n".join([f"{self} It fits with:", *lines])


def check_memory(config: ExperimentConfig, prompt_tokens: int | None = None) -> MemoryCheck | None:
    """The config beside this machine's memory; None where the architecture is not known at once.

    `prompt_tokens`: of the longest prompt, where the prompts have been read.
    """
    architecture = _known(config.model)
    if architecture is None or config.model.fast_inference:
        return None
    there, device = card(), "cuda"
    if there is None:
        there, device = main_memory(), "cpu"
        there = there._replace(free=there.total)  # what others hold may be given back, or swapped
    longest = Planner(architecture, there.total, device, prompt_tokens)
    shortest = Planner(architecture, there.total, device, prompt_tokens or 1)
    return MemoryCheck(
        config,
        longest,
        there,
        fit(config, longest, there.free),
        fit(config, shortest, there.free),
    )


def _known(model: ModelConfig) -> Architecture | None:
    """The architecture, where there is a plan of it, and no need to import transformers.

    Unsloth has to come before that.
    """
    try:
        config, _ = find_config(model.name)
        if count(config) is None:
            return None
        architecture = read_architecture(model)
        stored_as(architecture, model, on_gpu=True)  # raises where it is quantised otherwise
        return architecture
    except UserError:  # whoever loads the model says what is wrong with it
        return None
