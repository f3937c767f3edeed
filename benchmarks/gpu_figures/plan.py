"""What is counted: the sizes, the engines' rows and windows, and the parts of a run."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu_figures.counts import Counts
from benchmarks.gpu_figures.schedule import Rollout, Schedule, batches, slots

PARTS = ("slots", "unsloth")
PROMPT, LIMIT, GROUP = 256, 1024, 8
ROWS = 16  # of our `generate`
POSITIONS = ROWS * (PROMPT + LIMIT)  # of keys and values, for all engines
POSITION_BYTES = 2 * 36 * 8 * 128 * 2
PRESET = Rollout(4, GROUP, PROMPT, LIMIT)  # configs/qwen3_4b_gsm8k_8gb.yaml: 32 answers a step
LARGE = Rollout(16, GROUP, PROMPT, LIMIT)
ROLLOUTS = {"32 answers": PRESET, "128 answers": LARGE}
MEAN_LENGTH = PROMPT + round(0.35 * LIMIT)

# name -> (what it is, how its rows are scheduled)
ENGINES = {
    "generate": "`generate` as the framework calls it, 16 rows",
    "stock": "stock Unsloth's GRPO, one group of 8 rows, CUDA graphs",
    "slots": "`slots`",
}


def schedule(engine: str, rollout: Rollout) -> Schedule:
    if engine in ("generate", "stock"):
        return batches(rollout, ROWS if engine == "generate" else GROUP)
    return slots(rollout, POSITIONS)


def cases() -> dict[str, tuple[str, int, int]]:
    """For each rollout and engine, a step at the rows and the window that it has in the mean."""
    made = {}
    for label, rollout in ROLLOUTS.items():
        for engine in ENGINES:
            # Batches are alike in both rollouts: counted once, with the windows of the larger.
            alike = engine in ("generate", "stock")
            plan = schedule(engine, LARGE if alike else rollout)
            name = engine if alike else f"{engine}, {label}"
            positions = plan.window if alike else plan.positions
            made[name] = (engine, round(plan.rows), round(positions))
    return made


def step_name(engine: str, label: str) -> str:
    """Under which name the step of an engine in a rollout was counted."""
    return engine if engine in ("generate", "stock") else f"{engine}, {label}"


def make_part(part: str) -> Counts:
    from benchmarks.gpu_figures import model as models  # slow, all: not at start-up

    settings = models.config()
    every = cases()
    if part == "slots":
        from benchmarks.gpu_figures import slots as counting

        wanted = [(name, *case[1:]) for name, case in every.items() if case[0] == "slots"]
        # With the bytes that 16 rows of `generate` have for keys and values in the end.
        wanted.append((f"slots, peak in {POSITIONS * POSITION_BYTES}", 64, PROMPT))
        return counting.count(settings, wanted, GROUP, PROMPT)
    from benchmarks.gpu_figures import generate, training

    unsloth: list[Any] = [
        (name, rows, window, engine == "stock", False)
        for name, (engine, rows, window) in every.items()
        if engine in ("generate", "stock")
    ]
    unsloth.append(("generate, peak", ROWS, PROMPT + LIMIT - 8, False, False))
    unsloth.append(("generate, mixed", ROWS, every["generate"][2], False, True))
    unsloth.append(("generate, prefill", ROWS, PROMPT, False, False))
    unsloth.append(("stock, prefill", GROUP, PROMPT, True, False))
    counts = generate.count(settings, unsloth)
    counts.merge(training.count(settings, [
        *((kind, 4, PROMPT + LIMIT) for kind in ("unsloth", "plain", "none")),
        ("unsloth", 1, PROMPT + LIMIT), ("unsloth", 8, PROMPT + LIMIT),
        ("unsloth", 4, MEAN_LENGTH),
    ]))  # fmt: skip
    return counts
