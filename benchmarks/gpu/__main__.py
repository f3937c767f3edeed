"""What only a card can show, in eight minutes, without a network.

    python -m benchmarks.gpu                       # on a machine with an NVIDIA GPU
    python -m benchmarks.gpu --parts peak_8 --seconds 900
    python -m benchmarks.gpu --tiny --output /tmp  # the same lines on a CPU, on Unsloth's GPU code

The parts run one after the other, most important first, each in a process of its own with a limit
of time. What a part measures is saved at once: `results/gpu/<part>.json`, and `results/gpu.md`
is written anew from these files after each part. A part that fails or takes too long is noted, with
what it had measured until then, and passed over; one that would not fit into the time left is
skipped, and the report says so. With `--parts` the other parts' files stay as they are: so a part
that was skipped is added later. The parts themselves are in `parts.py`.

The model has Qwen3-4B's shapes and random weights (`model.py`), made on the card once for all
parts. On a card with little memory it has fewer layers; the report says how many.

With `--tiny` the model is tiny, answers are short, and each part that uses Unsloth runs on
tests/gpu_emulation.py: all else, settings included, is the same. Its times and bytes mean nothing.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu.runner import ROOT, Part, run_parts

RESULTS = ROOT / "benchmarks" / "results"
EMULATION = ROOT / "tests" / "gpu_emulation.py"
SECONDS = 480.0
TINY_PATIENCE = 10  # times the limits: emulated, on a machine with other work, nothing is quick


PARTS = (
    Part("doctor", "Versions and the card", 40, 5, needs_model=False, uses_unsloth=False),
    Part("model", "The model", 60, 15, needs_model=False, uses_unsloth=False),
    Part("checks", "Tests that need a card", 110, 40, needs_model=False),
    Part("parity", "The engines' answers, and the self-check", 80, 30),
    Part("sampling", "Tokens a second in sampling", 130, 45),
    Part("grpo_groupwise", "A GRPO step: Groupwise", 100, 40),
    Part("grpo_unsloth", "A GRPO step: stock Unsloth", 100, 40),
    Part("grpo_trl", "A GRPO step: TRL, PEFT and bitsandbytes", 75, 35, uses_unsloth=False),
    Part("peak_8", "Peak memory of the 8 GB preset, beside the plan", 150, 50),
    Part("peak_10", "Peak memory of the 10 GB preset, beside the plan", 150, 50),
    Part("cuda_graph", "CUDA graph on and off", 60, 25),
    Part("peak_12", "Peak memory of a run for 12 GB, beside the plan", 240, 60),
    Part("peak_16", "Peak memory of a run for 16 GB, beside the plan", 360, 90),
)


def main() -> int:
    arguments = parsed()
    if arguments.part:
        from benchmarks.gpu import parts  # torch, and on a card Unsloth: only in a part's process

        parts.run(arguments.part, arguments.work, arguments.tiny)
        return 0
    chosen = [part for part in PARTS if not arguments.parts or part.name in arguments.parts]
    if arguments.tiny:
        chosen = [replace(part, limit_s=TINY_PATIENCE * part.limit_s) for part in chosen]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part's process ends, too
    with tempfile.TemporaryDirectory() as work:
        results = run_parts(
            with_model(chosen),
            commands=lambda part: command(part, Path(work), arguments.tiny),
            work=Path(work),
            output=arguments.output,
            seconds=arguments.seconds * (TINY_PATIENCE if arguments.tiny else 1),
            about={"command": said(arguments), "tiny": arguments.tiny},
            order=[part.name for part in PARTS],
            keep=bool(arguments.parts),
        )
    print((arguments.output / "gpu.md").read_text(encoding="utf-8"))
    return int(any(result["status"] in ("failed", "too slow") for result in results))


def parsed() -> argparse.Namespace:
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    parser.add_argument("--parts", nargs="+", choices=names, metavar="PART", help=", ".join(names))
    parser.add_argument("--output", type=Path, default=None, help="folder of gpu.md and gpu/")
    parser.add_argument("--tiny", action="store_true", help="on a CPU, in emulation")
    parser.add_argument("--part", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tiny and arguments.output is None and not arguments.part:
        parser.error("--tiny: its figures mean nothing; give --output a folder for them")
    arguments.output = (arguments.output or RESULTS).resolve()
    return arguments


def with_model(chosen: Sequence[Part]) -> list[Part]:
    """The parts in their order, with the one that makes the model if another needs it."""
    needed = any(part.needs_model for part in chosen)
    model = [part for part in PARTS if part.name == "model" and needed]
    chosen = [*chosen, *(part for part in model if part.name not in {c.name for c in chosen})]
    return sorted(chosen, key=lambda part: [p.name for p in PARTS].index(part.name))


def said(arguments: argparse.Namespace) -> str:
    words = ["python -m benchmarks.gpu"]
    words += [f"--parts {' '.join(arguments.parts)}"] if arguments.parts else []
    words += [f"--seconds {arguments.seconds:g}"] if arguments.seconds != SECONDS else []
    return " ".join([*words, *(["--tiny"] if arguments.tiny else [])])


def command(part: Part, work: Path, tiny: bool) -> list[str]:
    emulated = [str(EMULATION)] if tiny and part.uses_unsloth else []
    words = [sys.executable, *emulated, "-m", "benchmarks.gpu", "--part", part.name]
    return [*words, "--work", str(work), *(["--tiny"] if tiny else [])]


if __name__ == "__main__":
    sys.exit(main())
