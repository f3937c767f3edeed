"""What the peaks of the GPU benchmark are predicted to be: the memory plan, on cards of four sizes.

    python -m benchmarks.gpu.predicted          # the table; no GPU, no torch

Training needs what it needs. Sampling takes what is left: four fifths of the memory that is free
when it begins, for as many blocks of keys as the engine asks for (`framework/sampling/memory.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groupwise.framework.config import ExperimentConfig, resolve_config_path
from groupwise.framework.memory.architecture import Architecture, read_architecture
from groupwise.framework.memory.estimate import plan_memory
from groupwise.framework.memory.generation import samplings, widths_of
from groupwise.framework.memory.parts import Phase
from groupwise.framework.memory.tensors import stored_as
from groupwise.framework.sampling.blocks import BLOCK
from groupwise.framework.sampling.memory import PREFILL_TOKENS, Need, Room, room_within

GIB = 2**30
CARDS = (8, 10, 12, 16)  # GiB
PHASES = ("generation", "training")
FREE_SHARE = 0.8  # `default_budget`
# Of the larger cards: the 10 GB preset, with as much in a forward as the plan says fits.
_LARGER: Mapping[int, dict[str, Any]] = {
    12: {"training.completions_per_forward": 16},
    16: {
        "training.completions_per_forward": 32,
        "training.max_completion_length": 1536,
        "model.max_seq_length": 1792,
    },
}
_PRESETS = {8: "qwen3_4b_gsm8k_8gb", 10: "qwen3_4b_gsm8k_10gb"}


@dataclass(frozen=True)
class Predicted:
    """Bytes of a phase's peak, with the interval; on a card, the context included."""

    low: float
    expected: float
    high: float

    @property
    def expected_gb(self) -> float:
        return self.expected / 1e9

    @property
    def interval(self) -> str:
        return f"{self.low / 1e9:.1f}-{self.high / 1e9:.1f}"


def run_on(card_gib: int) -> tuple[str, dict[str, Any]]:
    """The preset that is run on a card of so many GiB, and what is changed in it."""
    return _PRESETS.get(card_gib, _PRESETS[10]), dict(_LARGER.get(card_gib, {}))


def config_on(card_gib: int) -> ExperimentConfig:
    preset, changes = run_on(card_gib)
    changes |= {"evaluation.before": "false", "evaluation.after": "false"}
    overrides = [f"{key}={value}" for key, value in changes.items()]
    return ExperimentConfig.from_yaml(resolve_config_path(preset), overrides=overrides)


def predict(
    config: ExperimentConfig,
    architecture: Architecture,
    card_bytes: int,
    device: str = "cuda",
) -> dict[str, Predicted]:
    """By phase, for a run without evaluations on a card of so many bytes."""
    plan = plan_memory(config, architecture, device=device)
    found = {}
    for phase in plan.phases:
        expected = phase.expected
        if phase.name == "generation" and device != "cpu":
            expected = _within(config, architecture, phase, card_bytes)
        share = expected / phase.expected
        found[phase.name] = Predicted(phase.low * share, expected, phase.high * share)
    return found


def _within(
    config: ExperimentConfig, architecture: Architecture, phase: Phase, card_bytes: int
) -> int:
    """Bytes of sampling with the blocks of keys that the engine takes on such a card."""
    prompt = config.data.max_prompt_length
    (sampling,) = samplings(config, architecture, prompt, on_gpu=True)
    stored = stored_as(architecture, config.model, on_gpu=True)
    widths = widths_of(architecture, stored, on_gpu=True)
    keys = next(part.bytes for part in phase.parts if part.name == "kv_cache")
    fixed = sum(p.bytes for p in phase.parts if p.name in _BEFORE)
    budget = int(FREE_SHARE * (card_bytes - fixed))
    need = Need(prompt, prompt, sampling.tokens, BLOCK, sampling.shares_prompts)
    room = room_within(budget, widths, need, Room(sampling.rows, PREFILL_TOKENS))
    return phase.expected - keys + room.blocks * BLOCK * widths.position


_BEFORE = ("context", "weights", "lora", "optimizer")  # in memory when sampling begins


def main() -> None:
    print("| card | settings | phase | predicted GB | interval |")
    print("|---|---|---|---|---|")
    for card in CARDS:
        config, (preset, changes) = config_on(card), run_on(card)
        settings = ", ".join([preset, *(f"{k}: {v}" for k, v in changes.items())])
        found = predict(config, read_architecture(config.model), card * GIB)
        for phase in PHASES:
            one = found[phase]
            cells = (f"{card} GiB", settings, phase, f"{one.expected_gb:.2f}", one.interval)
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
